import numpy as np
import pytest

from support.randomness import random_streams
from surefoot.attack.adversary import Draw, NoAdversary, RandomAdversary
from surefoot.ball import Ball, Norm


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("draw", list(Draw))
def test_random_perturbations_stay_in_the_ball_and_differ_from_step_to_step(
    norm: Norm, draw: Draw
) -> None:
    adversary = RandomAdversary(ball=Ball(norm=norm, epsilon=0.1), draw=draw)
    state = np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32)
    randoms = random_streams(30)
    first, second = adversary.perturb(state, randoms), adversary.perturb(state, randoms)
    for perturbed in (first, second):
        assert adversary.ball.contains(state, perturbed).all()
        assert (perturbed != state).any(axis=1).all()
    assert (first != second).any(axis=1).mean() > 0.5  # equal corners may come up again


@pytest.mark.parametrize("draw", list(Draw))
def test_a_row_depends_on_its_own_stream_alone(draw: Draw) -> None:
    adversary = RandomAdversary(ball=Ball(norm=Norm.LINF, epsilon=0.1), draw=draw)
    state = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
    together = adversary.perturb(state, random_streams(8))
    backwards = adversary.perturb(state[::-1], random_streams(8)[::-1])
    assert np.array_equal(together, backwards[::-1])


def test_no_adversary_changes_nothing() -> None:
    state = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
    assert np.array_equal(NoAdversary().perturb(state, random_streams(8)), state)
    assert NoAdversary().ball.epsilon == 0
