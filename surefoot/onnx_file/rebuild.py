"""From the elementary steps of a controller to a policy: what becomes normaliser, layer and head.

Nothing is folded that would have to be rounded. An affine step that is no part of normaliser, layer
or head becomes a layer of its own, with a diagonal weight.

What bounds what: the rounding term of a policy bounds |file in float32 - policy in real arithmetic|
where the file is the one that was imported. A layer of fan-in n may round each term n + 2 times,
normaliser and head three times, diagonal layers at least three times. So these are covered:

* x @ W + b as MatMul and Add, and Gemm with alpha: at most n + 2 roundings of a term;
* division of a layer or of an action by a constant, as a product with its float32 reciprocal: one
  rounding for the reciprocal, one for the product, one for a sum;
* multiplication of an observation by r, as a division by the scale 1 / r, held in float64;
* float64 data between constants that float32 can hold: fewer roundings than are counted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from surefoot.activation import Activation, AnyActivation, Array, Clamp
from surefoot.errors import InputError
from surefoot.policy import GaussianHead, Layer, Normaliser, Policy, Squash

_RANGE = 2.0**-60, 2.0**60
"""Factors that may be a scale: their reciprocals are as far from the ends of float32."""

_WIDEST = 8192
"""Largest size of a diagonal layer."""


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """weight @ x + bias, of shapes (m, n) and (m,); the bias may still come as a :class:`Shift`."""

    weight: Array
    bias: Array | None


@dataclass(frozen=True, slots=True, eq=False)
class Select:
    """x[rows]."""

    rows: Array


@dataclass(frozen=True, slots=True, eq=False)
class Shift:
    """x + amount, elementwise."""

    amount: Array


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """factor * x, or x / factor, elementwise."""

    factor: Array
    divides: bool

    @property
    def product(self) -> Array:
        """What x is multiplied by, rounded to float32."""
        return np.float32(1) / self.factor if self.divides else self.factor

    @property
    def is_scale(self) -> bool:
        """Whether it may be the scale of a normaliser or of an action."""
        return bool(((self.factor >= _RANGE[0]) & (self.factor <= _RANGE[1])).all())


@dataclass(frozen=True, slots=True)
class Apply:
    """An activation, elementwise."""

    activation: AnyActivation


Step = Affine | Select | Shift | Scale | Apply


def rebuild(steps: Sequence[Step], obs_dim: int) -> Policy:
    """Return the policy that takes these steps; all arrays are float32.

    Args:
        steps: First to last.
        obs_dim: Number of observations.

    Raises:
        InputError: If a step is out of the range of float32, or too wide.
    """
    rest = list(_select_first(steps))
    normaliser = _take_normaliser(rest, obs_dim)
    width = next(_sizes(reversed(rest)), obs_dim)
    centre, half_range, squash = _take_head(rest, width)
    layers = _layers(rest, obs_dim)
    head = GaussianHead(std=None, squash=squash, centre=centre, half_range=half_range)
    return Policy(normaliser=normaliser, layers=tuple(layers), head=head)


def _sizes(steps: Iterator[Step]) -> Iterator[int]:
    for step in steps:
        match step:
            case Affine(weight=weight):
                yield len(weight)
            case Select(rows=rows):
                yield len(rows)


def _select_first(steps: Sequence[Step]) -> Iterator[Step]:
    """Yield the same steps, with each selection made in the affine map before it, if there is one.

    Whatever is elementwise may as well be done for the selected components alone.
    """
    done: list[Step] = []
    for step in steps:
        if not isinstance(step, Select):
            done.append(step)
            continue
        rows, later = step.rows, []
        while done and isinstance(last := done[-1], (Shift, Scale, Apply)):
            later.append(_selected(last, rows))
            done.pop()
        before = done.pop() if done else None
        if isinstance(before, Affine):
            bias = None if before.bias is None else before.bias[rows]
            done.append(Affine(before.weight[rows], bias))
        else:
            done.append(Select(rows if before is None else _rows(before)[rows]))
        done += reversed(later)
    yield from done


def _rows(step: Step) -> Array:
    if not isinstance(step, Select):  # only selections and affine maps end the search for one
        raise InputError(f"a selection cannot follow {type(step).__name__}")
    return step.rows


def _selected(step: Shift | Scale | Apply, rows: Array) -> Step:
    match step:
        case Shift(amount=amount):
            return Shift(amount[rows])
        case Scale(factor=factor, divides=divides):
            return Scale(factor[rows], divides)
        case Apply():
            return step


def _take_normaliser(steps: list[Step], obs_dim: int) -> Normaliser:
    """Remove what has the shape of a normaliser from the front, and return it."""
    mean: Array = np.zeros(obs_dim, np.float32)
    scale: Array = np.ones(obs_dim, np.float32)
    clip = np.inf
    if steps and isinstance(step := steps[0], Shift):
        mean = -step.amount
        steps.pop(0)
    if steps and isinstance(step := steps[0], Scale) and step.is_scale:
        scale = step.factor if step.divides else 1 / step.factor.astype(np.float64)
        steps.pop(0)
    match steps[:1]:
        case [Apply(Clamp(low, high))] if low == -high:
            clip = high
            steps.pop(0)
    return Normaliser(mean=mean, scale=scale, clip=clip)


def _take_head(steps: list[Step], width: int) -> tuple[Array, Array, Squash]:
    """Remove what has the shape of a head from the back: centre, half range and squash."""
    centre: Array = np.zeros(width, np.float32)
    half_range: Array = np.ones(width, np.float32)
    if steps and isinstance(step := steps[-1], Shift) and not _is_bias(steps):
        centre = step.amount
        steps.pop()
    if steps and isinstance(step := steps[-1], Scale) and step.is_scale:
        half_range = step.product
        steps.pop()
    if steps[-1:] == [Apply(Activation.TANH)]:
        steps.pop()
        return centre, half_range, Squash.TANH
    if steps[-1:] == [Apply(Clamp(-1.0, 1.0))]:
        steps.pop()
        return centre, half_range, Squash.CLIP
    return centre, half_range, Squash.IDENTITY


def _is_bias(steps: list[Step]) -> bool:
    before = steps[-2] if len(steps) > 1 else None
    return isinstance(before, Affine) and before.bias is None


def _layers(steps: list[Step], obs_dim: int) -> list[Layer]:
    """Return the layers of what is between normaliser and head; the last has no activation."""
    layers: list[Layer] = []
    open_bias = False  # whether the last layer may still take a bias
    width = obs_dim
    for step in steps:
        has_layer = bool(layers) and layers[-1].activation is Activation.IDENTITY
        match step:
            case Affine(weight, bias):
                layers.append(_layer(weight, bias))
            case Select(rows):
                _require_narrow(max(len(rows), width))
                layers.append(_layer(np.eye(width, dtype=np.float32)[rows], None))
            case Shift(amount) if open_bias:
                layers[-1] = _layer(layers[-1].weight, amount)
            case Shift(amount):
                layers.append(_diagonal(np.ones(width, np.float32), amount))
            case Scale():
                layers.append(_diagonal(step.product, None))
            case Apply(activation):
                last = layers.pop() if has_layer else _diagonal(np.ones(width, np.float32), None)
                layers.append(Layer(weight=last.weight, bias=last.bias, activation=activation))
        open_bias = isinstance(step, (Scale, Select)) or (
            isinstance(step, Affine) and step.bias is None
        )
        width = len(layers[-1].weight)
    if not layers or layers[-1].activation is not Activation.IDENTITY:
        layers.append(_diagonal(np.ones(width, np.float32), None))
    return layers


def _layer(weight: Array, bias: Array | None) -> Layer:
    own = np.zeros(len(weight), np.float32) if bias is None else bias
    return Layer(weight=weight, bias=own, activation=Activation.IDENTITY)


def _diagonal(factors: Array, bias: Array | None) -> Layer:
    _require_narrow(len(factors))
    return _layer(np.diag(factors), bias)


def _require_narrow(size: int) -> None:
    if size > _WIDEST:
        raise InputError(f"an elementwise step must have at most {_WIDEST} entries, got {size}")
