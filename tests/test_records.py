"""What the JSON files of a run say is read and written without a loss, or refused by name."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from support.records import bench_record_of, outcome_of
from surefoot.artifact import to_json
from surefoot.ball import Norm
from surefoot.certificate import Verdict
from surefoot.errors import InputError
from surefoot.provenance import MadeOn
from surefoot.records import (
    AttackOutcome,
    AttackRecord,
    BenchRecord,
    GradientMasking,
    LatencySummary,
    Record,
    RequirementSummary,
    RunSummary,
    StageRecord,
    TrainingRecord,
    VariantRecord,
    WorstAttack,
)

RESULTS = Path(__file__).parents[1] / "docs" / "results"


def outcome() -> AttackOutcome:
    return replace(
        outcome_of([1.5, 0.1], failures=1),
        certified_deviation=None,
        reached_share=None,
        selection={"steps": VariantRecord(mean=1.0, max_deviation=0.5, failures=0)},
        more={"critic": "shipped"},
    )


ATTACK = AttackRecord(
    epsilon=0.05,
    norm=Norm.LINF,
    backend="onnx",
    suite="full",
    episodes=2,
    attacks={"clean": outcome(), "mad": outcome()},
    worst=WorstAttack(attack="mad", mean=0.8, failures=1),
    gradient_masking=GradientMasking(ratio=None, signs=("corners do better",)),
    onnx_sha256="0" * 64,
    env="Hopper-v5",
    more={"seeds": {"evaluation": [1, 2]}, "code_sha256": "1" * 64},
)
MADE_ON = MadeOn(
    processor="AMD EPYC, family 26 model 2",
    kernels={"numpy": "X86_V3", "openblas": None},
    unpinned="SUREFOOT_KERNELS is native",
    libc="glibc 2.36",
    versions={"numpy": "2.4.6"},
)
STAGE = StageRecord(inputs="0" * 64, files={"a": "1" * 64}, seconds=1.5, made_on=MADE_ON)
BENCH = bench_record_of()
SUMMARY = RunSummary(
    env="Hopper-v5",
    steps=4096,
    sparsity=0.5,
    clean_return=3.5,
    attacked_return={"mad": 0.8},
    failures={"clean": 0, "mad": 1},
    epsilon=0.05,
    norm=Norm.LINF,
    requirements=(
        RequirementSummary(
            requirement="sparsity at least 0.5",
            at_most=None,
            certified=None,
            sampled=0.5,
            verdict=Verdict.PROVED,
            reason="measured",
            measured=True,
        ),
    ),
    verdict=Verdict.PROVED,
    latency_us={"numpy": LatencySummary(p50=1.0, p99=None)},
    size_bytes=1000,
    weights_sha256="0" * 64,
    onnx_sha256="0" * 64,
    budget_sha256="0" * 64,
    seconds={"train": 1.5},
    made_on=MADE_ON,
)
TRAINING = TrainingRecord(
    env="Hopper-v5",
    seed=3,
    steps=4096,
    sparsity=0.5,
    clean_return=None,
    weights_sha256="0" * 64,
    onnx_sha256="0" * 64,
)
RECORDS = [ATTACK, BENCH, STAGE, SUMMARY, TRAINING]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_what_was_written_is_read_back(record: Record) -> None:
    data = record.to_json()
    again = type(record).from_json(data, "it")
    assert again == record
    assert again.to_json() == data


@pytest.mark.parametrize("record", [ATTACK, BENCH, SUMMARY], ids=lambda one: type(one).__name__)
def test_keys_of_other_versions_are_kept(record: Record) -> None:
    data = to_json(record.to_table() | {"of_tomorrow": {"a": [1, None]}, "more": 3})
    assert type(record).from_json(data, "it").to_json() == data


def test_every_attack_on_record_is_read_and_written_without_a_loss() -> None:
    agents = [json.loads(path.read_bytes()) for path in RESULTS.glob("agents/*/agent.json")]
    files = [to_json(agent["attack"]) for agent in agents if "attack" in agent]
    files.append((RESULTS / "demo_attack.json").read_bytes())
    assert len(files) > 50
    for data in files:
        assert AttackRecord.from_json(data, "it").to_json() == data


MEASURED = ("attacks.mad.returns", "attacks.mad.mean", "attacks.mad.failures", "onnx_sha256")


@pytest.mark.parametrize("path", MEASURED)
@pytest.mark.parametrize("damage", ["missing", "of another type"])
def test_a_key_that_is_missing_or_of_another_type_is_named(path: str, damage: str) -> None:
    table = ATTACK.to_table()
    place = table
    *above, key = path.split(".")
    for name in above:
        place = place[name]
    if damage == "missing":
        del place[key]
    else:
        place[key] = {"not": "that"}
    with pytest.raises(InputError, match=rf"notes\.json\.{path}\b"):
        AttackRecord.from_json(to_json(table), "notes.json")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "notes.json is not valid JSON"),
        (b"[]", "notes.json must be a table, got"),
        (b'{"norm": 1, "norm": 1}', "duplicate key"),
    ],
)
def test_what_is_no_object_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        BenchRecord.from_json(data, "notes.json")


def test_lists_about_other_episodes_are_refused() -> None:
    with pytest.raises(InputError, match="one entry for each episode, got 3, 2, 2, 2"):
        replace(outcome(), returns=(1.0, 2.0, 3.0))
    table = ATTACK.to_table() | {"episodes": 3}
    with pytest.raises(InputError, match="episodes is 3, but clean has 2"):
        AttackRecord.from_json(to_json(table), "it")
    table = ATTACK.to_table()
    del table["attacks"]["clean"]
    with pytest.raises(InputError, match="attacks must hold 'clean'"):
        AttackRecord.from_json(to_json(table), "it")


def test_an_episode_is_survived_if_it_neither_ended_early_nor_failed() -> None:
    ends: list[tuple[bool, str | None]] = [
        (ended, reason) for ended in (False, True) for reason in (None, "not finite")
    ]
    four = replace(
        outcome(),
        returns=(0.0,) * 4,
        lengths=(1,) * 4,
        terminated=tuple(ended for ended, _ in ends),
        failure_reasons=tuple(reason for _, reason in ends),
    )
    assert four.survived == (True, False, False, False)


def test_a_record_with_an_odd_name_in_it_is_refused_in_one_line() -> None:
    """Found by fuzzing; the names of attacks are keys of the file."""
    path = RESULTS / "demo_attack.json"
    table = json.loads(path.read_bytes())
    table["attacks"]["a\n\x1b[31mb"] = {}
    with pytest.raises(InputError, match="missing key") as caught:
        AttackRecord.from_json(to_json(table), "attack.json")
    assert str(caught.value).isprintable()
