"""A certificate rests on what lies beside the controller, and on nothing about another one.

Also of ``workflow/evidence_files.py`` and ``workflow/drawing.py``.
"""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from support.bundles import bundle_files
from support.certificates import certificate_of
from support.heard import Heard
from support.policies import file_of, random_policy
from surefoot.ball import Norm
from surefoot.budget import Budget, Scope
from surefoot.bundle import open_bundle, write_bundle
from surefoot.certificate import Verdict
from surefoot.certify import Assumptions, CertifyConfig, Evidence
from surefoot.errors import InputError, VerificationError
from surefoot.onnx_file import load_policy
from surefoot.records import CLEAN, ActionRecord, AttackRecord, BenchRecord
from surefoot.run_folder import RunFolder, picture_of
from surefoot.runtime.controller_file import load_controller_file
from surefoot.signing import SIGNATURES_FILE
from surefoot.visited import VISITED_FILE, Visited
from surefoot.workflow.attacking import attack_controller
from surefoot.workflow.certifying import certify_controller
from surefoot.workflow.configuration import Configuration
from surefoot.workflow.drawing import write_picture
from surefoot.workflow.evidence_files import gather_evidence


def evidence_of(controller: Path, **given: Path) -> Evidence:
    """Return the evidence beside a controller and in the files that are given."""
    return gather_evidence(controller, load_controller_file(controller), Assumptions(), **given)


CLEAN_RETURN = '[[require]]\nquantity = "clean_return"\nat_least = {}\n'


@pytest.fixture(scope="module")
def attacked(
    trained: Path, configuration: Configuration, tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    """Return a run that was trained and attacked; tests must not change it."""
    run = RunFolder(tmp_path_factory.mktemp("attacked") / "run")
    shutil.copytree(trained, run.path)
    config = configuration.attacking()
    attack_controller(run.policy, run.attack, config=config, allow_uncertified=True)
    return run


def test_every_outcome_is_a_measurement_of_its_own_kind(attacked: RunFolder) -> None:
    record = AttackRecord.read(attacked.attack)
    evidence = evidence_of(attacked.path, attack=attacked.attack)
    found = {
        (entry.quantity, entry.source.partition(",")[0]): entry for entry in evidence.measurements
    }
    returns = {name: outcome.mean for name, outcome in record.attacks.items() if name != CLEAN}
    assert {
        source: entry.value
        for (quantity, source), entry in found.items()
        if quantity == "attacked_return"
    } == pytest.approx(returns)
    clean = found["clean_return", "no attack"]
    assert clean.value == pytest.approx(np.mean(record.attacks[CLEAN].returns))
    assert (clean.epsilon, clean.norm) == (None, None)
    for (quantity, _), entry in found.items():
        assert entry.onnx_sha256 == record.onnx_sha256
        if quantity != "clean_return":
            assert (entry.epsilon, entry.norm) == (record.epsilon, Norm.LINF)


def test_moves_of_the_actions_measure_what_no_proof_excludes_and_nothing_else(
    attacked: RunFolder, tmp_path: Path
) -> None:
    record = AttackRecord.read(attacked.attack)
    before = evidence_of(attacked.path, attack=attacked.attack).measurements
    moved = ActionRecord(
        scope=Scope.VISITED,
        limits=(0.5,),
        outcome=record.attacks[record.worst.attack],
        fraction=0.99,
        confidence=0.95,
    )
    path = tmp_path / "attack.json"
    path.write_bytes(dataclasses.replace(record, actions=(moved,)).to_json())
    (*others, added) = evidence_of(attacked.path, attack=path).measurements
    assert others == list(before)
    assert (added.quantity, added.value) == ("unexcluded_return", record.worst.mean)
    assert (added.epsilon, added.norm) == (record.epsilon, record.norm)
    assert "(0.5), as certified at 0.99 of the visited states with confidence 0.95" in added.source


def test_the_clean_return_of_the_own_run_decides_a_budget(
    attacked: RunFolder, configuration: Configuration, tmp_path: Path
) -> None:
    mean = AttackRecord.read(attacked.attack).attacks[CLEAN].mean
    verdicts = [
        certify_controller(
            attacked.path,
            Budget.parse(CLEAN_RETURN.format(limit)),
            tmp_path / f"{limit}.json",
            config=configuration.certification(),
        ).verdict
        for limit in (mean - 1, mean + 1)
    ]
    assert verdicts == [Verdict.PROVED, Verdict.REFUTED]


def test_a_measurement_of_another_file_counts_for_nothing(
    attacked: RunFolder, configuration: Configuration, tmp_path: Path
) -> None:
    other = dataclasses.replace(AttackRecord.read(attacked.attack), onnx_sha256="0" * 64)
    (tmp_path / "attack.json").write_bytes(other.to_json())
    certificate = certify_controller(
        attacked.path,
        Budget.parse(CLEAN_RETURN.format(-1000.0)),
        tmp_path / "certificate.json",
        config=configuration.certification(),
        attack=tmp_path / "attack.json",
    )
    assert certificate.findings[0].reason == "it was measured on another file"


def test_returns_of_a_policy_that_sampled_its_actions_measure_nothing_of_the_deployed_one(
    attacked: RunFolder, configuration: Configuration, tmp_path: Path
) -> None:
    record = AttackRecord.read(attacked.attack)
    sampled = dataclasses.replace(record, more={**record.more, "action": "sampled"})
    (tmp_path / "attack.json").write_bytes(sampled.to_json())
    certificate = certify_controller(
        attacked.path,
        Budget.parse(CLEAN_RETURN.format(-1000.0)),
        tmp_path / "certificate.json",
        config=configuration.certification(),
        attack=tmp_path / "attack.json",
    )
    assert certificate.findings[0].reason == "it was not measured"


@pytest.mark.parametrize("record", [AttackRecord, BenchRecord])
def test_a_file_that_is_no_measurement_is_refused_by_name(
    trained: Path, tmp_path: Path, record: type
) -> None:
    path = tmp_path / "notes.json"
    path.write_text("{}")
    given = {"attack": path} if record is AttackRecord else {"bench": path}
    with pytest.raises(InputError, match=r"notes\.json"):
        evidence_of(trained, **given)


def test_a_signed_bundle_is_certified_with_the_states_and_the_budget_in_it(
    trained: Path, configuration: Configuration, tmp_path: Path
) -> None:
    file, origin = load_policy(RunFolder(trained).policy)
    visited = origin.files[VISITED_FILE]
    files = bundle_files(file, certificate_of(file)) | {VISITED_FILE: visited}
    bundle = tmp_path / "bundle"
    write_bundle(bundle, files, allow_uncertified=False)
    (bundle / SIGNATURES_FILE).write_bytes(b"signatures are about the bundle, not a part of it")

    evidence = evidence_of(bundle)
    independent = Visited.from_bytes(visited).independent
    assert evidence.observations is not None
    np.testing.assert_array_equal(evidence.observations, independent)
    budget = Configuration.beside(bundle).budget()
    assert budget.requirements == open_bundle(bundle).budget.requirements
    certificate = certify_controller(
        bundle, budget, tmp_path / "certificate.json", config=configuration.certification()
    )
    assert certificate.onnx_sha256 == file.sha256
    assert certificate.claims.visited_deviation is not None

    (bundle / VISITED_FILE).write_bytes(visited[:-1] + b"X")
    with pytest.raises(VerificationError, match=r"visited\.npz is not the file"):
        Configuration.beside(bundle)


def test_what_it_was_compressed_from_must_be_that(trained: Path) -> None:
    assert evidence_of(trained, dense=trained).dense_policy is not None


def test_an_older_picture_goes_with_its_certificate(
    trained: Path, configuration: Configuration, tmp_path: Path
) -> None:
    out = tmp_path / "certificate.json"
    certify_controller(trained, configuration.budget(), out, config=configuration.certification())
    first = picture_of(out).read_bytes()
    certify_controller(trained, configuration.budget(), out, config=CertifyConfig(search_states=3))
    assert picture_of(out).read_bytes() != first


def test_a_picture_that_cannot_be_drawn_ends_nothing(tmp_path: Path) -> None:
    def draw() -> bytes:
        raise RuntimeError("no\nfonts")

    heard = Heard()
    write_picture(tmp_path / "result.json", draw, heard)
    assert heard.remarks == ["no picture: no fonts"]
    write_picture(tmp_path / "nowhere" / "result.json", lambda: b"drawn", heard)
    assert "no picture: cannot write" in heard.remarks[1]
    assert not list(tmp_path.iterdir())


def test_sensors_on_which_epsilon_says_little_are_told(tmp_path: Path) -> None:
    policy = random_policy(np.random.default_rng(0), (3, 8, 2))
    normaliser = dataclasses.replace(
        policy.normaliser,
        mean=np.float32([0.0, 24.0, 5.4e6]),
        scale=np.float32([1.0, 1e-8, 0.6]),
    )
    file = file_of(dataclasses.replace(policy, normaliser=normaliser))
    controller, out, heard = tmp_path / "policy.onnx", tmp_path / "certificate.json", Heard()
    controller.write_bytes(file.data)
    budget = Budget.parse('[[require]]\nquantity = "sparsity"\nat_least = 0.0\n')
    config = CertifyConfig(search_states=4, search_steps=2, lipsdp_iterations=0)
    certificate = certify_controller(controller, budget, out, config=config, listener=heard)
    told = [line for line in heard.remarks if line.startswith("WARNING: sensor")]
    assert told == [f"WARNING: {words}" for words in certificate.sensor_warnings]
    assert [line.split(":")[1] for line in told] == [" sensor 1", " sensor 2"]
    assert "it never moved in training" in told[0]
    assert "more than epsilon" in told[1]
