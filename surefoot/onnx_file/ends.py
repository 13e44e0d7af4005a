"""What stands elementwise at the two ends of a computation: its normaliser and its head.

    state   z = clip(f o + s)               f positive; what is negative turns the weights
    action  a = f squash(u) + s             sigmoid(u) is 1/2 + tanh(u/2) / 2

Steps are taken from an end as long as they have this form. Where they are more than the canonical
file has, they become one, and :class:`Rounding` says what the file rounds on its way.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from surefoot.activation import Activation, Array
from surefoot.onnx_file.computation import (
    Affine,
    Apply,
    Limit,
    Numbers,
    Scale,
    Shift,
    Standardise,
    Step,
)
from surefoot.onnx_file.linear import LINEAR_STEPS, Linear
from surefoot.policy import LARGEST_UNIT, GaussianHead, Normaliser, Rounding, Squash

_SIGMOID_ROUNDINGS = 8
"""Roundings by which a sigmoid counts more than the tanh of half its size that it becomes.

A runtime errs as much in either, but half of the tanh is what the head holds.
"""

_SIGMOID = Activation.SIGMOID

LEAST_SCALE, LARGEST_SCALE = 2.0**-60, 2.0**60
"""Factors that may be a scale: their reciprocals are as far from the ends of float32."""


class Graph:
    """The steps that are left, with what made each scalar and how often it is used."""

    def __init__(self, steps: Sequence[Step], outputs: Numbers, size: int, memory: Numbers) -> None:
        self.steps = list(steps)
        self.outputs = outputs
        self.memory = memory
        self.size = size

    def uses(self) -> Numbers:
        """Count how often each scalar is used, by a step, as an output or as a memory, (size,)."""
        taken = [step.sources for step in self.steps]
        ends = self.outputs, self.memory
        return np.bincount(np.concatenate([*taken, *ends]), minlength=self.size)

    def makers(self) -> Numbers:
        """Return the place of the step that makes each scalar, -1 for sensors, shape (size,)."""
        made_by = np.full(self.size, -1)
        for place, step in enumerate(self.steps):
            made_by[step.outputs] = place
        return made_by

    def standardise_outputs(self, mean: Array, deviation: Array) -> None:
        """Let the outputs be (output - mean) / deviation, of which a file rounds nothing."""
        fresh = np.arange(self.size, self.size + len(self.outputs))
        ones, zeros = np.ones(len(mean)), np.zeros(len(mean))
        self.steps.append(
            Standardise(
                inputs=self.outputs,
                outputs=fresh,
                mean=mean,
                deviation=deviation,
                gain=ones,
                offset=zeros,
                count=0,
            )
        )
        self.outputs, self.size = fresh, self.size + len(fresh)

    def negate(self, numbers: Numbers) -> None:
        """Let these scalars, which no step makes, be their own negatives wherever they are taken.

        Clips about zero and rounding to nearest are odd: a state is the negative of a state.
        """
        if not len(numbers):
            return
        fresh = np.arange(self.size, self.size + len(numbers))
        names = np.arange(self.size)
        names[numbers] = fresh
        factor = -np.ones(len(numbers), np.float32)
        negative = Scale(inputs=numbers, outputs=fresh, factor=factor, divides=False)
        self.steps = [negative, *(step.renamed(names) for step in self.steps)]
        self.outputs, self.memory = names[self.outputs], names[self.memory]
        self.size += len(numbers)

    def drop(self, steps: Sequence[Step]) -> None:
        """Remove steps that have become a part of an end."""
        gone = {id(step) for step in steps}
        self.steps = [step for step in self.steps if id(step) not in gone]


# --- the normaliser


@dataclass(kw_only=True, slots=True, eq=False)
class _Front:
    """What has been taken from the front, for each sensor.

    Attributes:
        numbers: Scalar that is the state so far, shape (obs_dim,).
        linear: Map from the observation to it.
        largest: Largest factor of the map on the way.
        stage: 0 for nothing, 1 for a sum, 2 for a product with or without a sum before it, 3 for
            more; shape (obs_dim,).
        divides: Whether a product is written as a quotient.
        multiplies: Whether one is not.
    """

    numbers: Numbers
    linear: Linear
    largest: Array
    stage: Numbers
    divides: bool = False
    multiplies: bool = False

    @property
    def is_canonical(self) -> bool:
        """Whether it is at most one difference and one quotient, or one product, everywhere."""
        return bool((self.stage <= 2).all()) and not (self.divides and self.multiplies)

    def take(self, step: Step, sensors: Numbers) -> None:
        """Add a step of some sensors."""
        after = self.linear.part(sensors).then(Linear.of(step))
        self.linear.assign(sensors, after)
        self.largest[sensors] = np.maximum(self.largest[sensors], np.abs(after.factor))
        self.numbers[sensors] = step.outputs
        match step:
            case Shift():
                self.stage[sensors] = np.where(self.stage[sensors] == 0, 1, 3)
            case Scale(divides=divides):
                self.stage[sensors] = np.where(self.stage[sensors] < 2, 2, 3)
                self.divides |= divides
                self.multiplies |= not divides
            case _:
                self.stage[sensors] = 3

    def accepts(self, step: Step, sensors: Numbers) -> bool:
        """Return True if a step may be a part of the normaliser."""
        after = self.linear.part(sensors).then(Linear.of(step))
        size = np.abs(after.factor)
        largest = np.maximum(self.largest[sensors], size)
        in_range = (size >= LEAST_SCALE) & (size <= LARGEST_SCALE)
        return bool((in_range & (largest <= size * LARGEST_UNIT)).all())


def take_normaliser(
    graph: Graph, obs_dim: int, moved: Array | None = None
) -> tuple[Normaliser, Numbers]:
    """Remove the normaliser from the front of a graph.

    Args:
        graph: The steps that are left, sensors first; changed in place.
        obs_dim: Number of sensors.
        moved: What moving limits behind the normaliser adds to what is rounded, normalised units,
            shape (obs_dim,); None where none was moved.

    Returns:
        The normaliser, and the numbers of the states, shape (obs_dim,).
    """
    front = _Front(
        numbers=np.arange(obs_dim),
        linear=Linear.identity(obs_dim),
        largest=np.ones(obs_dim),
        stage=np.zeros(obs_dim, np.int64),
    )
    uses = graph.uses()
    sensor = np.full(graph.size, -1)
    sensor[front.numbers] = np.arange(obs_dim)
    taken: list[Step] = []
    for step in graph.steps:
        sensors = sensor[step.inputs] if isinstance(step, LINEAR_STEPS) else np.array([-1])
        alone = (sensors >= 0).all() and (uses[step.inputs] == 1).all()
        if alone and front.accepts(step, sensors):
            front.take(step, sensors)
            sensor[step.outputs] = sensors
            taken.append(step)
    graph.drop(taken)
    clip = _take_clip(graph, front, uses)
    graph.negate(front.numbers[front.linear.factor < 0])
    return _normaliser(front, clip, moved), front.numbers


def _take_clip(graph: Graph, front: _Front, uses: Numbers) -> float:
    """Remove the clip of all states that are used, if they have one and the same.

    Where each has limits of its own, these stay, and the clip is to the largest: it does nothing.
    """
    used = np.flatnonzero(uses[front.numbers])
    states = set(front.numbers[used].tolist())
    clips = [
        step
        for step in graph.steps
        if isinstance(step, Limit) and states.issuperset(step.inputs.tolist())
    ]
    limits = {float(end) for step in clips for end in (*-step.low, *step.high)}
    clipped = {number for step in clips for number in step.inputs.tolist()}
    if clipped != states or (uses[front.numbers[used]] != 1).any():
        return np.inf
    if len(limits) != 1:
        return max(map(abs, limits))
    place = {int(number): k for k, number in enumerate(front.numbers)}
    for step in clips:
        front.numbers[[place[int(number)] for number in step.inputs]] = step.outputs
    graph.drop(clips)
    return limits.pop()


def _normaliser(front: _Front, clip: float, moved: Array | None) -> Normaliser:
    factor, offset = np.abs(front.linear.factor), front.linear.offset
    with np.errstate(over="ignore"):
        mean = (-offset / front.linear.factor).astype(np.float32)
        scale = (1 / factor).astype(np.float32)
    if front.is_canonical and moved is None:
        # The constants themselves: of (o - m) / d and (o - m) f, nothing is rounded.
        single = factor.astype(np.float32)
        if front.multiplies:
            return Normaliser.multiplying(mean, single, clip)
        return Normaliser(mean=mean, scale=scale, clip=clip)
    # Mean and scale are rounded once each; a state z is the difference of f o and -s.
    count, excess = int(front.linear.count.max()), 2 * np.abs(offset) + front.linear.excess
    if moved is not None:  # ends are rounded as often as what they limit
        count, excess = 2 * count, excess + moved
    rounding = Rounding(count=count + 3, excess=excess)
    return Normaliser(mean=mean, scale=scale, clip=clip, rounding=rounding)


# --- the head


@dataclass(kw_only=True, slots=True, eq=False)
class _Back:
    """What has been taken from the back.

    Attributes:
        numbers: Scalars of which the outputs are a map, shape (m,).
        linear: That map.
        layers: Its steps, outermost first; those of one list make all outputs.
    """

    numbers: Numbers
    linear: Linear
    layers: list[list[Step]]

    def kind(self, place: int) -> type[Step] | None:
        """Return the one class of the steps at a place, outermost first; None for several."""
        kinds = {type(step) for step in self.layers[place]} if place < len(self.layers) else set()
        return kinds.pop() if len(kinds) == 1 else None

    @property
    def is_canonical(self) -> bool:
        """Whether it is at most one product and then one sum."""
        kinds = [self.kind(place) for place in range(len(self.layers))]
        return kinds in ([], [Scale], [Shift], [Shift, Scale])


def take_head(graph: Graph) -> GaussianHead:
    """Remove the head from the back of a graph, whose outputs become the network's."""
    back = _Back(numbers=graph.outputs, linear=Linear.identity(len(graph.outputs)), layers=[])
    while steps := _makers_of(graph, back.numbers, LINEAR_STEPS):
        here, inputs = _gathered(steps, back.numbers)
        back.linear, back.numbers = here.then(back.linear), inputs
        back.layers.append(steps)
    size = np.abs(back.linear.factor)
    in_range = bool(((size >= LEAST_SCALE) & (size <= LARGEST_SCALE)).all())
    squashes = _squashes(graph, back.numbers) if in_range else []
    if not squashes:
        return _take_plain_head(graph, back.layers)
    graph.drop([step for steps in back.layers for step in steps] + squashes)
    return _squashed_head(graph, back, squashes)


def _makers_of(graph: Graph, numbers: Numbers, kinds: tuple[type[Step], ...]) -> list[Step]:
    """Return the steps that make these scalars for nobody else, if all are of these classes."""
    made_by = graph.makers()[numbers]
    if (made_by < 0).any() or (graph.uses()[numbers] != 1).any():
        return []
    steps = [graph.steps[place] for place in np.unique(made_by)]
    return steps if all(isinstance(step, kinds) for step in steps) else []


def _rows_of(steps: Sequence[Step], numbers: Numbers) -> list[tuple[Step, Numbers, Numbers]]:
    """Return each step with the places of its results among ``numbers``, and their rows in it."""
    place = {int(number): k for k, number in enumerate(numbers)}
    found = []
    for step in steps:
        rows = np.array([k for k, number in enumerate(step.outputs) if int(number) in place])
        places = np.array([place[int(number)] for number in step.outputs[rows]])
        found.append((step, places, rows))
    return found


def _gathered(steps: Sequence[Step], numbers: Numbers) -> tuple[Linear, Numbers]:
    """Return the map that makes ``numbers``, and the numbers of its inputs."""
    linear, inputs = Linear.identity(len(numbers)), numbers.copy()
    for step, places, rows in _rows_of(steps, numbers):
        linear.assign(places, Linear.of(step).part(rows))
        inputs[places] = step.inputs[rows]
    return linear, inputs


def _squashes(graph: Graph, numbers: Numbers) -> list[Step]:
    """Return the steps that squash these scalars: all by one function, or by finite limits."""
    applied = _makers_of(graph, numbers, (Apply,))
    if applied and (_all_apply(applied, Activation.TANH) or _all_apply(applied, _SIGMOID)):
        return applied
    clips = _makers_of(graph, numbers, (Limit,))
    finite = all(isinstance(s, Limit) and np.isfinite([s.low, s.high]).all() for s in clips)
    return clips if finite else []


def _all_apply(steps: Sequence[Step], function: Activation) -> bool:
    return all(isinstance(step, Apply) and step.activation is function for step in steps)


def _squashed_head(graph: Graph, back: _Back, squashes: list[Step]) -> GaussianHead:
    is_sigmoid = _all_apply(squashes, _SIGMOID)
    least = 0.0 if is_sigmoid else -1.0
    inputs, ends = back.numbers.copy(), np.tile([[least], [1.0]], len(back.numbers))
    for step, places, rows in _rows_of(squashes, back.numbers):
        inputs[places] = step.inputs[rows]
        if isinstance(step, Limit):
            ends[:, places] = step.low[rows], step.high[rows]
    squash = Squash.CLIP if isinstance(squashes[0], Limit) else Squash.TANH
    middle, radius = (ends[0] + ends[1]) / 2, (ends[1] - ends[0]) / 2
    is_unit = bool((middle == 0).all() and (radius == 1).all())
    centred = Linear.identity(len(middle))
    unit = Linear(factor=radius, offset=middle, count=centred.count, excess=centred.excess)
    linear = back.linear if is_unit else unit.then(back.linear)
    # Both squashes are odd, so that a negative factor is one of what is squashed.
    sign = np.sign(linear.factor)
    graph.outputs = inputs
    if is_sigmoid:
        graph.standardise_outputs(np.zeros(len(sign)), 2 * sign)
    elif not is_unit or (sign < 0).any():
        graph.standardise_outputs(middle, radius * sign)
    half_range = np.abs(linear.factor).astype(np.float32)
    centre = linear.offset.astype(np.float32)
    rounding = None
    if not (is_unit and back.is_canonical):
        count, excess = int(linear.count.max()) + 2, linear.excess
        if is_sigmoid:
            count, excess = max(count, _SIGMOID_ROUNDINGS), excess + np.abs(linear.factor)
        rounding = Rounding(count=max(3, count), excess=excess)
    return GaussianHead(
        std=None, squash=squash, centre=centre, half_range=half_range, rounding=rounding
    )


def _take_plain_head(graph: Graph, layers: list[list[Step]]) -> GaussianHead:
    """Remove at most a product and a sum from the back, where nothing squashes."""
    size = len(graph.outputs)
    centre: Array = np.zeros(size, np.float32)
    half_range: Array = np.ones(size, np.float32)
    if layers and _all_are(layers[0], Shift) and not _is_bias(graph, layers):
        linear, inputs = _gathered(layers[0], graph.outputs)
        centre, graph.outputs = linear.offset.astype(np.float32), inputs
        graph.drop(layers.pop(0))
    if layers and _all_are(layers[0], Scale):
        linear, inputs = _gathered(layers[0], graph.outputs)
        if ((linear.factor >= LEAST_SCALE) & (linear.factor <= LARGEST_SCALE)).all():
            half_range, graph.outputs = linear.factor.astype(np.float32), inputs
            graph.drop(layers[0])
    return GaussianHead(std=None, squash=Squash.IDENTITY, centre=centre, half_range=half_range)


def _all_are(steps: Sequence[Step], kind: type[Step]) -> bool:
    return all(isinstance(step, kind) for step in steps)


def _is_bias(graph: Graph, layers: list[list[Step]]) -> bool:
    """Return True if the outermost sums are the bias of a product."""
    _, inputs = _gathered(layers[0], graph.outputs)
    makers = [graph.steps[place] for place in np.unique(graph.makers()[inputs]) if place >= 0]
    return any(isinstance(step, Affine) and step.bias is None for step in makers)
