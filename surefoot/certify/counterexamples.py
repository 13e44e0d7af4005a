"""Sampled lower bounds: what a search finds, and the witness that refutes.

Nothing here proves anything. What a search finds (``ascent`` around given states, ``state_search``
over all of them) is replayed in the arithmetic that is deployed, and only that replay counts.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, softmax

from surefoot.ball import Ball
from surefoot.certify.ascent import (
    along,
    climb,
    leads,
    network_and_gradient,
    objectives,
    second_fixed,
)
from surefoot.certify.bounds.upward import Float
from surefoot.certify.lateness import SeenLate
from surefoot.certify.search_goals import goals
from surefoot.certify.state_search import farthest
from surefoot.errors import InputError, MissingLibraryError
from surefoot.onnx_file import ControllerFile, cut_at_state
from surefoot.policy import Array, CategoricalHead, GaussianHead, Policy, Squash
from surefoot.quantities.base.proof import Outputs
from surefoot.quantities.base.witness import Witness
from surefoot.runtime.onnx_controller import CPU_PROVIDER, open_session

Single = NDArray[np.float32]

_KNOWN = 1e150
"""Larger slopes count as overflow: a search knows nothing there, and so finds nothing."""

_INSIDE = 2.0**-20
"""Share of a ball that is not searched around late readings."""

_OVERFLOW_IS_NO_FIND = np.errstate(over="ignore", invalid="ignore")
"""What is not finite is dropped where finds are compared, so that it needs no warning."""


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """The deployed arithmetic from states to actions (or logits): float32 in, float32 out."""

    name: str
    outputs_at: Callable[[Single], Single]


def deployed_arithmetic(controller: ControllerFile) -> Replay:
    """Return ONNX Runtime on the very file cut at its state, or NumPy float32 without it.

    Raises:
        InputError: If ONNX Runtime refuses the file.
    """

    def numpy_at(states: Single) -> Single:
        with np.errstate(over="ignore", invalid="ignore"):
            return controller.policy.outputs_at(states)

    try:
        cut = cut_at_state(controller.data)
    except InputError:
        return Replay("NumPy float32 (the file has no tensor of its states)", numpy_at)
    try:
        session = open_session(cut, CPU_PROVIDER)
    except MissingLibraryError:
        return Replay("NumPy float32 (onnxruntime is not installed)", numpy_at)
    name = session.get_inputs()[0].name

    def run(states: Single) -> Single:
        outputs: Single = session.run(None, {name: states})[0]
        return outputs

    from onnxruntime import __version__ as version  # there, since the session is open

    return Replay(f"ONNX Runtime {version} CPU", run)


def deviation_of(output: int) -> str:
    """Return the name of the measure that is the deviation of one output."""
    return f"deviation of output {output}"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Worst:
    """The worst that was found at each state.

    Attributes:
        observations: Raw observations of the states, shape (n, obs_dim), float32.
        states: Shape (n, obs_dim), float32, normalised units.
        perturbed: The worst perturbed states, per measure: name to shape (n, obs_dim), float32.
        values: Name of a measure to its largest value at each state, shape (n,); the deviation of
            each output has a measure of its own where it was asked for.
        actuators: Actuator of the largest deviation, shape (n,).
    """

    observations: Single
    states: Single
    perturbed: dict[str, Single]
    values: dict[str, Float]
    actuators: NDArray[np.int64]


@_OVERFLOW_IS_NO_FIND
def worst_at(
    policy: Policy,
    replay: Replay,
    states: Single,
    ball: Ball,
    *,
    steps: int,
    restarts: int,
    seed: int,
    distribution: bool = False,
    each_output: bool = False,
    observations: Array | None = None,
    late: SeenLate | None = None,
) -> Worst:
    """Return the worst deviation (and TV, KL) that a search finds at each state, replayed.

    Args:
        policy: The network.
        replay: The deployed arithmetic.
        states: Shape (n, obs_dim), float32, normalised units.
        ball: The perturbations that are allowed.
        steps: Gradient steps of each ascent.
        restarts: Random starts beside the corner of the gradient's signs.
        seed: Seed of the random starts.
        distribution: Search for distances between distributions as well.
        each_output: Keep the worst of each output as well.
        observations: Raw observations of the states; by default the nearest ones.
        late: What may be seen in the place of the states; the perturbations are around it.
    """
    rng, ball = np.random.default_rng(seed), policy.reachable(ball)
    if observations is None:
        observations = attainable_states(policy, states)[0]
    found = _start(policy, replay, observations.astype(np.float32), states, each_output)
    starts: list[np.random.Generator | None] = [None, *[rng] * restarts]
    for objective in objectives(policy, distribution=distribution):
        for start in starts:
            delta = climb(policy, states, ball, objective, steps=steps, rng=start)
            _keep_worse(policy, replay, found, ball.perturbed(states, delta), distribution)
    if late is not None:
        _search_late(policy, replay, found, ball, late, steps=steps, distribution=distribution)
    return found


def _search_late(
    policy: Policy,
    replay: Replay,
    found: Worst,
    ball: Ball,
    late: SeenLate,
    *,
    steps: int,
    distribution: bool,
) -> None:
    """Search among late readings, and then around them, and keep the worse one for each state."""
    # A little inside: what is late and errs besides is told from its state by one sum.
    inner = replace(ball, epsilon=ball.epsilon * (1 - _INSIDE))
    for seen in late.drawn:
        _keep_worse(policy, replay, found, seen, distribution)
    for objective in objectives(policy, distribution=distribution):
        seen = found.states
        base = policy.network(seen)
        for _ in range(steps):
            _, gradient = network_and_gradient(policy, seen, partial(second_fixed, objective, base))
            seen = np.where(gradient > 0, late.high, np.where(gradient < 0, late.low, seen))
            _keep_worse(policy, replay, found, seen, distribution)
        if ball.epsilon:
            delta = climb(policy, seen, inner, objective, steps=steps)
            _keep_worse(policy, replay, found, inner.perturbed(seen, delta), distribution)


def attainable_states(policy: Policy, states: Array) -> tuple[Single, Single]:
    """Return (raw observations, states) in float32: the nearest that the controller can be in."""
    mean, scale = policy.normaliser.mean, policy.normaliser.scale
    observations = (mean + states * scale).astype(np.float32)
    return observations, policy.state(observations, np.float32)


@_OVERFLOW_IS_NO_FIND
def worst_anywhere(
    policy: Policy,
    replay: Replay,
    ball: Ball,
    *,
    starts: Array,
    steps: int,
    seed: int,
    distribution: bool = False,
    each_output: bool = False,
) -> Worst:
    """Return the worst that a search over states and perturbations finds, replayed.

    Args:
        policy: The network.
        replay: The deployed arithmetic.
        ball: The perturbations that are allowed.
        starts: States to start from, shape (n, obs_dim).
        steps: Gradient steps by which the effort counts.
        seed: Seed of the perturbations and of the moves of the states.
        distribution: Search for distances between distributions as well.
        each_output: Keep the worst of each output as well.
    """
    rng, ball = np.random.default_rng(seed), policy.reachable(ball)
    parts = []
    box = _box(policy)
    for goal, froms in goals(policy, starts, distribution=distribution):
        moved, delta = farthest(policy, ball, froms, goal, box=box, steps=steps, rng=rng)
        observations, states = attainable_states(policy, moved)
        found = _start(policy, replay, observations, states, each_output)
        for shift in (delta, -delta):
            _keep_worse(policy, replay, found, ball.perturbed(states, shift), distribution)
        parts.append(found)
    return _join(parts)


def _box(policy: Policy) -> float:
    """Return the largest state that is searched, normalised units."""
    return min(policy.normaliser.clip, 10.0)


def start_states(policy: Policy, count: int, seed: int, visited: Float | None = None) -> Float:
    """Return states of several sizes inside the clip, and some of the visited ones."""
    rng = np.random.default_rng(seed)
    box = _box(policy)
    sizes = box * 10.0 ** rng.uniform(-2, 0, size=(count, 1))
    states: Float = rng.uniform(-1, 1, size=(count, policy.obs_dim)) * sizes
    if visited is not None and len(visited):
        states = np.concatenate([states, visited[rng.permutation(len(visited))[:count]]])
    return states


@_OVERFLOW_IS_NO_FIND
def jacobian_norms(policy: Policy, states: Float) -> tuple[Float, Float]:
    """Return the norm of the actions' Jacobian and its top right singular vector at each state.

    Args:
        policy: The network; action units for a Gaussian head.
        states: Shape (n, obs_dim).
    """
    rows = []
    for j in range(policy.num_outputs):
        outputs, gradient = network_and_gradient(
            policy, states, partial(second_fixed, along(j, 1.0), states)
        )
        rows.append(gradient * _head_slope(policy, outputs)[:, j : j + 1])
    jacobians = np.stack(rows, axis=1)
    # Where float64 overflows nothing is known; beyond 1e150 squares would. No slope is below 0.
    known = np.asarray(np.abs(jacobians).max(axis=(1, 2), keepdims=True) < _KNOWN)
    _, norms, right = np.linalg.svd(np.where(known, jacobians, 0.0), full_matrices=False)
    return norms[:, 0], right[:, 0, :]


def _head_slope(policy: Policy, outputs: Float) -> Float:
    head = policy.head
    if not isinstance(head, GaussianHead):
        return np.ones_like(outputs)
    slope = np.ones_like(outputs)
    if head.squash is Squash.TANH:
        slope = 1 - np.tanh(outputs) ** 2
    elif head.squash is Squash.CLIP:
        slope = (np.abs(outputs) < 1).astype(np.float64)
    return slope * head.half_range


def gaps(replay: Replay, dense: Policy, states: Single) -> Float:
    """Return the largest difference of an output from the dense policy at each state, shape (n,).

    Args:
        replay: Deployed arithmetic of the compressed policy.
        dense: Policy from which it was compressed, in NumPy float32.
        states: Shape (n, obs_dim), float32, normalised units.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        theirs = dense.outputs_at(states).astype(np.float64)
        gap = np.abs(replay.outputs_at(states).astype(np.float64) - theirs).max(axis=1)
    return np.where(np.isfinite(gap), gap, 0.0)


def replayed(
    replay: Replay,
    observation: Single,
    state: Single,
    moved: Single,
    *,
    measure: str | None = None,
    value: float | None = None,
    slope: float | None = None,
    outputs: Outputs = None,
) -> Witness:
    """Return a pair of states with their outputs in deployed arithmetic.

    Args:
        replay: The deployed arithmetic.
        observation: Raw observation of the state, shape (obs_dim,).
        state: Normalised units, float32, shape (obs_dim,).
        moved: The perturbed state, normalised units, float32, shape (obs_dim,).
        measure: Name of what was searched for.
        value: Value at this pair.
        slope: Change of the actions over that of the state.
        outputs: Numbers of the outputs that are meant; None for all.
    """
    actions = replay.outputs_at(np.stack([state, moved])).astype(np.float64)
    change = np.abs(actions[1] - actions[0])
    meant = np.arange(len(change)) if outputs is None else np.array(outputs)
    exact = state.astype(np.float64)
    return Witness(
        observation=tuple(observation.astype(np.float64).tolist()),
        state=tuple(exact.tolist()),
        perturbation=tuple((moved.astype(np.float64) - exact).tolist()),
        action=tuple(actions[0].tolist()),
        perturbed_action=tuple(actions[1].tolist()),
        actuator=int(meant[change[meant].argmax()]),
        deviation=float(change[meant].max()),
        runtime=replay.name,
        measure=measure,
        value=value,
        slope=slope,
    )


def _start(
    policy: Policy, replay: Replay, observations: Single, states: Single, each_output: bool
) -> Worst:
    """Return what is found without a perturbation."""
    names = ["deviation", "total_variation", "kl"]
    names += map(deviation_of, range(policy.num_outputs)) if each_output else ()
    values = {name: np.zeros(len(states)) for name in names}
    if isinstance(policy.head, CategoricalHead):
        outputs = replay.outputs_at(states).astype(np.float64)
        values["choice_lead"] = leads(outputs, outputs)
    return Worst(
        observations=observations,
        states=states,
        perturbed={name: states.copy() for name in values},
        values=values,
        actuators=np.zeros(len(states), dtype=np.int64),
    )


def _keep_worse(
    policy: Policy, replay: Replay, found: Worst, moved: Single, distribution: bool
) -> None:
    """Replay perturbed states and keep the worse one for each state and measure."""
    outputs, base = (
        replay.outputs_at(states).astype(np.float64) for states in (moved, found.states)
    )
    change = np.abs(outputs - base)
    measures = {"deviation": change.max(axis=1)}
    each = {deviation_of(output): column for output, column in enumerate(change.T)}
    measures |= {name: column for name, column in each.items() if name in found.values}
    if isinstance(policy.head, CategoricalHead):
        measures["choice_lead"] = leads(outputs, base)
    if distribution:
        measures |= distances(policy, found.states.astype(np.float64), moved.astype(np.float64))
    # A witness holds numbers alone, whatever the law is in float64.
    is_known = np.isfinite(outputs).all(axis=1) & np.isfinite(base).all(axis=1)
    for name, values in measures.items():
        worse = is_known & np.isfinite(values) & (values > found.values[name])
        found.values[name][worse] = values[worse]
        found.perturbed[name][worse] = moved[worse]
        if name == "deviation":
            found.actuators[worse] = change.argmax(axis=1)[worse]


def distances(policy: Policy, states: Float, moved: Float) -> dict[str, Float]:
    """Return the exact TV and KL between the action laws at two states, float64, shape (n,)."""
    first, second = policy.network(states), policy.network(moved)
    if isinstance(policy.head, CategoricalHead):
        p, q = softmax(first, axis=1), softmax(second, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(p > 0, p * (np.log(p) - np.log(q)), 0.0)
        kl = np.maximum(np.where(np.isfinite(terms), terms, 0.0).sum(axis=1), 0.0)
        return {"total_variation": np.abs(p - q).sum(axis=1) / 2, "kl": kl}
    distance = np.linalg.norm((first - second) / policy.head.noise, axis=1)
    return {"total_variation": erf(distance / np.sqrt(8.0)), "kl": distance**2 / 2}


def _join(parts: list[Worst]) -> Worst:
    """Concatenate the results of several searches."""
    return Worst(
        observations=np.concatenate([part.observations for part in parts]),
        states=np.concatenate([part.states for part in parts]),
        perturbed={
            name: np.concatenate([part.perturbed[name] for part in parts])
            for name in parts[0].perturbed
        },
        values={
            name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values
        },
        actuators=np.concatenate([part.actuators for part in parts]),
    )
