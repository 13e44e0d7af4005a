"""A critic that is fitted to the frozen controller: what its states are worth.

T = steps, N = environments, D = obs_dim. A critic that was trained with the controller may be
pruned with it, and be blind where the controller is; this one is dense, and made for every
controller from the same amount of data.
"""

from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from surefoot.artifact import Json
from surefoot.attack.cost import Cost
from surefoot.attack.regression import HIDDEN, MINIBATCH, fit
from surefoot.attack.target import AttackTarget
from surefoot.ball import States
from surefoot.envs.vector import Flags, Floats
from surefoot.policy import Activation, Layer
from surefoot.train.game import finite, with_fast_layers
from surefoot.train.networks import new_network
from surefoot.train.rollout import advantages

GAMMA = 0.99
"""Discount of the values that critics are fitted to."""
_LAMBDA = 0.98
_NUM_ENVS = 32
_LONGEST_PREFIX = 200
_ROUNDS, _EPOCHS = 6, 3


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FittedCritic:
    """A critic with how good it is.

    Attributes:
        layers: Layers from states to values, in units of ``scale``.
        effort: Cost of the data and the fit.
        facts: Steps, and the share that it explains of the variance of its last targets.
    """

    layers: tuple[Layer, ...]
    effort: Cost
    facts: dict[str, Json]


def fit_value(target: AttackTarget, num_steps: int, *, seed: int = 0) -> FittedCritic:
    """Fit the discounted value of the deterministic controller by repeated TD(lambda) returns.

    Every second episode begins with up to 200 randomly perturbed steps, from which nothing is
    learned: they lead to states that the clean controller would not visit, and the clean steps
    after them tell what those are worth.

    Args:
        target: The controller and its task.
        num_steps: Environment steps, rounded up to whole ones of 32 environments.
        seed: Seed of the episodes and of the fit.
    """
    played = _play(target, -(-num_steps // _NUM_ENVS), seed)
    generator = torch.Generator().manual_seed(seed)
    sizes = (target.policy.obs_dim, *HIDDEN, 1)
    network = new_network(
        sizes,
        Activation.TANH,
        output_gain=1.0,
        generator=generator,
        device=torch.device("cpu"),
    )
    states = torch.from_numpy(played.states)
    ends = torch.from_numpy(played.ends)
    clean = torch.from_numpy(~played.perturbed)
    # At first the returns are those that were seen, and what follows the last step is unknown.
    returns = _lambda_returns(played, np.zeros(played.rewards.shape), 1.0)
    scale = float(returns[~played.perturbed].std()) or 1.0
    for number in range(_ROUNDS):
        target.tell((number + 1) / (_ROUNDS + 1), "fitting a critic")
        with torch.no_grad():
            after = network.mlp(ends.flatten(0, 1))[:, 0].view(ends.shape[:2]).double().numpy()
            before = network.mlp(states.flatten(0, 1))[:, 0].view(states.shape[:2]).double().numpy()
        returns = _lambda_returns(played, after * scale, _LAMBDA, before * scale)
        goal = torch.from_numpy((returns / scale).astype(np.float32))
        fit(network, states[clean], goal[clean][:, None], epochs=_EPOCHS, generator=generator)
    with torch.no_grad():
        error = network.mlp(states[clean])[:, 0] - goal[clean]
    explained = 1 - float(error.var() / goal[clean].var().clamp_min(1e-12))
    num = played.rewards.size
    return FittedCritic(
        layers=network.mlp.to_layers(),
        effort=Cost(env_steps=num, updates=_ROUNDS * _EPOCHS * -(-int(clean.sum()) // MINIBATCH)),
        facts={"steps": num, "explained_variance": explained},
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Played:
    """What was played: states and the states that the steps led to (T, N, D), the rest (T, N)."""

    states: States
    ends: States
    rewards: Floats
    terminated: Flags
    truncated: Flags
    perturbed: Flags


def _play(target: AttackTarget, num_steps: int, seed: int) -> _Played:
    policy, random = with_fast_layers(target.policy), np.random.default_rng(seed)
    shape = (num_steps, _NUM_ENVS)
    states = np.empty((*shape, policy.obs_dim), np.float32)
    ends = np.empty_like(states)
    rewards = np.empty(shape)
    terminated, truncated, perturbed = np.empty((3, *shape), np.bool_)

    def prefixes(num: int) -> NDArray[np.int64]:
        return random.integers(0, 2, num) * random.integers(1, _LONGEST_PREFIX + 1, num)

    with closing(target.make_env(_NUM_ENVS)) as env:
        obs = env.reset(random.integers(2**31, size=_NUM_ENVS).tolist())
        left_N = prefixes(_NUM_ENVS)
        for step in range(num_steps):
            states[step] = policy.state(obs, np.float32)
            perturbed[step] = left_N > 0
            signs = random.integers(0, 2, states[step].shape) * 2.0 - 1
            size = target.ball.epsilon * perturbed[step][:, None]
            seen = target.ball.perturbed(states[step], signs * size)
            result = env.step(policy.head.select(finite(policy.outputs_at(seen))))
            rewards[step], terminated[step] = result.reward, result.terminated
            truncated[step] = result.truncated & ~result.terminated
            ends[step] = policy.state(result.terminal_obs, np.float32)
            obs, left_N = result.obs, np.maximum(left_N - 1, 0)
            over = result.terminated | result.truncated
            left_N[over] = prefixes(int(over.sum()))
    return _Played(
        states=states,
        ends=ends,
        rewards=rewards,
        terminated=terminated,
        truncated=truncated,
        perturbed=perturbed,
    )


def _lambda_returns(
    played: _Played, after: Floats, gae_lambda: float, before: Floats | None = None
) -> Floats:
    """Return TD(lambda) returns, (T, N); without values of the states themselves, plain sums."""
    values = np.zeros_like(after) if before is None else before
    found = advantages(
        played.rewards,
        values,
        after,
        played.terminated,
        played.truncated,
        gamma=GAMMA,
        gae_lambda=gae_lambda,
    )
    return values + found
