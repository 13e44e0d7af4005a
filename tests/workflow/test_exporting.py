"""A bundle is exported, signed and verified by path, and says what it is.

Also of ``workflow/verifying.py`` and ``workflow/key_making.py``.
"""

from pathlib import Path

import pytest

from support.heard import Heard
from surefoot.certificate import Certificate, Verdict
from surefoot.errors import CheckError, InputError, VerificationError
from surefoot.keys import read_private_key
from surefoot.run_folder import RunFolder
from surefoot.signing import Role
from surefoot.workflow.certifying import certify_controller
from surefoot.workflow.configuration import Configuration
from surefoot.workflow.exporting import export_controller
from surefoot.workflow.key_making import make_key_pair
from surefoot.workflow.verifying import read_trust, verify_bundle


@pytest.fixture(scope="module")
def certificate(
    trained: Path, configuration: Configuration, tmp_path_factory: pytest.TempPathFactory
) -> Certificate:
    """Return a certificate that proves the budget of the tiny configuration."""
    out = tmp_path_factory.mktemp("certified") / "certificate.json"
    config = configuration.certification()
    return certify_controller(trained, configuration.budget(), out, config=config)


def test_a_signed_bundle_verifies_with_its_key_and_with_no_other(
    trained: Path, certificate: Certificate, tmp_path: Path
) -> None:
    ours, theirs = make_key_pair(tmp_path / "ours"), make_key_pair(tmp_path / "theirs")
    keys = dict.fromkeys(Role, read_private_key(ours.private))
    exported = export_controller(trained, certificate, tmp_path / "bundle", keys=keys)
    assert exported.signed
    verified = verify_bundle(exported.path, trust=read_trust(ours.public, None))
    assert verified.bundle.manifest_sha256 == exported.bundle.manifest_sha256
    assert verified.proved == tuple(range(len(certificate.findings)))
    with pytest.raises(VerificationError, match="no statement of a trusted"):
        verify_bundle(exported.path, trust=read_trust(theirs.public, None))


def test_the_policy_folder_alone_gives_the_same_bundle(
    trained: Path, certificate: Certificate, tmp_path: Path
) -> None:
    paths = (trained, RunFolder(trained).policy)
    digests = {
        export_controller(path, certificate, tmp_path / "bundle").bundle.manifest_sha256
        for path in paths
    }
    assert len(digests) == 1


def test_every_form_that_can_be_built_is_in_and_the_others_are_named(
    trained: Path, certificate: Certificate, tmp_path: Path
) -> None:
    heard = Heard()
    exported = export_controller(
        trained, certificate, tmp_path / "bundle", every_target=True, listener=heard
    )
    names = {remark.split()[1].rstrip(":") for remark in heard.remarks}
    assert ("c" in names) == (exported.c is None)
    if exported.c is not None:
        assert min(exported.c.flash_bytes, exported.c.ram_bytes, exported.c.multiply_adds) > 0
        assert exported.c.stack_bytes["this machine"]


def test_without_a_proof_nothing_is_exported_unless_it_says_so(
    trained: Path, configuration: Configuration, tmp_path: Path
) -> None:
    unmet = Configuration({"require": [{"quantity": "sparsity", "at_least": 0.9}]}).budget()
    config = configuration.certification()
    refuted = certify_controller(trained, unmet, tmp_path / "certificate.json", config=config)
    assert refuted.verdict is Verdict.REFUTED
    with pytest.raises(CheckError, match="verdict is REFUTED"):
        export_controller(trained, refuted, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
    heard = Heard()
    exported = export_controller(
        trained, refuted, tmp_path / "bundle", allow_uncertified=True, listener=heard
    )
    assert exported.bundle.uncertified
    assert heard.remarks == ["WARNING: exporting without a proof (REFUTED); the bundle says so"]
    with pytest.raises(VerificationError):
        verify_bundle(tmp_path / "bundle")


def test_whose_signatures_count_is_said_once(tmp_path: Path) -> None:
    assert read_trust(None, None) is None
    with pytest.raises(InputError, match="not both: a trust policy names its keys"):
        read_trust(tmp_path / "key.pub", tmp_path / "trust.toml")


def test_a_private_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    pair = make_key_pair(tmp_path / "key")
    assert pair.public == tmp_path / "key.pub"
    assert pair.private.stat().st_mode & 0o077 == 0
    with pytest.raises(InputError, match="a key is never overwritten"):
        make_key_pair(tmp_path / "key")
