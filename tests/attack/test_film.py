"""What is filmed is what is played: the same returns and the same deviations."""

from dataclasses import replace

import numpy as np
import pytest

from support.drawing import needs_gl
from support.policies import file_of, random_policy, unit_range
from surefoot.attack.action import ActionAdversary
from surefoot.attack.adversary import NoAdversary, RandomAdversary
from surefoot.attack.closed_loop import EvaluateConfig, evaluate
from surefoot.attack.deployed import DeployedController
from surefoot.attack.film import film_episode
from surefoot.ball import Ball, Norm
from surefoot.envs import make_env
from surefoot.envs.filming import Shot
from surefoot.policy import GaussianHead
from surefoot.runtime.load import Backend, controller_of
from surefoot.train.action_box import ActionBox

pytestmark = needs_gl
SHOT = Shot(every=10, width=32, height=32)


@pytest.fixture(scope="module")
def deployed() -> DeployedController:
    policy = unit_range(random_policy(np.random.default_rng(0), (11, 8, 3)))
    file = file_of(policy)
    return DeployedController(controller=controller_of(file, Backend.NUMPY), policy=policy)


def test_a_film_of_sampled_actions_has_those_that_were_played(
    deployed: DeployedController,
) -> None:
    assert isinstance(deployed.policy.head, GaussianHead)
    noisy = replace(deployed.policy.head, std=np.full(3, 0.5, np.float32))
    sampling = replace(deployed, policy=replace(deployed.policy, head=noisy))
    filmed = film_episode(sampling, "Hopper-v5", NoAdversary(), 5, SHOT, samples=True)
    config = EvaluateConfig(seeds=(5,), samples=True)
    played = evaluate(sampling, make_env("Hopper-v5", 1), NoAdversary(), config)
    assert filmed.total == played.returns[0]
    assert filmed.total != film_episode(sampling, "Hopper-v5", NoAdversary(), 5, SHOT).total


@pytest.mark.parametrize("kind", ["observations", "actions", "nothing"])
def test_a_filmed_episode_is_the_played_one(deployed: DeployedController, kind: str) -> None:
    ball = Ball(norm=Norm.LINF, epsilon=0.3)
    box = ActionBox(deployed.policy, (0.2, 0.1, 0.0))
    adversary = {
        "observations": RandomAdversary(ball=ball),
        "actions": ActionAdversary(box, lambda state_ND: np.sign(state_ND[:, :3])),
        "nothing": NoAdversary(),
    }[kind]
    filmed = film_episode(deployed, "Hopper-v5", adversary, 5, SHOT)
    played = evaluate(deployed, make_env("Hopper-v5", 1), adversary, EvaluateConfig(seeds=(5,)))
    assert filmed.total == played.returns[0]
    assert filmed.length == played.lengths[0] == len(filmed.deviations)
    assert filmed.terminated == played.terminated[0]
    assert np.array_equal(filmed.deviations.max(axis=0), played.deviations[0])
    assert (filmed.deviations.max() > 0) == (kind != "nothing")
    assert len(filmed.pictures) >= 2
