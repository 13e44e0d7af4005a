"""Action distributions as the update sees them: log-probability, entropy, distance.

B = batch, A = number of actuators, K = number of discrete actions. Written by hand: the objects of
`torch.distributions` cost 4 to 13 percent of an update.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LOG_TWO_PI = math.log(2 * math.pi)


@dataclass(frozen=True, slots=True, eq=False)
class Gaussian:
    """Independent normal actions around the output of the actor, before squash and scale.

    Attributes:
        log_std: Logarithm of the standard deviation, (A,); the same at every state.
    """

    log_std: Tensor

    def log_prob(self, mean_BA: Tensor, action_BA: Tensor) -> Tensor:
        """Return the log-density of actions, (B,)."""
        z_BA = (action_BA - mean_BA) * torch.exp(-self.log_std)
        constant = self.log_std.sum() + 0.5 * _LOG_TWO_PI * self.log_std.numel()
        return -0.5 * z_BA.square().sum(1) - constant

    def entropy(self, mean_BA: Tensor) -> Tensor:
        """Return the mean entropy, a scalar; constant while ``log_std`` is."""
        del mean_BA
        return (self.log_std + 0.5 * (_LOG_TWO_PI + 1)).sum()

    def squared_distance(self, mean_BA: Tensor, other_BA: Tensor) -> Tensor:
        """Return D^2 = 2 KL between the laws at two means, (B,)."""
        return ((other_BA - mean_BA) * torch.exp(-self.log_std)).square().sum(1)

    def squared_distance_gradient(self, mean_BA: Tensor, other_BA: Tensor) -> Tensor:
        """Return the gradient of D^2 with respect to the second mean, (B, A)."""
        return (other_BA - mean_BA) * (2 * torch.exp(-2 * self.log_std.detach()))

    def noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return what :meth:`sample` adds, (*shape, A)."""
        shape = (*shape, self.log_std.numel())
        unit = generator.standard_normal(shape, dtype=np.float32)
        return unit * np.exp(self.log_std.detach().cpu().numpy())

    def sample(
        self, mean_BA: NDArray[np.float32], noise_BA: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return actions, (B, A), before squash and scale."""
        return mean_BA + noise_BA


@dataclass(frozen=True, slots=True)
class Categorical:
    """One of K actions with probabilities softmax(logits).

    Attributes:
        num_actions: K.
    """

    num_actions: int

    def log_prob(self, logits_BK: Tensor, action_B: Tensor) -> Tensor:
        """Return the log-probability of actions, (B,)."""
        return torch.log_softmax(logits_BK, 1).gather(1, action_B[:, None])[:, 0]

    def entropy(self, logits_BK: Tensor) -> Tensor:
        """Return the mean entropy, a scalar."""
        log_p_BK = torch.log_softmax(logits_BK, 1)
        return -(log_p_BK.exp() * log_p_BK).sum(1).mean()

    def squared_distance(self, logits_BK: Tensor, other_BK: Tensor) -> Tensor:
        """Return 2 KL(first, second), (B,)."""
        log_p_BK = torch.log_softmax(logits_BK, 1)
        return 2 * (log_p_BK.exp() * (log_p_BK - torch.log_softmax(other_BK, 1))).sum(1)

    def squared_distance_gradient(self, logits_BK: Tensor, other_BK: Tensor) -> Tensor:
        """Return the gradient of 2 KL with respect to the second logits, (B, K)."""
        return 2 * (torch.softmax(other_BK, 1) - torch.softmax(logits_BK, 1))

    def noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return what :meth:`sample` adds, (*shape, K)."""
        return generator.gumbel(size=(*shape, self.num_actions)).astype(np.float32)

    def sample(
        self, logits_BK: NDArray[np.float32], noise_BK: NDArray[np.float32]
    ) -> NDArray[np.int64]:
        """Return actions, (B,): the Gumbel-max trick."""
        return np.argmax(logits_BK + noise_BK, axis=1)


Distribution = Gaussian | Categorical
