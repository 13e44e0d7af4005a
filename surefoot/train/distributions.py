"""Action distributions as the update sees them: log-probability, entropy, distance.

B = batch, A = number of actuators, K = number of discrete actions. Written by hand: the objects of
`torch.distributions` cost 4 to 13 percent of an update.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LOG_TWO_PI = math.log(2 * math.pi)


@dataclass(frozen=True, slots=True, eq=False)
class LogProb:
    """Log-probabilities of actions with their gradient.

    Attributes:
        value: Shape (B,).
        by_output: Derivative by the actor's outputs, of their shape.
        by_log_std: Derivative by the logarithm of the standard deviation, (B, A), if any.
    """

    value: Tensor
    by_output: Tensor
    by_log_std: Tensor | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Gaussian:
    """Independent normal actions around the output of the actor, before squash and scale.

    Attributes:
        log_std: Logarithm of the standard deviation, (A,); the same at every state.
        learned: Whether ``log_std`` is trained.
    """

    log_std: Tensor
    learned: bool

    def log_prob(self, mean_BA: Tensor, action_BA: Tensor) -> LogProb:
        """Return the log-density of actions."""
        inverse_std_A = torch.exp(-self.log_std)
        z_BA = (action_BA - mean_BA) * inverse_std_A
        squares_BA = z_BA.square()
        constant = self.log_std.sum() + 0.5 * _LOG_TWO_PI * self.log_std.numel()
        return LogProb(
            value=-0.5 * squares_BA.sum(1) - constant,
            by_output=z_BA * inverse_std_A,
            by_log_std=squares_BA - 1 if self.learned else None,
        )

    def entropy_gradient(self, mean_BA: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient of the mean entropy by means and by ``log_std``: zero and one."""
        return torch.zeros_like(mean_BA), torch.ones_like(self.log_std)

    def squared_distance(self, mean_BA: Tensor, other_BA: Tensor) -> Tensor:
        """Return D^2 = 2 KL between the laws at two means, (B,)."""
        return ((other_BA - mean_BA) * torch.exp(-self.log_std)).square().sum(1)

    def squared_distance_bound(self, mean_BA: Tensor, lower_BA: Tensor, upper_BA: Tensor) -> Tensor:
        """Return a bound on D^2 = 2 KL for every second mean that lies between two, (B,)."""
        farthest_BA = torch.maximum(mean_BA - lower_BA, upper_BA - mean_BA)
        return (farthest_BA * torch.exp(-self.log_std)).square().sum(1)

    def squared_distance_gradient(
        self, mean_BA: Tensor, factor: float = 1.0
    ) -> Callable[[Tensor], Tensor]:
        """Return the gradient of ``factor`` D^2 as a function of the second mean, (B, A)."""
        slope_A = 2 * factor * torch.exp(-2 * self.log_std)
        return lambda other_BA: (other_BA - mean_BA).mul_(slope_A)

    def noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return the noise that :meth:`sample` adds, (*shape, A)."""
        shape = (*shape, self.log_std.numel())
        unit = generator.standard_normal(shape, dtype=np.float32)
        scaled: NDArray[np.float32] = unit * np.exp(self.log_std.cpu().numpy())
        return scaled

    def sample(
        self, mean_BA: NDArray[np.float32], noise_BA: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return actions, (B, A), before squash and scale."""
        return mean_BA + noise_BA


@dataclass(frozen=True, kw_only=True, slots=True)
class Categorical:
    """One of K actions with probabilities softmax(logits).

    Attributes:
        num_actions: K.
    """

    num_actions: int

    def log_prob(self, logits_BK: Tensor, action_B: Tensor) -> LogProb:
        """Return the log-probability of actions."""
        log_p_BK = torch.log_softmax(logits_BK, 1)
        chosen_BK = torch.nn.functional.one_hot(action_B, self.num_actions)
        return LogProb(
            value=log_p_BK.gather(1, action_B[:, None])[:, 0],
            by_output=chosen_BK - log_p_BK.exp(),
            by_log_std=None,
        )

    def entropy_gradient(self, logits_BK: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the mean entropy by logits: -p (log p + H) / B."""
        log_p_BK = torch.log_softmax(logits_BK, 1)
        p_BK = log_p_BK.exp()
        entropy_B1 = -(p_BK * log_p_BK).sum(1, keepdim=True)
        return -p_BK * (log_p_BK + entropy_B1) / len(logits_BK), None

    def squared_distance(self, logits_BK: Tensor, other_BK: Tensor) -> Tensor:
        """Return 2 KL(first, second), (B,)."""
        log_p_BK = torch.log_softmax(logits_BK, 1)
        return 2 * (log_p_BK.exp() * (log_p_BK - torch.log_softmax(other_BK, 1))).sum(1)

    def squared_distance_bound(
        self, logits_BK: Tensor, lower_BK: Tensor, upper_BK: Tensor
    ) -> Tensor:
        """Return a bound on 2 KL for all second logits that lie between two, (B,).

        KL = sum_k p_k (z_k - z'_k) + lse(z') - lse(z), and lse rises with every logit.
        """
        p_BK = torch.softmax(logits_BK, 1)
        first = (p_BK * (logits_BK - lower_BK)).sum(1)
        return 2 * (first + torch.logsumexp(upper_BK, 1) - torch.logsumexp(logits_BK, 1))

    def squared_distance_gradient(
        self, logits_BK: Tensor, factor: float = 1.0
    ) -> Callable[[Tensor], Tensor]:
        """Return the gradient of ``factor`` 2 KL as a function of the second logits, (B, K)."""
        p_BK = torch.softmax(logits_BK, 1)
        return lambda other_BK: (torch.softmax(other_BK, 1) - p_BK).mul_(2 * factor)

    def noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return the noise that :meth:`sample` adds, (*shape, K)."""
        return generator.gumbel(size=(*shape, self.num_actions)).astype(np.float32)

    def sample(
        self, logits_BK: NDArray[np.float32], noise_BK: NDArray[np.float32]
    ) -> NDArray[np.int64]:
        """Return actions, (B,): the Gumbel-max trick."""
        choices: NDArray[np.int64] = np.argmax(logits_BK + noise_BK, axis=1)
        return choices


Distribution = Gaussian | Categorical
