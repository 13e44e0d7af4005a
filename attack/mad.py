"""Maximal action difference (MAD): push the action as far as possible from what it should be.

    maximise over delta   D^2 = sum_j ((mu_j(z + delta) - mu_j(z)) / (sigma_j / mean sigma))^2

mu is the output of the last layer; for a categorical head D^2 is 2 KL between the probabilities.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from surefoot.attack.adversary import Adversary
from surefoot.attack.ascent import AscentSettings, Climb, GradientAdversary
from surefoot.policy import CategoricalHead, Policy
from surefoot.train.ball import Ball
from surefoot.train.distributions import Categorical, Distribution, Gaussian

PUBLISHED = AscentSettings()
NOISE_FREE = AscentSettings(temperature=0.0)
SLACK = AscentSettings(steps=20, slack=2.5, temperature=0.0, keep_best=True)
RESTARTS = AscentSettings(steps=20, slack=2.5, temperature=0.0, restarts=5, keep_best=True)


@dataclass(frozen=True, slots=True)
class _Distance:
    """D^2 between the laws of the actions."""

    distribution: Distribution

    def around(self, state_BD: Tensor, clean_BM: Tensor) -> Climb:
        del state_BD
        gradient = self.distribution.squared_distance_gradient(clean_BM)
        return lambda moved_BM: (
            self.distribution.squared_distance(clean_BM, moved_BM),
            gradient(moved_BM),
        )


class _Margin:
    """How far the best other discrete action is ahead of the one of the true state."""

    def around(self, state_BD: Tensor, clean_BM: Tensor) -> Climb:
        del state_BD
        chosen_B1 = clean_BM.argmax(1, keepdim=True)

        def climb(moved_BM: Tensor) -> tuple[Tensor, Tensor]:
            others_BM = moved_BM.scatter(1, chosen_B1, -torch.inf)
            rival = others_BM.max(1, keepdim=True)
            gradient_BM = torch.zeros_like(moved_BM).scatter_(1, rival.indices, 1.0)
            gradient_BM.scatter_(1, chosen_B1, -1.0)
            return (rival.values - moved_BM.gather(1, chosen_B1))[:, 0], gradient_BM

        return climb


def mad_adversary(
    policy: Policy, ball: Ball, settings: AscentSettings = PUBLISHED
) -> GradientAdversary:
    """Return the MAD attack.

    Args:
        policy: As read back from the deployed file.
        ball: The perturbation set.
        settings: Of the search.

    Reference:
        Zhang et al. 2020 (arXiv 2003.08938), section 3.5 and the code of SA_PPO.
    """
    return GradientAdversary(policy.layers, ball, _Distance(distribution_of(policy)), settings)


def mad_variants(policy: Policy, ball: Ball) -> Mapping[str, Adversary]:
    """Return MAD as published, without noise, with room to move, and from several starts.

    For discrete actions also the search for another choice, which the largest divergence may miss.

    The largest change of an action is not always the one that costs the most return.
    """
    searches = {
        "published": PUBLISHED,
        "noise-free": NOISE_FREE,
        "slack": SLACK,
        "restarts": RESTARTS,
    }
    found = {name: mad_adversary(policy, ball, settings) for name, settings in searches.items()}
    if isinstance(policy.head, CategoricalHead):
        found["margin"] = GradientAdversary(policy.layers, ball, _Margin(), RESTARTS)
    return found


def distribution_of(policy: Policy) -> Distribution:
    """Return the law whose distances are measured: sigma counts relative to its mean."""
    if isinstance(policy.head, CategoricalHead):
        return Categorical(num_actions=policy.head.num_actions)
    if policy.head.std is None:  # a file that names no noise: every actuator counts alike
        std = torch.ones(policy.num_outputs, dtype=torch.float64)
    else:
        std = torch.from_numpy(policy.head.std.astype(np.float64))
    return Gaussian(log_std=torch.log(std / std.mean()), learned=False)
