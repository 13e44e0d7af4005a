"""Input splitting closes the gap between bound and search, and never proves what is false."""

from dataclasses import replace

import numpy as np
import pytest

from support.policies import build_policy, draw_policy, file_of
from surefoot.budget import Budget
from surefoot.certificate import Verdict
from surefoot.certify import CertifyConfig, Evidence, certify_policy
from surefoot.certify.bounds.branch_and_bound import split_deviation
from surefoot.certify.checker import check_certificate
from surefoot.policy import Activation, Policy, Squash


def deviation(policy: Policy, points: np.ndarray, state: np.ndarray) -> np.ndarray:
    return np.abs(policy.outputs_at(points) - policy.outputs_at(state[None])).max(axis=1)


@pytest.mark.parametrize("activation", [Activation.RELU, Activation.TANH, Activation.SILU])
def test_nearly_every_random_specification_is_decided_and_rightly(activation: Activation) -> None:
    rng = np.random.default_rng(0)
    decided = 0
    trials = 20
    for _ in range(trials):
        policy = draw_policy(rng, [3, 16, 16, 2], activation, squash=Squash.CLIP)
        state, epsilon = rng.normal(0, 1, 3), float(rng.choice([0.05, 0.1, 0.2]))
        first = split_deviation(policy, state, epsilon, 0.0, num_boxes=1)
        limit = first.worst + (first.bound - first.worst) * float(rng.uniform(0.02, 1.2))
        found = split_deviation(policy, state, epsilon, limit, num_boxes=3000)
        assert found.worst <= found.bound <= first.bound * (1 + 1e-12)
        points = state + rng.uniform(-epsilon, epsilon, (5000, 3))
        assert deviation(policy, points, state).max() <= found.bound
        assert deviation(policy, found.point[None], state)[0] == pytest.approx(found.worst)
        assert (np.abs(found.point - state) <= epsilon * (1 + 1e-12)).all()
        decided += found.bound <= limit or found.worst > limit
    print(f"{decided} of {trials} decided")
    assert decided >= trials - 1


def test_splitting_finds_the_maximum_of_a_hidden_bump() -> None:
    # A tent of height .1 that the gradient at the middle does not see.
    policy = build_policy(
        [[[1.0], [1.0], [1.0]], [[1.0, -2.0, 1.0]]],
        Activation.RELU,
        biases=[[-0.3, -0.4, -0.5], [0.0]],
    )
    state = np.zeros(1)
    found = split_deviation(policy, state, 1.0, 0.05, num_boxes=1000)
    assert found.worst > 0.05
    proved = split_deviation(policy, state, 1.0, 0.11, num_boxes=1000)
    assert 0.1 <= proved.bound <= 0.11


def test_the_result_depends_on_the_number_of_boxes_alone() -> None:
    policy = draw_policy(np.random.default_rng(1), [3, 16, 2])
    runs = [split_deviation(policy, np.ones(3), 0.3, 0.2, num_boxes=200) for _ in range(2)]
    assert runs[0].bound == runs[1].bound
    assert runs[0].num_boxes == runs[1].num_boxes <= 200


def test_a_visited_claim_that_bounds_cannot_prove_is_proved_by_splitting_and_checked() -> None:
    file = file_of(draw_policy(np.random.default_rng(4), [2, 12, 12, 1], Activation.RELU, gain=2.0))
    observations = np.random.default_rng(3).normal(0, 1, (40, 2))
    evidence = Evidence(observations=observations)
    config = CertifyConfig(
        search_states=16, search_steps=5, lipsdp_iterations=5, lipsdp_per_actuator=0
    )
    template = (
        '[[require]]\nquantity = "action_deviation"\nepsilon = 0.3\nnorm = "linf"\n'
        'scope = "visited"\nfraction = 0.9\nconfidence = 0.95\nat_most = {}\n'
    )

    def certify(limit: float, boxes: int) -> object:
        budget = Budget.parse(template.format(limit))
        return certify_policy(file, budget, evidence, replace(config, split_boxes=boxes))

    plain = certify(100.0, 0).findings[0]
    limit = plain.sampled + 0.6 * (plain.certified - plain.sampled)
    assert certify(limit, 0).findings[0].verdict is Verdict.UNKNOWN
    split = certify(limit, 2000)
    assert split.findings[0].verdict is Verdict.PROVED
    assert check_certificate(split, file, observations=observations).proved


def test_limits_a_little_above_and_below_the_worst_are_decided_and_none_is_proved_wrongly() -> None:
    rng = np.random.default_rng(9)
    for _ in range(25):
        policy = draw_policy(rng, [int(rng.integers(2, 6)), 16, 16, 2], Activation.RELU)
        state, epsilon = rng.normal(0, 1, policy.obs_dim), float(rng.choice([0.05, 0.2, 0.5]))
        corners = state + epsilon * rng.choice([-1, 1], (4000, policy.obs_dim))
        sampled = deviation(policy, corners, state).max()
        for margin in (1e-1, 1e-3, -1e-3, -1e-1):
            limit = sampled * (1 + margin)
            found = split_deviation(policy, state, epsilon, limit, num_boxes=4000)
            assert found.bound <= limit or found.worst > limit
            assert found.bound >= sampled * (1 - 1e-12)
            assert found.worst > limit or margin > 0


def test_a_sensor_without_a_share_does_not_move() -> None:
    policy = draw_policy(np.random.default_rng(10), [3, 12, 2], Activation.RELU)
    state, shares = np.ones(3), np.array([1.0, 0.0, 0.5])
    found = split_deviation(policy, state, 0.3, 0.0, num_boxes=1, sensors=shares)
    exact = split_deviation(policy, state, 0.3, found.worst, num_boxes=3000, sensors=shares)
    points = state + 0.3 * shares * np.random.default_rng(11).uniform(-1, 1, (5000, 3))
    seen = deviation(policy, points, state).max()
    assert seen <= exact.bound
    whole = split_deviation(policy, state, 0.3, 0.0, num_boxes=1)
    assert exact.bound < whole.worst
    assert abs(exact.point[1] - 1.0) <= 1e-12
