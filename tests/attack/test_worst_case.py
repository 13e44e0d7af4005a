"""Every attack against a worst case that is known exactly: dynamic programming in a corridor.

The controller always goes right, where the reward grows, and the more clearly the further it is.
Perturbations turn it around in the first cells and not in the last, so that the worst an attack can
do depends on the cell in which an episode begins: in the linf ball on both coordinates of the
perturbation, in the l2 ball nearly on its right direction.

Also of ``attack/critic_attacks.py``.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from support.attacks import OF_ERRORS, target_of
from support.environments import GridEnv
from support.policies import bare_states, file_of
from surefoot.attack.adversary import Adversary, NoAdversary
from surefoot.attack.attack_config import FULL, AttackConfig
from surefoot.attack.closed_loop import EvaluateConfig, evaluate
from surefoot.attack.critic_attacks import critic_variants
from surefoot.attack.deployed import DeployedController
from surefoot.attack.learned import LearnedAdversary, LearnedConfig, learn_adversary
from surefoot.attack.sarsa import SarsaSettings
from surefoot.attack.target import AttackTarget
from surefoot.ball import Ball, Norm
from surefoot.onnx_file import policy_from_onnx
from surefoot.policy import Activation, CategoricalHead, Layer, Policy
from surefoot.runtime.load import Backend, controller_of
from surefoot.train.game import Direct
from surefoot.train.pa_ad import Director

BALLS = [Ball(norm=Norm.LINF, epsilon=0.7), Ball(norm=Norm.L2, epsilon=0.8)]
SLOPE = np.array([0.6, -0.1])
"""Of half of the lead of going right, by the state."""
SEEDS = tuple(range(9))
CONFIG = AttackConfig(
    critic_steps=3840, sarsa=SarsaSettings(records=3840, epochs=1), adversary_steps=2304
)
SHARES = {"clean": 0.0, "random": 0.05, "critic": 0.4, "transfer": 0.9}
"""Of what can be lost, where it is not all of it. Chance alone seldom turns the controller around
as often as it takes; a critic of states looks at the second coordinate, too, which says nothing
about values (and has a test of its own); an imitation is off by a little at the edge."""
PPO = LearnedConfig(total_steps=9_600, learning_rate=3e-3, sigma=1.0, num_envs=16, rollout_steps=24)

OFFSET = 0.62
Play = Callable[[Adversary], NDArray[np.float64]]
"""From an adversary to the returns of a controller under it."""


@pytest.fixture(scope="module", params=BALLS, ids=lambda ball: ball.norm)
def ball(request: pytest.FixtureRequest) -> Ball:
    return request.param


def policy_of(slope: NDArray[np.float64]) -> Policy:
    return Policy(
        normaliser=bare_states(2),
        layers=(
            Layer(
                weight=np.array([-slope, slope], np.float32),
                bias=np.array([-OFFSET, OFFSET], np.float32),
                activation=Activation.IDENTITY,
            ),
        ),
        head=CategoricalHead(num_actions=2),
    )


@pytest.fixture(scope="module")
def policy() -> Policy:
    return policy_of(SLOPE)


def exact_worst_returns(
    env: type[GridEnv], ball: Ball, slope: NDArray[np.float64] = SLOPE
) -> NDArray[np.float64]:
    """Return the least return from the first cell of each seed, by backward induction."""
    cells = np.arange(env.CELLS)
    lead = OFFSET + slope[0] * (cells / 4 - 1)
    # What a perturbation can take from the lead.
    reach = ball.epsilon * np.linalg.norm(slope, 1 if ball.norm is Norm.LINF else 2)
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


def player(policy: Policy) -> Play:
    file = file_of(policy)
    controller = controller_of(file, Backend.ONNX)
    deployed = DeployedController(controller=controller, policy=file.policy)
    config = EvaluateConfig(seeds=SEEDS)
    return lambda adversary: evaluate(deployed, GridEnv(len(SEEDS)), adversary, config).returns


@pytest.fixture(scope="module")
def play(policy: Policy) -> Play:
    return player(policy)


@pytest.fixture(scope="module")
def worst(ball: Ball) -> NDArray[np.float64]:
    return exact_worst_returns(GridEnv, ball)


@pytest.fixture(scope="module")
def target(policy: Policy, ball: Ball) -> AttackTarget:
    target = target_of(policy, ball, GridEnv)
    teacher = FULL["push"](target, CONFIG).adversaries["action 0"]
    return replace(target, strongest=("push, action 0", teacher))


def test_the_worst_case_is_bad_but_not_everywhere(play: Play, worst: NDArray[np.float64]) -> None:
    clean = play(NoAdversary())
    assert (worst < clean).any()
    assert (worst == clean).any() or len(set(worst)) > 1


@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize("name", OF_ERRORS)
def test_an_attack_reaches_the_worst_case_and_goes_no_further(
    target: AttackTarget, play: Play, worst: NDArray[np.float64], name: str
) -> None:
    found = [play(adversary) for adversary in FULL[name](target, CONFIG).adversaries.values()]
    assert all((returns >= worst).all() for returns in found)
    clean = play(NoAdversary())
    lost = (clean - min(found, key=np.sum)).sum() / (clean - worst).sum()
    assert lost >= SHARES.get(name, 1.0)


def test_a_critic_of_states_reaches_the_worst_case_where_states_alone_decide(ball: Ball) -> None:
    # It makes the controller see the state of least value, which the second coordinate says nothing
    # about: nor may the controller's choice. From there it would go left.
    slope = np.array([0.6, 0.0])
    ball = replace(ball, epsilon=0.7)
    policy = policy_of(slope)
    variants = critic_variants(target_of(policy, ball, GridEnv), 3840).adversaries
    worst = exact_worst_returns(GridEnv, ball, slope)
    for adversary in variants.values():
        assert np.array_equal(player(policy)(adversary), worst)


@pytest.mark.parametrize("kind", ["sa-rl", "pa-ad"])
def test_learned_adversaries_need_no_teacher_to_reach_the_worst_case(
    policy: Policy, ball: Ball, play: Play, worst: NDArray[np.float64], kind: str
) -> None:
    craft = Direct(ball, 2) if kind == "sa-rl" else Director(policy, ball)
    learned = learn_adversary(policy, craft, PPO, GridEnv)
    actor = policy_from_onnx(learned.actor).policy
    assert np.array_equal(play(LearnedAdversary(actor, craft)), worst)
    assert learned.effort.env_steps >= PPO.total_steps
