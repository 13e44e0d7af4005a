"""Maximal action difference (MAD): push the action as far as possible from what it should be.

    maximise over delta   D^2 = sum_j ((mu_j(z + delta) - mu_j(z)) / (sigma_j / mean sigma))^2

mu is the output of the last layer; for a categorical head D^2 is 2 KL between the probabilities.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from surefoot.attack.adversary import Adversary
from surefoot.attack.ascent import (
    ONE_CLIMB,
    RESTARTS,
    AscentConfig,
    GradientAdversary,
)
from surefoot.ball import Ball
from surefoot.policy import CategoricalHead, GaussianHead, Head, Layer, Policy, Squash
from surefoot.train.distributions import Categorical, Distribution, Gaussian
from surefoot.train.objectives import ValueAndGradient, lead

PUBLISHED = AscentConfig()
NOISE_FREE = AscentConfig(temperature=0.0)
SLACK = replace(ONE_CLIMB, steps=20)

_PULL = 0.1
"""Weight of drawing a clipped output inside: that of an output which has moved by 0.05."""


@dataclass(frozen=True, slots=True)
class _Distance:
    """D^2 between the laws of the actions."""

    distribution: Distribution

    def around(self, state_BD: Tensor, clean_BM: Tensor) -> ValueAndGradient:
        del state_BD
        gradient = self.distribution.squared_distance_gradient(clean_BM)
        return lambda moved_BM: (
            self.distribution.squared_distance(clean_BM, moved_BM),
            gradient(moved_BM),
        )


class _Applied:
    """D^2 between the actions that are applied: after the squash, beyond which nothing counts.

    An output that is clipped has no slope. It is drawn back inside with a weight of its own, or not
    at all: which of the two does more harm depends on how far outside it is.
    """

    def __init__(self, policy: Policy, pull: float) -> None:
        head = policy.head
        assert isinstance(head, GaussianHead)
        self._squash, self._pull = head.squash, pull
        self._weight_M = torch.exp(-2 * _relative_log_std(head))

    def around(self, state_BD: Tensor, clean_BM: Tensor) -> ValueAndGradient:
        del state_BD
        applied_BM = self._apply(clean_BM)

        def evaluate(moved_BM: Tensor) -> tuple[Tensor, Tensor]:
            now_BM = self._apply(moved_BM)
            change_BM = now_BM - applied_BM
            if self._squash is Squash.TANH:
                gradient_BM = 2 * change_BM * (1 - now_BM.square())
            else:
                inside_BM = moved_BM.abs() <= 1
                gradient_BM = torch.where(inside_BM, 2 * change_BM, -self._pull * now_BM)
                # Clipped on the far side it can do no more.
                gradient_BM[~inside_BM & (change_BM != 0)] = 0.0
            return (self._weight_M * change_BM.square()).sum(1), self._weight_M * gradient_BM

        return evaluate

    def _apply(self, outputs_BM: Tensor) -> Tensor:
        return outputs_BM.tanh() if self._squash is Squash.TANH else outputs_BM.clamp(-1, 1)


class _Margin:
    """How far the best other discrete action is ahead of the one of the true state."""

    def around(self, state_BD: Tensor, clean_BM: Tensor) -> ValueAndGradient:
        del state_BD
        ahead = lead(clean_BM.argmax(1, keepdim=True))

        def evaluate(moved_BM: Tensor) -> tuple[Tensor, Tensor]:
            value_B, gradient_BM = ahead(moved_BM)
            return -value_B, -gradient_BM

        return evaluate


def mad_adversary(
    policy: Policy, ball: Ball, settings: AscentConfig = PUBLISHED
) -> GradientAdversary:
    """Return the MAD attack.

    Args:
        policy: The controller's policy, as read back from the deployed file.
        ball: The perturbation set.
        settings: Settings of the search.

    Reference:
        Zhang et al. 2020 (arXiv 2003.08938), section 3.5 and the code of SA_PPO.
    """
    return GradientAdversary(policy.layers, ball, _Distance(distribution_of(policy)), settings)


def mad_on(
    layers: Sequence[Layer], head: Head, ball: Ball, settings: AscentConfig
) -> GradientAdversary:
    """Return MAD on other layers with the outputs of a controller: another one, an imitation."""
    return GradientAdversary(layers, ball, _Distance(_law(head)), settings)


def margin_on(layers: Sequence[Layer], ball: Ball, settings: AscentConfig) -> GradientAdversary:
    """Return the search for another choice, on any layers whose outputs are logits."""
    return GradientAdversary(layers, ball, _Margin(), settings)


def mad_variants(
    policy: Policy, ball: Ball, thorough: AscentConfig = RESTARTS
) -> Mapping[str, Adversary]:
    """Return MAD as published, without noise, with room to move, and from several starts.

    What is published looks at outputs before they are clipped to the range of the actuators, and
    spends itself on those that are far outside; so the actions that are applied are searched too.
    For discrete actions also the search for another choice, which the largest divergence may miss.

    The largest change of an action is not always the one that costs the most return.

    Args:
        policy: The controller's policy, as read back from the deployed file.
        ball: The perturbation set.
        thorough: Settings of the searches beyond the published ones; `SLACK` for a quick look.
    """
    searches = {"published": PUBLISHED, "noise-free": NOISE_FREE, "slack": SLACK}
    if thorough.restarts > 1:
        searches["restarts"] = thorough
    found = {name: mad_adversary(policy, ball, settings) for name, settings in searches.items()}
    if isinstance(policy.head, CategoricalHead):
        found["margin"] = margin_on(policy.layers, ball, thorough)
    else:
        found |= applied_variants(policy, ball, thorough)
    return found


def applied_variants(
    policy: Policy, ball: Ball, settings: AscentConfig = RESTARTS
) -> Mapping[str, GradientAdversary]:
    """Return the searches for the largest change of the actions after the squash, by how.

    None for a controller whose outputs are the actions.
    """
    head = policy.head
    if not isinstance(head, GaussianHead) or head.squash is Squash.IDENTITY:
        return {}
    pulls = {"applied": 0.0}
    if head.squash is Squash.CLIP:
        pulls["applied, drawn inside"] = _PULL
    return {
        name: GradientAdversary(policy.layers, ball, _Applied(policy, pull), settings)
        for name, pull in pulls.items()
    }


def distribution_of(policy: Policy) -> Distribution:
    """Return the law whose distances are measured: sigma counts relative to its mean."""
    return _law(policy.head)


def _law(head: Head) -> Distribution:
    if isinstance(head, CategoricalHead):
        return Categorical(num_actions=head.num_actions)
    return Gaussian(log_std=_relative_log_std(head), learned=False)


def _relative_log_std(head: GaussianHead) -> Tensor:
    if head.std is None:  # a file that names no noise: every actuator counts alike
        return torch.zeros(head.centre.size, dtype=torch.float64)
    std = torch.from_numpy(head.std.astype(np.float64))
    return torch.log(std / std.mean())
