"""Operators that treat each entry by itself: sums, products, limits, activations."""

import numpy as np

from surefoot.activation import Activation, Array, LeakyRelu, OneActivation, ScaledElu
from surefoot.errors import InputError
from surefoot.onnx_file.computation import (
    Apply,
    Computed,
    Exponential,
    Limit,
    Multiply,
    Scale,
    Shift,
    Standardise,
    Sum,
    Value,
)
from surefoot.onnx_file.node import JOINS, Node, bounded
from surefoot.onnx_file.normalisation import centred, normalised, squared

_BATCH_NORM_ROUNDINGS = 8
"""Roundings of w = gain / sqrt(variance + epsilon), 4, and of w x + (offset - w mean), 3 more."""

_HINTS = {
    (
        "ArgMax",
        "Softmax",
        "LogSoftmax",
    ): "choose the logits before it with --output, or read it as a choice with --discrete",
    ("Bernoulli", "Multinomial", "RandomNormalLike", "RandomUniformLike"): "choose the "
    "deterministic output with --output",
    ("RNN",): "of recurrent cells GRU and LSTM are read",
    ("DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear"): "it is quantised, adopt the "
    "float32 original",
    ("If", "Loop", "Scan"): "export it with torch.onnx.export(..., dynamo=False)",
}
"""What to do about operators that others' files have, by their names."""

_LARGEST = float(np.finfo(np.float32).max)
_SIMPLE = {
    "Sigmoid": Activation.SIGMOID,
    "Softplus": Activation.SOFTPLUS,
    "Tanh": Activation.TANH,
}


def batch_norm(node: Node) -> Computed:
    """Read a BatchNormalization in inference.

    Raises:
        InputError: If it is in training, or a deviation is zero.
    """
    x = node.alone()
    if node.attribute("training_mode"):
        raise InputError(
            "normalises by statistics of the batch: export the controller in evaluation mode"
        )
    gain, offset, mean, variance = (node.floats(position) for position in range(1, 5))
    deviation = np.sqrt(variance.astype(np.float64) + node.number("epsilon"))
    if not (deviation > 0).all():
        raise InputError("divides by a deviation that is not positive")
    channel = np.indices(x.shape)[1 if len(x.shape) > 1 else 0].reshape(-1)
    step = Standardise(
        inputs=x.flat,
        mean=mean[channel],
        deviation=deviation[channel],
        gain=gain[channel],
        offset=offset[channel],
        count=_BATCH_NORM_ROUNDINGS,
    )
    return node.add(step, x.shape)


def negative(node: Node) -> Computed:
    """Read -x."""
    return _scaled(node, node.data(0), np.full(node.data(0).shape, -1, np.float32), divides=False)


def total(node: Node) -> Computed:
    """Read x + c, x - c, c - x, x + y and x - y."""
    if len(node.computed) > 1:
        difference = centred(node) if node.op == "Sub" else None
        return difference or _joined(node)
    is_left = node.computed == [0]
    x, amount = _beside(node)
    if node.op == "Sub" and not is_left:
        x = _scaled(node, x, np.full(x.shape, -1, np.float32), divides=False)
    elif node.op == "Sub":
        amount = -amount
    if not amount.any():
        return x
    return node.add(Shift(inputs=x.flat, amount=amount.reshape(-1)), x.shape)


def _joined(node: Node) -> Computed:
    x, y = node.data(0), node.data(1)
    shape = bounded(x.shape, y.shape)
    if node.op == "Sub":
        y = _scaled(node, y, np.full(y.shape, -1, np.float32), divides=False)
    left, right = (np.broadcast_to(each.numbers, shape).reshape(-1) for each in (x, y))
    return node.add(Sum(inputs=left, others=right), shape)


def product(node: Node) -> Value:
    """Read c x, x / c, x y, x sigmoid(x), and what a normalisation is written with.

    Raises:
        InputError: If it is another product or quotient.
    """
    if len(node.computed) > 1:
        square = squared(node) if node.op == "Mul" else None
        return square or normalised(node) or _silu(node) or _multiplied(node)
    is_left, divides = node.computed == [0], node.op == "Div"
    x, factor = _beside(node)
    if divides and (not is_left or not factor.all()):
        raise InputError("divides by the observation, or by zero")
    if not factor.any():
        node.ignore(x)
        return np.zeros(x.shape, np.float32)
    return _scaled(node, x, factor, divides=divides)


def _beside(node: Node) -> tuple[Computed, Array]:
    """Return the data and the constant of a sum or product, in one shape."""
    position = node.computed[0]
    x, other = node.data(position), node.floats(1 - position)
    shape = bounded(x.shape, other.shape)
    return Computed(np.broadcast_to(x.numbers, shape)), np.broadcast_to(other, shape)


def _scaled(node: Node, x: Computed, factor: Array, *, divides: bool) -> Computed:
    if (factor == 1).all():
        return x
    return node.add(Scale(inputs=x.flat, factor=factor.reshape(-1), divides=divides), x.shape)


def _silu(node: Node) -> Computed | None:
    """Read x * sigmoid(x), None if a product is another one."""
    for x, gate in ((node.data(0), node.data(1)), (node.data(1), node.data(0))):
        step = node.maker(gate)
        is_gate = isinstance(step, Apply) and step.activation is Activation.SIGMOID
        same = step is not None and np.array_equal(step.inputs, x.flat)
        if node.op == "Mul" and is_gate and same and x.shape == gate.shape:
            return node.add(Apply(inputs=x.flat, activation=Activation.SILU), x.shape)
    return None


def _multiplied(node: Node) -> Computed:
    """Read x y, as in a recurrent cell.

    Raises:
        InputError: If it is a quotient.
    """
    if node.op != "Mul":
        raise InputError("divides two values that depend on the observation")
    x, y = node.data(0), node.data(1)
    shape = bounded(x.shape, y.shape)
    left, right = (np.broadcast_to(each.numbers, shape).reshape(-1) for each in (x, y))
    return node.add(Multiply(inputs=left, others=right), shape)


def limited(node: Node) -> Computed:
    """Read Clip, Min, Max and Relu with constant limits, also where two of them follow each other.

    Raises:
        InputError: If an upper limit is not above the lower one.
    """
    x, low, high = _limits(node)
    shape = bounded(x.shape, low.shape, high.shape)
    x = Computed(np.broadcast_to(x.numbers, shape))
    low, high = (np.broadcast_to(end, shape).reshape(-1) for end in (low, high))
    inputs, step = x.flat, node.maker(x)
    if isinstance(step, Limit):
        inputs, low, high = step.inputs, np.maximum(low, step.low), np.minimum(high, step.high)
    low = np.where(low <= -_LARGEST, -np.inf, low)
    high = np.where(high >= _LARGEST, np.inf, high)
    if not (low < high).all():
        worst = int(np.argmin(low < high))
        raise InputError(f"a limit must be below the upper one, got {low[worst]}, {high[worst]}")
    if np.isinf(low).all() and np.isinf(high).all():
        return Computed(inputs.reshape(shape))
    return node.add(Limit(inputs=inputs, low=low, high=high, label=node.label), shape)


def _limits(node: Node) -> tuple[Computed, Array, Array]:
    """Return the data, and its lower and upper limits.

    Raises:
        InputError: If it joins values, or limits are no numbers.
    """
    if node.op == "Relu":
        return node.alone(), np.zeros(1), np.full(1, np.inf)
    if node.op == "Clip":
        return node.alone(), _clip_limit(node, "min", 1), _clip_limit(node, "max", 2)
    if len(node.computed) > 1:
        raise InputError(JOINS)
    if len(node.inputs) != 2:
        raise InputError("must have one constant limit")
    position = node.computed[0]
    limit, none = node.floats(1 - position, finite=False), np.full(1, np.inf)
    low, high = (-none, limit) if node.op == "Min" else (limit, none)
    return node.data(position), low, high


def _clip_limit(node: Node, key: str, position: int) -> Array:
    """Return a limit that is an attribute in some opsets and an input in others."""
    if node.constant(position) is not None:
        return node.floats(position, finite=False)
    value = node.attribute(key)
    without = -np.inf if key == "min" else np.inf
    return np.asarray(value if isinstance(value, float) else without, np.float64)


def exponential(node: Node) -> Computed:
    """Read exp(x), in the hope that no action depends on it."""
    x = node.alone()
    return node.add(Exponential(inputs=x.flat, label=node.label), x.shape)


def hard_sigmoid(node: Node) -> Computed:
    """Read min(max(alpha x + beta, 0), 1).

    Raises:
        InputError: If it does not depend on x.
    """
    x = node.alone()
    factor, amount = (np.full(x.shape, node.number(key), np.float32) for key in ("alpha", "beta"))
    if not factor.any():
        raise InputError("must depend on the observation, alpha is 0")
    line = _scaled(node, x, factor, divides=False)
    line = node.add(Shift(inputs=line.flat, amount=amount.reshape(-1)), x.shape)
    low, high = np.zeros(x.flat.shape), np.ones(x.flat.shape)
    return node.add(Limit(inputs=line.flat, low=low, high=high, label=node.label), x.shape)


def activated(node: Node) -> Computed:
    """Read an activation.

    Raises:
        InputError: If it is none that is known.
    """
    activation = _activation(node)
    x = node.alone()
    if isinstance(activation, LeakyRelu) and activation.alpha == 1:
        return x
    return node.add(Apply(inputs=x.flat, activation=activation), x.shape)


def _activation(node: Node) -> OneActivation:
    match node.op:
        case "LeakyRelu":
            return LeakyRelu(node.number("alpha"))
        case "PRelu":
            slopes = np.unique(node.floats(1))
            if len(slopes) != 1:
                raise InputError("must have one slope for all")
            return LeakyRelu(float(slopes[0]))
        case "Elu":
            alpha = node.number("alpha")
            return Activation.ELU if alpha == 1 else ScaledElu(alpha, 1.0)
        case "Selu":
            return ScaledElu(node.number("alpha"), node.number("gamma"))
    if node.op not in _SIMPLE:
        hint = next((f": {text}" for names, text in _HINTS.items() if node.op in names), "")
        raise InputError(f"not in the controller operator set{hint}")
    return _SIMPLE[node.op]
