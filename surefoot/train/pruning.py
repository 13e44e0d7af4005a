"""Pruning while training: one mask over a network's parameters, its gradient and its momentum.

A unit is what is pruned as a whole: one weight or one block of weights of any layer, or one neuron
of a hidden layer.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from surefoot.compress.blocks import block_scores, divides, weight_mask
from surefoot.compress.masks import Mask, keep_largest
from surefoot.compress.neurons import neuron_importance, neuron_masks, remove_neurons
from surefoot.compress.schedules import CubicSchedule
from surefoot.compress.scores import Score, Seen, never_return
from surefoot.compress.two_four import spare_two_of_four
from surefoot.policy import Layer
from surefoot.train.networks import TorchNetwork
from surefoot.train.pruned_units import Method, num_units_kept, reachable_target
from surefoot.train.pruning_config import (
    BlockPruning,
    GradientPruning,
    MagnitudeStePruning,
    NeuronPruning,
    TwoFourPruning,
)

Entry = TypeVar("Entry")


class Pruner:
    """Prunes one network on a schedule, between the steps of its optimiser.

    Law: after :meth:`after_step`, and so at every moment between two optimiser steps, a pruned
    parameter of the network is exactly zero.

    Attributes:
        schedule: Share of units that are pruned, over the updates.
        mask: Mask over all parameters of the network: 1 where they stay, 0 where they are pruned.
        trained: What the optimiser moves: the parameters of the network, or the dense ones
            underneath its masks.
    """

    def __init__(
        self,
        network: TorchNetwork,
        config: Method,
        num_updates: int,
        generator: np.random.Generator,
    ) -> None:
        """Start dense.

        Args:
            network: Changed in place.
            config: Target and schedule of pruning.
            num_updates: Optimiser steps of the whole training.
            generator: Source of the order of random pruning; drawn from here only.

        Raises:
            InputError: If the network has nothing to prune in this way, or not as much as asked.
        """
        self._config = config
        self._network = network
        # What scores single weights, and trains them, where blocks of them are pruned.
        self._of_weights = config.of_weights() if isinstance(config, BlockPruning) else config
        self._rows = config.rows if isinstance(config, BlockPruning) else 1
        self._straight_through = isinstance(self._of_weights, MagnitudeStePruning)
        self.trained = network.parameters
        if self._straight_through:
            self.trained = network.parameters.clone()
        self.mask = torch.ones_like(network.parameters)
        self._masks = network.views_of(self.mask)
        self._order = [generator.random(tuple(weight.shape)) for weight in network.mlp.weights]
        self._saliency = torch.zeros_like(network.parameters)
        start = int(config.start * num_updates)
        self.schedule = CubicSchedule(
            target=reachable_target(config, self._scores(), self._whole),
            start=start,
            end=max(start + 1, int(config.end * num_updates)),
            interval=config.interval,
        )

    def before_step(self) -> None:
        """Take in the gradient of the minibatch; zero that of pruned parameters.

        Parameters that are trained underneath their masks keep the gradient of the masked network
        (the straight-through estimator).
        """
        if isinstance(self._of_weights, GradientPruning):
            saliency = (self._network.parameters * self._network.gradient).abs_()
            self._saliency.lerp_(saliency, 1 - self._of_weights.memory)
        if not self._straight_through:
            self._network.gradient.mul_(self.mask)

    def after_step(self, update: int, momentum: Mapping[str, torch.Tensor]) -> None:
        """Change the mask if it is due, and zero the pruned parameters of the network.

        Args:
            update: Number of the optimiser step just taken, from 1.
            momentum: The optimiser's state of :attr:`trained`.
        """
        # What is not finite has no order; the run stops at the end of this iteration.
        if self.schedule.is_due(update) and bool(torch.isfinite(self.trained).all()):
            self._change_mask(self.schedule.fraction(update))
            if not self._straight_through:
                # Momentum of a weight that was alive would move it off zero again.
                for key in ("exp_avg", "exp_avg_sq"):
                    momentum[key].mul_(self.mask)
        torch.mul(self.trained, self.mask, out=self._network.parameters)

    def deployed(self, layers: Sequence[Layer]) -> tuple[Layer, ...]:
        """Return layers of the network, masked, as they are deployed: without pruned neurons."""
        if isinstance(self._config, NeuronPruning):
            return remove_neurons(layers, self._alive())
        return tuple(layers)

    def _alive(self) -> list[Mask]:
        """Mark the units that are not pruned, layer by layer."""
        if isinstance(self._config, NeuronPruning):
            return [_numpy(mask) > 0 for mask in self._masks.biases[:-1]]
        return [_numpy(mask)[:: self._rows] > 0 for mask in self._divided(self._masks.weights)]

    def _divided(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return those of one entry per layer whose layers the units cover."""
        return [
            entry
            for entry, mask in zip(entries, self._masks.weights, strict=True)
            if divides(self._rows, mask.shape)
        ]

    @property
    def _whole(self) -> int:
        """Number of weights of layers that the units do not cover."""
        masks = self._masks.weights
        return sum(mask.numel() for mask in masks if not divides(self._rows, mask.shape))

    def _available(self) -> list[int]:
        """Count the units of each layer that may stay: what is pruned returns only under STE."""
        if self._straight_through:
            return [mask.size for mask in self._alive()]
        return [int(mask.sum()) for mask in self._alive()]

    def _scores(self) -> list[Score]:
        """Score each unit; weights that are trained underneath count too."""
        dense = self._network.views_of(self.trained)
        weights = [_numpy(weight) for weight in dense.weights]
        if isinstance(self._of_weights, NeuronPruning):
            return neuron_importance(weights, [_numpy(bias) for bias in dense.biases])
        changes = [_numpy(change) for change in self._network.views_of(self._saliency).weights]
        scores = [
            self._of_weights.score(Seen(weight=weight, change=change, order=order))
            for weight, change, order in zip(weights, changes, self._order, strict=True)
        ]
        return [block_scores(score, self._rows) for score in self._divided(scores)]

    def _change_mask(self, fraction: float) -> None:
        scores = self._scores()
        if not self._straight_through:
            scores = [
                never_return(score, alive)
                for score, alive in zip(scores, self._alive(), strict=True)
            ]
        if isinstance(self._config, TwoFourPruning):
            scores = [spare_two_of_four(score) for score in scores]
        kept = num_units_kept(self._config, scores, fraction, self._available(), self._whole)
        masks = [keep_largest(score, count) for score, count in zip(scores, kept, strict=True)]
        if isinstance(self._config, NeuronPruning):
            ends = self._masks.weights[0].shape[1], self._masks.weights[-1].shape[0]
            masks, bias_masks = neuron_masks(masks, *ends)
            for mask, view in zip(bias_masks, self._masks.biases, strict=True):
                view.copy_(torch.from_numpy(mask))
        for mask, view in zip(masks, self._divided(self._masks.weights), strict=True):
            view.copy_(torch.from_numpy(weight_mask(mask, self._rows)))

    def state_dict(self) -> dict[str, Any]:
        """Return the mask and what the next one depends on beside the parameters."""
        state = {"mask": _numpy(self.mask) > 0}
        if isinstance(self._of_weights, GradientPruning):
            state["saliency"] = _numpy(self._saliency).copy()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a stored state; :attr:`trained` is already as it was."""
        self.mask.copy_(torch.from_numpy(state["mask"]))
        if isinstance(self._of_weights, GradientPruning):
            self._saliency.copy_(torch.from_numpy(state["saliency"]))
        torch.mul(self.trained, self.mask, out=self._network.parameters)


def _numpy(tensor: torch.Tensor) -> NDArray[Any]:
    return tensor.cpu().numpy()
