"""Claims for every state that a gate lets through: no larger than what is found, and no forgery."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from support.policies import draw_policy, file_of
from surefoot.artifact import Json, to_json
from surefoot.ball import Ball, Norm
from surefoot.budget import Budget
from surefoot.certificate import Certificate, Verdict
from surefoot.certify import CertifyConfig, Evidence, certify_policy, check_certificate, explain
from surefoot.certify.behind_gate import BehindGate, state_box
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.everywhere import Everywhere
from surefoot.certify.gate_thresholds import make_gate
from surefoot.errors import InputError, IntegrityError
from surefoot.gate import Gate, GateFile, GateRule
from surefoot.onnx_file import ControllerFile
from surefoot.policy import Activation, Policy, Squash
from surefoot.runtime.controller_file import load_controller_file
from surefoot.unknown import Unknown

QUICK = CertifyConfig(search_states=4, search_steps=1, lipsdp_iterations=3, lipsdp_per_actuator=0)
TEXT = """
[[require]]
quantity = "action_deviation"
epsilon = 0.05
norm = "linf"
scope = "gate"
at_most = 5.0

[[require]]
quantity = "action_deviation"
epsilon = 0.05
norm = "linf"
scope = "everywhere"
at_most = 5.0

[gate]
low = [-2.0]
high = [2.5]
"""
BUDGET = Budget.parse(TEXT)
ARITHMETIC = ARITHMETICS["float32"]
BALL = Ball(norm=Norm.LINF, epsilon=0.05)


def drawn(activation: Activation = Activation.TANH, seed: int = 0) -> Policy:
    """A policy without a clip."""
    rng = np.random.default_rng(seed)
    sizes = [5, 12, 12, 2]
    return draw_policy(rng, sizes, clip=np.inf, squash=Squash.TANH, activation=activation)


def gate_of(policy: Policy, low: float = -2.0, high: float = 2.5) -> GateFile:
    return make_gate(policy, None, GateRule(low=(low,), high=(high,)))


@pytest.fixture(scope="module")
def free() -> ControllerFile:
    return file_of(drawn())


@pytest.fixture(scope="module")
def certificate(free: ControllerFile) -> Certificate:
    return certify_policy(free, BUDGET, Evidence(gate=gate_of(free.policy)), QUICK)


def test_what_no_clip_bounds_is_proved_behind_a_gate_without_an_assumption(
    free: ControllerFile, certificate: Certificate
) -> None:
    behind, everywhere = certificate.findings
    assert (behind.verdict, everywhere.verdict) == (Verdict.PROVED, Verdict.UNKNOWN)
    assert behind.reason == "as long as the controller runs behind its gate"
    assert "in every state that the gate lets through" in explain(certificate)
    assert check_certificate(Certificate.parse(certificate.to_json()), free).proved == (0, 1)


def bound(policy: Policy, gate: Gate, ball: Ball = BALL) -> float:
    found = BehindGate(policy, gate, ARITHMETIC).deployed_deviation(ball)
    assert not isinstance(found, Unknown)
    return float(found.rows.max())


@pytest.mark.parametrize("activation", [Activation.TANH, Activation.RELU, Activation.SILU])
@pytest.mark.parametrize("norm", Norm)
def test_no_reading_inside_moves_an_action_by_more(activation: Activation, norm: Norm) -> None:
    rng = np.random.default_rng(3)
    policy = drawn(activation)
    gate, ball = gate_of(policy).gate, Ball(norm=norm, epsilon=0.05)
    low, high = (end.astype(np.float32) for end in gate.box)
    readings = rng.uniform(low, high, (4000, 5)).astype(np.float32)
    readings[:32] = np.where(rng.random((32, 5)) < 0.5, low, high)
    states = policy.state(readings, np.float32)
    steps = rng.choice([-0.05, 0.05], states.shape)
    if norm is Norm.L2:
        steps /= np.sqrt(states.shape[1])
    outputs = [policy.outputs_at(at.astype(np.float32)) for at in (states, states + steps)]
    found = np.abs(outputs[1].astype(np.float64) - outputs[0]).max()
    assert 0 < found <= bound(policy, gate, ball)


def test_a_wider_gate_never_lowers_a_bound_and_a_narrow_one_does() -> None:
    """Neurons that a narrow gate keeps in saturation lose their slope."""
    policy = drawn()
    first = policy.layers[0]
    saturated = replace(first, bias=np.full_like(first.bias, 9.0))
    policy = replace(policy, layers=(saturated, *policy.layers[1:]))
    widths = (0.1, 1.0, 3.0, 100.0)
    bounds = [bound(policy, gate_of(policy, -width, width).gate) for width in widths]
    assert bounds == sorted(bounds)
    assert bounds[0] < 0.5 * bounds[-1]


def test_behind_a_gate_nothing_is_looser_than_everywhere() -> None:
    policy = drawn()
    clipped = replace(policy, normaliser=replace(policy.normaliser, clip=3.0))
    everywhere = Everywhere(clipped, ARITHMETIC).deployed_deviation(BALL)
    assert not isinstance(everywhere, Unknown)
    assert bound(clipped, gate_of(clipped).gate) <= everywhere.rows.max()


def test_the_box_of_states_holds_every_reading_of_the_gate() -> None:
    policy, rng = drawn(), np.random.default_rng(1)
    gate = gate_of(policy).gate
    low, high = state_box(policy, gate)
    readings = rng.uniform(*gate.box, (1000, 5)).astype(np.float32)
    states = policy.state(readings.astype(np.float64))
    assert ((low <= states) & (states <= high)).all()


def narrower(table: dict[str, Json]) -> None:
    table["gate"]["gate"]["sensors"][0]["high"] = 1.0


def lower(table: dict[str, Json]) -> None:
    table["requirements"][0]["certified"] *= 0.99


def refuted(table: dict[str, Json]) -> None:
    finding = table["requirements"][0]
    witness = {"state": [9.0] * 5, "perturbation": [0.05] * 5, "value": 6.0}
    finding |= {"verdict": "REFUTED", "sampled": 6.0, "witness": witness, "certified": None}
    table["verdict"] = "REFUTED"


def without(table: dict[str, Json]) -> None:
    del table["gate"]


def another_rule(table: dict[str, Json]) -> None:
    table["gate"]["rule"]["margin"] = 0.5


@pytest.mark.parametrize("forge", [narrower, lower, refuted, without, another_rule])
def test_a_forged_claim_about_the_gate_is_refused(
    free: ControllerFile, certificate: Certificate, forge: Callable[[dict[str, Json]], None]
) -> None:
    table = json.loads(certificate.to_json())
    forge(table)
    with pytest.raises(IntegrityError):
        check_certificate(Certificate.parse(to_json(table)), free)


def test_a_scope_behind_the_gate_needs_one() -> None:
    text = TEXT[: TEXT.index("[gate]")]
    with pytest.raises(InputError, match=r"require\[0\].scope is 'gate', which needs a \[gate\]"):
        Budget.parse(text)


def test_the_gate_of_a_certificate_is_the_one_of_its_budget(free: ControllerFile) -> None:
    with pytest.raises(InputError, match=r"the gate must be the one that \[gate\] of the budget"):
        certify_policy(free, BUDGET, Evidence(), QUICK)


GO1 = Path(os.environ.get("SUREFOOT_TEST_CONTROLLERS", "controllers")) / "go1_policy.onnx"


@pytest.mark.skipif(not GO1.is_file(), reason="go1_policy.onnx is not on this machine")
def test_a_third_party_file_without_a_clip_has_a_bound_without_an_assumption() -> None:
    """Its rounding alone may move an action by its range, 2, and nothing moves it further."""
    policy = load_controller_file(GO1).policy
    assert isinstance(Everywhere(policy, ARITHMETIC).rounding(0.01), Unknown)
    gate = gate_of(policy, -10.0, 10.0).gate
    assert 0 < bound(policy, gate, Ball(norm=Norm.LINF, epsilon=0.01)) <= 2.01
