"""The average of the actor's weights over the last part of the training."""

from collections.abc import Mapping
from typing import Any

import torch

from surefoot.train.networks import Mlp, TorchNetwork


class WeightAverage:
    """An exponential average of a network's parameters, one sample per iteration.

    Single policies on the way may differ widely in return although their training returns agree;
    their average is steadier, and its weights are smaller.

    Attributes:
        parameters: The average.
        mlp: Views of it.

    Reference:
        Polyak and Juditsky 1992; for networks Izmailov et al. 2018 (arXiv 1803.05407).
    """

    def __init__(self, network: TorchNetwork, num_iterations: float) -> None:
        """Start at the network as it is.

        Args:
            network: Is only read.
            num_iterations: Over how many the average reaches; at most 1 for none.
        """
        self._network = network
        self._share = 1 / max(1.0, num_iterations)
        self.parameters = network.parameters.clone()
        self.mlp: Mlp = network.views_of(self.parameters)

    def update(self, mask: torch.Tensor | None) -> None:
        """Take in the network of this moment; entries that ``mask`` has pruned become zero."""
        self.parameters.lerp_(self._network.parameters, self._share)
        if mask is not None:
            self.parameters.mul_(mask)

    def state_dict(self) -> dict[str, Any]:
        """Return the average."""
        return {"parameters": self.parameters.cpu().numpy().copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a stored average."""
        self.parameters.copy_(torch.from_numpy(state["parameters"]))
