"""Whether a policy that was rebuilt from somebody's ONNX file is what ONNX Runtime computes.

The reference is the rebuilt policy in float64; the bound is :func:`runtime_error`, that on |float32
runtime - real arithmetic|, of which the float64 reference takes less than a millionth.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from surefoot.activation import Clamp, OneActivation, by_part
from surefoot.errors import CheckError, InputError
from surefoot.onnx_file import Agreement, ForeignFile, Interface, feeds
from surefoot.policy import Array, Layer, Policy
from surefoot.runtime.arithmetic import runtime_error, runtime_error_at
from surefoot.runtime.onnx_controller import CPU_PROVIDER, open_session

_SINGLES = 256
"""Observations that a file with a dynamic batch also gets one at a time."""

LARGEST_STATE = 128.0
"""Largest states whose difference is reported, normalised units; far from them an output may
be huge, and so is its rounding."""

_BISECTIONS, _INTERPOLATIONS = 8, 3


def check_agreement(file: ForeignFile, *, num_inputs: int = 10_000, seed: int = 0) -> Agreement:
    """Compare a rebuilt policy with ONNX Runtime on random, extreme and boundary observations.

    Args:
        file: A file that surefoot did not write.
        num_inputs: Number of observations, beside 96 huge ones.
        seed: Seed of the random ones.

    Raises:
        CheckError: If an output differs by more than float32 can explain; the message names one.
        InputError: If ONNX Runtime refuses the file, or float32 may overflow at all observations.
        MissingLibraryError: If ONNX Runtime is not installed.
    """
    policy = file.policy
    observations = agreement_observations(policy, num_inputs, np.random.default_rng(seed))
    run = runner_of(file.data, file.interface)
    largest = share = 0.0
    num_checked = 0
    for limit, rows in by_size(policy, observations):
        bound = bound_at(policy, limit, observations[rows]) * (1 + 1e-6)
        known = np.isfinite(bound).all(axis=1)  # elsewhere float32 may overflow, in any runtime
        if not known.any():
            continue
        chosen, bound = observations[rows][known], bound[known]
        outputs, reference = run(chosen).astype(np.float64), policy.outputs(chosen)
        error = np.abs(outputs - reference)
        if not (error <= bound).all():
            row, column = np.argwhere(~(error <= bound))[0]
            raise CheckError(
                f"the file is not the policy that was rebuilt from it: at observation "
                f"{chosen[row].tolist()} output {column} is {outputs[row, column]:.9g} in ONNX "
                f"Runtime and {reference[row, column]:.9g} in the policy; rounding explains "
                f"{bound[row, column]:.3g}"
            )
        num_checked += len(chosen)
        if limit <= LARGEST_STATE:
            largest = max(largest, float(error.max()))
        share = max(share, float((error / bound).max()))
    if not num_checked:
        raise InputError("the file cannot be compared: float32 may overflow wherever it is run")
    from onnxruntime import __version__ as version  # there, since the session was open

    return Agreement(
        runtime=f"ONNX Runtime {version} CPU",
        num_inputs=num_checked,
        largest=largest,
        share=share,
    )


def bound_at(policy: Policy, limit: float, observations: Array) -> Array:
    """Return the bound on the rounding at observations with states up to ``limit``, (n, m)."""
    if not policy.is_elementwise:
        return runtime_error_at(policy, policy.state(observations))
    bound = runtime_error(policy, state_limit=limit)
    return np.broadcast_to(bound, (len(observations), len(bound)))


def agreement_observations(policy: Policy, count: int, rng: np.random.Generator) -> Array:
    """Return random, extreme and boundary observations, shape (count + 96, obs_dim), float32.

    Normal and uniform states of many sizes, with sparse ones; both ends of the clip on each axis
    and their neighbours; zeros and subnormal numbers; states where a neuron is at a kink; and 96 of
    huge numbers, up to the end of float32. Raw units.
    """
    width, limit = policy.obs_dim, min(policy.normaliser.clip, 10.0)
    scale, mean = policy.normaliser.scale, policy.normaliser.mean
    third = count // 3
    sizes = 10.0 ** rng.uniform(-3, 2, (third, 1))
    states = sizes * rng.normal(size=(third, width))
    states[::3] *= rng.random((len(states[::3]), width)) < 0.2
    ends = limit * np.concatenate([np.eye(width), -np.eye(width)])[: count // 8]
    corners = limit * rng.choice([-1.0, 1.0], (64, width))
    at_end = (mean + scale * np.concatenate([ends, corners])).astype(np.float32)
    tiny = np.array([0.0, -0.0, 2.0**-149, -(2.0**-149), 2.0**-127, 1e-38])
    signs = rng.choice([-1.0, 1.0], (96, width))
    huge = (signs * np.repeat([1e3, 1e6, 1e12, 1e20, 1e30, 3.4e38], 16)[:, None]).astype(np.float32)
    parts = [
        at_end,
        np.nextafter(at_end, np.float32(np.inf)),
        np.nextafter(at_end, np.float32(-np.inf)),
        np.repeat(tiny[:, None], width, axis=1),
        mean + scale * states,
        mean + scale * _at_kinks(policy, limit, third, rng),
    ]
    with np.errstate(over="ignore"):
        found = np.concatenate([part.astype(np.float32) for part in parts])[:count]
    found = np.where(np.isfinite(found), found, np.float32(0))
    rest = rng.uniform(-1.1 * limit, 1.1 * limit, (count - len(found), width))
    return np.concatenate([found, (mean + scale * rest).astype(np.float32), huge])


def _at_kinks(policy: Policy, limit: float, count: int, rng: np.random.Generator) -> Array:
    """Return states at which one neuron of some layer is at a kink, shape (n, obs_dim)."""
    rows = count // len(policy.layers) + 1
    parts = []
    for number, layer in enumerate(policy.layers):
        neuron = rng.integers(len(layer.bias), size=rows)
        kink = _kinks(layer)[rng.integers(2, size=rows), neuron]
        beyond = partial(_beyond_kink, policy, number, neuron, kink)
        ends = rng.uniform(-limit, limit, (2, rows, policy.obs_dim)).astype(np.float32)
        with np.errstate(all="ignore"):  # what overflows is at no kink
            parts.append(_crossings(beyond, *ends))
    return np.concatenate(parts)[:count]


def _kinks(layer: Layer) -> Array:
    """Return two places at which each neuron may have a kink, shape (2, fan_out)."""

    def of_one(function: OneActivation, neurons: Array) -> Array:
        ends = (function.low, function.high) if isinstance(function, Clamp) else (0.0, 0.0)
        return np.tile(np.array(ends)[:, None], neurons.size)

    return by_part(of_one, layer.activation, layer.bias)


def _crossings(value: Callable[[Array, Array], Array], low: Array, high: Array) -> Array:
    """Find where a function of states changes sign, on those segments whose ends differ in sign.

    Bisection makes the segments short, interpolation then finds the place.

    Args:
        value: Function of states (n, obs_dim) and the numbers of their rows, of shape (n,).
        low: One end of each segment, shape (rows, obs_dim).
        high: The other end.
    """
    rows = np.arange(len(low))
    at_low, at_high = value(low, rows), value(high, rows)
    crossing = (at_low > 0) != (at_high > 0)
    rows, low, high = rows[crossing], low[crossing], high[crossing]
    at_low, at_high = at_low[crossing], at_high[crossing]
    for step in range(_BISECTIONS + _INTERPOLATIONS):
        share = np.full(len(rows), 0.5)
        if step >= _BISECTIONS:
            share = at_low / (at_low - at_high)
        middle = (low + share[:, None] * (high - low)).astype(np.float32)
        at_middle = value(middle, rows)
        same = (at_middle > 0) == (at_low > 0)
        low, at_low = np.where(same[:, None], middle, low), np.where(same, at_middle, at_low)
        high, at_high = np.where(same[:, None], high, middle), np.where(same, at_high, at_middle)
    return np.where((np.abs(at_low) < np.abs(at_high))[:, None], low, high)


def _beyond_kink(
    policy: Policy, number: int, neuron: Array, kink: Array, states: Array, rows: Array
) -> Array:
    """Return the distance of a neuron's input above its kink at each state, shape (n,)."""
    hidden = policy.hidden(states, number)
    layer = policy.layers[number]
    weight, bias = layer.weight[neuron[rows]], layer.bias[neuron[rows]]
    return np.asarray((hidden * weight).sum(axis=1) + bias - kink[rows])


def by_size(policy: Policy, observations: Array) -> Iterator[tuple[float, Array]]:
    """Yield boxes of states, and the rows of the observations that need one so large."""
    sizes = np.abs(policy.state(observations)).max(axis=1)
    exponents = np.ceil(np.log2(np.maximum(sizes, 2.0**-20))).astype(int)
    for exponent in np.unique(exponents):
        yield 2.0 ** int(exponent), np.flatnonzero(exponents == exponent)


def runner_of(
    data: bytes, interface: Interface, batches: Interface | None = None
) -> Callable[[Array], Array]:
    """Return ONNX Runtime on the very file, from observations (n, obs_dim) to actions.

    Args:
        data: The file.
        interface: How it is fed.
        batches: Interface whose batches it gets, for a comparison bit by bit: a runtime may sum in
            another order for another number of rows. Its own if it is not given.

    Raises:
        InputError: If it cannot be fed.
    """
    session, batches = open_session(data, CPU_PROVIDER), batches or interface
    if strange := [entry.name for entry in interface.inputs if entry.dtype == "object"]:
        raise InputError(f"input {strange[0]!r} is of a type that cannot be fed")

    def call(batch: Array) -> Array:
        try:
            fed = dict(feeds(interface, batch))
            outputs = np.asarray(session.run([interface.output], fed)[0])
        except Exception as error:  # ONNX Runtime's errors have no base class of their own
            first = str(error).strip().splitlines()[0]
            raise InputError(f"ONNX Runtime cannot run the file: {first}") from error
        if outputs.size % len(batch):
            raise InputError(
                f"output {interface.output!r} must have a row for each observation, has shape "
                f"{list(outputs.shape)} for {len(batch)} of them"
            )
        return outputs.reshape(len(batch), -1)

    def run(observations: Array) -> Array:
        return np.concatenate([call(batch) for batch in _batches(observations, batches)])

    if batches.rows > 1:
        return lambda observations: _in_full_batches(run, observations, batches.rows)
    return run


def _batches(observations: Array, interface: Interface) -> Iterator[Array]:
    """Yield batches for a call: as many rows as the file fixes, or single ones, then the rest."""
    rows, alone = interface.rows, len(observations)
    if interface.batched:
        alone = min(alone, _SINGLES)
    yield from (observations[row : row + rows] for row in range(0, alone, rows))
    if alone < len(observations):
        yield observations[alone:]


def _in_full_batches(run: Callable[[Array], Array], observations: Array, rows: int) -> Array:
    """Run observations whose number is no multiple of a batch: the last ones are repeated."""
    missing = -len(observations) % rows
    repeated = np.concatenate([observations, np.repeat(observations[-1:], missing, axis=0)])
    return run(repeated)[: len(observations)]
