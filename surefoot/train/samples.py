"""What the update learns from, and how well a policy does on it.

B = samples, O = obs_dim, A = number of outputs of the actor.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from surefoot.train.distributions import Distribution


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Samples:
    """What the update learns from; one row per step.

    Attributes:
        states: Shape (B, O).
        actions: Before squash and scale, (B, A), or choices, (B,).
        log_probs: Log-probabilities of the actions under the policy that played them, (B,).
        values: Predicted before the update, (B,).
        advantages: Shape (B,).
        returns: Targets of the critic, (B,).
    """

    states: Tensor
    actions: Tensor
    log_probs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor

    def minibatches(self, size: int, generator: torch.Generator) -> Iterator["Samples"]:
        """Yield all samples once, in random minibatches."""
        device = self.states.device
        order = torch.randperm(len(self.states), generator=generator, device=device)
        columns = {
            field.name: getattr(self, field.name)[order].split(size) for field in fields(self)
        }
        for number in range(len(columns["states"])):
            yield Samples(**{name: parts[number] for name, parts in columns.items()})

    def first(self, num: int) -> "Samples":
        """Return the first samples."""
        return Samples(**{field.name: getattr(self, field.name)[:num] for field in fields(self)})

    def with_normalised_advantages(self) -> "Samples":
        """Return the samples with advantages of mean zero and variance one."""
        advantages = self.advantages - self.advantages.mean()
        std = advantages.norm() / (len(advantages) - 1) ** 0.5
        return replace(self, advantages=advantages / (std + 1e-8))


@dataclass(frozen=True, slots=True, eq=False)
class ActorTerm:
    """A part of the actor's loss, with its gradient.

    Attributes:
        value: Its mean over the samples.
        by_output: Gradient of the mean with respect to the actor's outputs, (B, A).
        by_log_std: Gradient with respect to the logarithm of the learned deviation, (A,), if any.
    """

    value: Tensor
    by_output: Tensor
    by_log_std: Tensor | None = None


def surrogate(
    distribution: Distribution, outputs_BA: Tensor, samples: Samples, clip_range: float
) -> ActorTerm:
    """Return -mean min(r A, clip(r, 1 - c, 1 + c) A), r = pi(a) / pi_old(a).

    Args:
        distribution: Distribution of the actions around the outputs: pi.
        outputs_BA: The actor's outputs, at the states of the samples or at perturbed ones.
        samples: Actions a, their old probabilities, advantages A.
        clip_range: c.

    Reference:
        Schulman et al. 2017 (arXiv 1707.06347), equation 7.
    """
    log_prob = distribution.log_prob(outputs_BA, samples.actions)
    ratio = torch.exp(log_prob.value - samples.log_probs)
    gain = ratio * samples.advantages
    clipped_gain = ratio.clamp(1 - clip_range, 1 + clip_range) * samples.advantages
    # d(r A) = r A d(log pi); where the clipped one is the smaller, it is constant.
    weight_B1 = (gain * (gain <= clipped_gain) / -len(gain))[:, None]
    by_log_std = log_prob.by_log_std
    return ActorTerm(
        value=-torch.minimum(gain, clipped_gain).mean(),
        by_output=log_prob.by_output * weight_B1,
        by_log_std=None if by_log_std is None else (by_log_std * weight_B1).sum(0),
    )
