from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from support.attacks import target_of
from support.environments import OneStepEnv
from support.policies import linear_policy, random_policy
from support.randomness import random_streams
from surefoot.attack import transfer
from surefoot.attack.ascent import RESTARTS, GradientAdversary
from surefoot.attack.mad import mad_adversary
from surefoot.attack.target import AttackTarget
from surefoot.attack.transfer import IMITATION, seen_through, transfer_variants
from surefoot.ball import Ball, Norm
from surefoot.envs.vector import StepResult
from surefoot.errors import InputError
from surefoot.policy import Activation, Squash

LINF = Ball(norm=Norm.LINF, epsilon=0.5)
MATRIX = np.array([[2.0, -1.0, 0.5], [-1.0, 0.5, 2.0]])


def states(num: int, dim: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(num, dim)).astype(np.float32)


@pytest.mark.parametrize("squash", [*Squash, None])
@pytest.mark.parametrize("seed", range(3))
def test_the_layers_of_another_controller_say_the_same_at_the_same_observations(
    squash: Squash | None, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    policy = random_policy(rng, (6, 16, 3), Activation.TANH, squash)
    other = random_policy(rng, (6, 24, 8, 3), Activation.RELU, squash, clip=100.0)
    layers = seen_through(policy, other, "other")
    # Inside of both clips, at observations as float32 holds them.
    mine = policy.normaliser
    obs = (mine.mean + mine.scale * rng.uniform(-9, 9, (200, 6))).astype(np.float32)
    assert (np.abs(other.state(obs)) < other.normaliser.clip).all()
    found = replace(other, layers=layers).network(policy.state(obs))
    np.testing.assert_allclose(found, other.network(other.state(obs)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sizes", [(5, 8, 3), (6, 8, 2)])
def test_a_controller_of_other_sizes_is_refused_by_its_name(sizes: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    policy, other = random_policy(rng, (6, 8, 3)), random_policy(rng, sizes)
    with pytest.raises(InputError, match=r"runs/dense must have .* \(6, 3\), got"):
        seen_through(policy, other, "runs/dense")


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> AttackTarget:
    monkeypatch.setattr(transfer, "_NUM_STEPS", 200)
    monkeypatch.setattr(transfer, "_EPOCHS", 20)
    return target_of(linear_policy(MATRIX), LINF, lambda num: OneStepEnv(num, 3, np.ones(2)))


def test_the_imitation_of_a_linear_controller_explains_nearly_all_it_does(
    target: AttackTarget,
) -> None:
    variants = transfer_variants(target)
    assert list(variants.adversaries) == [IMITATION]
    unexplained = variants.facts["fit"]["unexplained"]
    assert len(unexplained) == 2
    assert max(unexplained) < 0.01


def test_the_imitation_is_of_what_the_deployed_controller_does(target: AttackTarget) -> None:
    # Its twin says nothing at all.
    numb = replace(
        target,
        policy=replace(
            target.policy, layers=(replace(target.policy.layers[0], weight=0 * MATRIX),)
        ),
        query=lambda state: target.policy.outputs_at(state),
    )
    variants = transfer_variants(numb)
    state = states(30, 3)

    def change(adversary: GradientAdversary) -> NDArray[np.float64]:
        moved = adversary.perturb(state, random_streams(30))
        return np.linalg.norm((moved.astype(np.float64) - state) @ MATRIX.T, axis=1)

    worst = change(mad_adversary(target.policy, LINF, RESTARTS))
    assert (change(variants.adversaries[IMITATION]) >= 0.98 * worst).mean() > 0.9
    assert change(mad_adversary(numb.policy, LINF, RESTARTS)).mean() < 0.5 * worst.mean()


def test_an_imitation_counts_every_state_that_it_asked_about(target: AttackTarget) -> None:
    asked, steps = [], []
    make_env = target.make_env

    def query(state: NDArray[np.float32]) -> NDArray[np.float32]:
        asked.append(len(state))
        return target.query(state)

    class Counted:
        def __init__(self, num: int) -> None:
            self._env = make_env(num)

        def __getattr__(self, name: str) -> object:
            return getattr(self._env, name)

        def step(self, actions: NDArray[np.float32]) -> StepResult:
            steps.append(len(actions))
            return self._env.step(actions)

    effort = transfer_variants(replace(target, query=query, make_env=Counted)).effort
    assert (effort.queries, effort.env_steps) == (sum(asked), sum(steps))


def test_another_controller_leads_to_where_its_own_search_would_lead(target: AttackTarget) -> None:
    # The same function with another normaliser: what is found on it is the worst case of this one.
    mean, scale = np.array([1.0, -2.0, 0.5]), np.array([2.0, 0.5, 4.0])
    layer = target.policy.layers[0]
    normaliser = replace(
        target.policy.normaliser, mean=mean.astype(np.float32), scale=scale.astype(np.float32)
    )
    shifted = replace(layer, weight=layer.weight * scale, bias=layer.bias + layer.weight @ mean)
    other = replace(target.policy, normaliser=normaliser, layers=(shifted,))
    found = transfer_variants(replace(target, others={"other": other})).adversaries["other"]
    own = mad_adversary(target.policy, LINF, RESTARTS)
    state = states(30, 3)
    np.testing.assert_array_equal(
        found.perturb(state, random_streams(30)), own.perturb(state, random_streams(30))
    )
