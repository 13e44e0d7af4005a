"""A search for any violation of any bound on random graphs, in every arithmetic that is known.

    python benchmarks/graph_soundness.py --graphs 10000 --out docs/results/graph_soundness.json

Graphs have encoders (Concat and Slice), residual sums and skips; those of the first kind also have
normalisations over neurons, whole and written out, those of the third one products of two computed
values and GRU cells, written out. Each is read as a stranger's file. Two oracles
share no code with the bounds: the graph, node by node, and the policy, layer by layer, in extended
precision (64 bits of mantissa). Held against them, on random points of balls and on those that a
gradient climbs to:

* local: every sum and every action against interval bounds, CROWN and alpha-CROWN;
* rounding: the file on ONNX Runtime, and the canonical policy in float32 (in NumPy's order of
  summation, in that of the generated C and in a random one) and, by turns, in TF32 or float16,
  against the rounding terms of states, balls and all states;
* claims: changes of the deployed actions in each arithmetic against the certified deviation;
* everywhere: changes of actions against the least global bound, where there is one.
"""

import argparse
import json
import os
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np  # noqa: E402 - the number of threads is set before
import onnx  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from onnx import helper, numpy_helper  # noqa: E402

from support.onnx_graphs import RandomController, on_runtime  # noqa: E402
from surefoot.activation import (  # noqa: E402
    Activation,
    AnyActivation,
    Clamp,
    LeakyRelu,
    Mixed,
    Product,
    RmsNorm,
    ScaledElu,
)
from surefoot.ball import Ball, Norm  # noqa: E402
from surefoot.certify.at_states import AtStates, Effort  # noqa: E402
from surefoot.certify.bounds.arithmetics import ARITHMETICS  # noqa: E402
from surefoot.certify.bounds.crown import interval_layers  # noqa: E402
from surefoot.certify.bounds.global_bounds import least_rows  # noqa: E402
from surefoot.certify.bounds.local_bounds import local_bounds, local_region  # noqa: E402
from surefoot.certify.bounds.region import Bounds, Region, network_of  # noqa: E402
from surefoot.certify.bounds.rounding import (  # noqa: E402
    rounding_at,
    rounding_bound,
)
from surefoot.certify.counterexamples import climb, objectives  # noqa: E402
from surefoot.certify.everywhere import Everywhere  # noqa: E402
from surefoot.errors import InputError  # noqa: E402
from surefoot.onnx_file import ForeignFile, policy_from_onnx, policy_to_onnx, read_onnx  # noqa: E402
from surefoot.policy import GaussianHead, Policy, Squash  # noqa: E402
from surefoot.runtime.arithmetic import runtime_error_at  # noqa: E402
from surefoot.runtime.c_source import twin_outputs_at  # noqa: E402
from surefoot.unknown import Unknown  # noqa: E402

Array = NDArray[Any]
SENSORS, STATES, POINTS = 5, 3, 24
NORMS = {"normalised": 0.7, "branches": 0.0, "products": 0.0}
"""Chance that a layer of a graph of each kind is normalised over its neurons."""

PRODUCTS = {"normalised": 0.0, "branches": 0.0, "products": 0.5}
"""Chance that a value of a graph of each kind is the product of two others."""

ALPHA_SHARE = 0.1
"""Share of the graphs that are held against alpha-CROWN as well, which costs most."""

EXTENDED = np.longdouble
SLACK = 1e-12
"""Of the bounds' own float64 values at points, relative to the numbers that are compared."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graphs", type=int, default=10_000, help="of those with normalisations")
    parser.add_argument("--plain", type=int, default=10_000, help="of those without")
    parser.add_argument("--products", type=int, default=10_000, help="of those with products")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("graph_soundness.json"))
    given = parser.parse_args()
    wanted = {"normalised": given.graphs, "branches": given.plain, "products": given.products}
    start, counts = perf_counter(), {kind: Count() for kind in wanted}
    for number in range(max(wanted.values())):
        for kind, count in counts.items():
            while count.seen["checked"] <= number < wanted[kind]:
                count.drawn += 1
                check(np.random.default_rng([given.seed, count.drawn]), kind, count)
        if (number + 1) % 100 == 0 or number + 1 == max(wanted.values()):
            write(given.out, {kind: count.to_table() for kind, count in counts.items()}, start)
    sys.exit(any(any(count.violations.values()) for count in counts.values()))


def write(path: Path, kinds: dict[str, Any], start: float) -> None:
    found = {
        "command": shlex.join(["python", "benchmarks/graph_soundness.py", *sys.argv[1:]]),
        "seconds": round(perf_counter() - start),
        "kinds": kinds,
    }
    path.write_text(json.dumps(found, indent=1) + "\n")


class Count:
    """Comparisons by claim, the violations among them, and the largest shares of the bounds."""

    def __init__(self) -> None:
        self.drawn = 0
        self.seen: Counter[str] = Counter()
        self.checks: Counter[str] = Counter()
        self.violations: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self.share: dict[str, float] = {}

    def hold(self, claim: str, found: Array, bound: Array, slack: Array | float = 0.0) -> None:
        found, bound = np.broadcast_arrays(np.asarray(found), np.asarray(bound) + slack)
        self.checks[claim] += found.size
        self.violations[claim] += int((~(found <= bound)).sum())
        known = np.isfinite(bound.astype(np.float64)) & (bound > 0)
        if known.any():
            share = float((found[known] / bound[known]).max())
            self.share[claim] = max(self.share.get(claim, 0.0), share)

    def to_table(self) -> dict[str, Any]:
        return {
            "graphs": dict(self.seen),
            "violations": sum(self.violations.values()),
            "checks": dict(self.checks),
            "largest_share_of_bound": {k: float(f"{v:.3g}") for k, v in self.share.items()},
            "unknown": dict(self.unknown),
        }


@dataclass(frozen=True)
class Trial:
    """A policy, states, points of the ball around each, and the ball."""

    policy: Policy
    states: Array
    moved: Array
    ball: Ball

    @property
    def region(self) -> Region:
        return local_region(self.states, self.ball.epsilon, self.ball.norm)


def check(rng: np.random.Generator, kind: str, count: Count) -> None:
    """Draw one graph and hold it against all of its bounds."""
    data, output = RandomController(rng, NORMS[kind], PRODUCTS[kind]).branched(SENSORS)
    try:
        file = read_onnx(data, "controller.onnx")
    except InputError as error:
        count.seen[f"refused: {str(error).rpartition(': ')[2]}"] += 1
        return
    assert isinstance(file, ForeignFile)
    layers = file.policy.layers
    if kind != "branches" and file.policy.is_elementwise:
        return  # drawn without what makes its kind
    count.seen["checked"] += 1
    count.seen["with several functions side by side"] += any(
        isinstance(layer.activation, Mixed) for layer in layers
    )
    trial = draw(rng, file.policy)
    canonical = policy_from_onnx(policy_to_onnx(file.policy)).policy
    check_file(file, output, rng, count)
    check_local(trial, rng, count)
    exact = Trial(canonical, trial.states, trial.moved, trial.ball)
    for name in ("float32", str(rng.choice(["tf32", "float16"]))):
        check_arithmetic(exact, name, rng, count)
    check_everywhere(exact, count)


def draw(rng: np.random.Generator, policy: Policy) -> Trial:
    """Draw states, a ball, and points of it: random ones and those that a gradient climbs to."""
    limit = min(policy.normaliser.clip, 10.0)
    spread = 10.0 ** rng.uniform(-1, 0.7)
    states = np.clip(rng.normal(0, spread, (STATES, SENSORS)), -limit, limit).astype(np.float32)
    norm = Norm.LINF if rng.random() < 0.5 else Norm.L2
    ball = Ball(norm=norm, epsilon=float(10.0 ** rng.uniform(-3, 0)))
    exact = states.astype(np.float64)
    steps = [ball.outermost(rng.normal(size=states.shape)) for _ in range(POINTS)]
    steps += [step * rng.random() for step in steps[: POINTS // 2]]
    with np.errstate(all="ignore"):
        for objective in objectives(policy, distribution=False):
            steps.append(climb(policy, exact, ball, objective, steps=2))
    moved = np.stack([ball.perturbed(states, step) for step in steps])
    assert all(ball.holds(each.astype(np.float64) - exact).all() for each in moved)
    return Trial(policy, states, moved, ball)


def check_file(file: ForeignFile, output: str, rng: np.random.Generator, count: Count) -> None:
    """Hold the file, exact and on ONNX Runtime, against the rounding of the rebuilt policy."""
    policy = file.policy
    scale, mean = policy.normaliser.scale, policy.normaliser.mean
    spread = 10.0 ** rng.uniform(-2, 1, (16, 1))
    obs = (mean + scale * spread * rng.normal(size=(16, SENSORS))).astype(np.float32)
    states = policy.state(obs)
    value = in_extended(policy, states)
    bounds = {"second": runtime_error_at(policy, states)}
    around = rounding_at(policy, states, ARITHMETICS["float32"])
    if isinstance(around, Unknown):
        count.unknown[f"file: {around.reason}"] += 1
    else:
        bounds["first"] = around.action
    runtime = on_runtime(file.data, {"obs": obs}).astype(EXTENDED)
    graph = graph_in_extended(onnx.load_model_from_string(file.data), obs)[output]
    for name, bound in bounds.items():
        count.hold(f"file on ONNX Runtime, {name} bound", np.abs(runtime - value), bound)
        count.hold(f"file in real arithmetic, {name} bound", np.abs(graph - value), bound, SLACK)


def check_local(trial: Trial, rng: np.random.Generator, count: Count) -> None:
    """Hold sums and actions at points of the ball against bounds in real arithmetic."""
    policy, region = trial.policy, trial.region
    sums = sums_in_extended(policy, trial.moved)
    here, there = (in_extended(policy, part) for part in (trial.states, trial.moved))
    change = np.abs(there - here).max(axis=0)
    found = {"interval": interval_layers(network_of(policy), region)}
    efforts = {"CROWN": 0} | ({"alpha-CROWN": 3} if rng.random() < ALPHA_SHARE else {})
    for name, steps in efforts.items():
        local = local_bounds(policy, region, steps)
        found[name] = [*local.before]
        count.hold(f"deviation by {name}", change, local.action, SLACK * (1 + np.abs(here)))
    for name, layers in found.items():
        for bounds, value in zip(layers, sums, strict=True):
            hold_layer(name, bounds, value, count)


def hold_layer(name: str, bounds: Bounds, value: Array, count: Count) -> None:
    slack = SLACK * (1 + np.abs(value).max(axis=0))
    centre = (bounds.lower + bounds.upper) / 2
    known = np.isfinite(centre)
    radius = np.where(known, np.maximum(bounds.upper - centre, centre - bounds.lower), np.inf)
    distance = np.abs(value - np.where(known, centre, 0)).max(axis=0)
    count.hold(f"sums by {name}", distance, radius, slack)


def check_arithmetic(trial: Trial, name: str, rng: np.random.Generator, count: Count) -> None:
    """Hold the canonical policy in one arithmetic against rounding terms and claims."""
    policy, arithmetic = trial.policy, ARITHMETICS[name]
    at_states = AtStates(
        Everywhere(policy, arithmetic), trial.states, Effort(), Unknown("not compared")
    )
    runs = list(runs_in(name, policy, rng))
    with np.errstate(over="ignore", invalid="ignore"):  # float16, where nothing is then claimed
        check_runs(trial, name, runs, at_states, count)


def check_runs(
    trial: Trial,
    name: str,
    runs: list[Callable[[Array], Array]],
    at_states: AtStates,
    count: Count,
) -> None:
    here, there = (in_extended(trial.policy, part) for part in (trial.states, trial.moved))
    lost = [
        (np.abs(run(trial.states[None])[0] - here), np.abs(run(trial.moved) - there))
        for run in runs
    ]
    around = at_states.rounding(trial.ball)
    if isinstance(around, Unknown):
        count.unknown[f"{name}, around states: {around.reason}"] += 1
    else:
        for at_state, in_ball in lost:  # the term counts both ends of a change
            count.hold(f"{name}, around states", at_state + in_ball.max(axis=0), around.action)
    limit = np.full(SENSORS, np.abs(trial.moved).max())
    anywhere = rounding_bound(trial.policy, limit, ARITHMETICS[name])
    if isinstance(anywhere, Unknown):
        count.unknown[f"{name}, all states: {anywhere.reason}"] += 1
    else:
        for _, in_ball in lost:
            count.hold(f"{name}, all states", in_ball, anywhere.action)
    claim = at_states.whole_deviation(trial.ball)
    if isinstance(claim, Unknown):
        count.unknown[f"{name}, deviation: {claim.reason}"] += 1
        return
    for run in runs:
        change = run(trial.moved).astype(EXTENDED) - run(trial.states[None])
        count.hold(f"{name}, deviation", np.abs(change).max(axis=(0, 2)), claim.values)


def check_everywhere(trial: Trial, count: Count) -> None:
    """Hold changes of actions against the least global bound."""
    everywhere = Everywhere(trial.policy, ARITHMETICS["float32"])
    if not everywhere.is_bounded:
        count.unknown["everywhere"] += 1
        return
    bound = least_rows(everywhere.deviations(trial.ball))
    here, there = (in_extended(trial.policy, part) for part in (trial.states, trial.moved))
    change = np.abs(there - here).max(axis=0)
    count.hold("deviation everywhere", change, bound, SLACK * (1 + np.abs(here)))


# --- runtimes


def runs_in(
    name: str, policy: Policy, rng: np.random.Generator
) -> Iterator[Callable[[Array], Array]]:
    """Yield ways to compute actions at states in an arithmetic, from and to float32."""
    if name == "float32":
        yield policy.outputs_at
        yield lambda states: twin_outputs_at(policy, states.reshape(-1, SENSORS)).reshape(
            *states.shape[:-1], policy.num_outputs
        )
        yield lambda states: shuffled(policy, states, rng)
    elif name == "tf32":
        yield lambda states: through(policy, states, stored=tf32)
    else:
        yield lambda states: through(policy, states, stored=half, kept=half)


def shuffled(policy: Policy, states: Array, rng: np.random.Generator) -> Array:
    """Run in float32, every sum in a random order, term by term."""
    hidden = states.astype(np.float32)
    for layer in policy.layers:
        terms = layer.weight.astype(np.float32) * hidden[..., None, :]
        bias = np.broadcast_to(layer.bias.astype(np.float32), terms.shape[:-1])
        terms = np.concatenate([terms, bias[..., None]], axis=-1)
        total = np.zeros(terms.shape[:-1], np.float32)
        for place in rng.permutation(terms.shape[-1]):
            total = total + terms[..., place]
        hidden = layer.activation(total)
    return policy.head.outputs(hidden)


def through(
    policy: Policy,
    states: Array,
    stored: Callable[[Array], Array],
    kept: Callable[[Array], Array] = lambda x: x,
) -> Array:
    """Run with factors as they are stored, and values as they are kept between operations."""
    hidden = kept(states.astype(np.float32))
    for layer in policy.layers:
        product = stored(hidden) @ stored(layer.weight.astype(np.float32)).T
        hidden = kept(layer.activation(kept(product + kept(layer.bias.astype(np.float32)))))
    head = policy.head
    assert isinstance(head, GaussianHead)
    half_range, centre = (kept(part.astype(np.float32)) for part in (head.half_range, head.centre))
    return kept(kept(kept(head.squash(hidden)) * half_range) + centre)


def tf32(x: Array) -> Array:
    mantissa, exponent = np.frexp(x)
    return np.ldexp(np.round(mantissa * 2.0**11) / 2.0**11, exponent).astype(np.float32)


def half(x: Array) -> Array:
    return x.astype(np.float16).astype(np.float32)


# --- oracles


def sums_in_extended(policy: Policy, states: Array) -> list[Array]:
    """Return what stands before each activation, in extended precision."""
    hidden, found = states.astype(EXTENDED), []
    for layer in policy.layers:
        weight, bias = layer.weight.astype(EXTENDED), layer.bias.astype(EXTENDED)
        found.append(hidden @ weight.T + bias)
        hidden = activated(layer.activation, found[-1])
    return found


def in_extended(policy: Policy, states: Array) -> Array:
    """Return actions at states, in extended precision."""
    head = policy.head
    assert isinstance(head, GaussianHead)
    last = sums_in_extended(policy, states)[-1]
    squashed = np.tanh(last) if head.squash is Squash.TANH else last
    if head.squash is Squash.CLIP:
        squashed = np.clip(last, -1, 1)
    return np.asarray(squashed * head.half_range.astype(EXTENDED) + head.centre.astype(EXTENDED))


def activated(activation: AnyActivation, x: Array) -> Array:
    match activation:
        case Mixed():
            parts = [activated(one, x[..., place]) for one, place in activation.places()]
            return np.concatenate(parts, axis=-1)
        case RmsNorm(epsilon):
            return np.asarray(x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + EXTENDED(epsilon)))
        case Product():
            first, second = np.split(x, 2, axis=-1)
            return np.concatenate([first * second, second], axis=-1)
        case LeakyRelu(alpha):
            return np.where(x > 0, x, EXTENDED(alpha) * x)
        case Clamp(low, high):
            return np.clip(x, EXTENDED(low), EXTENDED(high))
        case ScaledElu(alpha, gamma):
            below = EXTENDED(alpha) * np.expm1(np.minimum(x, 0))
            return np.asarray(EXTENDED(gamma) * np.where(x > 0, x, below))
    return FUNCTIONS[activation](x)


def sigmoid(x: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-x)))


FUNCTIONS: dict[Activation, Callable[[Array], Array]] = {
    Activation.IDENTITY: lambda x: x,
    Activation.RELU: lambda x: np.maximum(x, 0),
    Activation.TANH: np.tanh,
    Activation.SIGMOID: sigmoid,
    Activation.SILU: lambda x: x * sigmoid(x),
    Activation.ELU: lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    Activation.SOFTPLUS: lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
}


def graph_in_extended(model: onnx.ModelProto, obs: Array) -> dict[str, Array]:
    """Return every value of a graph, node by node, in extended precision."""
    values: dict[str, Array] = {"obs": obs.astype(EXTENDED)}
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        values[tensor.name] = array if array.dtype.kind == "i" else array.astype(EXTENDED)
    for node in model.graph.node:
        keys = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        inputs = [values[name] for name in node.input]
        values[node.output[0]] = operator(node.op_type, inputs, keys)
    return values


def operator(kind: str, x: list[Array], keys: dict[str, Any]) -> Array:
    match kind:
        case "Gemm":
            return np.asarray(x[0] @ x[1].T + (x[2] if len(x) > 2 else 0))
        case "Slice":
            start, end, axis, step = (int(part[0]) for part in x[1:])
            assert axis == 1
            return x[0][:, start:end:step]
        case "Concat":
            return np.concatenate(x, axis=1)
        case "BatchNormalization":
            gain, offset, mean, variance = x[1:]
            return np.asarray(gain * (x[0] - mean) / np.sqrt(variance + EXTENDED(1e-5)) + offset)
        case "LayerNormalization":
            centred = x[0] - x[0].mean(axis=-1, keepdims=True)
            return activated(RmsNorm(keys["epsilon"]), centred) * x[1] + x[2]
        case "ReduceMean":
            return np.asarray(x[0].mean(axis=-1, keepdims=True))
        case "Clip":
            return np.clip(*x)
        case "LeakyRelu":
            return activated(LeakyRelu(keys["alpha"]), x[0])
    return OPERATORS[kind](*x)


OPERATORS: dict[str, Callable[..., Array]] = {
    "Add": np.add,
    "Div": np.divide,
    "Elu": FUNCTIONS[Activation.ELU],
    "Identity": lambda x: x,
    "MatMul": np.matmul,
    "Max": np.maximum,
    "Min": np.minimum,
    "Mul": np.multiply,
    "Pow": np.power,
    "Reciprocal": lambda x: 1 / x,
    "Relu": FUNCTIONS[Activation.RELU],
    "Sigmoid": sigmoid,
    "Softplus": FUNCTIONS[Activation.SOFTPLUS],
    "Sqrt": np.sqrt,
    "Sub": np.subtract,
    "Tanh": np.tanh,
}

if __name__ == "__main__":
    main()
