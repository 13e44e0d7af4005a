"""Control error: a search never finds more than is certified; the published sum is no bound."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from support.policies import build_policy, draw_policy
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.bounds.rounding import rounding_bound
from surefoot.certify.compression import (
    compression_error,
    compression_error_around,
    paper_compression_error,
)
from surefoot.certify.control_error import (
    ControlLimit,
    Over,
    _shaken,
    box_control_error,
    box_states,
    fewest_kept,
    paper_control_error,
    visited_control_error,
)
from surefoot.compress import OneShotConfig, WeightFormat, compress_policy, store_weights
from surefoot.errors import InputError
from surefoot.policy import Activation, Policy, Squash

STATES = np.random.default_rng(10).normal(0, 1, (60, 4)).astype(np.float32)


def change(policy: Policy, original: Policy, states: np.ndarray) -> np.ndarray:
    """Return the worst change of an action at each state, both in float32."""
    pair = [either.outputs_at(states.astype(np.float32)) for either in (policy, original)]
    return np.abs(pair[0].astype(float) - pair[1]).max(axis=1)


def climb(policy: Policy, original: Policy, low: np.ndarray, high: np.ndarray) -> float:
    """Return the most that random search with shrinking steps finds in boxes (n, obs_dim)."""
    rng = np.random.default_rng(11)
    best = rng.uniform(low, high)
    value = change(policy, original, best)
    for size in np.geomspace(1, 0.01, 60):
        corner = rng.random(best.shape) < 0.3 * size
        moved = best + size * (high - low) * rng.normal(0, 0.5, best.shape)
        moved = np.clip(np.where(corner, rng.choice([-1e9, 1e9], best.shape), moved), low, high)
        found = change(policy, original, moved)
        best = np.where((found > value)[:, None], moved, best)
        value = np.maximum(value, found)
    return float(value.max())


def pairs(activation: Activation, squash: Squash) -> Iterator[tuple[Policy, Policy]]:
    rng = np.random.default_rng(0)
    original = draw_policy(rng, [4, 12, 10, 2], activation, squash=squash, half_range=1.5, clip=3)
    calibration = rng.normal(0, 1, (100, 4))
    for kept in (170, 90):
        yield compress_policy(original, calibration, kept, OneShotConfig()), original
    yield store_weights(original, WeightFormat.INT8), original


@pytest.mark.parametrize("activation", [Activation.TANH, Activation.RELU, Activation.SILU])
@pytest.mark.parametrize("squash", Squash)
def test_no_search_finds_more_than_is_certified(activation: Activation, squash: Squash) -> None:
    for policy, original in pairs(activation, squash):
        at = visited_control_error(policy, original, STATES)
        assert change(policy, original, STATES).max() == at.measured <= at.certified
        assert at.certified <= at.measured + 2e-3  # at single states it is rounding alone
        for epsilon in (0.02, 0.2):
            around = visited_control_error(policy, original, STATES, epsilon)
            inside = np.nextafter(np.float32(epsilon), np.float32(0))
            found = climb(policy, original, STATES - inside, STATES + inside)
            assert max(found, around.measured, at.measured) <= around.certified
        box = box_control_error(policy, original)
        ends = np.full((200, 4), 3.0)
        assert max(climb(policy, original, -ends, ends), box.measured) <= box.certified
        assert at.certified <= box.certified * (1 + 1e-9) or np.abs(STATES).max() > 3


def test_a_small_ball_costs_little() -> None:
    policy, original = next(pairs(Activation.TANH, Squash.IDENTITY))
    at = visited_control_error(policy, original, STATES).certified
    near = visited_control_error(policy, original, STATES, 1e-4).certified
    assert at <= near <= 1.1 * at
    # Relaxing both networks together keeps what they share: far below both ranges apart.
    far = visited_control_error(policy, original, STATES, 0.05).certified
    apart = compression_error(policy, original, np.abs(STATES).max(axis=0) + 0.05).max()
    assert far < 0.5 * apart


def test_a_ball_is_never_worse_than_the_box() -> None:
    for policy, original in pairs(Activation.TANH, Squash.IDENTITY):
        states = np.zeros((1, 4), np.float32)
        whole = compression_error_around(policy, original, states, 3.0)
        assert (whole <= compression_error(policy, original, np.full(4, 3.0)) * (1 + 1e-9)).all()


def test_a_bounded_activation_ends_what_the_box_can_do() -> None:
    # One hidden neuron: whatever the first layer does, tanh changes by 2 at most.
    original = build_policy([[[5.0]], [[1.5]]], Activation.TANH)
    policy = build_policy([[[0.001]], [[1.5]]], Activation.TANH)
    assert compression_error(policy, original, np.full(1, 10.0))[0] == pytest.approx(3.0)
    assert box_control_error(policy, original).certified == pytest.approx(3.0, abs=1e-4)


def test_an_equal_policy_errs_by_rounding_alone() -> None:
    policy = draw_policy(np.random.default_rng(1), [4, 12, 2])
    for error in (visited_control_error(policy, policy, STATES), box_control_error(policy, policy)):
        assert error.measured == 0
        assert 0 < error.certified < 1e-3


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
def test_the_rounding_of_both_controllers_is_charged_where_the_ball_reaches(epsilon: float) -> None:
    policy, original = next(pairs(Activation.TANH, Squash.IDENTITY))
    largest = np.abs(STATES).max(axis=0).astype(float) + epsilon
    roundings = [
        rounding_bound(either, largest, ARITHMETICS["float32"]).action
        for either in (policy, original)
    ]
    exact = compression_error_around(policy, original, STATES, epsilon)
    found = visited_control_error(policy, original, STATES, epsilon).certified
    assert found >= (exact + sum(roundings)).max()
    assert found == pytest.approx((exact + sum(roundings)).max(), rel=1e-9)


@pytest.mark.parametrize("epsilon", [1e-6, 0.02, 0.2])
def test_what_is_measured_in_a_ball_lies_in_it(epsilon: float) -> None:
    moved = _shaken(STATES, epsilon)
    assert np.array_equal(moved[: len(STATES)], STATES)
    distance = np.abs(moved[len(STATES) :].astype(float) - STATES)
    assert (distance <= epsilon).all()
    assert distance.max() == pytest.approx(epsilon, rel=0.2)


def test_the_published_sum_is_told_in_action_units() -> None:
    policy, original = next(pairs(Activation.TANH, Squash.IDENTITY))
    raw = paper_compression_error(policy, original, STATES).max()
    printed = paper_control_error(policy, original, STATES, limit=0.3)
    assert printed["value"] == pytest.approx(1.5 * raw)
    assert np.multiply(
        printed["one_layer_constants"], printed["admissible_changes"]
    ) == pytest.approx([0.3] * len(policy.layers))


def test_logits_are_compared_without_a_head() -> None:
    original = draw_policy(np.random.default_rng(2), [4, 12, 3], categorical=True)
    policy = store_weights(original, WeightFormat.INT8)
    at = visited_control_error(policy, original, STATES)
    gap = np.abs(policy.network(STATES.astype(float)) - original.network(STATES.astype(float)))
    assert at.certified >= gap.max()
    assert at.certified == pytest.approx(gap.max(), abs=1e-3)


def test_the_published_sum_is_exceeded_and_ours_is_not() -> None:
    # mathematics.md, 11.6, another example: a state of 1; the sum says 2.0, the truth is 2.236068.
    biases = [[1, 1], [0, 0]]
    weights = [[[-1], [-1]], [[1, 1], [1, -1]]], [[[0], [0]], [[1, 1], [1, 0]]]
    original, policy = (build_policy(w, Activation.RELU, biases=biases) for w in weights)
    state = np.ones((1, 1), np.float32)
    gap = policy.network(state.astype(float)) - original.network(state.astype(float))
    true = float(np.linalg.norm(gap))
    assert true == pytest.approx(2.236068, abs=1e-6)
    printed = paper_compression_error(policy, original, state)[0]
    assert printed == pytest.approx(2.0, abs=1e-6)
    assert printed < true
    assert "not a bound" in paper_control_error(policy, original, state)["flaw"]
    assert (compression_error(policy, original, np.ones(1)) >= np.abs(gap[0])).all()
    assert visited_control_error(policy, original, state).certified >= np.abs(gap).max()


def test_the_published_form_is_a_bound_where_one_layer_changes() -> None:
    rng = np.random.default_rng(3)
    for number in range(3):
        original = draw_policy(rng, [4, 8, 8, 2])
        layers = list(original.layers)
        noise = rng.normal(0, 0.1, layers[number].weight.shape)
        weight = (layers[number].weight + noise).astype(np.float32)
        layers[number] = replace(layers[number], weight=weight)
        policy = replace(original, layers=tuple(layers))
        states = STATES.astype(float)
        gap = np.linalg.norm(policy.network(states) - original.network(states), axis=1)
        assert (gap <= paper_compression_error(policy, original, STATES) * (1 + 1e-9)).all()


def test_bisection_finds_the_fewest_that_hold() -> None:
    for least, most in ((1, 1), (3, 4), (5, 200)):
        for limit in range(least, most + 1):
            asked: list[int] = []

            def holds(kept: int, limit: int = limit, asked: list[int] = asked) -> bool:
                asked.append(kept)
                return kept >= limit

            assert fewest_kept(holds, least, most) == limit
            assert len(asked) <= 2 + (most - least).bit_length()
    assert fewest_kept(lambda kept: False, 1, 100) is None
    # Where errors do not rise steadily, what is returned still holds by itself.
    odd = fewest_kept(lambda kept: kept == 100 or kept % 7 == 0, 1, 100)
    assert odd is not None
    assert odd == 100 or odd % 7 == 0


def test_states_of_the_box_fill_it_to_its_corners() -> None:
    policy = draw_policy(np.random.default_rng(4), [3, 5, 2], clip=2.5)
    states = box_states(policy)
    assert states.dtype == np.float32
    assert np.abs(states).max() == 2.5
    corners = (np.abs(states) == 2.5).all(axis=1)
    assert {tuple(np.sign(row)) for row in states[corners]} == {
        (a, b, c) for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)
    }
    assert (~corners).mean() == pytest.approx(0.5)


def test_what_cannot_be_compared_or_bounded_is_refused() -> None:
    rng = np.random.default_rng(5)
    policy, other = draw_policy(rng, [4, 6, 2]), draw_policy(rng, [4, 7, 2])
    with pytest.raises(InputError, match="needs the original policy: the dense policy has other"):
        box_control_error(policy, other)
    with pytest.raises(InputError, match="other layers"):
        visited_control_error(policy, other, STATES)
    free = draw_policy(rng, [4, 6, 2], clip=np.inf)
    with pytest.raises(InputError, match="the controller has no clip"):
        box_control_error(free, free)
    assert visited_control_error(free, free, STATES).certified < 1e-3
    with pytest.raises(InputError, match="max_control_error must be positive and finite, got 0"):
        ControlLimit(max_control_error=0)
    with pytest.raises(InputError, match="epsilon must be finite and at least 0, got -1"):
        ControlLimit(epsilon=-1)
    with pytest.raises(InputError, match="did you mean 'box'"):
        ControlLimit(over="bxo")
    with pytest.raises(InputError, match="epsilon must be 0 over the box"):
        ControlLimit(epsilon=0.1, over=Over.BOX)
