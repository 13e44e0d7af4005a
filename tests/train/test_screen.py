"""A screen finds what can be computed by hand, and nothing where there is nothing to find.

Also of ``train/evaluated_policy.py``.
"""

import numpy as np
import pytest

from support.environments import TargetEnv
from support.policies import linear_policy, random_policy
from surefoot.ball import Ball, Norm
from surefoot.policy import Policy
from surefoot.train import screen
from surefoot.train.evaluated_policy import EvaluatedPolicy
from surefoot.train.evaluation import clean_returns
from surefoot.train.screen import screened_return

SEEDS = (3, 5, 8, 13)


def perfect() -> Policy:
    """The policy that plays the number which it sees."""
    return linear_policy([[1.0, 0.0, 0.0]])


@pytest.mark.parametrize("norm", list(Norm))
def test_the_screen_reaches_the_worst_case_of_a_task_that_is_solved_by_hand(norm: Norm) -> None:
    """A reading that is wrong by 0.1 costs 0.01 at every step, and nothing costs more."""
    env = TargetEnv(len(SEEDS), horizon=6)
    env.reset(SEEDS)
    lengths = env.length.copy()
    screened, num_steps = screened_return(perfect(), Ball(norm=norm, epsilon=0.1), env, SEEDS, 0)
    assert screened == pytest.approx(-0.01 * lengths.mean(), rel=1e-5)
    assert num_steps == 8 * lengths.sum()  # two pushes and six constant errors


def test_without_room_the_screened_return_is_the_clean_one() -> None:
    env = TargetEnv(len(SEEDS))
    policy = random_policy(np.random.default_rng(0), (3, 8, 1))
    screened, _ = screened_return(policy, Ball(norm=Norm.LINF, epsilon=0.0), env, SEEDS, 0)
    assert screened == clean_returns(policy, env, SEEDS).mean()


@pytest.mark.parametrize("norm", list(Norm))
def test_every_attack_of_a_screen_stays_in_the_ball(norm: Norm) -> None:
    policy = random_policy(np.random.default_rng(1), (3, 8, 2))
    ball = Ball(norm=norm, epsilon=0.3)
    states = np.random.default_rng(2).normal(size=(50, 3)).astype(np.float32)
    attacks = [*screen._pushes(policy, ball), *screen._corners(policy, ball, 0)]
    assert len(attacks) == 2 * 2 + 6
    for attack in attacks:
        assert ball.contains(states, attack(states)).all()


def test_a_candidate_is_stored_with_all_that_decides_about_it() -> None:
    policy = perfect()
    for screened in (None, 2.0):
        candidate = EvaluatedPolicy(policy, 100, 3.0, screened)
        assert EvaluatedPolicy.from_facts(policy, candidate.facts()) == candidate
        assert candidate.merit == (3.0 if screened is None else screened)
