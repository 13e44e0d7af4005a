from dataclasses import replace

import numpy as np
import pytest

from surefoot.attack.learned_attacks import sa_rl_variants
from surefoot.attack.store import Store
from surefoot.budget import Norm
from surefoot.train.ball import Ball

BALL = Ball(norm=Norm.LINF, epsilon=0.5)
GAIN = np.array([1.0, -0.5])
ITERATION = 32 * 256
TOTAL = 3 * ITERATION


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def target(linear_policy, one_step_env, target_of, tmp_path_factory, told):
    policy = linear_policy([[2.0, -1.0, 0.5], [-1.0, 0.5, 2.0]])
    return target_of(
        policy,
        BALL,
        lambda num: one_step_env(num, 3, GAIN),
        store=Store(tmp_path_factory.mktemp("race") / "work"),
        tell=lambda share, remark: told.append(share),
    )


@pytest.fixture(scope="module")
def raced(target):
    return sa_rl_variants(target, TOTAL)


def test_a_first_share_of_every_training_decides_which_goes_on_to_the_end(raced):
    returns = {name: facts["returns"] for name, facts in raced.facts["training"].items()}
    assert len(returns) == len(raced.adversaries) == 3
    [ahead] = [name for name, seen in returns.items() if len(seen) == 3]
    assert min(returns, key=lambda name: returns[name][0]) == ahead
    snapshots = sum(len(seen) for seen in returns.values())
    # Each is compared on eight episodes of one step.
    assert raced.effort.env_steps == TOTAL + 2 * ITERATION + 8 * snapshots
    assert raced.facts["teacher"] is None


def test_progress_grows_from_nothing_to_all(raced, told):
    assert told == sorted(told)
    assert 0 < told[0] < 0.3
    assert told[-1] == pytest.approx(1)


def test_what_is_trained_is_not_trained_again_and_leaves_no_checkpoints(raced, target):
    assert not list(target.store.folder.glob("*.unfinished"))

    def refuse(num_envs):
        raise AssertionError("no environment is needed")

    again = sa_rl_variants(replace(target, make_env=refuse), TOTAL)
    state = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    for name, adversary in raced.adversaries.items():
        np.testing.assert_array_equal(
            adversary.perturb(state, []), again.adversaries[name].perturb(state, [])
        )
    assert again.effort == raced.effort
