from dataclasses import replace

import numpy as np
import pytest

from support.certificates import certificate_of
from support.policies import file_of, random_policy, unit_range
from surefoot.attack.attack_config import AttackConfig
from surefoot.attack.proved_deviation import certified_deviation
from surefoot.attack.suite import run_suite
from surefoot.ball import Ball, Norm
from surefoot.budget import Budget
from surefoot.certificate import Certificate, Verdict
from surefoot.certify import CertifyConfig, Evidence, certify_policy
from surefoot.policy import Activation

BUDGET = """[[require]]
quantity = "action_deviation"
epsilon = 0.05
norm = "linf"
scope = "everywhere"
at_most = 1000.0
"""

# The certificate of the fixture: linf 0.05 moves an action by at most 0.25, l2 slope 1, e_rt 0.01.


@pytest.fixture
def certificate() -> Certificate:
    return certificate_of(file_of(random_policy(np.random.default_rng(0), (4, 8, 2))))


def linf(epsilon: float) -> Ball:
    return Ball(norm=Norm.LINF, epsilon=epsilon)


def test_a_bound_holds_for_its_own_ball_and_every_smaller_one(certificate: Certificate) -> None:
    assert certified_deviation(certificate, linf(0.05)) == 0.25
    assert certified_deviation(certificate, linf(0.02)) == 0.25


@pytest.mark.parametrize("times", [1.002, 2, 3, 7.5, 10])
@pytest.mark.parametrize("norm", list(Norm))
def test_for_a_larger_ball_the_table_grows_with_it(
    certificate: Certificate, times: float, norm: Norm
) -> None:
    one = certified_deviation(certificate, Ball(norm=norm, epsilon=0.05))
    bound = certified_deviation(certificate, Ball(norm=norm, epsilon=0.05 * times))
    assert times * one <= bound * (1 + 1e-12)
    assert bound <= times * one * (1 + 1e-9)


def test_no_output_changes_by_more_than_its_range_and_nothing_is_said_about_the_far_away(
    certificate: Certificate,
) -> None:
    ranged = replace(certificate.claims.per_actuator, bounds={"action_range": (2.0, 1.0)})
    certificate = replace(certificate, claims=replace(certificate.claims, per_actuator=ranged))
    assert certified_deviation(certificate, linf(0.05)) == 0.25
    assert certified_deviation(certificate, linf(0.5)) == pytest.approx(2.0 + 2 * 0.01 * 10)
    assert certified_deviation(certificate, linf(0.51)) is None
    half = replace(certificate, arithmetic="float16")
    assert certified_deviation(half, linf(0.05)) == 0.25
    assert certified_deviation(half, linf(0.0501)) is None


def test_a_controller_without_a_lipschitz_constant_has_no_bound_for_a_larger_ball(
    certificate: Certificate,
) -> None:
    """A normalisation over neurons: its rounding may grow faster than the states."""
    table = dict.fromkeys(certificate.lipschitz_l2)
    normalised = replace(certificate, lipschitz_l2=table)
    assert certified_deviation(normalised, linf(0.05)) == 0.25
    assert certified_deviation(normalised, linf(0.051)) is None


def test_a_finding_is_about_its_own_ball_alone(certificate: Certificate) -> None:
    nothing = replace(certificate, deviation_linf={"epsilon": None, "best": None})
    assert certified_deviation(nothing, linf(0.05)) == 0.25
    assert certified_deviation(nothing, linf(0.0501)) is None
    assert certified_deviation(nothing, Ball(norm=Norm.L2, epsilon=0.05)) is None


def test_the_least_of_table_and_findings_counts(certificate: Certificate) -> None:
    table = {"epsilon": 0.05, "best": 0.2}
    assert certified_deviation(replace(certificate, deviation_linf=table), linf(0.05)) == 0.2
    table = {"epsilon": 0.05, "best": None}
    assert certified_deviation(replace(certificate, deviation_linf=table), linf(0.05)) == 0.25


def test_the_l2_ball_has_the_slope_bound_and_twice_the_rounding(certificate: Certificate) -> None:
    bound = certified_deviation(certificate, Ball(norm=Norm.L2, epsilon=0.04))
    assert bound == pytest.approx(0.04 * 1.0 + 2 * 0.01)
    assert bound > 0.04 * 1.0 + 2 * 0.01


@pytest.mark.parametrize(
    ("here", "there"),
    [('"everywhere"', '"visited"\nfraction = 0.9\nconfidence = 0.9'), ('"linf"', '"l2"')],
    ids=["visited", "l2"],
)
def test_what_holds_elsewhere_bounds_no_attack(
    certificate: Certificate, here: str, there: str
) -> None:
    budget = Budget.parse(certificate.budget.text.replace(here, there))
    finding = replace(certificate.findings[0], requirement=budget.requirements[0])
    nothing = {"epsilon": None, "best": None}
    other = replace(certificate, budget=budget, findings=(finding,), deviation_linf=nothing)
    assert certified_deviation(other, linf(0.05)) is None


def test_what_is_unknown_bounds_no_attack() -> None:
    file = file_of(random_policy(np.random.default_rng(0), (4, 8, 2)))
    certificate = certificate_of(file, Verdict.UNKNOWN, deviation_linf={})
    assert certified_deviation(certificate, linf(0.05)) is None


# Every pair of the three.
@pytest.mark.parametrize(
    ("activation", "norm", "epsilon"),
    [
        (Activation.TANH, Norm.LINF, 0.05),
        (Activation.TANH, Norm.L2, 0.12),
        (Activation.RELU, Norm.LINF, 0.12),
        (Activation.RELU, Norm.L2, 0.05),
    ],
)
def test_no_attack_moves_an_action_further_than_is_certified(
    activation: Activation, norm: Norm, epsilon: float
) -> None:
    policy = random_policy(np.random.default_rng(7), (11, 16, 16, 3), activation)
    file = file_of(unit_range(policy), {"env": {"id": "Hopper-v5"}})
    budget = Budget.parse(BUDGET.replace('"linf"', f'"{norm}"'))
    effort = CertifyConfig(epsilon=0.05, search_states=8, lipsdp_iterations=0)
    certificate = certify_policy(file, budget, Evidence(), effort)
    config = AttackConfig(norm=norm, epsilon=epsilon, episodes=3, selection_episodes=1)
    attacks = run_suite(file, certificate, config).attacks
    for name in ("random", "mad"):
        assert attacks[name].certified is not None
        assert 0 < attacks[name].evaluation.max_deviation <= attacks[name].certified
