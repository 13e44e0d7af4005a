"""Objectives that a search climbs, and the best point of its way. B = batch, M = num_outputs."""

from collections.abc import Callable

import torch
from torch import Tensor

ValueAndGradient = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From outputs at perturbed states, (B, M), to the objective, (B,), and its gradient, (B, M)."""


def lead(choice_B1: Tensor) -> ValueAndGradient:
    """Return the margin of a discrete choice over the best other one."""

    def evaluate(moved_BM: Tensor) -> tuple[Tensor, Tensor]:
        rival = moved_BM.scatter(1, choice_B1, -torch.inf).max(1, keepdim=True)
        gradient_BM = torch.zeros_like(moved_BM).scatter_(1, choice_B1, 1.0)
        gradient_BM.scatter_(1, rival.indices, -1.0)
        return (moved_BM.gather(1, choice_B1) - rival.values)[:, 0], gradient_BM

    return evaluate


class Best:
    """The best perturbation of each row that a search has come by.

    Attributes:
        delta_BD: The perturbations, (B, D).
    """

    def __init__(self, start_BD: Tensor) -> None:
        self.delta_BD = start_BD
        self._value_B = torch.full((len(start_BD),), -torch.inf, dtype=start_BD.dtype)

    def offer(self, delta_BD: Tensor, value_B: Tensor) -> None:
        """Keep copies of the rows that improve on the kept ones; a search may overwrite its own."""
        better_B = value_B > self._value_B
        self.delta_BD = torch.where(better_B[:, None], delta_BD, self.delta_BD)
        self._value_B = torch.where(better_B, value_B, self._value_B)

    def of_restarts(self, restarts: int) -> Tensor:
        """Return the best of all restarts, (N, D)."""
        dim = self.delta_BD.shape[1]
        winner_N = self._value_B.reshape(restarts, -1).argmax(0)
        delta_RND = self.delta_BD.reshape(restarts, -1, dim)
        return delta_RND[winner_N, torch.arange(len(winner_N))]
