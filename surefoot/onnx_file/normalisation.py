"""Normalisation over neurons: LayerNormalization, RMSNormalization, and both written out.

    LayerNorm(x) = gain * RmsNorm(x - mean(x)) + offset

Centring is an affine map, and gain and offset belong to the layer behind. What is written out is
recognised from its end, x / sqrt(mean(x^2) + epsilon).
"""

import numpy as np

from surefoot.activation import RmsNorm
from surefoot.errors import InputError
from surefoot.onnx_file.computation import (
    Affine,
    Computed,
    Mean,
    Normalise,
    Numbers,
    Root,
    Scale,
    Shift,
    Square,
)
from surefoot.onnx_file.node import Node
from surefoot.policy import Array

_CENTRING_ROUNDINGS = 2
"""Roundings of 1 / n in file and policy; those of the sum, its division and the difference are the
n + 2 of any layer."""


def mean(node: Node) -> Computed:
    """Read ReduceMean."""
    x = node.alone()
    given = node.attribute("axes") if len(node.inputs) < 2 else node.constant(1)
    axes = range(len(x.shape)) if given is None else np.asarray(given).reshape(-1).tolist()
    reduced = tuple(int(axis) % len(x.shape) for axis in axes)
    kept = [axis for axis in range(len(x.shape)) if axis not in reduced]
    rows = x.numbers.transpose(*kept, *reduced).reshape(-1, _size(x, reduced))
    results = [node.add(Mean.of(row), (1,)).numbers[0] for row in rows]
    shape = [1 if axis in reduced else size for axis, size in enumerate(x.shape)]
    if node.attribute("keepdims") == 0:
        shape = [x.shape[axis] for axis in kept]
    return Computed(np.array(results).reshape(shape))


def _size(x: Computed, axes: tuple[int, ...]) -> int:
    return int(np.prod([x.shape[axis] for axis in axes]))


def centred(node: Node) -> Computed | None:
    """Read x - mean(x), None if a difference is another one."""
    x, subtracted = node.data(0), node.data(1)
    rows = _rows_of(x, subtracted)
    if rows is None:
        return None
    vectors, means = rows
    for vector, number in zip(vectors, means, strict=True):
        step, _ = node.made(number)
        if not isinstance(step, Mean) or not np.array_equal(step.inputs, vector):
            return None
    return Computed(np.concatenate([_centre(node, row) for row in vectors]).reshape(x.shape))


def _rows_of(x: Computed, numbers: Computed) -> tuple[Numbers, Numbers] | None:
    """Return the vectors of which each has one number of a second tensor, and these numbers."""
    shape = numbers.shape
    if len(shape) != len(x.shape) or not x.numbers.size:
        return None
    kept = [axis for axis, size in enumerate(shape) if size == x.shape[axis] and size > 1]
    reduced = [axis for axis in range(len(shape)) if axis not in kept]
    if any(shape[axis] != 1 for axis in reduced):
        return None
    vectors = x.numbers.transpose(*kept, *reduced).reshape(numbers.numbers.size, -1)
    if kept + reduced != list(range(len(shape))):
        return None  # the results would have to be moved back
    return vectors, numbers.flat


def _centre(node: Node, row: Numbers) -> Numbers:
    """Add x - mean(x) of one vector.

    Raises:
        InputError: If it has one entry, of which nothing is left.
    """
    if len(row) < 2:
        raise InputError("normalises a single number, which leaves nothing of it")
    weight = (np.eye(len(row)) - 1 / len(row)).astype(np.float32)
    step = Affine(
        inputs=row,
        weight=weight,
        bias=None,
        extra=_CENTRING_ROUNDINGS,
        is_centring=True,
    )
    return node.add(step, (len(row),)).numbers


def power(node: Node) -> Computed:
    """Read x^2 and sqrt(x) as powers.

    Raises:
        InputError: If it is another power.
    """
    exponent = np.unique(node.floats(1))
    if exponent.tolist() == [2.0]:
        return _squared(node, node.alone())
    if exponent.tolist() == [0.5]:
        return root(node)
    raise InputError("not in the controller operator set, but for a square or a root")


def _squared(node: Node, x: Computed) -> Computed:
    return node.add(Square(inputs=x.flat, label=node.label), x.shape)


def squared(node: Node) -> Computed | None:
    """Read x * x, None if a product is another one."""
    x, y = node.data(0), node.data(1)
    same = x.shape == y.shape and np.array_equal(x.numbers, y.numbers)
    return _squared(node, x) if same else None


def root(node: Node) -> Computed:
    """Read sqrt(x), which a normalisation divides by."""
    x = node.alone()
    return node.add(Root(inputs=x.flat, label=node.label), x.shape)


def reciprocal(node: Node) -> Computed:
    """Read 1 / sqrt(x), which a normalisation multiplies by.

    Raises:
        InputError: If it is the reciprocal of anything else.
    """
    x = node.alone()
    step = node.maker(x)
    if not isinstance(step, Root) or step.is_inverse:
        raise InputError("divides by the observation")
    return node.add(Root(inputs=step.inputs, label=node.label, is_inverse=True), x.shape)


def normalised(node: Node) -> Computed | None:
    """Read x / sqrt(mean(x^2) + epsilon), None if a quotient or product is another one."""
    pairs = [(node.data(0), node.data(1))]
    if node.op == "Mul":
        pairs.append((node.data(1), node.data(0)))
    for x, divisor in pairs:
        found = _normalised(node, x, divisor)
        if found is not None:
            return found
    return None


def _normalised(node: Node, x: Computed, divisor: Computed) -> Computed | None:
    rows = _rows_of(x, divisor)
    if rows is None:
        return None
    found = []
    for vector, number in zip(*rows, strict=True):
        epsilon = _epsilon_of(node, vector, int(number))
        if epsilon is None:
            return None
        found.append(node.add(Normalise(inputs=vector, norm=RmsNorm(epsilon)), (len(vector),)))
    return Computed(np.concatenate([each.numbers for each in found]).reshape(x.shape))


def _epsilon_of(node: Node, vector: Numbers, number: int) -> float | None:
    """Return epsilon where a number is the root of mean(vector^2) + epsilon, else None."""
    root_step, row = node.made(number)
    if not isinstance(root_step, Root) or root_step.is_inverse != (node.op == "Mul"):
        return None
    shift, row = node.made(root_step.inputs[row])
    if not isinstance(shift, Shift):
        return None
    epsilon = float(shift.amount[row])
    average, _ = node.made(shift.inputs[row])
    if not isinstance(average, Mean):
        return None
    squared = [
        int(step.inputs[place])
        for step, place in map(node.made, average.inputs.tolist())
        if isinstance(step, Square)
    ]
    return epsilon if squared == vector.tolist() else None


def layer_norm(node: Node) -> Computed:
    """Read LayerNormalization and RMSNormalization."""
    x = node.data(0)
    axis = int(str(node.attribute("axis"))) % len(x.shape)
    vectors = x.numbers.reshape(int(np.prod(x.shape[:axis])), -1)
    norm = RmsNorm(node.number("epsilon"))
    gain = np.broadcast_to(node.floats(1), x.shape[axis:]).reshape(-1)
    offset = np.zeros_like(gain)
    if node.constant(2) is not None:
        offset = np.broadcast_to(node.floats(2), x.shape[axis:]).reshape(-1)
    rows = [_row(node, vector, norm, gain, offset) for vector in vectors]
    return Computed(np.concatenate(rows).reshape(x.shape))


def _row(node: Node, vector: Numbers, norm: RmsNorm, gain: Array, offset: Array) -> Numbers:
    """Add the normalisation of one vector, with gain and offset."""
    size = (len(vector),)
    centre = _centre(node, vector) if node.op == "LayerNormalization" else vector
    numbers = node.add(Normalise(inputs=centre, norm=norm), size).numbers
    if (gain != 1).any():
        numbers = node.add(Scale(inputs=numbers, factor=gain, divides=False), size).numbers
    if offset.any():
        numbers = node.add(Shift(inputs=numbers, amount=offset), size).numbers
    return numbers
