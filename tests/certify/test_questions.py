"""An answer is proved, refuted by an input that the runtime replays, or open; no forgery passes.

Also of ``certify/question_search.py``.
"""

import itertools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from support.policies import file_of, linear_policy, random_policy
from surefoot.artifact import sha256_hex, to_json
from surefoot.budget import Budget
from surefoot.certificate import Certificate, Verdict
from surefoot.certify import CertifyConfig, Evidence, certify_policy, check_certificate, explain
from surefoot.certify.counterexamples import deployed_arithmetic
from surefoot.config import to_toml
from surefoot.errors import InputError, IntegrityError
from surefoot.onnx_file import ControllerFile
from surefoot.policy import Activation, Squash

QUICK = CertifyConfig(search_states=8, search_steps=3, lipsdp_iterations=5, lipsdp_per_actuator=0)
Table = dict[str, Any]


def asked(low: list[float], high: list[float], kind: str = "normalised", **words: Any) -> Table:  # noqa: ANN401
    return {"quantity": "property", "region": {"kind": kind, "low": low, "high": high}} | words


def budget(*tables: Table) -> Budget:
    return Budget.parse(to_toml({"require": list(tables)}))


@pytest.fixture(scope="module", name="file")
def _file() -> ControllerFile:
    return file_of(random_policy(np.random.default_rng(1), [4, 12, 12, 2]))


HOLDS, BROKEN, OPEN = 0, 1, 2
SIDES = [-0.3] * 4, [0.3] * 4


@pytest.fixture(scope="module", name="certificate")
def _certificate(file: ControllerFile) -> Certificate:
    states = np.random.default_rng(0).uniform(-0.3, 0.3, (4000, 4))
    states[:16] = [*itertools.product(*zip(*SIDES, strict=True))]
    worst = float(file.policy.outputs_at(states)[:, 0].max())
    questions = budget(
        asked(*SIDES, all_of=[f"action[0] <= {worst + 1e-4!r}", "action[1] <= 9.0"]),
        asked(*SIDES, all_of=[f"action[0] < {worst - 0.1!r}"]),
        asked(*SIDES, any_of=["action[0] <= 0.1", "action[0] >= 0.1"]),
    )
    config = replace(QUICK, region_boxes=40)
    return certify_policy(file, questions, Evidence(), config)


def test_a_question_is_proved_refuted_or_open(
    file: ControllerFile, certificate: Certificate
) -> None:
    holds, broken, is_open = certificate.findings
    assert holds.verdict is Verdict.PROVED
    assert broken.verdict is Verdict.REFUTED
    assert is_open.verdict is Verdict.UNKNOWN
    assert "crown in" in holds.method
    assert is_open.method == "crown in 40 boxes"
    assert "open in a share" in is_open.reason
    check_certificate(Certificate.parse(certificate.to_json()), file)


def test_a_witness_breaks_the_condition_on_the_runtime(
    file: ControllerFile, certificate: Certificate
) -> None:
    finding = certificate.findings[BROKEN]
    assert finding.witness is not None
    observation = np.array([finding.witness.observation], dtype=np.float32)
    state = file.policy.state(observation, np.float32)
    outputs = deployed_arithmetic(file).outputs_at(state)[0].astype(np.float64)
    assert tuple(outputs) == finding.witness.action
    assert finding.requirement.questions[0].condition.is_violated(outputs, observation[0])
    exact = file.policy.state(observation)[0]
    assert (np.abs(exact) <= 0.3).all()


def test_the_words_tell_region_and_condition(certificate: Certificate) -> None:
    always, rest = explain(certificate).split("Violated, with a concrete example:")
    for number, words in ((HOLDS, always), (BROKEN, rest), (OPEN, rest)):
        assert certificate.findings[number].requirement.asked in words


def test_the_worst_box_of_an_open_question_is_said_in_both_units(
    file: ControllerFile, certificate: Certificate
) -> None:
    reason = certificate.findings[OPEN].reason
    share = float(re.findall(r"open in a share (\S+) of the region", reason)[0])
    ends = np.array(re.findall(r"\[(\S+), (\S+)\]", reason), dtype=float).reshape(2, 4, 2)
    normaliser = file.policy.normaliser
    raw = normaliser.mean[:, None] + normaliser.scale[:, None] * ends[0]
    np.testing.assert_allclose(ends[1], raw, rtol=1e-4, atol=1e-4)
    assert 0 < share <= 1
    assert (np.abs(ends[0]) <= 0.3).all()


def test_a_requirement_in_words_changes_with_region_and_condition() -> None:
    table = asked([0.0], [1.0], all_of=["action[0] <= 1"], any_of=["action[1] < 2"])
    changes: list[Table] = [
        {"region": {"kind": "raw", "low": [0.0], "high": [1.0]}},
        {"region": {"kind": "normalised", "low": [-0.5], "high": [1.0]}},
        {"region": {"kind": "normalised", "low": [0.0], "high": [2.0]}},
        {"region": "recorded"},
        {"all_of": ["action[0] < 1"]},
        {"all_of": ["action[0] <= 1.5"]},
        {"any_of": ["action[2] < 2"]},
        {"any_of": ["2 * action[1] < 2"]},
    ]
    said = {budget(table | change).requirements[0].describe() for change in ({}, *changes)}
    assert len(said) == 1 + len(changes)


@pytest.mark.parametrize("seed", range(12))
def test_an_answer_is_that_of_an_independent_search(seed: int) -> None:
    """Limits around the largest value of many random states and corners, which may hold or not."""
    rng = np.random.default_rng(seed)
    squash = [*Squash, None][seed % 4]
    activation = [Activation.TANH, Activation.RELU, Activation.ELU][seed % 3]
    file = file_of(random_policy(rng, [3, 10, 10, 2], activation, squash))
    middle = rng.normal(0, 0.5, 3)
    low, high = middle - 0.2, middle + 0.2
    shares = np.concatenate([rng.random((20_000, 3)), rng.integers(0, 2, (50, 3))])
    outputs = file.policy.outputs_at(low + shares * (high - low))
    largest = float((outputs[:, 0] - outputs[:, 1]).max())
    room = [-0.01, 0.02][seed % 2]
    question = asked(
        low.tolist(), high.tolist(), all_of=[f"action[0] - action[1] <= {largest + room!r}"]
    )
    finding = certify_policy(file, budget(question), Evidence(), QUICK).findings[0]
    assert finding.verdict is (Verdict.REFUTED if room < 0 else Verdict.PROVED)
    assert finding.certified is not None
    assert finding.certified >= -room - 1e-9


def test_raw_and_normalised_units_ask_about_the_same_inputs(file: ControllerFile) -> None:
    normaliser = file.policy.normaliser
    ends = [normaliser.mean + sign * 0.3 * normaliser.scale.astype(float) for sign in (-1, 1)]
    raw, normalised = (
        certify_policy(file, budget(question), Evidence(), QUICK).findings[0].certified
        for question in (
            asked(ends[0].tolist(), ends[1].tolist(), "raw", all_of=["action[0] <= 5.0"]),
            asked(*SIDES, all_of=["action[0] <= 5.0"]),
        )
    )
    assert raw == pytest.approx(normalised, rel=1e-5)


def test_the_limit_itself_holds_and_is_strictly_broken() -> None:
    """Of a = z at z = 0.5, where nothing rounds."""
    point = linear_policy([[1.0]])
    for text, wrong in (("action[0] <= 0.5", False), ("action[0] < 0.5", True)):
        question = asked([0.5], [0.5], "raw", all_of=[text])
        finding = certify_policy(file_of(point), budget(question), Evidence(), QUICK).findings[0]
        assert (finding.verdict is Verdict.REFUTED) is wrong


def test_what_is_open_is_said_of_a_region_that_is_not_cut_and_of_recorded_states() -> None:
    """Of an action at its limit but for its rounding, at 0 and nowhere else."""
    file = file_of(linear_policy([[0.7]]))
    condition = {"all_of": ["action[0] <= 0.0"]}
    recorded = np.array([[-0.5], [0.0], [-0.25]])
    questions = budget(
        asked([-0.5], [0.0], "raw", **condition),
        {"quantity": "property", "region": "recorded", **condition},
    )
    config = replace(QUICK, region_boxes=1)
    certificate = certify_policy(file, questions, Evidence(recorded=recorded), config)
    region, states = certificate.findings
    assert (region.verdict, states.verdict) == (Verdict.UNKNOWN, Verdict.UNKNOWN)
    assert "open in a share 1 of the region, worst in [-0.5, " in region.reason
    assert "open at 1 of them, worst at number 1" in states.reason
    check_certificate(certificate, file, recorded=recorded)


def test_recorded_states_are_asked_one_by_one(file: ControllerFile) -> None:
    recorded = np.random.default_rng(0).normal(0, 1, (40, 4))
    states = file.policy.state(recorded)
    worst = float(file.policy.outputs_at(states)[:, 0].max())
    question: Table = {"quantity": "property", "region": "recorded"}
    limits = [{"all_of": [f"action[0] <= {worst + room!r}"]} for room in (1e-3, -1e-3)]
    asked_of = budget(*(question | limit for limit in limits))
    certificate = certify_policy(file, asked_of, Evidence(recorded=recorded), QUICK)
    assert [finding.verdict for finding in certificate.findings] == [
        Verdict.PROVED,
        Verdict.REFUTED,
    ]
    assert certificate.findings[0].certified == pytest.approx(-1e-3, abs=2e-4)
    saved = Certificate.parse(certificate.to_json())
    assert check_certificate(saved, file, recorded=recorded).proved == (0, 1)
    assert check_certificate(saved, file).unchecked == (0, 1)
    unknown = certify_policy(file, asked_of, Evidence(), QUICK).findings[0]
    assert unknown.reason == "no recorded observations are given"


def test_where_a_sensor_is_large_an_action_may_be_anything(file: ControllerFile) -> None:
    """An implication: the action of small readings decides, by an independent search."""
    rng = np.random.default_rng(2)
    readings = np.concatenate([rng.random((20_000, 4)), rng.integers(0, 2, (64, 4))]) * 0.4
    actions = file.policy.outputs_at(file.policy.state(readings))[:, 0]
    near = readings[:, 1] < 0.2
    worst, anywhere = float(actions[near].max()), float(actions.max())
    assert worst + 0.02 < anywhere
    box = [0.0] * 4, [0.4] * 4, "raw"
    questions = budget(
        asked(*box, any_of=["sensor[1] >= 0.2", f"action[0] <= {worst + 0.01!r}"]),
        asked(*box, any_of=["sensor[1] >= 0.2", f"action[0] <= {worst - 0.01!r}"]),
    )
    certificate = certify_policy(file, questions, Evidence(), QUICK)
    holds, broken = certificate.findings
    assert (holds.verdict, broken.verdict) == (Verdict.PROVED, Verdict.REFUTED)
    assert broken.witness is not None
    assert broken.witness.observation is not None
    assert broken.witness.observation[1] < 0.2
    saved = Certificate.parse(certificate.to_json())
    assert check_certificate(saved, file).proved == (0, 1)
    moved = forge(certificate, lambda table: far_sensor(table["requirements"][1]["witness"]))
    with pytest.raises(IntegrityError, match="violates nothing"):
        check_certificate(moved, file)


def far_sensor(witness: Table) -> None:
    witness["observation"] = [*witness["observation"][:1], 0.25, *witness["observation"][2:]]


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (
            asked([-99.0] * 4, [99.0] * 4, "raw", all_of=["action[0] <= sensor[1]"]),
            "cuts off at 10 normalised units",
        ),
        (
            asked([0.0] * 4, [0.1] * 4, "raw", all_of=["action[0] <= sensor[4]"]),
            "the controller has 4 sensors",
        ),
        (asked([0.0], [1.0], all_of=["action[0] <= 1"]), "must have 4 intervals, got 1"),
        (asked([0.0] * 4, [1.0] * 4, all_of=["action[2] <= 1"]), "the controller has 2 outputs"),
        (asked([11.0] * 4, [12.0] * 4, all_of=["action[0] <= 1"]), "states end at 10 normalised"),
    ],
)
def test_a_question_about_another_controller_is_refused(
    file: ControllerFile, question: Table, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        certify_policy(file, budget(question), Evidence(), QUICK)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (asked([0.0], [1.0]), "at least one inequality"),
        (asked([0.0], [1.0], "metres", all_of=["action[0] <= 1"]), "raw, normalised, recorded"),
        ({"quantity": "property", "all_of": ["action[0] <= 1"]}, "needs the field 'region'"),
        (asked([0.0], [1.0], all_of=["action[0] <= 1"], at_most=1.0), "takes no field 'at_most'"),
        (asked([0.0], [1.0], all_of=["action[0] <= 1"], scope="everywhere"), "no field 'scope'"),
        ({"quantity": "sparsity", "at_least": 0.5, "all_of": ["action[0] <= 1"]}, "no field"),
    ],
)
def test_a_question_that_is_none_is_refused_when_it_is_read(question: Table, message: str) -> None:
    with pytest.raises(InputError, match=message):
        budget(question)


def test_a_question_is_read_back_as_it_was_written(certificate: Certificate) -> None:
    for requirement in certificate.budget.requirements:
        assert type(requirement).from_table(requirement.to_table()) == requirement


def forge(certificate: Certificate, change: Callable[[Table], None]) -> Certificate:
    table: Table = json.loads(certificate.to_json())
    change(table)
    return Certificate.parse(to_json(table))


def require(table: Table, number: int, **fields: object) -> None:
    """Change a requirement in every place where a certificate tells it."""
    table["requirements"][number]["requirement"] |= fields
    kept = [entry["requirement"] for entry in table["requirements"]]
    table["budget_toml"] = to_toml({"require": kept})
    table["budget_sha256"] = sha256_hex(table["budget_toml"].encode())


def finding_of(number: int, **fields: object) -> Callable[[Table], None]:
    return lambda table: table["requirements"][number].update(fields)


def region_of(number: int, size: float) -> Callable[[Table], None]:
    region = {"kind": "normalised", "low": [-size] * 4, "high": [size] * 4}
    return lambda table: require(table, number, region=region)


def saved_cuts(cuts: object) -> Callable[[Table], None]:
    return lambda table: table["proof"]["box_trees"][HOLDS].update(cuts=cuts)


def moved_witness(table: Table) -> None:
    witness = table["requirements"][BROKEN]["witness"]
    witness["observation"] = [9.0] * 4


FORGERIES: dict[str, Callable[[Table], None]] = {
    "a lower bound": finding_of(HOLDS, certified=-5.0),
    "a higher bound": finding_of(HOLDS, certified=-1e-9),
    "an open question proved": finding_of(OPEN, certified=-0.1, verdict="PROVED"),
    "a larger region": region_of(HOLDS, 0.6),
    "a smaller region": region_of(BROKEN, 0.001),
    "an easier limit": lambda table: require(table, HOLDS, all_of=["action[0] <= 0.0"]),
    "a condition that holds there": lambda table: require(
        table, BROKEN, all_of=["action[0] <= 99.0"]
    ),
    "a tree that was not cut": saved_cuts("."),
    "a tree without its last leaf": saved_cuts("0 ."),
    "a tree with a leaf too many": saved_cuts(". ."),
    "a cut across no sensor": saved_cuts("4 . ."),
    "a tree of numbers": saved_cuts([0, -1, -1]),
    "trees that are no list": lambda table: table["proof"].update(box_trees=5),
    "trees that are no tables": lambda table: table["proof"].update(box_trees=["."]),
    "a tree of nothing": lambda table: table["proof"].update(box_trees=[{}]),
    "no trees": lambda table: table["proof"].pop("box_trees"),
    "a tree of no requirement": lambda table: table["proof"]["box_trees"][0].update(requirement=7),
    "a witness elsewhere": moved_witness,
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_answer_is_refused(
    name: str, file: ControllerFile, certificate: Certificate
) -> None:
    with pytest.raises(IntegrityError):
        check_certificate(forge(certificate, FORGERIES[name]), file)
