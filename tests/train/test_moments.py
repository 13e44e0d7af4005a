import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from surefoot.train.moments import Moments, RewardNormaliser, normaliser_of

samples = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 9), st.just(2)), elements=st.floats(-1e3, 1e3)
)


def same(one: Moments, other: Moments) -> None:
    assert one.count == other.count
    assert one.mean == pytest.approx(other.mean, rel=1e-9, abs=1e-9)
    assert one.squares == pytest.approx(other.squares, rel=1e-9, abs=1e-6)


@given(samples, samples, samples)
def test_merging_is_associative_and_equal_to_the_moments_of_everything(
    a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]
) -> None:
    left = Moments.of(a).merge(Moments.of(b)).merge(Moments.of(c))
    right = Moments.of(a).merge(Moments.of(b).merge(Moments.of(c)))
    everything = np.concatenate([a, b, c])
    same(left, right)
    same(left, Moments.of(everything))
    assert left.std() == pytest.approx(everything.std(axis=0), rel=1e-6, abs=1e-5)


@given(samples)
def test_merging_with_nothing_changes_nothing(a: NDArray[np.float64]) -> None:
    same(Moments.none(2).merge(Moments.of(a)), Moments.of(a))
    same(Moments.of(a).merge(Moments.none(2)), Moments.of(a))


def test_without_samples_nothing_is_normalised() -> None:
    normaliser = normaliser_of(Moments.none(2), clip=10.0)
    assert (normaliser.mean == 0).all()
    assert (normaliser.scale == 1).all()


def test_the_normaliser_holds_numbers_that_float32_can_hold() -> None:
    moments = Moments.of(np.random.default_rng(0).normal(3, 2, (50, 4)))
    normaliser = normaliser_of(moments, clip=0.3)
    assert normaliser.mean.dtype == normaliser.scale.dtype == np.float32
    assert normaliser.clip == np.float32(0.3)
    assert normaliser.scale == pytest.approx(moments.std() + 1e-8, rel=1e-6)


def test_rewards_are_divided_by_the_std_of_the_discounted_returns_so_far() -> None:
    rng = np.random.default_rng(0)
    rewards, done = rng.normal(1, 1, (40, 3)), rng.random((40, 3)) < 0.1
    normalise = RewardNormaliser(3, gamma=0.9, clip=1.5)
    found = [normalise(rewards[:25], done[:25]), normalise(rewards[25:], done[25:])]
    # one environment and step at a time
    returns = np.zeros((40, 3))
    for env in range(3):
        running = 0.0
        for step in range(40):
            running = 0.9 * running + rewards[step, env]
            returns[step, env] = running
            running = 0.0 if done[step, env] else running
    first = np.clip(rewards[:25] / returns[:25].std(), -1.5, 1.5)
    second = np.clip(rewards[25:] / returns.std(), -1.5, 1.5)
    assert found[0] == pytest.approx(first, rel=1e-6)
    assert found[1] == pytest.approx(second, rel=1e-6)


def test_a_stored_reward_normaliser_goes_on_the_same() -> None:
    rng = np.random.default_rng(0)
    rollouts = [(rng.normal(size=(5, 2)), rng.random((5, 2)) < 0.2) for _ in range(2)]
    one, other = (RewardNormaliser(2, gamma=0.9, clip=10) for _ in range(2))
    one(*rollouts[0])
    other.load_state_dict(one.state_dict())
    assert np.array_equal(one(*rollouts[1]), other(*rollouts[1]))
