"""What a controller computes, in one place.

    state   z = clip((o - mean) / scale, -clip, clip)
    network h_0 = z;  h_i = phi_i(W_i h_{i-1} + b_i);  the last phi is the identity
    Gaussian head     action = centre + half_range * squash(h_L)      (the mean; std is its noise)
    categorical head  output = h_L, the logits; the action is start + their argmax

Every other reading of a policy (the torch twin, the certifier's chain, ONNX, C) is tested equal to
:meth:`Policy.outputs`.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from surefoot.activation import Activation as Activation
from surefoot.activation import (
    AnyActivation,
    Mixed,
    Product,
    RmsNorm,
    is_elementwise,
    parts_of,
    require_halves,
)
from surefoot.activation import Array as Array
from surefoot.ball import Ball, Norm
from surefoot.errors import InputError
from surefoot.memory import Memory as Memory

LARGEST_UNIT = 2.0**60
"""Largest unit, relative to the state's, of what a file with an own :class:`Rounding` holds on the
way to the state; others are not read."""

NO_NOISE = "the file names no noise"
"""Why nothing is known about the policy that samples its actions."""

NO_SLOPES = (
    "a layer normalises over its neurons: as steep as 1 / sqrt(epsilon) where all are near zero, "
    'it is bounded around states alone, with scope = "visited" or "recorded"'
)
"""Why nothing bounds a controller with a normalisation over neurons in every state."""


NO_PRODUCT_SLOPES = (
    "a layer multiplies two values that it computes, and is as steep as these are large: it "
    'is bounded around states alone, with scope = "visited" or "recorded", and in a region'
)
"""Why nothing bounds a controller with products of computed values in every state."""


NO_CHOICE = "the controller chooses nothing: its outputs are actions"
"""Why nothing can be said about its choices."""


class Squash(StrEnum):
    """How a Gaussian mean becomes an action in [-1, 1] before it is scaled."""

    IDENTITY = "identity"
    CLIP = "clip"
    TANH = "tanh"

    def __call__(self, x: Array) -> Array:
        """Apply the function elementwise, in the dtype of ``x``."""
        if self is Squash.CLIP:
            return np.clip(x, -1, 1)
        return np.asarray(np.tanh(x)) if self is Squash.TANH else x


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Rounding:
    """How a file rounds that computes the same function in other steps than the canonical file.

    Its error is at most ``count`` roundings of the magnitude of the sum, ``excess`` added.

    Attributes:
        count: Largest number of roundings of one term of a sum.
        excess: Amount by which what is rounded may exceed the terms of the sum, shape (width,).
        in_one_pass: Whether the mean square of what is centred here may be computed as E[x^2] less
            the square of E[x]: the LayerNormalization of ONNX Runtime does.
    """

    count: int
    excess: Array
    in_one_pass: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Normaliser:
    """The frozen observation normaliser: z = clip((o - mean) / scale, -clip, clip).

    Attributes:
        mean: Shape (obs_dim,), raw units.
        scale: Shape (obs_dim,), raw units, positive. It is the standard deviation plus
            a floor, see ``surefoot.sensors``.
        clip: Largest magnitude of a state, in normalised units; infinity for none.
        factor: Shape (obs_dim,), what a file holds that multiplies by 1 / scale instead; or None.
        rounding: How a file of others rounds on the way to the state; None for at most one
            difference and one quotient or product.
    """

    mean: Array
    scale: Array
    clip: float
    factor: Array | None = None
    rounding: Rounding | None = None

    def __post_init__(self) -> None:
        """Check shapes and values.

        Raises:
            InputError: If an array is not a finite vector, a scale is not positive or so is clip,
                or a factor is not the reciprocal of its scale.
        """
        _require_finite("normaliser mean", self.mean, (self.mean.size,))
        _require_finite("normaliser scale", self.scale, (self.mean.size,))
        if not (self.scale > 0).all():
            raise InputError(f"normaliser scale must be positive, got {self.scale.min()}")
        if not self.clip > 0:
            raise InputError(f"normaliser clip must be positive, got {self.clip}")
        if self.factor is not None and not np.array_equal(self.scale, _reciprocal(self.factor)):
            raise InputError("normaliser scale must be 1 / factor in float64")

    @classmethod
    def multiplying(cls, mean: Array, factor: Array, clip: float) -> "Normaliser":
        """Return z = clip((o - mean) * factor, -clip, clip), as brax and JAX write it."""
        return cls(mean=mean, scale=_reciprocal(factor), clip=clip, factor=factor)

    @property
    def num_roundings(self) -> int:
        """Largest number of roundings on the way to a state."""
        return 3 if self.rounding is None else self.rounding.count

    @property
    def excess(self) -> Array:
        """Amount by which what is rounded may exceed the state, normalised units, (obs_dim,)."""
        return np.zeros(self.mean.size) if self.rounding is None else self.rounding.excess

    def reach(self, state_bound: Array) -> Array:
        """Return the largest number on the way to states within ``state_bound``, (obs_dim,)."""
        if self.rounding is None:
            return np.asarray(state_bound * self.scale.astype(np.float64))
        return np.asarray((state_bound + self.rounding.excess) * LARGEST_UNIT)

    def unclipped(self, obs: Array) -> Array:
        """Return (o - mean) / scale in the dtype of ``obs``, shape (batch, obs_dim)."""
        difference = obs - self.mean.astype(obs.dtype)
        if self.factor is not None:
            return np.asarray(difference * self.factor.astype(obs.dtype))
        return np.asarray(difference / self.scale.astype(obs.dtype))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Layer:
    """An affine map and the activation after it.

    Attributes:
        weight: Shape (fan_out, fan_in).
        bias: Shape (fan_out,).
        activation: Applied to weight @ x + bias.
        is_weight: Which entries of ``weight`` are weights, bool, its shape; None for all. The
            others are structure: zeros between branches, ones that give a value on. They do not
            count for the sparsity, and no compression changes them.
        rounding: How a file of others rounds before the activation; None for at most two roundings
            of each term, and one of each sum of two terms that are not zero.
    """

    weight: Array
    bias: Array
    activation: AnyActivation
    is_weight: NDArray[np.bool_] | None = None
    rounding: Rounding | None = None

    def __post_init__(self) -> None:
        """Check shapes and values.

        Raises:
            InputError: If the arrays do not fit or are not finite.
        """
        if self.weight.ndim != 2 or 0 in self.weight.shape:
            raise InputError(f"weight must have shape (fan_out, fan_in), got {self.weight.shape}")
        _require_finite("weight", self.weight, self.weight.shape)
        _require_finite("bias", self.bias, (self.weight.shape[0],))
        if isinstance(self.activation, Mixed) and self.activation.width != self.bias.size:
            raise InputError(
                f"activation must have {self.bias.size} neurons, got {self.activation.value}"
            )
        require_halves(self.activation, self.bias.size)
        if self.is_weight is not None and self.is_weight.shape != self.weight.shape:
            raise InputError(
                f"is_weight must have shape {self.weight.shape}, got {self.is_weight.shape}"
            )

    @property
    def weights(self) -> Array:
        """The entries of ``weight`` that are weights, as a vector."""
        return self.weight.reshape(-1) if self.is_weight is None else self.weight[self.is_weight]

    @property
    def num_roundings(self) -> int:
        """Largest number of roundings of one term of weight @ x + bias."""
        return self.weight.shape[1] + 2 if self.rounding is None else self.rounding.count

    @property
    def excess(self) -> Array:
        """Amount by which what is rounded may exceed the terms of the sum, shape (fan_out,)."""
        return np.zeros(self.bias.size) if self.rounding is None else self.rounding.excess


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GaussianHead:
    """A Gaussian over actions, deployed by its mean: centre + half_range * squash(mean).

    Attributes:
        std: Standard deviation of the training distribution before squash, shape (act_dim,); None
            where the file names none, so that only its mean is known.
        squash: Brings the mean into [-1, 1].
        centre: Shape (act_dim,), action units.
        half_range: Shape (act_dim,), action units, positive.
        rounding: How a file of others rounds behind the squash; None for at most one product and
            one sum.
    """

    std: Array | None
    squash: Squash
    centre: Array
    half_range: Array
    rounding: Rounding | None = None

    def __post_init__(self) -> None:
        """Check shapes and values.

        Raises:
            InputError: If the arrays do not fit, are not finite or not positive where they must be.
        """
        given = {"half_range": self.half_range}
        if self.std is not None:
            given = {"std": self.std} | given
        shape = (self.centre.size if self.std is None else self.std.size,)
        for name, array in {**given, "centre": self.centre}.items():
            _require_finite(f"head {name}", array, shape)
        for name, array in given.items():
            if not (array > 0).all():
                raise InputError(f"head {name} must be positive, got {array.min()}")

    @property
    def num_roundings(self) -> int:
        """Largest number of roundings behind the squash."""
        return 3 if self.rounding is None else self.rounding.count

    @property
    def excess(self) -> Array:
        """Amount by which what is rounded may exceed its terms, action units, (act_dim,)."""
        return np.zeros(self.centre.size) if self.rounding is None else self.rounding.excess

    @property
    def noise(self) -> Array:
        """Standard deviation of the sampled action before squash, shape (act_dim,).

        Raises:
            InputError: If the file names none: nothing can be said about the sampling policy.
        """
        if self.std is None:
            raise InputError(NO_NOISE)
        return self.std

    def outputs(self, network_output: Array) -> Array:
        """Return actions, shape (batch, act_dim), action units."""
        kind = network_output.dtype.type
        squashed = self.squash(network_output)
        return np.asarray(squashed * self.half_range.astype(kind) + self.centre.astype(kind))

    def act(self, sample: Array) -> Array:
        """Convert sampled means to actions for the environment, shape (batch, act_dim)."""
        return self.outputs(sample)

    def select(self, outputs: Array) -> Array:
        """Return the actions for the environment: the outputs themselves."""
        return outputs


@dataclass(frozen=True, kw_only=True, slots=True)
class CategoricalHead:
    """A softmax over ``num_actions`` actions, deployed by its most probable one.

    Attributes:
        num_actions: Number of actions.
        start: The environment's own number for the first of them (``start`` of Gymnasium's
            ``Discrete``); the others follow.
    """

    num_actions: int
    start: int = 0

    def __post_init__(self) -> None:
        """Check the number of actions.

        Raises:
            InputError: If there are fewer than two, or an int of C cannot hold one.
        """
        if self.num_actions < 2:
            raise InputError(f"num_actions must be at least 2, got {self.num_actions}")
        if not -(2**31) <= self.start <= 2**31 - self.num_actions:
            raise InputError(f"start must leave every action in 32 bits, got {self.start}")

    def outputs(self, network_output: Array) -> Array:
        """Return the logits, shape (batch, num_actions)."""
        return network_output

    def act(self, choice: Array) -> Array:
        """Convert choices counted from zero to those of the environment, shape (batch,)."""
        return choice + self.start

    def select(self, outputs: Array) -> Array:
        """Return the environment's choices: ``start`` + argmax of the logits, (batch,), int64."""
        return self.act(np.argmax(outputs, axis=1))


Head = GaussianHead | CategoricalHead


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Policy:
    """A network with its normaliser and head.

    Attributes:
        normaliser: Frozen statistics of the observations.
        layers: First to last; the last activation is the identity.
        head: Meaning of the last layer's output.
        memory: What a recurrent controller remembers; None where each step stands alone.
    """

    normaliser: Normaliser
    layers: tuple[Layer, ...]
    head: Head
    memory: Memory | None = None

    def __post_init__(self) -> None:
        """Check that the pieces fit each other.

        Raises:
            InputError: If they do not.
        """
        if not self.layers:
            raise InputError("layers must hold at least one layer")
        sizes = [self.normaliser.mean.size, *(layer.weight.shape[0] for layer in self.layers)]
        for number, (layer, fan_in) in enumerate(zip(self.layers, sizes, strict=False), start=1):
            if layer.weight.shape[1] != fan_in:
                raise InputError(
                    f"layer {number} must take {fan_in} inputs, its weight has shape "
                    f"{layer.weight.shape}"
                )
        if self.layers[-1].activation is not Activation.IDENTITY:
            raise InputError("the last layer must have no activation; the head squashes")
        if sizes[-1] != self.num_outputs:
            raise InputError(
                f"the head needs {self.num_outputs} outputs, the network has {sizes[-1]}"
            )
        if self.memory is not None:
            self._check_memory(self.memory, sizes)

    def _check_memory(self, memory: Memory, sizes: Sequence[int]) -> None:
        """Check that each number of the memory is a sensor, and a neuron of a layer.

        Raises:
            InputError: If one is none.
        """
        if memory.size >= self.obs_dim:
            raise InputError(f"memory must leave a sensor of {self.obs_dim}, has {memory.size}")
        for layer, neuron in zip(memory.layers, memory.neurons, strict=True):
            if not 1 <= layer < len(sizes) or not 0 <= neuron < sizes[layer]:
                raise InputError(f"memory must name neurons of layers, got {layer}, {neuron}")

    @property
    def obs_dim(self) -> int:
        """Number of observations."""
        return int(self.normaliser.mean.size)

    @property
    def num_outputs(self) -> int:
        """Number of actuators, or of discrete actions."""
        if isinstance(self.head, CategoricalHead):
            return self.head.num_actions
        return int(self.head.centre.size)

    @property
    def sparsity(self) -> float:
        """Fraction of weights that are zero, counted on the weights; biases do not count."""
        zeros = sum(int((layer.weights == 0).sum()) for layer in self.layers)
        return zeros / max(1, sum(layer.weights.size for layer in self.layers))

    @property
    def is_elementwise(self) -> bool:
        """Whether no layer normalises over its neurons."""
        return all(is_elementwise(layer.activation) for layer in self.layers)

    @property
    def no_slopes(self) -> str:
        """Why nothing bounds its slopes in every state; empty where something does."""
        used = {type(one) for layer in self.layers for one in parts_of(layer.activation)}
        reasons = {RmsNorm: NO_SLOPES, Product: NO_PRODUCT_SLOPES}
        return next((text for kind, text in reasons.items() if kind in used), "")

    @property
    def rounds_as_canonical(self) -> bool:
        """Whether its file computes in the steps of the canonical file, and in no others."""
        own = [self.normaliser.rounding, *(layer.rounding for layer in self.layers)]
        if isinstance(self.head, GaussianHead):
            own.append(self.head.rounding)
        return all(rounding is None for rounding in own)

    def state(self, obs: Array, dtype: DTypeLike = np.float64) -> Array:
        """Return the normalised observation, shape (batch, obs_dim), normalised units.

        Args:
            obs: Shape (batch, obs_dim), raw units; taken as float32, as every runtime takes it.
            dtype: Arithmetic: float64 for the reference, float32 as deployed.
        """
        clip = self.normaliser.clip
        with np.errstate(over="ignore"):  # what float32 does not hold is infinite, and clipped
            singles = obs.astype(np.float32)
            state = self.normaliser.unclipped(singles.astype(dtype))
        return np.asarray(np.clip(state, -clip, clip))

    def network(self, state: Array) -> Array:
        """Return the output of the last layer, shape (batch, num_outputs), in ``state``'s dtype."""
        return self.hidden(state, len(self.layers))

    def hidden(self, state: Array, num_layers: int) -> Array:
        """Return the output of the first layers, shape (batch, fan_out), in ``state``'s dtype."""
        hidden = state
        for layer in self.layers[:num_layers]:
            weight = layer.weight.astype(state.dtype, copy=False)
            bias = layer.bias.astype(state.dtype, copy=False)
            hidden = layer.activation(hidden @ weight.T + bias)
        return hidden

    def outputs_at(self, state: Array) -> Array:
        """Return actions or logits at states, shape (batch, num_outputs), in ``state``'s dtype."""
        return self.head.outputs(self.network(state))

    def next_memory_at(self, state: Array) -> Array:
        """Return the memory of the next step at states, shape (batch, size), in their dtype.

        Raises:
            InputError: If it has no memory.
        """
        if self.memory is None:
            raise InputError("the controller has no memory")
        found = np.empty((len(state), self.memory.size), state.dtype)
        for number in sorted(set(self.memory.layers)):
            places, neurons = self.memory.of_layer(number)
            found[:, places] = self.hidden(state, number)[:, neurons]
        return found

    def reachable(self, ball: Ball) -> Ball:
        """Return the part of a ball that an adversary has: sensors are disturbed, no memory.

        A ball that says which sensors may move is as it says, and one of l2 is about all of them.
        """
        if self.memory is None or ball.norm is not Norm.LINF or ball.sensors is not None:
            return ball
        shares = (1.0,) * (self.obs_dim - self.memory.size) + (0.0,) * self.memory.size
        return replace(ball, sensors=shares)

    def outputs(self, obs: Array, dtype: DTypeLike = np.float64) -> Array:
        """Return actions (or logits) at observations: the reference for every other form.

        Args:
            obs: Shape (batch, obs_dim), raw units.
            dtype: Arithmetic: float64 for the reference, float32 as deployed.
        """
        return self.outputs_at(self.state(obs, dtype))


def weights_sha256(policy: Policy) -> str:
    """Return the digest of everything that decides what the policy computes.

    It covers normaliser, clip, weights, activations and head, not the weights alone: the same
    weights under another activation are another controller. Each element is one line of compact
    JSON and then its numbers as little-endian float64 in C order, with -0.0 written as +0.0, so
    that neither dtype nor memory order counts.
    """
    digest = hashlib.sha256()

    def add(name: str, value: Array | str | float | None) -> None:
        if isinstance(value, np.ndarray):
            line: dict[str, Any] = {"name": name, "shape": value.shape}
            payload = (value.astype(np.float64) + 0.0).astype("<f8").tobytes()
        else:
            line, payload = {"name": name, "value": repr(value)}, b""
        digest.update(json.dumps(line, sort_keys=True, separators=(",", ":")).encode() + b"\n")
        digest.update(payload)

    add("mean", policy.normaliser.mean)
    if policy.normaliser.factor is None:
        add("scale", policy.normaliser.scale)
    else:
        add("factor", policy.normaliser.factor)
    add("clip", float(policy.normaliser.clip))
    for layer in policy.layers:
        add("weight", layer.weight)
        add("bias", layer.bias)
        add("activation", layer.activation.value)
        if layer.is_weight is not None:
            add("is_weight", layer.is_weight)
    if policy.memory is not None:
        add("memory", policy.memory.value)
    if isinstance(policy.head, GaussianHead):
        add("squash", policy.head.squash.value)
        for name in ("std", "centre", "half_range"):
            add(name, getattr(policy.head, name))
    else:
        add("num_actions", policy.head.num_actions)
        if policy.head.start:  # files of version 0.1 know no other start than zero
            add("start", policy.head.start)
    return digest.hexdigest()


def _reciprocal(factor: Array) -> Array:
    _require_finite("normaliser factor", factor, (factor.size,))
    if not (factor > 0).all():
        raise InputError(f"normaliser factor must be positive, got {factor.min()}")
    return np.asarray(1 / factor.astype(np.float64))


def _require_finite(name: str, array: Array, shape: tuple[int, ...]) -> None:
    if array.size == 0:
        raise InputError(f"{name} must not be empty, got shape {array.shape}")
    if array.shape != shape:
        raise InputError(f"{name} must have shape {shape}, got {array.shape}")
    if not np.isfinite(array).all():
        raise InputError(f"{name} must be finite, got {array[~np.isfinite(array)].flat[0]}")
