"""Attacks through a critic: lead the controller, or its idea of the state, to where value is low.

    critic    minimise V(z + delta)           V fitted here, or shipped with the controller
    rs        minimise Q(z, mu(z + delta))    Q by Robust Sarsa, at the true state
    rs+mad    minimise (1 - r) Q(z, mu(z + delta)) - r D^2 / M

For a categorical head Q is averaged over the probabilities, or the worst action of Q is aimed at.
B = batch, D = obs_dim, M = num_outputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from surefoot.artifact import Json
from surefoot.attack.adversary import Adversary
from surefoot.attack.ascent import (
    ONE_CLIMB,
    RESTARTS,
    AscentConfig,
    GradientAdversary,
    Objective,
)
from surefoot.attack.cost import Cost
from surefoot.attack.fitted_critic import fit_value
from surefoot.attack.mad import distribution_of
from surefoot.attack.sarsa import SarsaSettings, fit_sarsa, record
from surefoot.attack.target import AttackTarget, Variants, pack, unpack
from surefoot.errors import InputError
from surefoot.policy import CategoricalHead, Layer, Policy
from surefoot.train.distributions import Distribution
from surefoot.train.folder import critic_from_bytes, critic_to_bytes
from surefoot.train.networks import Mlp, mlp_from_layers
from surefoot.train.objectives import ValueAndGradient, lead

RATIOS = (1e-5, 1e-3, 3e-2)
FITTED = "fitted to the controller"


class Low:
    """The negated output of a critic of states."""

    def around(self, state_BD: Tensor, clean_BM: Tensor) -> ValueAndGradient:
        """Return -V, see `Objective`."""
        del state_BD, clean_BM
        return lambda value_B1: (-value_B1[:, 0], torch.full_like(value_B1, -1.0))


@dataclass(frozen=True, slots=True)
class LowQ:
    """The negated value of the action at the true state, with a share of D^2.

    Attributes:
        critic: Network from states and actions to values, float64.
        ratio: r.
        distribution: Distribution whose distance D is.
    """

    critic: Mlp
    ratio: float
    distribution: Distribution

    def around(self, state_BD: Tensor, clean_BM: Tensor) -> ValueAndGradient:
        """Return -(1 - r) Q + r D^2 / M, see `Objective`."""
        low_q = self._low_q(state_BD)
        return _with_distance(low_q, clean_BM, self.ratio, self.distribution)

    def _low_q(self, state_BD: Tensor) -> ValueAndGradient:
        num_dims = state_BD.shape[1]

        def evaluate(moved_BM: Tensor) -> tuple[Tensor, Tensor]:
            values: list[Tensor] = []

            def downhill(value_B1: Tensor) -> Tensor:
                values.append(-value_B1[:, 0])
                return torch.full_like(value_B1, -1.0)

            gradient = self.critic.input_gradient(torch.cat([state_BD, moved_BM], 1), downhill)
            return values[0], gradient[:, num_dims:]

        return evaluate


@dataclass(frozen=True, slots=True)
class LowChoiceQ:
    """The negated expected value of a categorical policy's choice, or the lead of the worst one.

    Attributes:
        critic: Network from states and one-hot actions to values, float64.
        targeted: Whether the action of the lowest value is aimed at.
        ratio: Share of D^2 / M, if not.
        distribution: Distribution whose distance D is.
    """

    critic: Mlp
    targeted: bool
    ratio: float
    distribution: Distribution

    def around(self, state_BD: Tensor, clean_BM: Tensor) -> ValueAndGradient:
        """Return -E Q or the margin of the worst action, see `Objective`."""
        q_BM = choice_values(self.critic, state_BD, clean_BM.shape[1])
        worst_B1 = q_BM.argmin(1, keepdim=True)

        def expected(moved_BM: Tensor) -> tuple[Tensor, Tensor]:
            p_BM = torch.softmax(moved_BM, 1)
            mean_B1 = (p_BM * q_BM).sum(1, keepdim=True)
            return -mean_B1[:, 0], -p_BM * (q_BM - mean_B1)

        if self.targeted:
            return lead(worst_B1)
        return _with_distance(expected, clean_BM, self.ratio, self.distribution)


def _with_distance(
    evaluate: ValueAndGradient, clean_BM: Tensor, ratio: float, distribution: Distribution
) -> ValueAndGradient:
    """Return (1 - r) of an objective plus r D^2 / M."""
    if ratio == 0:
        return evaluate
    share = ratio / clean_BM.shape[1]
    distance_gradient = distribution.squared_distance_gradient(clean_BM, share)

    def both(moved_BM: Tensor) -> tuple[Tensor, Tensor]:
        value_B, gradient_BM = evaluate(moved_BM)
        distance_B = distribution.squared_distance(clean_BM, moved_BM)
        return (
            (1 - ratio) * value_B + share * distance_B,
            (1 - ratio) * gradient_BM + distance_gradient(moved_BM),
        )

    return both


def choice_values(critic: Mlp, state_BD: Tensor, num_actions: int) -> Tensor:
    """Return Q of every discrete action, (B, M)."""
    one_hot = torch.eye(num_actions, dtype=state_BD.dtype)
    columns = [
        critic(torch.cat([state_BD, row.expand(len(state_BD), -1)], 1))[:, 0] for row in one_hot
    ]
    return torch.stack(columns, 1)


def critic_variants(target: AttackTarget, num_steps: int) -> Variants:
    """Return the value-guided attack through every critic there is: the minimum counts.

    Args:
        target: Controller and task under attack.
        num_steps: Environment steps to fit a critic on; 0 to fit none.

    Raises:
        InputError: If none came with the controller and none may be fitted, or one does not fit.
    """
    check_critics(target.policy, target.critics, num_steps)
    critics = dict(target.critics)
    effort = Cost()
    facts: dict[str, Json] = {}
    if num_steps:
        key: Json = [target.key, num_steps]
        piece = target.store.get("critic", key)
        if piece is None:
            fitted = fit_value(target, num_steps)
            piece = pack(fitted.effort, fitted.facts, critic_to_bytes(fitted.layers))
            target.store.put("critic", key, piece)
        effort, facts, data = unpack(piece)
        critics[FITTED] = critic_from_bytes(data)
    return Variants(
        adversaries={
            name + label: GradientAdversary(layers, target.ball, Low(), settings)
            for name, layers in critics.items()
            for label, settings in (("", ONE_CLIMB), (", restarts", RESTARTS))
        },
        effort=effort,
        facts={"critics": sorted(critics), "fit": facts},
    )


def check_critics(policy: Policy, critics: Mapping[str, tuple[Layer, ...]], num_steps: int) -> None:
    """Refuse to attack through a critic where there is none, or one does not fit.

    Args:
        policy: The controller's policy.
        critics: Those that came with it, by name.
        num_steps: Environment steps to fit another one on; 0 to fit none.

    Raises:
        InputError: If none came with the controller and none may be fitted, or one does not fit.
    """
    if not critics and not num_steps:
        raise InputError(
            "critic_steps must be positive for an attack that needs a critic: none came with the "
            "controller"
        )
    for name, layers in critics.items():
        sizes = (layers[0].weight.shape[1], layers[-1].weight.shape[0])
        if sizes != (policy.obs_dim, 1):
            raise InputError(
                f"critic {name!r} must map {policy.obs_dim} observations to one value, "
                f"its layers map {sizes[0]} to {sizes[1]}"
            )


def rs_variants(target: AttackTarget, settings: SarsaSettings) -> Variants:
    """Return the attack through Robust Sarsa, one variant per critic of the grid."""
    critics, effort, facts = rs_critics(target, settings)
    adversaries: dict[str, Adversary] = {}
    for name, layers in critics.items():
        for label, objective in _objectives(target, layers, 0.0):
            adversaries[name + label] = _attack(target, objective)
    return Variants(adversaries=adversaries, effort=effort, facts={"fit": facts})


def rs_mad_variants(target: AttackTarget, settings: SarsaSettings) -> Variants:
    """Return RS+MAD through the critic that was the strongest of RS, one variant per ratio."""
    best, layers = best_rs_critic(target, settings)
    tried = [(f"ratio {ratio:g}", ratio, ONE_CLIMB) for ratio in RATIOS]
    tried += [(f"ratio {RATIOS[0]:g}, restarts", RATIOS[0], RESTARTS)]
    return Variants(
        adversaries={
            name: _attack(target, _objectives(target, layers, ratio)[0][1], search)
            for name, ratio, search in tried
        },
        facts={"critic": best},
    )


def best_rs_critic(target: AttackTarget, settings: SarsaSettings) -> tuple[str, tuple[Layer, ...]]:
    """Return name and layers of the critic that did most harm as RS; the first before that."""
    critics, _, _ = rs_critics(target, settings)
    best = target.chosen.get("rs", next(iter(critics))).removesuffix(_TARGETED)
    return best, critics[best]


_TARGETED = ", targeted"


def rs_critics(
    target: AttackTarget, settings: SarsaSettings
) -> tuple[dict[str, tuple[Layer, ...]], Cost, dict[str, Json]]:
    """Return the critics of a grid by name, from the store if they are there."""
    names = [f"eps {radius:g}, reg {weight:g}" for radius, weight in settings.grid]
    keys: list[Json] = [[target.key, settings.records, settings.epochs, name] for name in names]
    pieces = [target.store.get("sarsa", key) for key in keys]
    if None in pieces:
        records = record(target, settings.records)
        critics, losses = fit_sarsa(records, settings.grid, target, epochs=settings.epochs)
        for number, key in enumerate(keys):
            # What the grid cost is counted once.
            effort = (
                Cost(env_steps=len(records), updates=settings.num_updates)
                if number == 0
                else Cost()
            )
            facts = {"td_loss": [losses[when][number] for when in ("first", "last")]}
            piece = pack(effort, facts, critic_to_bytes(critics.layers(number)))
            pieces[number] = piece
            target.store.put("sarsa", key, piece)
    unpacked = [unpack(piece) for piece in pieces if piece is not None]
    layers = {
        name: critic_from_bytes(data) for name, (_, _, data) in zip(names, unpacked, strict=True)
    }
    fits: dict[str, Json] = {name: told for name, (_, told, _) in zip(names, unpacked, strict=True)}
    return layers, sum((spent for spent, _, _ in unpacked), start=Cost()), fits


def _objectives(
    target: AttackTarget, layers: tuple[Layer, ...], ratio: float
) -> list[tuple[str, Objective]]:
    critic = mlp_from_layers(layers, dtype=torch.float64)
    law = distribution_of(target.policy)
    if isinstance(target.policy.head, CategoricalHead):
        return [
            ("", LowChoiceQ(critic, False, ratio, law)),
            (_TARGETED, LowChoiceQ(critic, True, ratio, law)),
        ]
    return [("", LowQ(critic, ratio, law))]


def _attack(
    target: AttackTarget, objective: Objective, settings: AscentConfig = ONE_CLIMB
) -> GradientAdversary:
    return GradientAdversary(target.policy.layers, target.ball, objective, settings)
