"""A VNN-LIB file is answered as its network answers it, in the words of the competition.

Also of ``cli/solver_answer.py``.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from support.command_line import run_pipeline
from support.policies import random_policy
from surefoot.certificate import Verdict
from surefoot.certify import CertifyConfig
from surefoot.errors import InputError
from surefoot.onnx_file import policy_to_onnx
from surefoot.policy import Activation, Policy, Squash
from surefoot.workflow.answering import answer_vnnlib

SENSORS, OUTPUTS = 3, 2


@pytest.fixture(scope="module", name="policy")
def _policy() -> Policy:
    sizes = [SENSORS, 10, 10, OUTPUTS]
    return random_policy(np.random.default_rng(2), sizes, Activation.RELU, Squash.IDENTITY)


@pytest.fixture(scope="module", name="network")
def _network(policy: Policy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "net.onnx"
    path.write_bytes(policy_to_onnx(policy))
    return path


def specification(folder: Path, formula: str, side: float = 0.25) -> Path:
    names = [f"X_{i}" for i in range(SENSORS)] + [f"Y_{j}" for j in range(OUTPUTS)]
    lines = [f"(declare-const {name} Real)" for name in names]
    for number in range(SENSORS):
        lines += [f"(assert (<= X_{number} {side}))", f"(assert (>= X_{number} -{side}))"]
    path = folder / "spec.vnnlib"
    path.write_text("\n".join([*lines, f"(assert {formula})"]) + "\n")
    return path


def largest(policy: Policy) -> float:
    """Largest first output over many inputs of the box."""
    inputs = np.random.default_rng(0).uniform(-0.25, 0.25, (20_000, SENSORS))
    return float(policy.outputs(inputs)[:, 0].max())


def test_what_does_not_occur_is_unsat_and_what_does_is_sat(
    policy: Policy, network: Path, tmp_path: Path
) -> None:
    limit = largest(policy)
    holds = answer_vnnlib(network, specification(tmp_path, f"(>= Y_0 {limit + 0.02!r})"))
    assert (holds.verdict, holds.text) == (Verdict.PROVED, "unsat\n")
    occurs = answer_vnnlib(network, specification(tmp_path, f"(>= Y_0 {limit - 0.05!r})"))
    assert occurs.verdict is Verdict.REFUTED
    read = {name: float(value) for name, value in re.findall(r"\((\w_\d+) (\S+?)\)", occurs.text)}
    inputs = np.array([[read[f"X_{i}"] for i in range(SENSORS)]])
    assert (np.abs(inputs) <= 0.25).all()
    assert read["Y_0"] >= limit - 0.05
    assert policy.outputs(inputs)[0, 0] == pytest.approx(read["Y_0"], abs=1e-5)


def test_a_disjunct_that_occurs_is_found_among_others(
    policy: Policy, network: Path, tmp_path: Path
) -> None:
    limit = largest(policy)
    never = f"(and (<= X_0 0) (>= Y_0 {limit + 0.5!r}))"
    formula = f"(or {never} (and (<= X_1 0.125) (<= Y_0 {limit - 0.05!r})))"
    answer = answer_vnnlib(network, specification(tmp_path, formula))
    assert answer.verdict is Verdict.REFUTED
    assert answer.witness is not None
    assert answer.witness.observation is not None
    assert answer.witness.observation[1] <= 0.125


def test_what_time_does_not_suffice_for_is_unknown(
    policy: Policy, network: Path, tmp_path: Path
) -> None:
    limit = largest(policy) - 0.05
    formula = f"(and (<= Y_0 {limit!r}) (> Y_0 {limit!r}))"  # never, but no finite tree shows it
    answer = answer_vnnlib(network, specification(tmp_path, formula, 1.0), seconds=0.0)
    assert (answer.verdict, answer.text) == (Verdict.UNKNOWN, "unknown\n")
    (said,) = answer.still_open
    assert said.startswith("open in a share 1 of the region")
    assert said.endswith("[-1, 1] x [-1, 1] x [-1, 1] (raw units)")


def test_of_an_unknown_the_open_share_and_the_worst_box_are_said(
    policy: Policy, network: Path, tmp_path: Path
) -> None:
    """A disjunct that never occurs is closed; the other is open where an output is at a limit."""
    limit = largest(policy) - 0.05
    formula = f"(or (>= Y_0 90) (and (<= Y_0 {limit!r}) (> Y_0 {limit!r})))"
    path = specification(tmp_path, formula, 1.0)
    answer = answer_vnnlib(network, path, config=CertifyConfig(region_boxes=30))
    table = answer.to_table()
    assert (table["answer"], table["open"]) == ("unknown", list(answer.still_open))
    (said,) = answer.still_open
    share = float(re.findall(r"open in a share (\S+) of the region", said)[0])
    ends = np.array(re.findall(r"\[(\S+), (\S+)\]", said), dtype=float).reshape(2, SENSORS, 2)
    raw = ends[1]
    assert (np.abs(raw) <= 1).all()
    assert ((raw[:, 1] - raw[:, 0]) / 2).prod() <= share * 1.01
    assert share <= 1


def test_a_file_about_another_network_is_refused(
    policy: Policy, network: Path, tmp_path: Path
) -> None:
    path = specification(tmp_path, "(<= Y_0 0)")
    path.write_text(path.read_text() + "(declare-const Y_2 Real)\n")
    with pytest.raises(InputError, match="3 inputs and 2 outputs, got 3 and 3"):
        answer_vnnlib(network, path)


@pytest.mark.parametrize(("room", "code", "word"), [(0.02, 0, "unsat"), (-0.05, 3, "sat")])
def test_the_command_prints_the_word_and_ends_with_its_code(
    policy: Policy, network: Path, tmp_path: Path, room: float, code: int, word: str
) -> None:
    path = specification(tmp_path, f"(>= Y_0 {largest(policy) + room!r})")
    done = run_pipeline("certify", str(network), "--vnnlib", str(path))
    assert done.code == code
    assert done.out.splitlines()[0] == word
    told = run_pipeline("certify", str(network), "--vnnlib", str(path), "--json")
    assert json.loads(told.out)["answer"] == word


def test_the_command_refuses_what_has_no_effect(network: Path, tmp_path: Path) -> None:
    path = specification(tmp_path, "(>= Y_0 9)")
    done = run_pipeline("certify", str(network), "--vnnlib", str(path), "--explain")
    assert done.code == 2
    assert "--explain has no effect with --vnnlib" in done.err
    done = run_pipeline("certify", str(network), "--timeout", "3")
    assert "--timeout has no effect without --vnnlib" in done.err
