"""Limits of raw sensors, moved behind the scales and offsets that follow them.

    f clip(o, low, high) + s = clip(f o + s, f low + s, f high + s)      f positive; else they swap

So epsilon counts in the unit of the whole normaliser, wherever a file limits its sensors.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from surefoot.activation import Array
from surefoot.onnx_file.computation import Limit, Numbers, Step
from surefoot.onnx_file.ends import LARGEST_SCALE, LEAST_SCALE, Graph
from surefoot.onnx_file.linear import LINEAR_STEPS, Linear


@dataclass(frozen=True, kw_only=True, slots=True)
class _PendingLimit:
    """A limit that has not been put anywhere yet.

    Attributes:
        source: Number of the scalar that is limited.
        low: Lower end, a float32.
        high: Upper end, a float32.
        label: How messages call its node.
        is_moved: Whether it stands behind a step that it stood before.
    """

    source: int
    low: float = -np.inf
    high: float = np.inf
    label: str = ""
    is_moved: bool = False

    def within(self, low: float, high: float, label: str) -> "_PendingLimit":
        """Return this limit and another one of its result."""
        ends = np.clip([self.low, self.high], low, high).tolist()
        return replace(self, low=ends[0], high=ends[1], label=label)

    @property
    def is_finite(self) -> bool:
        """Whether both ends are numbers, in order."""
        return -np.inf < self.low < self.high < np.inf

    def behind(self, factor: float, offset: float, source: int) -> "_PendingLimit":
        """Return the limit of ``factor x + offset`` that is the same, ends rounded to float32."""
        with np.errstate(over="ignore"):
            ends = np.sort(np.float32(factor * np.array([self.low, self.high]) + offset)).tolist()
        return replace(self, source=source, low=ends[0], high=ends[1], is_moved=True)


@dataclass(kw_only=True, slots=True)
class _LimitedFront:
    """What has been seen of the elementwise steps behind the sensors.

    Attributes:
        sensors: Sensor of each scalar that is made of it alone, by number.
        held: Limits by the number of their result.
        excess: What :func:`sink_limits` returns, shape (obs_dim,).
        is_changed: Whether any limit has moved.
    """

    sensors: dict[int, int]
    excess: Array
    held: dict[int, _PendingLimit] = field(default_factory=dict)
    is_changed: bool = False

    def hold(self, step: Limit) -> None:
        """Take a limit away, to be put behind what follows it."""
        ends = zip(step.low.tolist(), step.high.tolist(), strict=True)
        for number, result, (low, high) in zip(
            step.inputs.tolist(), step.outputs.tolist(), ends, strict=True
        ):
            before = self.held.pop(number, _PendingLimit(source=number))
            self.held[result] = before.within(low, high, step.label)
            self.sensors[result] = self.sensors[number]

    def passed(self, step: Step, first: int) -> Step | None:
        """Return the step of what is not limited yet, its results numbered from ``first``.

        Returns:
            None where the ends of a limit are not two finite float32 numbers behind it.
        """
        linear, numbers, results = Linear.of(step), step.inputs.copy(), step.outputs.copy()
        moved: dict[int, _PendingLimit] = {}
        for row, number in enumerate(step.inputs.tolist()):
            if number in self.held:
                numbers[row], results[row] = self.held[number].source, first + len(moved)
                moved[int(step.outputs[row])] = self.held[number].behind(
                    float(linear.factor[row]), float(linear.offset[row]), first + len(moved)
                )
        size = np.abs(linear.factor)
        is_scale = ((size >= LEAST_SCALE) & (size <= LARGEST_SCALE)).all()
        if not is_scale or not all(limit.is_finite for limit in moved.values()):
            return None
        for number in step.inputs.tolist():
            self.held.pop(number, None)
        self.held |= moved
        self.is_changed |= bool(moved)
        return replace(step, inputs=numbers, outputs=results)

    def follow(self, step: Step) -> None:
        """Note whose sensors the results of an elementwise step are."""
        for number, result in zip(step.inputs.tolist(), step.outputs.tolist(), strict=True):
            self.sensors[result] = self.sensors[number]

    def put(self, numbers: Iterable[int]) -> list[Limit]:
        """Return the limits whose results these are, in one step."""
        here = {number: self.held.pop(number) for number in numbers if number in self.held}
        if not here:
            return []
        limits = list(here.values())
        for number, limit in here.items():
            if limit.is_moved and not limit.low <= 0 <= limit.high:
                nearer = min(abs(limit.low), abs(limit.high))
                sensor = self.sensors[number]
                self.excess[sensor] = max(self.excess[sensor], nearer)
        return [
            Limit(
                inputs=np.array([limit.source for limit in limits]),
                outputs=np.array(list(here)),
                low=np.array([limit.low for limit in limits], np.float32),
                high=np.array([limit.high for limit in limits], np.float32),
                label=limits[-1].label,
            )
        ]


def sink_limits(graph: Graph, obs_dim: int) -> Array | None:
    """Put limits of single sensors behind the elementwise affine steps that take their results.

    Each end is rounded once more for each of these steps.

    Args:
        graph: The steps that are left, sensors first; changed in place.
        obs_dim: Number of sensors.

    Returns:
        Amount by which an end may exceed the state that it replaces, normalised units, (obs_dim,);
        None where no limit has moved.
    """
    front = _LimitedFront(sensors={k: k for k in range(obs_dim)}, excess=np.zeros(obs_dim))
    uses, steps = graph.uses(), list[Step]()
    for step in graph.steps:
        if not _is_alone(step, front, uses):
            steps += [*front.put(step.sources.tolist()), step]
        elif isinstance(step, Limit):
            front.hold(step)
        elif (passed := front.passed(step, graph.size)) is not None:
            front.follow(step)
            steps.append(passed)
            graph.size = max(graph.size, int(passed.outputs.max()) + 1)
        else:
            steps += [*front.put(step.sources.tolist()), step]
    ends = np.concatenate([graph.outputs, graph.memory]).tolist()
    graph.steps = [*steps, *front.put(ends)]
    return front.excess if front.is_changed else None


def _is_alone(step: Step, front: _LimitedFront, uses: Numbers) -> bool:
    """Return True if a step acts on single sensors, and nothing else takes what it takes."""
    if not isinstance(step, (Limit, *LINEAR_STEPS)):
        return False
    return all(n in front.sensors for n in step.inputs.tolist()) and bool(
        (uses[step.inputs] == 1).all()
    )
