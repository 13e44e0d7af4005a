"""What the gradient-free attacks of a suite search for, and what their success says.

N = batch, D = obs_dim, M = num_outputs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from surefoot.attack.adversary import Adversary
from surefoot.attack.ascent import RESTARTS
from surefoot.attack.blackbox import CornerSearch, Harm, Oracle, Query, SpsaSearch, SquareSearch
from surefoot.attack.critic_attacks import best_rs_critic
from surefoot.attack.mad import applied_variants, mad_adversary
from surefoot.attack.sarsa import SarsaSettings
from surefoot.attack.target import AttackTarget, Variants
from surefoot.ball import Ball, Randoms, States
from surefoot.envs.vector import Floats
from surefoot.policy import Array, CategoricalHead, Layer, Policy, Squash

_LIMIT = 1 - 1e-6
_MARGIN = 1.05
"""A gradient-free search may find this much more than a gradient's before it is suspicious."""


@dataclass(frozen=True, slots=True, eq=False)
class Deviation:
    """The squared change of the actions, each in units of its relative noise; logits' 2 KL."""

    policy: Policy

    def __call__(self, state_ND: States, clean_NM: Floats, moved_NM: Floats) -> Floats:
        """Return the harm, see `Harm`."""
        del state_ND
        head = self.policy.head
        if isinstance(head, CategoricalHead):
            before, after = _log_softmax(clean_NM), _log_softmax(moved_NM)
            divergence: Floats = 2 * (np.exp(before) * (before - after)).sum(axis=1)
            return divergence
        relative = np.ones(1) if head.std is None else head.std / head.std.mean()
        change = (moved_NM - clean_NM) / (head.half_range * relative)
        squares: Floats = np.square(change).sum(axis=1)
        return squares


@dataclass(frozen=True, slots=True, eq=False)
class LowValue:
    """The negated value of the action, by a critic of states and actions.

    Attributes:
        policy: Policy whose actions they are.
        critic: Network from states and actions, before squash and scale or one-hot, to values.
    """

    policy: Policy
    critic: Sequence[Layer]

    def __call__(self, state_ND: States, clean_NM: Floats, moved_NM: Floats) -> Floats:
        """Return the harm, see `Harm`."""
        del clean_NM
        hidden: Array = np.concatenate([state_ND, self._actions(moved_NM)], axis=1)
        for layer in self.critic:
            hidden = layer.activation(hidden @ layer.weight.T + layer.bias)
        value: Floats = -hidden[:, 0]
        return value

    def _actions(self, outputs_NM: Floats) -> Floats:
        head = self.policy.head
        if isinstance(head, CategoricalHead):
            one_hot: Floats = np.eye(head.num_actions)[outputs_NM.argmax(axis=1)]
            return one_hot
        unit = (outputs_NM - head.centre) / head.half_range
        if head.squash is Squash.TANH:
            unit = np.arctanh(np.clip(unit, -_LIMIT, _LIMIT))
        return np.asarray(unit)


def corner_variants(target: AttackTarget, settings: SarsaSettings) -> Variants:
    """Return the search over random corners, by what it looks for."""
    return _variants(target, settings, lambda oracle: CornerSearch(oracle=oracle))


def square_variants(target: AttackTarget, settings: SarsaSettings) -> Variants:
    """Return the random search over blocks of coordinates, by what it looks for."""
    return _variants(target, settings, lambda oracle: SquareSearch(oracle=oracle))


def spsa_variants(target: AttackTarget, settings: SarsaSettings) -> Variants:
    """Return the ascent along estimated gradients, by what it looks for."""
    return _variants(target, settings, lambda oracle: SpsaSearch(oracle=oracle))


def _variants(
    target: AttackTarget, settings: SarsaSettings, search: Callable[[Oracle], Adversary]
) -> Variants:
    name, critic = best_rs_critic(target, settings)
    harms: dict[str, Harm] = {
        "deviation": Deviation(target.policy),
        "value": LowValue(target.policy, critic),
    }
    oracles = {
        label: Oracle(ball=target.ball, query=target.query, harm=harm)
        for label, harm in harms.items()
    }
    return Variants(
        adversaries={label: search(oracle) for label, oracle in oracles.items()},
        facts={"critic": name},
    )


def masking_ratio(
    policy: Policy, ball: Ball, query: Query, state_ND: States, randoms: Randoms
) -> float | None:
    """Return how much farther a gradient-free search moves the actions than a gradient does.

    It is the mean over the states of the best deviation of random search, over that of the best
    MAD with restarts, both measured on the deployed controller, at states where neither makes it
    fail. Well above 1 the gradients are masked; None if they move nothing at all where random
    search does, or if it makes the controller fail where they do not.

    Args:
        policy: The controller's policy, as read back from the deployed file.
        ball: The perturbation set.
        query: The deployed controller.
        state_ND: Visited states.
        randoms: One stream per state.
    """
    harm = Deviation(policy)
    oracle = Oracle(ball=ball, query=query, harm=harm)
    clean_NM = query(state_ND).astype(np.float64)

    def reached(adversary: Adversary) -> Floats:
        moved_NM = query(adversary.perturb(state_ND, randoms)).astype(np.float64)
        found_N = np.sqrt(np.maximum(harm(state_ND, clean_NM, moved_NM), 0))
        # Where the controller fails there is no distance; nothing is further.
        return np.where(np.isfinite(found_N), found_N, np.inf)

    free = np.maximum(reached(CornerSearch(oracle=oracle)), reached(SquareSearch(oracle=oracle)))
    climbs = [mad_adversary(policy, ball, RESTARTS), *applied_variants(policy, ball).values()]
    guided = np.maximum.reduce([reached(adversary) for adversary in climbs])
    if (np.isinf(free) & ~np.isinf(guided)).any():
        return None
    sound = ~np.isinf(guided)
    free, guided = free[sound], guided[sound]
    if free.sum() == 0:
        return 1.0
    return float(free.sum() / guided.sum()) if guided.sum() > 1e-9 * free.sum() else None


def masking_signs(
    ratio: float | None,
    means: Mapping[str, float],
    errors: Mapping[str, float],
    failures: Mapping[str, int],
) -> list[str]:
    """Describe the signs of masked gradients, none if there are none.

    Args:
        ratio: Ratio as :func:`masking_ratio` gives it.
        means: Mean return under each attack.
        errors: Standard error of each.
        failures: Failed episodes under each attack: there the gradient of the twin says nothing.
    """
    signs = [
        f"{name} makes the controller fail in {count} episodes, where it has no gradient"
        for name, count in failures.items()
        if count
    ]
    if ratio is None:
        signs.append(
            "random search moves an action, or makes the controller fail; gradients do not"
        )
    elif ratio > _MARGIN:
        signs.append(f"random search moves the actions {ratio:.3g} times as far as gradients do")
    free, guided = (
        min((name for name in names if name in means), key=lambda name: means[name], default=None)
        for names in (
            # Not the constant, which sees returns and is stronger for that.
            ("random", "corners", "square", "spsa", "transfer"),
            ("mad", "push", "critic", "rs", "rs+mad", "pa-ad"),
        )
    )
    if free is not None and guided is not None:
        noise = 2 * (errors[free] ** 2 + errors[guided] ** 2) ** 0.5
        if means[free] < means[guided] - noise:
            signs.append(
                f"{free}, which sees no gradient of the controller, leaves {means[free]:.4g}, less "
                f"than the {means[guided]:.4g} of {guided}"
            )
    return signs


def _log_softmax(logits_NM: Floats) -> Floats:
    shifted = logits_NM - logits_NM.max(axis=1, keepdims=True)
    log_p: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return log_p
