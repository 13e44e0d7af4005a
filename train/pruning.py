"""Pruning while training: one mask over a network's parameters, its gradient and its momentum."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from surefoot.compress.allocations import erdos_renyi_kernel, kept_globally, uniform
from surefoot.compress.masks import keep_largest, num_kept
from surefoot.compress.schedules import CubicSchedule
from surefoot.compress.scores import magnitude, never_return
from surefoot.train.config import MagnitudePruning
from surefoot.train.networks import Network


class Pruner:
    """Zeroes the smallest weights of one network on a schedule; biases stay.

    Law: after :meth:`apply`, and so at every moment between two optimiser steps, a pruned weight
    is exactly zero.
    """

    def __init__(self, network: Network, config: MagnitudePruning, num_updates: int) -> None:
        """Start dense.

        Args:
            network: Changed in place.
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
        self._network = network
        self.mask = torch.ones_like(network.parameters)
        self._weight_masks = network.views_of(self.mask).weights
        shapes = [(mask.shape[0], mask.shape[1]) for mask in self._weight_masks]
        allocate = erdos_renyi_kernel if config.allocation == "erk" else uniform
        self._targets = allocate(shapes, config.sparsity)

    def mask_gradient(self) -> None:
        """Zero the gradient of pruned weights, before it is clipped and used."""
        self._network.gradient.mul_(self.mask)

    def apply(self, update: int, momentum: Mapping[str, torch.Tensor]) -> None:
        """Zero the pruned weights after optimiser step ``update``; change the mask if due.

        Args:
            update: Number of the step just taken, from 1.
            momentum: The optimiser's state of this network.
        """
        if self.schedule.is_due(update):
            self._change_mask(update)
            # Momentum of a weight that was alive would move it off zero again.
            for key in ("exp_avg", "exp_avg_sq"):
                momentum[key].mul_(self.mask)
        self._network.parameters.mul_(self.mask)

    def _change_mask(self, update: int) -> None:
        scores = [
            never_return(magnitude(weight.cpu().numpy()), mask.cpu().numpy() > 0)
            for weight, mask in zip(self._network.mlp.weights, self._weight_masks, strict=True)
        ]
        for score, kept, mask in zip(
            scores, self._num_kept(scores, update), self._weight_masks, strict=True
        ):
            mask.copy_(torch.from_numpy(keep_largest(score, kept)))

    def _num_kept(self, scores: Sequence[NDArray[np.floating]], update: int) -> list[int]:
        config = self._config
        if config.allocation == "global":
            sparsity = self.schedule.sparsity(update)
            return kept_globally(scores, sparsity, min_density=config.min_density)
        fraction = self.schedule.fraction(update)
        return [
            num_kept(score.size, fraction * target)
            for score, target in zip(scores, self._targets, strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        """Return the mask."""
        return {"mask": self.mask.cpu().numpy() > 0}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a stored mask."""
        self.mask.copy_(torch.from_numpy(state["mask"]))
