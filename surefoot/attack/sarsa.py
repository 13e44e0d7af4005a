"""Robust Sarsa: action values of the frozen controller whose gradient means something off its path.

    TD      SmoothL1(Q(z, a), stop[r + gamma (1 - terminated) Q(z', a')])
    robust  weight mean max(Q_up - Q, Q - Q_low)^2,   bounds over an linf ball around (z, a)

A record holds a step and what followed it, so that targets stay what they are in whatever order
records are learned; public code takes the next action from a shuffled neighbour. A truncated
episode goes on with the controller's own action at the state it was cut in.

B = records, D = obs_dim, M = num_outputs, K = critics. All critics of a grid are trained together,
as one batch of networks; the bounds are those of interval propagation.

Reference:
    Zhang et al. 2020 (arXiv 2003.08938), section 3.5 and appendix D.
"""

import itertools
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from surefoot.attack.fitted_critic import GAMMA
from surefoot.attack.regression import HIDDEN
from surefoot.attack.target import AttackTarget
from surefoot.errors import InputError
from surefoot.policy import Activation, Array, CategoricalHead, Layer, Policy
from surefoot.train.game import finite, with_fast_layers
from surefoot.train.rollout import Singles

_PUBLISHED_GRID = tuple(itertools.product((0.02, 0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.3, 1, 3, 10)))
_REDUCED_GRID = tuple(itertools.product((0.02, 0.1, 0.3), (0.3, 3)))
"""(radius, weight) of the robust term of each critic."""

DEFAULT_SIGMA = 0.3
"""Exploration where the file names no noise."""

_NUM_ENVS = 32
_ITERATIONS, _MINIBATCHES = 30, 16


@dataclass(frozen=True, kw_only=True, slots=True)
class SarsaSettings:
    """How the critics of Robust Sarsa are fitted.

    Attributes:
        records: Environment steps with sampled actions from which all of them learn.
        epochs: Passes over each thirtieth of the records.
        published_grid: Whether all 30 critics are tried, or 6 of them.
    """

    records: int = 61_440
    epochs: int = 10
    published_grid: bool = False

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InputError: If there is no epoch, or less than one record for every minibatch.
        """
        if self.epochs < 1:
            raise InputError(f"epochs must be at least 1, got {self.epochs}")
        if self.records < _ITERATIONS * _MINIBATCHES:
            raise InputError(
                f"records must be at least {_ITERATIONS * _MINIBATCHES}, got {self.records}"
            )

    @property
    def num_updates(self) -> int:
        """Optimiser steps of the fit."""
        return _ITERATIONS * self.epochs * _MINIBATCHES

    @property
    def grid(self) -> tuple[tuple[float, float], ...]:
        """(radius, weight) of the robust term of each critic."""
        return _PUBLISHED_GRID if self.published_grid else _REDUCED_GRID


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Records:
    """Steps with what followed them, one per row.

    Attributes:
        states: Shape (B, D).
        actions: Before squash and scale, or one-hot, (B, M).
        rewards: Rewards in units of the standard deviation of the discounted return, (B,).
        next_states: States that the steps led to, (B, D).
        next_actions: Actions played there; where the episode was cut, the controller's, (B, M).
        terminated: One where nothing follows, else zero, (B,).
    """

    states: Tensor
    actions: Tensor
    rewards: Tensor
    next_states: Tensor
    next_actions: Tensor
    terminated: Tensor

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.rewards)

    def take(self, rows: Tensor | slice) -> "Records":
        """Return some of the records."""
        return Records(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


class Critics:
    """K networks (z, a) -> Q of the same shape, trained at once."""

    def __init__(self, num: int, num_inputs: int, generator: torch.Generator) -> None:
        sizes = (num_inputs, *HIDDEN, 1)
        self.weights = []
        self.biases = []
        for fan_in, fan_out in itertools.pairwise(sizes):
            weight = torch.empty(num, fan_in, fan_out)
            for one in weight:
                torch.nn.init.orthogonal_(one, 2**0.5 if fan_out > 1 else 1.0, generator=generator)
            self.weights.append(weight.requires_grad_())
            self.biases.append(torch.zeros(num, 1, fan_out, requires_grad=True))

    @property
    def parameters(self) -> list[Tensor]:
        """Everything that is trained."""
        return [*self.weights, *self.biases]

    def __call__(self, inputs_BI: Tensor) -> Tensor:
        """Return the values of every critic, (K, B)."""
        hidden = inputs_BI.expand(len(self.weights[0]), *inputs_BI.shape)
        for last, weight, bias in self._layers():
            hidden = torch.baddbmm(bias, hidden, weight)
            hidden = hidden if last else torch.tanh(hidden)
        return hidden[..., 0]

    def bounds(self, inputs_BI: Tensor, radius_K11: Tensor) -> tuple[Tensor, Tensor]:
        """Return bounds on the values over linf balls around the inputs, each (K, B)."""
        centre = inputs_BI.expand(len(self.weights[0]), *inputs_BI.shape)
        radius = radius_K11.expand_as(centre)
        for last, weight, bias in self._layers():
            centre = torch.baddbmm(bias, centre, weight)
            radius = torch.bmm(radius, weight.abs())
            if not last:
                low, high = torch.tanh(centre - radius), torch.tanh(centre + radius)
                centre, radius = (high + low) / 2, (high - low) / 2
        return (centre - radius)[..., 0], (centre + radius)[..., 0]

    def layers(self, number: int) -> tuple[Layer, ...]:
        """Return one critic as layers."""
        return tuple(
            Layer(
                weight=weight[number].detach().numpy().T.copy(),
                bias=bias[number, 0].detach().numpy().copy(),
                activation=Activation.IDENTITY if last else Activation.TANH,
            )
            for last, weight, bias in self._layers()
        )

    def _layers(self) -> Iterator[tuple[bool, Tensor, Tensor]]:
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            yield number == len(self.weights) - 1, weight, bias


@torch.no_grad()
def td_targets(critics: Critics, records: Records, gamma: float) -> Tensor:
    """Return r + gamma (1 - terminated) Q(z', a') of every critic, (K, B)."""
    after = critics(torch.cat([records.next_states, records.next_actions], 1))
    return records.rewards + gamma * (1 - records.terminated) * after


def fit_sarsa(
    records: Records,
    grid: tuple[tuple[float, float], ...],
    target: AttackTarget | None = None,
    *,
    epochs: int = 10,
    gamma: float = GAMMA,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> tuple[Critics, Mapping[str, list[float]]]:
    """Fit one critic per entry of a grid; every iteration sees its own share of the records.

    The radius is zero in the first third of the iterations, grows in the second and stays; the
    learning rate falls to zero in the last.

    Args:
        records: Records in the order in which they were played.
        grid: (radius, weight) of the robust term of each critic.
        target: Is told the progress.
        epochs: Passes over each share.
        gamma: Discount.
        learning_rate: Learning rate of Adam.
        seed: Seed of the weights and of the order of the records within a share.

    Returns:
        The critics, and their mean TD loss in the first and in the last iteration.
    """
    generator = torch.Generator().manual_seed(seed)
    num_inputs = records.states.shape[1] + records.actions.shape[1]
    critics = Critics(len(grid), num_inputs, generator)
    optimiser = torch.optim.Adam(critics.parameters, lr=learning_rate, eps=1e-5)
    radius_K11, weight_K = torch.tensor(grid)[:, 0, None, None], torch.tensor(grid)[:, 1]
    shares = torch.arange(len(records)).chunk(_ITERATIONS)
    losses: list[list[float]] = []
    for number, share in enumerate(shares):
        done = number / len(shares)
        if target is not None:
            target.tell(done, "fitting Robust Sarsa")
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * min(1.0, 3 * (1 - done))
        ramp = min(max(3 * done - 1, 0.0), 1.0)
        parts = [
            _update(critics, optimiser, records.take(rows), gamma, radius_K11 * ramp, weight_K)
            for _ in range(epochs)
            for rows in share[torch.randperm(len(share), generator=generator)].chunk(_MINIBATCHES)
        ]
        losses.append(torch.stack(parts).mean(0).tolist())
    return critics, {"first": losses[0], "last": losses[-1]}


def _update(
    critics: Critics,
    optimiser: torch.optim.Optimizer,
    records: Records,
    gamma: float,
    radius_K11: Tensor,
    weight_K: Tensor,
) -> Tensor:
    """Take one step and return the TD losses, (K,)."""
    inputs = torch.cat([records.states, records.actions], 1)
    values_KB = critics(inputs)
    targets_KB = td_targets(critics, records, gamma)
    td_K = functional.smooth_l1_loss(values_KB, targets_KB, reduction="none").mean(1)
    loss = td_K.sum()
    if radius_K11.any():
        low_KB, high_KB = critics.bounds(inputs, radius_K11)
        spread_KB = torch.maximum(high_KB - values_KB, values_KB - low_KB).square()
        loss = loss + (weight_K * spread_KB.mean(1)).sum()
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return td_K.detach()


def record(target: AttackTarget, num_steps: int, *, seed: int = 0) -> Records:
    """Play the controller with sampled actions: what was explored is what Q can tell apart.

    Args:
        target: The controller and its task.
        num_steps: Records, rounded up to whole steps of 32 environments.
        seed: Seed of episodes and actions.
    """
    policy, random = with_fast_layers(target.policy), np.random.default_rng(seed)
    rows: dict[str, list[Array]] = {field.name: [] for field in fields(Records)}
    rewards, overs = [], []
    with closing(target.make_env(_NUM_ENVS)) as env:
        obs = env.reset(random.integers(2**31, size=_NUM_ENVS).tolist())
        state = policy.state(obs, np.float32)
        action, played = _explore(policy, state, random)
        for _ in range(-(-num_steps // _NUM_ENVS)):
            result = env.step(played)
            over = result.terminated | result.truncated
            next_state = policy.state(result.obs, np.float32)
            next_action, next_played = _explore(policy, next_state, random)
            end = policy.state(result.terminal_obs, np.float32)
            rows["states"].append(state)
            rows["actions"].append(action)
            rows["next_states"].append(end)
            rows["next_actions"].append(
                np.where(over[:, None], _greedy(policy, end), next_action).astype(np.float32)
            )
            rows["terminated"].append(result.terminated.astype(np.float32))
            rewards.append(result.reward)
            overs.append(over)
            state, action, played = next_state, next_action, next_played
    scale = _return_scale(np.array(rewards), np.array(overs))
    rows["rewards"] = [(np.asarray(row) / scale).astype(np.float32) for row in rewards]
    return Records(
        **{name: torch.from_numpy(np.concatenate(parts)) for name, parts in rows.items()}
    )


def _explore(policy: Policy, state_ND: Array, random: np.random.Generator) -> tuple[Singles, Array]:
    """Return sampled actions as a critic sees them, and as the environment takes them."""
    outputs = finite(policy.network(state_ND))
    if isinstance(policy.head, CategoricalHead):
        choice_N = (outputs + random.gumbel(size=outputs.shape)).argmax(1)
        one_hot = np.eye(policy.num_outputs, dtype=np.float32)[choice_N]
        return one_hot, policy.head.act(choice_N)
    sigma = DEFAULT_SIGMA if policy.head.std is None else policy.head.std
    action = (outputs + sigma * random.standard_normal(outputs.shape)).astype(np.float32)
    return action, policy.head.act(action)


def _greedy(policy: Policy, state_ND: Array) -> Array:
    """Return the controller's own actions as a critic sees them."""
    outputs = finite(policy.network(state_ND))
    if isinstance(policy.head, CategoricalHead):
        outputs = np.eye(policy.num_outputs, dtype=np.float32)[outputs.argmax(1)]
    return np.asarray(outputs)


def _return_scale(rewards_TN: Array, over_TN: Array) -> float:
    """Return the standard deviation of the discounted sum of past rewards, as PPO scales by."""
    running, sums = np.zeros(rewards_TN.shape[1]), np.empty_like(rewards_TN)
    for step, (reward_N, over_N) in enumerate(zip(rewards_TN, over_TN, strict=True)):
        running = GAMMA * running + reward_N
        sums[step] = running
        running = np.where(over_N, 0.0, running)
    return float(sums.std()) or 1.0
