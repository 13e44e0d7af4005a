"""Products with constant weights: MatMul, Gemm, and Conv where it is an affine map of its input."""

import numpy as np

from surefoot.activation import Array
from surefoot.errors import InputError
from surefoot.limits import MAX_ENTRIES
from surefoot.onnx_file.computation import Affine, Computed, Numbers, Scale, Shift
from surefoot.onnx_file.node import Node


def matmul(node: Node) -> Computed:
    """Read a product with a constant matrix on either side.

    Raises:
        InputError: If both sides depend on the observation.
    """
    _require_one(node)
    if node.computed == [0]:
        x, weight = node.data(0).numbers, node.floats(1)
        result = _rows(node, x, _matrix(weight, column=True).T, None)
        return result if weight.ndim > 1 else Computed(result.numbers[..., 0])
    weight, x = node.floats(0), node.data(1).numbers
    if x.ndim == 1:
        result = _rows(node, x, _matrix(weight, column=False), None)
        return result if weight.ndim > 1 else Computed(result.numbers[0])
    columns = np.moveaxis(x, -2, -1)
    numbers = _rows(node, columns, _matrix(weight, column=False), None).numbers
    return Computed(np.moveaxis(numbers, -1, -2) if weight.ndim > 1 else numbers[..., 0])


def gemm(node: Node) -> Computed:
    """Read alpha A B + beta C where only A or only B depends on the observation.

    Raises:
        InputError: If more of them do.
    """
    _require_one(node)
    is_left = node.computed[0] == 0
    turned_left, turned_right = node.attribute("transA") == 1, node.attribute("transB") == 1
    if is_left:
        x, weight = node.data(0).numbers, node.floats(1)
        rows, weight = (x.T if turned_left else x), (weight if turned_right else weight.T)
    else:
        weight, x = node.floats(0), node.data(1).numbers
        rows, weight = (x if turned_right else x.T), (weight.T if turned_left else weight)
    shape = (len(rows), len(weight)) if is_left else (len(weight), len(rows))
    bias = _scaled_bias(node, shape)
    if bias is not None and not is_left:
        bias = bias.T
    result = _rows(node, rows, weight, bias, node.number("alpha"))
    return result if is_left else Computed(result.numbers.T)


def conv(node: Node) -> Computed:
    """Read a convolution whose kernel has size 1 or covers its whole input.

    Raises:
        InputError: If it is any other convolution.
    """
    x, weight = node.alone().numbers, node.floats(1)
    bias = None if node.constant(2) is None else node.floats(2)
    kernel = weight.shape[2:]
    is_point = set(kernel) == {1}
    if not _is_affine(node, kernel, is_point or kernel == x.shape[2:], 1 if is_point else None):
        raise InputError(
            "must have a kernel of size 1 and stride 1, or one that covers its whole input; one "
            "group, no padding, no dilation"
        )
    if is_point:
        matrix = weight.reshape(weight.shape[:2])
        return Computed(
            np.moveaxis(_rows(node, np.moveaxis(x, 1, -1), matrix, bias).numbers, -1, 1)
        )
    result = _rows(node, x.reshape(len(x), -1), weight.reshape(len(weight), -1), bias)
    return Computed(result.numbers.reshape(*result.shape, *[1] * len(kernel)))


def _is_affine(node: Node, kernel: tuple[int, ...], fits: bool, stride: int | None) -> bool:
    """Return True if a convolution covers all of its input at once, or each point by itself."""
    wanted = {"group": 1, "dilations": 1, "pads": 0}
    if stride is not None:
        wanted["strides"] = stride
    given = {key: node.attribute(key) for key in wanted}
    same = all(
        value is None or set(np.atleast_1d(np.asarray(value)).tolist()) == {wanted[key]}
        for key, value in given.items()
    )
    return bool(kernel) and fits and same and node.attribute("auto_pad") in (b"NOTSET", b"VALID")


def _require_one(node: Node) -> None:
    if len(node.computed) > 1:
        raise InputError("multiplies or joins two values that depend on the observation")


def _scaled_bias(node: Node, shape: tuple[int, ...]) -> Array | None:
    """Return beta C of a Gemm, in the shape of its result.

    Raises:
        InputError: If float32 cannot hold it.
    """
    if node.constant(2) is None:
        return None
    bias, beta = node.floats(2), node.number("beta")
    with np.errstate(over="ignore"):
        scaled = (bias.astype(np.float64) * beta).astype(np.float32)
    if not np.array_equal(scaled.astype(np.float64), bias.astype(np.float64) * beta):
        raise InputError(f"beta = {beta} times the bias is not a float32 number")
    return np.broadcast_to(scaled, shape)


def _rows(
    node: Node, rows: Numbers, weight: Array, bias: Array | None, alpha: float = 1.0
) -> Computed:
    """Return alpha weight @ x + bias for every x along the last axis.

    Args:
        node: Which makes it.
        rows: Numbers, shape (..., n).
        weight: Shape (m, n), float32.
        bias: Shape (m,) or (..., m), or None.
        alpha: Folded into the weight where float32 holds the products.

    Raises:
        InputError: If there are too many weights, or shapes do not fit.
    """
    if rows.shape[-1] != weight.shape[1]:
        raise InputError(f"{rows.shape[-1]} entries do not fit weights of shape {weight.shape}")
    shape = (*rows.shape[:-1], len(weight))
    vectors = rows.reshape(-1, rows.shape[-1])
    if weight.size * len(vectors) > MAX_ENTRIES:
        raise InputError(f"must have at most {MAX_ENTRIES} weights")
    scaled = weight * np.float32(alpha)
    if np.array_equal(scaled.astype(np.float64), weight.astype(np.float64) * alpha):
        weight, alpha = scaled, 1.0
    biases = None if bias is None else np.broadcast_to(bias, shape).reshape(len(vectors), -1)
    results = [
        _affine(node, x, weight, None if biases is None else biases[k], alpha)
        for k, x in enumerate(vectors)
    ]
    return Computed(np.concatenate([result.numbers for result in results]).reshape(shape))


def _affine(node: Node, x: Numbers, weight: Array, bias: Array | None, alpha: float) -> Computed:
    size = (len(weight),)
    if alpha == 1 and _is_scale(weight):
        columns = np.abs(weight).argmax(axis=1)
        scaled = node.add(
            Scale(inputs=x[columns], factor=weight[np.arange(len(weight)), columns], divides=False),
            size,
        )
        return scaled if bias is None else node.add(Shift(inputs=scaled.numbers, amount=bias), size)
    if alpha == 1:
        return node.add(Affine(inputs=x, weight=weight, bias=bias), size)
    sums = node.add(Affine(inputs=x, weight=weight, bias=None), size).numbers
    factor = np.full(len(weight), alpha, np.float32)
    scaled = node.add(Scale(inputs=sums, factor=factor, divides=False), size)
    return scaled if bias is None else node.add(Shift(inputs=scaled.numbers, amount=bias), size)


def _is_scale(weight: Array) -> bool:
    """Return True if each result is one entry of its own, scaled: zeros are no weights then."""
    used = weight != 0
    return bool((used.sum(axis=0) == 1).all() and (used.sum(axis=1) == 1).all())


def _matrix(array: Array, *, column: bool) -> Array:
    """Return the weights of a product as a matrix.

    Raises:
        InputError: If they are several matrices.
    """
    if array.ndim == 1:
        return array[:, None] if column else array[None]
    if array.ndim != 2:
        raise InputError(f"must have a matrix of weights, got shape {list(array.shape)}")
    return array
