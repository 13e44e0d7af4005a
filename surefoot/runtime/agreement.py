"""Whether a policy that was rebuilt from somebody's ONNX file is what ONNX Runtime computes.

The reference is the rebuilt policy in float64; the bound is :func:`runtime_error`, that on |float32
runtime - real arithmetic|, of which the float64 reference takes less than a millionth.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from surefoot.activation import Clamp
from surefoot.artifact import Json
from surefoot.errors import CheckError, InputError
from surefoot.onnx_file import ControllerFile, Interface
from surefoot.policy import Array, Policy
from surefoot.runtime.arithmetic import runtime_error
from surefoot.runtime.onnx_controller import CPU_PROVIDER, open_session

_SINGLES = 256
"""Observations that a file with a dynamic batch also gets one at a time."""

_BISECTIONS = 40


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """What was compared, and the worst that was found.

    Attributes:
        runtime: Name and version.
        num_inputs: Observations that were compared, of those where the bound is finite.
        largest: Largest |ONNX Runtime - policy| of an output, action units.
        share: Largest difference as a share of what its bound allows.
    """

    runtime: str
    num_inputs: int
    largest: float
    share: float

    def to_table(self) -> dict[str, Json]:
        """Return it as JSON values."""
        return {
            "runtime": self.runtime,
            "num_inputs": self.num_inputs,
            "largest_difference": self.largest,
            "largest_share_of_bound": self.share,
        }


def check_agreement(file: ControllerFile, *, num_inputs: int = 10_000, seed: int = 0) -> Agreement:
    """Compare a rebuilt policy with ONNX Runtime on random, extreme and boundary observations.

    Args:
        file: A file that surefoot did not write.
        num_inputs: Number of observations, beside 96 huge ones.
        seed: Seed of the random ones.

    Raises:
        CheckError: If an output differs by more than float32 can explain; the message names one.
        InputError: If the file is a canonical one, ONNX Runtime refuses it, or float32 may
            overflow at all observations.
        MissingLibraryError: If ONNX Runtime is not installed.
    """
    if file.interface is None:
        raise InputError("a canonical file is its own policy: there is nothing to compare")
    policy = file.policy
    observations = agreement_observations(policy, num_inputs, np.random.default_rng(seed))
    run = _runner(file.data, file.interface)
    largest = share = 0.0
    num_checked = 0
    for limit, rows in _by_size(policy, observations):
        bound = runtime_error(policy, state_limit=limit) * (1 + 1e-6)
        if not np.isfinite(bound).all():  # float32 may overflow there, in any runtime
            continue
        chosen = observations[rows]
        outputs, reference = run(chosen).astype(np.float64), policy.outputs(chosen)
        error = np.abs(outputs - reference)
        if not (error <= bound).all():
            row, column = np.argwhere(~(error <= bound))[0]
            raise CheckError(
                f"the file is not the policy that was rebuilt from it: at observation "
                f"{chosen[row].tolist()} output {column} is {outputs[row, column]:.9g} in ONNX "
                f"Runtime and {reference[row, column]:.9g} in the policy; rounding explains "
                f"{bound[column]:.3g}"
            )
        num_checked += len(chosen)
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
        clamp = layer.activation
        kinks = (clamp.low, clamp.high) if isinstance(clamp, Clamp) else (0.0,)
        neuron, kink = rng.integers(len(layer.bias), size=rows), rng.choice(kinks, rows)
        above = partial(_is_above, policy, number, neuron, kink)
        low, high = rng.uniform(-limit, limit, (2, rows, policy.obs_dim))
        start = above(low)
        crossing = start != above(high)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            same = (above(middle) == start)[:, None]
            low, high = np.where(same, middle, low), np.where(same, high, middle)
        parts.append(low[crossing])
    return np.concatenate(parts)[:count]


def _is_above(policy: Policy, number: int, neuron: Array, kink: Array, states: Array) -> Array:
    """Whether a neuron of a layer is above its kink at each state, shape (n,)."""
    return np.asarray(_sums(policy, states, number)[np.arange(len(states)), neuron] > kink)


def _sums(policy: Policy, states: Array, number: int) -> Array:
    """Return weight @ input + bias of a layer, shape (n, fan_out)."""
    hidden = states
    for layer in policy.layers[:number]:
        hidden = layer.activation(hidden @ layer.weight.T.astype(np.float64) + layer.bias)
    last = policy.layers[number]
    return np.asarray(hidden @ last.weight.T.astype(np.float64) + last.bias)


def _by_size(policy: Policy, observations: Array) -> Iterator[tuple[float, Array]]:
    """Yield boxes of states, and the rows of the observations that need one so large."""
    sizes = np.abs(policy.state(observations)).max(axis=1)
    exponents = np.ceil(np.log2(np.maximum(sizes, 2.0**-20))).astype(int)
    for exponent in np.unique(exponents):
        yield 2.0 ** int(exponent), np.flatnonzero(exponents == exponent)


def _runner(data: bytes, interface: Interface) -> Callable[[Array], Array]:
    """Return ONNX Runtime on the very file, from observations (n, obs_dim) to actions."""
    session = open_session(data, CPU_PROVIDER)
    kind = np.float64 if interface.double else np.float32

    def call(batch: Array, rows: int) -> Array:
        shape = (rows, *interface.shape[1:]) if interface.batched else interface.shape
        given = batch.astype(kind).reshape(shape)
        try:
            outputs = session.run([interface.output], {interface.input: given})[0]
            return np.asarray(outputs).reshape(rows, -1)
        except Exception as error:  # ONNX Runtime's errors have no base class of their own
            first = str(error).strip().splitlines()[0]
            raise InputError(f"ONNX Runtime cannot run the file: {first}") from error

    def run(observations: Array) -> Array:
        alone = len(observations) if not interface.batched else min(len(observations), _SINGLES)
        parts = [call(observations[row : row + 1], 1) for row in range(alone)]
        if alone < len(observations):
            parts.append(call(observations[alone:], len(observations) - alone))
        return np.concatenate(parts)

    return run
