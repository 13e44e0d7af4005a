"""Pruning while training: masks on the weights of a network and on the optimiser's momentum."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from surefoot.compress.allocations import erdos_renyi_kernel, kept_globally, uniform
from surefoot.compress.masks import keep_largest, num_kept
from surefoot.compress.schedules import CubicSchedule
from surefoot.compress.scores import magnitude, never_return
from surefoot.train.config import MagnitudePruning


class Pruner:
    """Zeroes the smallest weights of one network on a schedule; biases stay.

    Law: after :meth:`apply`, and at every moment between two optimiser steps, a pruned weight is
    exactly zero.
    """

    def __init__(
        self, weights: Sequence[Tensor], config: MagnitudePruning, num_updates: int
    ) -> None:
        """Start dense.

        Args:
            weights: Of every layer, (fan_out, fan_in), changed in place.
            config: What to prune to, and when.
            num_updates: Optimiser steps of the whole training.
        """
        start = int(config.start * num_updates)
        self.schedule = CubicSchedule(
            target=config.sparsity,
            start=start,
            end=max(start + 1, int(config.end * num_updates)),
            interval=config.interval,
        )
        self._config = config
        self._weights = tuple(weights)
        self._masks = tuple(torch.ones_like(weight, requires_grad=False) for weight in weights)

    def mask_gradients(self) -> None:
        """Zero the gradients of pruned weights, before they are clipped and used."""
        for weight, mask in zip(self._weights, self._masks, strict=True):
            if weight.grad is not None:
                weight.grad.mul_(mask)

    def apply(self, update: int, optimiser: torch.optim.Optimizer) -> None:
        """Zero the pruned weights after optimiser step ``update``; change the masks if due."""
        if self.schedule.is_due(update):
            self._change_masks(update, optimiser)
        with torch.no_grad():
            for weight, mask in zip(self._weights, self._masks, strict=True):
                weight.mul_(mask)

    def _change_masks(self, update: int, optimiser: torch.optim.Optimizer) -> None:
        scores = [
            never_return(magnitude(weight.detach().cpu().numpy()), mask.cpu().numpy() > 0)
            for weight, mask in zip(self._weights, self._masks, strict=True)
        ]
        for score, kept, weight, mask in zip(
            scores, self._num_kept(scores, update), self._weights, self._masks, strict=True
        ):
            mask.copy_(torch.from_numpy(keep_largest(score, kept)))
            # Momentum of a weight that was alive would move it off zero again.
            for key in ("exp_avg", "exp_avg_sq"):
                if key in optimiser.state[weight]:
                    optimiser.state[weight][key].mul_(mask)

    def _num_kept(self, scores: Sequence[NDArray[np.floating]], update: int) -> list[int]:
        config = self._config
        if config.allocation == "global":
            sparsity = self.schedule.sparsity(update)
            return kept_globally(scores, sparsity, min_density=config.min_density)
        allocate = erdos_renyi_kernel if config.allocation == "erk" else uniform
        targets = allocate([score.shape for score in scores], config.sparsity)
        fraction = self.schedule.fraction(update)
        return [
            num_kept(score.size, fraction * target)
            for score, target in zip(scores, targets, strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        """Return the masks by layer number."""
        return {str(number): mask.cpu().numpy() > 0 for number, mask in enumerate(self._masks)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to stored masks."""
        for number, mask in enumerate(self._masks):
            mask.copy_(torch.from_numpy(state[str(number)]))
