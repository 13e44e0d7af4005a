"""What is exported is the certified file, and nothing is written unless every check holds."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from support.certificates import certificate_of
from support.policies import random_policy
from surefoot.artifact import MANIFEST, Artifact, sha256_hex
from surefoot.bundle import BUDGET_FILE, CERTIFICATE_FILE, ORIGIN_FILE, open_bundle
from surefoot.certificate import Verdict
from surefoot.errors import CheckError, InputError, IntegrityError, VerificationError
from surefoot.export.exporter import PARITY_FILE, ExportConfig, assemble_bundle
from surefoot.onnx_file import POLICY_FILE, ControllerFile, load_policy, save_policy
from surefoot.runtime.load import Backend, load_controller
from surefoot.visited import VISITED_FILE, Visited

CONFIG = ExportConfig(num_random=200)


def visited_of(pool: NDArray[np.float64]) -> bytes:
    return Visited(
        independent=pool, steps=np.arange(len(pool)), num_discarded=0, pool=pool
    ).to_bytes()


def saved_policy(
    tmp_path: Path, seed: int = 0, extra_files: dict[str, bytes] | None = None
) -> tuple[ControllerFile, Artifact]:
    """Return a policy folder as it is read back: its controller file and the folder."""
    policy = random_policy(np.random.default_rng(seed), (4, 8, 2))
    folder = tmp_path / f"policy-{seed}"
    save_policy(folder, policy, metadata={"env": "Task-v0"}, extra_files=extra_files)
    return load_policy(folder)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "bundle"


def is_clean(target: Path) -> bool:
    return not list(target.parent.iterdir())


def test_what_is_deployed_is_what_was_certified_byte_for_byte(target: Path, tmp_path: Path) -> None:
    file, origin = saved_policy(tmp_path)
    certificate = certificate_of(file)
    bundle = assemble_bundle(target, file, origin, certificate, CONFIG)
    assert (target / POLICY_FILE).read_bytes() == (tmp_path / "policy-0" / POLICY_FILE).read_bytes()
    assert (target / ORIGIN_FILE).read_bytes() == (tmp_path / "policy-0" / MANIFEST).read_bytes()
    assert (target / CERTIFICATE_FILE).read_bytes() == certificate.to_json()
    assert (target / BUDGET_FILE).read_text() == certificate.budget.text
    assert bundle.certificate.onnx_sha256 == sha256_hex((target / POLICY_FILE).read_bytes())
    again = open_bundle(target)
    assert again.manifest_sha256 == bundle.manifest_sha256
    assert not again.uncertified


def test_the_bundle_runs(tmp_path: Path, target: Path) -> None:
    file, origin = saved_policy(tmp_path)
    bundle = assemble_bundle(target, file, origin, certificate_of(file), CONFIG)
    obs = np.random.default_rng(0).normal(0, 3, (8, 4)).astype(np.float32)
    for backend in (Backend.NUMPY, Backend.ONNX):
        error = np.abs(load_controller(bundle, backend)(obs) - file.policy.outputs(obs))
        assert (error <= 0.01).all()


def test_the_same_export_gives_the_same_bytes(tmp_path: Path, target: Path) -> None:
    file, origin = saved_policy(tmp_path)
    digests = {
        assemble_bundle(target, file, origin, certificate_of(file), CONFIG).manifest_sha256
        for _ in range(2)
    }
    assert len(digests) == 1


def test_the_parity_that_was_seen_is_recorded(tmp_path: Path, target: Path) -> None:
    file, origin = saved_policy(tmp_path)
    assemble_bundle(target, file, origin, certificate_of(file), CONFIG)
    table = json.loads((target / PARITY_FILE).read_bytes())
    assert set(table) == {"numpy", "onnx"}
    for entry in table.values():
        assert len(entry["worst"]) == len(entry["bound"]) == 2
        assert all(0 < w <= b for w, b in zip(entry["worst"], entry["bound"], strict=True))


@pytest.mark.parametrize("arithmetic", ["tf32", "float16"])
def test_a_certificate_about_an_arithmetic_that_no_form_has_is_refused(
    tmp_path: Path, target: Path, arithmetic: str
) -> None:
    file, origin = saved_policy(tmp_path)
    certificate = certificate_of(file, arithmetic=arithmetic)
    for allowed in (False, True):
        with pytest.raises(VerificationError, match="the runtime has 'float32'"):
            assemble_bundle(target, file, origin, certificate, CONFIG, allow_uncertified=allowed)
    assert is_clean(target)


@pytest.mark.parametrize("verdict", [Verdict.UNKNOWN, Verdict.REFUTED])
def test_what_is_not_proved_is_refused_unless_allowed_and_then_marked(
    tmp_path: Path, target: Path, verdict: Verdict
) -> None:
    file, origin = saved_policy(tmp_path)
    certificate = certificate_of(file, verdict)
    with pytest.raises(CheckError, match=f"verdict is {verdict}"):
        assemble_bundle(target, file, origin, certificate, CONFIG)
    assert is_clean(target)
    bundle = assemble_bundle(target, file, origin, certificate, CONFIG, allow_uncertified=True)
    assert bundle.uncertified
    assert json.loads((target / MANIFEST).read_bytes())["facts"]["uncertified"] is True
    with pytest.raises(VerificationError, match="does not verify"):
        open_bundle(target)


@pytest.mark.parametrize(
    "changes", [{"weights_sha256": "0" * 64}, {"onnx_sha256": "0" * 64}, {"runtime_error": (0.1,)}]
)
def test_a_certificate_about_another_file_is_refused(
    tmp_path: Path, target: Path, changes: dict[str, str | tuple[float]]
) -> None:
    file, origin = saved_policy(tmp_path)
    with pytest.raises(IntegrityError, match="certificate"):
        assemble_bundle(
            target, file, origin, certificate_of(file, **changes), CONFIG, allow_uncertified=True
        )
    assert is_clean(target)


def test_the_certificate_or_folder_of_another_policy_is_refused(
    tmp_path: Path, target: Path
) -> None:
    (file, origin), (other, other_origin) = saved_policy(tmp_path, 0), saved_policy(tmp_path, 1)
    with pytest.raises(IntegrityError, match="the certificate is about weights_sha256"):
        assemble_bundle(target, file, origin, certificate_of(other), CONFIG, allow_uncertified=True)
    with pytest.raises(IntegrityError, match=r"does not hold the policy\.onnx to be exported"):
        assemble_bundle(target, file, other_origin, certificate_of(file), CONFIG)
    assert is_clean(target)


def test_a_certificate_that_counts_on_less_error_than_the_runtime_makes_is_refused(
    tmp_path: Path, target: Path
) -> None:
    file, origin = saved_policy(tmp_path)
    certificate = certificate_of(file, runtime_error=(0.01, 1e-12))
    with pytest.raises(
        CheckError, match=r"is not the policy: .*output 1 .*allowed difference 1e-12"
    ):
        assemble_bundle(target, file, origin, certificate, CONFIG, allow_uncertified=True)
    assert is_clean(target)


def test_visited_observations_are_part_of_the_check(tmp_path: Path, target: Path) -> None:
    config = ExportConfig(num_random=1)
    file, origin = saved_policy(tmp_path, 0)
    assemble_bundle(target, file, origin, certificate_of(file), config)
    alone = json.loads((target / PARITY_FILE).read_bytes())["onnx"]["num_inputs"]
    pool = np.random.default_rng(0).normal(0, 1, (77, 4))
    file, origin = saved_policy(tmp_path, 0, {VISITED_FILE: visited_of(pool)})
    assemble_bundle(target, file, origin, certificate_of(file), config)
    assert json.loads((target / PARITY_FILE).read_bytes())["onnx"]["num_inputs"] == alone + 77


@pytest.mark.parametrize(
    "content",
    [visited_of(np.zeros((3, 5))), visited_of(np.full((3, 4), np.nan)), b"no archive"],
)
def test_visited_observations_that_do_not_fit_are_refused(
    tmp_path: Path, target: Path, content: bytes
) -> None:
    file, origin = saved_policy(tmp_path, 0, {VISITED_FILE: content})
    with pytest.raises(IntegrityError, match=r"visited\.npz"):
        assemble_bundle(target, file, origin, certificate_of(file), CONFIG)
    assert is_clean(target)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_target_leaves_nothing(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    file, origin = saved_policy(tmp_path)

    def fail(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(InputError, match=f"cannot write .*bundle: {os.strerror(code)}"):
        assemble_bundle(target, file, origin, certificate_of(file), CONFIG)
    assert is_clean(target)


def test_a_folder_that_is_not_ours_is_refused_and_untouched(tmp_path: Path, target: Path) -> None:
    file, origin = saved_policy(tmp_path)
    target.mkdir()
    (target / "thesis.tex").write_bytes(b"mine")
    with pytest.raises(InputError, match="exists and is not a surefoot bundle"):
        assemble_bundle(target, file, origin, certificate_of(file), CONFIG)
    assert [path.name for path in target.iterdir()] == ["thesis.tex"]
    assert (target / "thesis.tex").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": ()}, "targets must hold"),
        ({"num_random": 0}, "num_random must be at least 1"),
    ],
)
def test_a_bad_configuration_names_what_is_wrong(
    changes: dict[str, int | tuple[()]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        ExportConfig(**changes)
