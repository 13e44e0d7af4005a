"""A bound on how fast the actions can change, held under a limit while training.

Both bounds are of the closed forms of `surefoot.certify`, in float64, of float32 weights. Scaling
every matrix by c scales a bound by c^L for L layers: hence one projection serves both.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from surefoot.activation import Activation, AnyActivation
from surefoot.ball import Norm
from surefoot.envs.vector import BoxActions, EnvSpec
from surefoot.errors import InputError
from surefoot.train.defence_config import LipschitzTarget
from surefoot.train.networks import SILU_SLOPES, Mlp, TorchNetwork

_MARGIN = 1e-5
"""Share of the limit that is left free: scaled float32 weights are off by 2^-23 per layer, and the
certifier rounds upwards."""

_SLOPES: dict[AnyActivation, tuple[float, float]] = {
    Activation.IDENTITY: (1.0, 1.0),
    Activation.RELU: (0.0, 1.0),
    Activation.TANH: (0.0, 1.0),
    Activation.SIGMOID: (0.0, 0.25),
    Activation.SILU: SILU_SLOPES,
    Activation.ELU: (0.0, 1.0),
    Activation.SOFTPLUS: (0.0, 1.0),
}
"""Ranges of the secant slopes of what is trained with."""


class LipschitzLimit:
    """The projection of an actor to where its bound is under the limit."""

    def __init__(self, target: LipschitzTarget, spec: EnvSpec, device: torch.device) -> None:
        """Take the units from the task.

        Args:
            target: The bounded constant and its limit.
            spec: Description of the task.
            device: Device of the actor.

        Raises:
            InputError: If the actions are discrete.
        """
        if not isinstance(spec.actions, BoxActions):
            raise InputError(
                "defence must not be lipschitz for discrete actions, which do not depend"
                f" on the scale of the logits, got {spec.env_id}"
            )
        half_range = (spec.actions.high - spec.actions.low) / 2
        self.target = target
        self._half_range = torch.from_numpy(half_range).to(device).double()

    def bound(self, actor: Mlp) -> Tensor:
        """Return the bound of an actor: action units per normalised unit; differentiable."""
        target = self.target
        weights = [weight.double() for weight in actor.weights]
        weights[-1] = self._half_range[:, None] * weights[-1]
        slopes = [_SLOPES[activation] for activation in actor.activations[:-1]]
        if target.bound == "absolute_product":
            rows = absolute_rows(weights, slopes, target.norm)
        else:
            rows = combettes_pesquet_rows(weights, slopes, target.norm)
        if target.quantity == "action_deviation":
            return rows.amax()
        return _lengths(rows)

    def project(
        self,
        network: TorchNetwork,
        vector: Tensor,
        progress: float,
        underneath: Tensor | None = None,
    ) -> None:
        """Bring parameters under the limit, in place; zeros stay zero.

        Args:
            network: Network whose layout the parameters have.
            vector: The parameters: of the network itself, or an average of them.
            progress: Share of the training that is done.
            underneath: Dense parameters of which ``vector`` is the masked part; they follow.
        """
        limit = self.target.limit(progress) * (1 - _MARGIN)
        vectors = [vector] if underneath is None or underneath is vector else [vector, underneath]
        if self.target.projection == "nearest":
            step = self._step_to_limit(network, vector, limit)
            for entry in vectors:
                entry.sub_(step)
        factor = (limit / self.bound(network.views_of(vector))).clamp(max=1.0)
        for entry in vectors:
            weights = network.views_of(entry).weights
            for weight in weights:
                weight.mul_(factor ** (1 / len(weights)))

    def _step_to_limit(self, network: TorchNetwork, vector: Tensor, limit: float) -> Tensor:
        """Return the shortest step to the limit that the gradient of log(bound) knows of."""
        with torch.inference_mode(False), torch.enable_grad():
            leaf = vector.clone().requires_grad_()
            excess = torch.log(self.bound(network.views_of(leaf)).clamp(min=1e-30) / limit)
            (slope,) = torch.autograd.grad(excess, leaf)
        slope = slope * (vector != 0)
        length = excess.detach().clamp(min=0) / (slope.square().sum() + 1e-12)
        return slope * length.float()


def absolute_rows(
    weights: Sequence[Tensor], slopes: Sequence[tuple[float, float]], norm: Norm
) -> Tensor:
    """Return the norms of the rows of |W_L| S ... S |W_1|: 1-norms for linf, 2-norms for l2.

    Args:
        weights: W_1 to W_L.
        slopes: Least and largest slope of each of the L - 1 activations; S is the largest.
        norm: Norm of the inputs.
    """
    largest = [max(-least, most) for least, most in slopes]
    product = weights[0].abs()
    if norm is Norm.LINF:
        product = product.sum(1, keepdim=True)
    for weight, slope in zip(weights[1:], largest, strict=True):
        product = slope * (weight.abs() @ product)
    return _lengths(product)


def combettes_pesquet_rows(
    weights: Sequence[Tensor], slopes: Sequence[tuple[float, float]], norm: Norm
) -> Tensor:
    """Return for each output the sum over all cuts of the products of the pieces' norms.

    With slopes in [m - r, m + r] an activation counts |m| where the chain is not cut, r where it
    is. In an linf ball the bound is sqrt(d) times that of l2.

    Reference:
        Combettes and Pesquet, arXiv 1903.01014.
    """
    middle = [abs(least + most) / 2 for least, most in slopes]
    radius = [(most - least) / 2 for least, most in slopes]
    last = len(weights) - 1
    reach = [torch.ones((), dtype=weights[0].dtype, device=weights[0].device)]
    for end in range(1, last + 1):
        pieces: list[Tensor] = []
        product: Tensor | None = None
        for start in range(end - 1, -1, -1):
            product = weights[start] if product is None else product @ weights[start]
            uncut = math.prod(middle[start : end - 1])
            pieces.append(reach[start] * _spectral_norm(product) * uncut)
        reach.append(radius[end - 1] * torch.stack(pieces).sum())
    top: Tensor | None = None
    rows: list[Tensor] = []
    for start in range(last, -1, -1):
        top = weights[start] if top is None else top @ weights[start]
        uncut = math.prod(middle[start:last])
        rows.append(_lengths(top) * reach[start] * uncut)
    total = torch.stack(rows).sum(0)
    return total * math.sqrt(weights[0].shape[1]) if norm is Norm.LINF else total


def _lengths(rows: Tensor) -> Tensor:
    """Return the l2 norm along the last dimension."""
    lengths: Tensor = torch.linalg.vector_norm(rows, dim=-1)
    return lengths


def _spectral_norm(matrix: Tensor) -> Tensor:
    """Return the largest singular value, by the smaller of the two Gram matrices."""
    wide = matrix.shape[1] > matrix.shape[0]
    gram = matrix @ matrix.t() if wide else matrix.t() @ matrix
    eigenvalues: Tensor = torch.linalg.eigvalsh(gram)
    return eigenvalues[-1].clamp(min=1e-300).sqrt()
