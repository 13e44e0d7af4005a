"""Maximal action difference (MAD): push the action as far as possible from what it should be.

    maximise over delta   D^2 = sum_j ((mu_j(z + delta) - mu_j(z)) / (sigma_j / mean sigma))^2

mu is the output of the last layer; for a categorical head D^2 is 2 KL between the probabilities.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from surefoot.attack.adversary import Adversary
from surefoot.attack.ascent import AscentSettings, GradientAdversary
from surefoot.attack.ball import Ball
from surefoot.policy import CategoricalHead, Policy
from surefoot.train.distributions import Categorical, Distribution, Gaussian

PUBLISHED = AscentSettings()
NOISE_FREE = AscentSettings(temperature=0.0)
SLACK = AscentSettings(steps=20, slack=2.5, temperature=0.0, keep_best=True)
RESTARTS = AscentSettings(steps=20, slack=2.5, temperature=0.0, restarts=5, keep_best=True)


@dataclass(frozen=True, slots=True)
class _Distance:
    """D^2 between the laws of the actions."""

    distribution: Distribution

    def value(self, clean_BM: Tensor, moved_BM: Tensor) -> Tensor:
        return self.distribution.squared_distance(clean_BM, moved_BM)

    def gradient(self, clean_BM: Tensor) -> Callable[[Tensor], Tensor]:
        return self.distribution.squared_distance_gradient(clean_BM)


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
    return GradientAdversary(policy, ball, _Distance(_distribution(policy)), settings)


def mad_variants(policy: Policy, ball: Ball) -> Mapping[str, Adversary]:
    """Return MAD as published, without noise, with room to move, and from several starts.

    The largest change of an action is not always the one that costs the most return.
    """
    searches = {
        "published": PUBLISHED,
        "noise-free": NOISE_FREE,
        "slack": SLACK,
        "restarts": RESTARTS,
    }
    return {name: mad_adversary(policy, ball, settings) for name, settings in searches.items()}


def _distribution(policy: Policy) -> Distribution:
    if isinstance(policy.head, CategoricalHead):
        return Categorical(num_actions=policy.head.num_actions)
    if policy.head.std is None:  # a file that names no noise: every actuator counts alike
        std = torch.ones(policy.num_outputs, dtype=torch.float64)
    else:
        std = torch.from_numpy(policy.head.std.astype(np.float64))
    return Gaussian(log_std=torch.log(std / std.mean()), learned=False)
