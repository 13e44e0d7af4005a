"""Every attack against a worst case that is known exactly: dynamic programming in a corridor.

The controller always goes right, where the reward grows, and the more clearly the further it is.
Perturbations turn it around in the first cells and not in the last, so that the worst an attack can
do depends on the cell in which an episode begins.
"""

import numpy as np
import pytest

from surefoot.attack.adversary import NoAdversary
from surefoot.attack.blackbox_attacks import corner_variants, spsa_variants, square_variants
from surefoot.attack.critic_attacks import rs_mad_variants, rs_variants
from surefoot.attack.deployed import DeployedController
from surefoot.attack.director import Director
from surefoot.attack.evaluate import EvaluateConfig, evaluate
from surefoot.attack.learned import LearnedAdversary, LearnedSettings, learn_adversary
from surefoot.attack.mad import mad_variants
from surefoot.attack.push import push_variants
from surefoot.attack.sarsa import SarsaSettings
from surefoot.budget import Norm
from surefoot.onnx_format import policy_from_onnx
from surefoot.policy import Activation, CategoricalHead, Layer, Normaliser, Policy
from surefoot.runtime.load import Backend, controller_of
from surefoot.train.ball import Ball
from surefoot.train.game import Direct

EPSILON = 0.7
BALL = Ball(norm=Norm.LINF, epsilon=EPSILON)
SEEDS = tuple(range(9))
SARSA = SarsaSettings(records=3840, epochs=1)
PPO = LearnedSettings(
    total_steps=16_000, learning_rate=3e-3, sigma=1.0, num_envs=16, rollout_steps=24
)


def score(position):
    """Return half of the lead of going right."""
    return 0.62 + 0.6 * position


@pytest.fixture(scope="module")
def policy():
    slope = np.array([[-0.6, 0.1], [0.6, -0.1]], np.float32)
    return Policy(
        normaliser=Normaliser(
            mean=np.zeros(2, np.float32), scale=np.ones(2, np.float32), clip=10.0
        ),
        layers=(
            Layer(
                weight=slope,
                bias=np.array([-0.62, 0.62], np.float32),
                activation=Activation.IDENTITY,
            ),
        ),
        head=CategoricalHead(num_actions=2),
    )


def exact_worst_returns(env):
    """Return the least return from the first cell of each seed, by backward induction."""
    cells = np.arange(env.CELLS)
    lead = score(cells / 4 - 1)
    reach = EPSILON * (0.6 + 0.1)  # what a perturbation can take from the lead
    choices = [
        [choice for choice, holds in ((1, s > -reach), (0, s < reach)) if holds] for s in lead
    ]
    value = np.zeros(env.CELLS)
    for _ in range(env.HORIZON):
        value = np.array(
            [
                min(
                    (after := int(np.clip(cell + 2 * choice - 1, 0, env.CELLS - 1))) + value[after]
                    for choice in choices[cell]
                )
                for cell in cells
            ]
        )
    return value[np.array(SEEDS) % 3 + 2]


@pytest.fixture(scope="module")
def play(policy, file_of, grid_env):
    file = file_of(policy)
    deployed = DeployedController(controller=controller_of(file, Backend.ONNX), policy=file.policy)
    return lambda adversary: (
        evaluate(deployed, grid_env(len(SEEDS)), adversary, EvaluateConfig(seeds=SEEDS)).returns
    )


@pytest.fixture(scope="module")
def target(policy, grid_env, target_of):
    return target_of(policy, BALL, grid_env)


def test_the_worst_case_is_bad_but_not_everywhere(policy, grid_env, play):
    clean, worst = play(NoAdversary()), exact_worst_returns(grid_env)
    assert (worst < clean).any()
    assert (worst == clean).any() or len(set(worst)) > 1


def test_mad_reaches_the_worst_case_by_the_margin(policy, grid_env, play):
    worst = exact_worst_returns(grid_env)
    assert np.array_equal(play(mad_variants(policy, BALL)["margin"]), worst)


def test_push_reaches_the_worst_case(policy, grid_env, play):
    worst = play(push_variants(policy, BALL)["action 0"])
    assert np.array_equal(worst, exact_worst_returns(grid_env))


@pytest.mark.parametrize("attack", [rs_variants, corner_variants, square_variants, spsa_variants])
def test_attacks_on_the_value_of_the_action_reach_the_worst_case(target, grid_env, play, attack):
    found = [play(adversary) for adversary in attack(target, SARSA).adversaries.values()]
    worst = exact_worst_returns(grid_env)
    assert all((returns >= worst).all() for returns in found)
    assert np.array_equal(min(found, key=np.sum), worst)


def test_rs_with_mad_reaches_the_worst_case(target, grid_env, play):
    variants = rs_mad_variants(target, SARSA).adversaries
    best = min((play(adversary) for adversary in variants.values()), key=np.sum)
    assert np.array_equal(best, exact_worst_returns(grid_env))


@pytest.mark.parametrize("kind", ["sa-rl", "pa-ad"])
def test_learned_adversaries_reach_the_worst_case(policy, grid_env, play, kind):
    craft = Direct(BALL, 2) if kind == "sa-rl" else Director(policy, BALL)
    learned = learn_adversary(policy, craft, PPO, grid_env)
    actor = policy_from_onnx(learned.actor).policy
    returns = play(LearnedAdversary(actor, craft))
    assert np.array_equal(returns, exact_worst_returns(grid_env))
    assert learned.effort.env_steps >= PPO.total_steps
