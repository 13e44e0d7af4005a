"""A bundle is exported, signed and verified by path, and says what it is.

Also of ``workflow/verifying.py`` and ``workflow/key_making.py``.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from support.heard import Heard
from support.small_bundle import SmallBundle, small_bundle
from surefoot.artifact import Artifact, read_artifact, sha256_hex, to_json, write_artifact
from surefoot.bundle import BUDGET_FILE, CERTIFICATE_FILE, open_bundle, write_signatures
from surefoot.certificate import Certificate, Verdict
from surefoot.config import to_toml
from surefoot.errors import CheckError, InputError, UnprovedError, VerificationError
from surefoot.export.exporter import PARITY_FILE
from surefoot.keys import read_private_key
from surefoot.onnx_file import load_policy
from surefoot.recordings import StatesFile
from surefoot.run_folder import RunFolder
from surefoot.signing import SIGNATURES_FILE, Role, TrustPolicy
from surefoot.visited import VISITED_FILE
from surefoot.workflow.certifying import certify_controller
from surefoot.workflow.configuration import Configuration
from surefoot.workflow.exporting import export_bundle, export_controller, sign_bundle
from surefoot.workflow.key_making import make_key_pair
from surefoot.workflow.verifying import inspect_bundle, read_trust, verify_bundle


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


def without_states(artifact: Artifact, folder: Path) -> Path:
    """Write a folder again without the states that its claims rest on."""
    files = {name: data for name, data in artifact.files.items() if name != VISITED_FILE}
    write_artifact(folder, replace(artifact, files=files))
    return folder


def with_a_forged_claim(bundle: Artifact) -> Artifact:
    """Claim a millionth of what was proved at visited states, in every file that says it."""
    table = json.loads(bundle.files[CERTIFICATE_FILE])
    claim = table["requirements"][1]
    claim |= {"certified": 1e-6, "sampled": 1e-7}
    claim["requirement"]["at_most"] = 1e-5
    budget = to_toml({"require": [entry["requirement"] for entry in table["requirements"]]})
    table |= {"budget_toml": budget, "budget_sha256": sha256_hex(budget.encode())}
    forged = {CERTIFICATE_FILE: to_json(table), BUDGET_FILE: budget.encode()}
    return replace(bundle, files={**bundle.files, **forged})


@pytest.fixture(name="small", scope="module")
def _small(tmp_path_factory: pytest.TempPathFactory) -> SmallBundle:
    return small_bundle(tmp_path_factory.mktemp("small"))


def test_nothing_is_signed_or_exported_from_python_that_is_not_proved_again(
    small: SmallBundle, tmp_path: Path
) -> None:
    forged, bundle = with_a_forged_claim(small.artifact), tmp_path / "bundle"
    write_artifact(bundle, forged)
    assert open_bundle(bundle).certificate.verdict is Verdict.PROVED
    with pytest.raises(VerificationError, match="certified"):
        sign_bundle(bundle, dict.fromkeys(Role, Ed25519PrivateKey.generate()))
    assert not (bundle / SIGNATURES_FILE).exists()
    file, origin = load_policy(small.folder.parent / "policy")
    certificate = Certificate.parse(forged.files[CERTIFICATE_FILE], "forged")
    with pytest.raises(VerificationError, match="not proved again"):
        export_bundle(tmp_path / "other", file, origin, certificate)
    assert not (tmp_path / "other").exists()


def test_a_bundle_that_was_signed_from_python_is_one_that_the_key_opens(
    small: SmallBundle, tmp_path: Path
) -> None:
    bundle, key = tmp_path / "bundle", Ed25519PrivateKey.generate()
    write_artifact(bundle, small.artifact)
    sign_bundle(bundle, dict.fromkeys(Role, key))
    trust = TrustPolicy(keys=dict.fromkeys(Role, (key.public_key(),)))
    assert open_bundle(bundle, trust=trust).files == small.artifact.files


def test_a_bundle_without_comparisons_is_not_signed(small: SmallBundle, tmp_path: Path) -> None:
    files = {name: data for name, data in small.artifact.files.items() if name != PARITY_FILE}
    write_artifact(tmp_path / "bundle", replace(small.artifact, files=files))
    with pytest.raises(VerificationError, match=r"parity\.json"):
        sign_bundle(tmp_path / "bundle", dict.fromkeys(Role, Ed25519PrivateKey.generate()))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("forged", [False, True])
def test_a_claim_whose_states_are_missing_never_verifies(
    small: SmallBundle, tmp_path: Path, signed: bool, forged: bool
) -> None:
    artifact = with_a_forged_claim(small.artifact) if forged else small.artifact
    folder, trust = without_states(artifact, tmp_path / "bundle"), None
    if signed:
        key = Ed25519PrivateKey.generate()
        write_signatures(folder, open_bundle(folder), dict.fromkeys(Role, key), ["parity/numpy"])
        trust = TrustPolicy(keys=dict.fromkeys(Role, (key.public_key(),)))
    with pytest.raises(UnprovedError, match=r"50% of visited states .*not checked: .*visited\.npz"):
        verify_bundle(folder, trust=trust)
    verified = inspect_bundle(folder, trust=trust)
    assert verified.proved == (0, 2, 3)
    assert verified.bundle.certificate.findings[1].requirement.describe() in verified.unproved


def test_a_table_whose_states_are_missing_is_named_without_any_requirement_on_them(
    small: SmallBundle, tmp_path: Path
) -> None:
    verified = inspect_bundle(without_states(small.artifact, tmp_path / "bundle"))
    assert "claim visited_deviation" in verified.unproved
    assert inspect_bundle(small.folder).unproved == {}


def test_a_certificate_that_claims_more_than_is_proved_is_never_exported(
    trained: Path, certificate: Certificate, tmp_path: Path
) -> None:
    honest = certificate.findings[0]
    assert honest.certified is not None
    finding = replace(honest, certified=honest.certified / 2, sampled=None)
    forged = replace(certificate, findings=(finding,))
    keys = dict.fromkeys(Role, Ed25519PrivateKey.generate())
    for allowed in (False, True):
        with pytest.raises(VerificationError, match=r"not proved again: .* the proof gives"):
            export_controller(
                trained, forged, tmp_path / "bundle", keys=keys, allow_uncertified=allowed
            )
    assert not (tmp_path / "bundle").exists()


def test_a_claim_is_exported_only_with_the_states_that_it_rests_on(
    small: SmallBundle, tmp_path: Path
) -> None:
    policy = small.folder.parent / "policy"
    certificate = Certificate.parse(small.artifact.files[CERTIFICATE_FILE])
    bare = without_states(read_artifact(policy, "policy"), tmp_path / "policy")
    with pytest.raises(UnprovedError, match=r"states are missing .*pipeline adopt --states"):
        export_controller(bare, certificate, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
    assert not export_controller(policy, certificate, tmp_path / "bundle").signed
    assert verify_bundle(tmp_path / "bundle").unproved == {}
    assert not (tmp_path / "bundle" / SIGNATURES_FILE).exists()


def test_a_certificate_about_states_of_ones_own_says_that_they_are_not_stored(
    trained: Path, configuration: Configuration, tmp_path: Path
) -> None:
    recording = tmp_path / "states.npy"
    np.save(recording, np.random.default_rng(0).normal(size=(20, 4)))
    heard, out = Heard(), tmp_path / "certificate.json"
    certificate = certify_controller(
        trained,
        configuration.budget(),
        out,
        config=configuration.certification(),
        states=StatesFile(path=recording),
        draw=False,
        listener=heard,
    )
    assert [remark for remark in heard.remarks if "not stored in" in remark]
    with pytest.raises(VerificationError, match=r"rests on other .*pipeline adopt --states"):
        export_controller(trained, certificate, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
