"""The gate: a bundle is opened only if every byte, the certificate and the verdict hold."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from support.bundles import bundle_files
from support.certificates import certificate_of
from support.policies import file_of, random_policy
from surefoot.artifact import (
    MANIFEST,
    Artifact,
    Json,
    read_artifact,
    sha256_hex,
    to_json,
    write_artifact,
)
from surefoot.bundle import (
    BUDGET_FILE,
    CERTIFICATE_FILE,
    ORIGIN_FILE,
    REQUIRED_FILES,
    open_bundle,
    write_bundle,
)
from surefoot.certificate import Verdict
from surefoot.errors import CheckError, InputError, IntegrityError, VerificationError
from surefoot.onnx_file import POLICY_FILE


def files_of(
    seed: int = 0, verdict: Verdict = Verdict.PROVED, **changes: object
) -> dict[str, bytes]:
    """Return the files of a bundle for the policy of a seed, with this verdict."""
    policy = random_policy(np.random.default_rng(seed), (4, 8, 2))
    file = file_of(policy, {"env": {"id": "Task-v0", "step": 1.5}})
    return bundle_files(file, certificate_of(file, verdict, **changes))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "bundle", files_of(), allow_uncertified=False)
    return tmp_path / "bundle"


def forge(folder: Path, change: Callable[[dict[str, bytes], dict[str, Json]], object]) -> None:
    """Change files and facts of a bundle and write a manifest that fits, as a forger would."""
    artifact = read_artifact(folder, "bundle")
    files, facts = dict(artifact.files), dict(artifact.facts)
    change(files, facts)
    write_artifact(folder, Artifact(kind="bundle", files=files, facts=facts))


def test_what_was_written_is_opened(folder: Path) -> None:
    bundle = open_bundle(folder)
    assert dict(bundle.files) == files_of()
    assert bundle.controller.data == (folder / POLICY_FILE).read_bytes()
    assert bundle.certificate.verdict is Verdict.PROVED
    assert bundle.budget == bundle.certificate.budget
    assert not bundle.uncertified
    assert bundle.manifest_sha256 == sha256_hex((folder / MANIFEST).read_bytes())


def test_the_manifest_says_what_is_inside_without_an_onnx_parser(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_bytes())
    assert set(manifest["files"]) == set(REQUIRED_FILES)
    facts = manifest["facts"]
    assert facts["verdict"] == "PROVED"
    assert facts["uncertified"] is False
    assert facts["metadata"]["env"] == {"id": "Task-v0", "step": 1.5}


@pytest.mark.parametrize("name", [*REQUIRED_FILES, MANIFEST])
def test_any_flipped_byte_is_refused(folder: Path, name: str) -> None:
    original = (folder / name).read_bytes()
    rng = np.random.default_rng(0)
    some = rng.choice(len(original), size=min(200, len(original)), replace=False)
    for position in {0, len(original) - 1, *(int(number) for number in some)}:
        damaged = bytearray(original)
        damaged[position] ^= int(rng.integers(1, 256))
        (folder / name).write_bytes(damaged)
        with pytest.raises(VerificationError, match="bundle does not verify"):
            open_bundle(folder, allow_uncertified=True)
    (folder / name).write_bytes(original)
    open_bundle(folder)


@pytest.mark.parametrize("name", [*REQUIRED_FILES, MANIFEST])
def test_a_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(VerificationError, match=name):
        open_bundle(folder)


def test_an_extra_file_or_a_link_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "extra").touch()
    with pytest.raises(VerificationError, match="extra is not in the manifest"):
        open_bundle(folder)
    (folder / "extra").unlink()
    (folder / POLICY_FILE).rename(tmp_path / "elsewhere.onnx")
    (folder / POLICY_FILE).symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(VerificationError, match=r"policy\.onnx is a link"):
        open_bundle(folder)


@pytest.mark.parametrize("name", [POLICY_FILE, CERTIFICATE_FILE, ORIGIN_FILE])
def test_files_mixed_from_two_valid_bundles_are_refused(folder: Path, name: str) -> None:
    def change(files: dict[str, bytes], facts: dict[str, Json]) -> None:
        files[name] = files_of(seed=1)[name]

    forge(folder, change)
    with pytest.raises(VerificationError, match=r"the certificate is about|is about another"):
        open_bundle(folder, allow_uncertified=True)


@pytest.mark.parametrize(
    "swap", [(b"0.5", b"0.9"), (b"at_most = 0.5\n", b"at_most = 0.5 \n"), (b"[[require]]", b"\xff")]
)
def test_another_budget_than_the_certified_one_is_refused(
    folder: Path, swap: tuple[bytes, bytes]
) -> None:
    def change(files: dict[str, bytes], facts: dict[str, Json]) -> None:
        assert swap[0] in files[BUDGET_FILE]
        files[BUDGET_FILE] = files[BUDGET_FILE].replace(*swap)

    forge(folder, change)
    with pytest.raises(VerificationError, match=r"about another budget|not UTF-8"):
        open_bundle(folder, allow_uncertified=True)


def test_a_looser_budget_in_certificate_and_budget_file_is_still_refused(folder: Path) -> None:
    # The certificate names the digest of the budget that was answered.
    def change(files: dict[str, bytes], facts: dict[str, Json]) -> None:
        for name in (BUDGET_FILE, CERTIFICATE_FILE):
            assert b"at_most = 0.5" in files[name]
            files[name] = files[name].replace(b"at_most = 0.5", b"at_most = 9.5")

    forge(folder, change)
    with pytest.raises(VerificationError, match=r"malformed|not the one that it names"):
        open_bundle(folder, allow_uncertified=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("uncertified", True),
        ("uncertified", 0),
        ("verdict", "UNKNOWN"),
        ("weights_sha256", "0" * 64),
        ("metadata", {}),
    ],
)
def test_a_manifest_that_says_something_else_than_its_files_is_refused(
    folder: Path, name: str, value: Json
) -> None:
    def change(files: dict[str, bytes], facts: dict[str, Json]) -> None:
        facts[name] = value

    forge(folder, change)
    with pytest.raises(VerificationError, match=f"its manifest's {name} is wrong"):
        open_bundle(folder, allow_uncertified=True)


@pytest.mark.parametrize("name", REQUIRED_FILES)
def test_a_bundle_without_a_required_file_is_not_written(tmp_path: Path, name: str) -> None:
    files = files_of()
    del files[name]
    with pytest.raises(InputError, match=f"a bundle needs {name}"):
        write_bundle(tmp_path / "bundle", files, allow_uncertified=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("origin", [b"{}", b"[]", b'{"files": {"policy.onnx": 3}}'])
def test_an_origin_that_is_no_manifest_is_not_written(tmp_path: Path, origin: bytes) -> None:
    with pytest.raises(IntegrityError, match="is not the manifest of a policy folder"):
        write_bundle(
            tmp_path / "bundle", {**files_of(), ORIGIN_FILE: origin}, allow_uncertified=True
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verdict", [Verdict.UNKNOWN, Verdict.REFUTED])
def test_what_is_not_proved_is_neither_written_nor_opened_unless_allowed_and_then_marked(
    tmp_path: Path, verdict: Verdict
) -> None:
    folder, files = tmp_path / "bundle", files_of(verdict=verdict)
    with pytest.raises(CheckError, match=f"verdict is {verdict}: action_deviation under linf 0.05"):
        write_bundle(folder, files, allow_uncertified=False)
    assert not list(tmp_path.iterdir())
    assert write_bundle(folder, files, allow_uncertified=True).uncertified
    assert json.loads((folder / MANIFEST).read_bytes())["facts"]["uncertified"] is True
    with pytest.raises(VerificationError, match=f"verdict is {verdict}"):
        open_bundle(folder)
    assert open_bundle(folder, allow_uncertified=True).uncertified


def test_a_verdict_that_its_requirements_do_not_have_is_refused(tmp_path: Path) -> None:
    files = files_of(verdict=Verdict.UNKNOWN)
    table = json.loads(files[CERTIFICATE_FILE])
    table["verdict"] = "PROVED"
    files[CERTIFICATE_FILE] = to_json(table)
    with pytest.raises(IntegrityError, match="not that of its requirements"):
        write_bundle(tmp_path / "bundle", files, allow_uncertified=True)
    table["requirements"][0]["verdict"] = "PROVED"
    files[CERTIFICATE_FILE] = to_json(table)
    with pytest.raises(IntegrityError, match="PROVED needs a value within the limit"):
        write_bundle(tmp_path / "bundle", files, allow_uncertified=True)
    assert not list(tmp_path.iterdir())


def test_what_is_no_folder_is_bad_input_and_what_is_no_bundle_does_not_verify(
    tmp_path: Path,
) -> None:
    with pytest.raises(InputError, match="no such bundle"):
        open_bundle(tmp_path / "absent")
    with pytest.raises(VerificationError, match="is not a bundle"):
        open_bundle(tmp_path)
    write_artifact(tmp_path / "policy", Artifact(kind="policy", files={"x": b""}))
    with pytest.raises(VerificationError, match="surefoot/policy/1"):
        open_bundle(tmp_path / "policy")
