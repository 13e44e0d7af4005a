"""Clips that are written as limits of one side each, with sums and products between them.

    high - relu(high - low - relu(x - low)),  -min(-x, 0)

    a + b max(x, low)  =  max(a + b x, a + b low)      b positive; else max becomes min

Rounding is monotone, so that behind a sum or a product a limit whose end is exact gives the very
numbers that the limit before it gives.
"""

from dataclasses import dataclass, replace

import numpy as np

from surefoot.activation import Array
from surefoot.onnx_file.computation import Limit, Numbers, Scale, Shift, Step
from surefoot.onnx_file.ends import Graph


@dataclass(frozen=True, slots=True, eq=False)
class _Limits:
    """Ends of the limits of a vector, float32 by value; infinite where there is none.

    Attributes:
        low: Lower ends, shape (m,).
        high: Upper ends, shape (m,).
    """

    low: Array
    high: Array

    @property
    def are_known(self) -> bool:
        """Whether they are those of a clip, or of a Relu."""
        is_clip = np.isfinite([self.low, self.high]).all(axis=0) & (self.low < self.high)
        is_relu = (self.low == 0) & (self.high == np.inf)
        return bool((is_clip | is_relu).all())

    def behind(self, step: Shift | Scale) -> "_Limits":
        """Return the ends of a result; NaN where float32 cannot hold them."""
        low, high = (_through(step, end) for end in (self.low, self.high))
        return _Limits(np.minimum(low, high), np.maximum(low, high))

    def within(self, low: Array, high: Array) -> "_Limits":
        """Return the ends of a limit behind another one."""
        return _Limits(np.clip(self.low, low, high), np.clip(self.high, low, high))


def _through(step: Shift | Scale, end: Array) -> Array:
    constant = (step.amount if isinstance(step, Shift) else step.factor).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        exact = end + constant if isinstance(step, Shift) else end * constant
        rounded = exact.astype(np.float32).astype(np.float64)
    return np.where(rounded == exact, rounded, np.nan) + 0.0  # of two zeros the positive one


_MOST = 128
"""Limits of one side that are looked at; each takes a walk over all steps, and robots have few."""


def join_limits(graph: Graph) -> None:
    """Replace limits of one side that are half of a clip, or a Relu that is turned around.

    Args:
        graph: Changed in place; left as it is where it has too many of them.
    """
    if sum(isinstance(step, Limit) and not _is_clip(step) for step in graph.steps) > _MOST:
        return
    place = 0
    while place < len(graph.steps):
        step = graph.steps[place]
        if not isinstance(step, Limit) or not _join(graph, step):
            place += 1


def _is_clip(limit: Limit) -> bool:
    """Return True if a limit has both of its sides everywhere."""
    return bool(np.isfinite([limit.low, limit.high]).all())


def _join(graph: Graph, first: Limit) -> bool:
    """Move a limit behind what follows it; return False where it is left as it is."""
    if _is_clip(first):
        return False
    ends = _Limits(first.low, first.high)
    chain: list[Shift | Scale] = []
    numbers, uses = first.outputs, graph.uses()
    while (step := _only_user(graph, numbers, uses)) is not None:
        if isinstance(step, Limit):
            ends = ends.within(step.low, step.high)
            if ends.are_known:
                _put(graph, first, chain, replace(first, low=ends.low, high=ends.high), step)
                return True
            return False
        if not isinstance(step, Shift) and not (isinstance(step, Scale) and not step.divides):
            return False
        ends, numbers = ends.behind(step), step.outputs
        chain.append(step)
        if ends.are_known and not _Limits(first.low, first.high).are_known:
            _put(graph, first, chain, replace(first, low=ends.low, high=ends.high), None)
            return True
    return False


def _only_user(graph: Graph, numbers: Numbers, uses: Numbers) -> Step | None:
    """Return the elementwise step that takes exactly these numbers, if nothing else takes any."""
    if (uses[numbers] != 1).any():
        return None
    return next((s for s in graph.steps if np.array_equal(s.inputs, numbers)), None)


def _put(
    graph: Graph, first: Limit, chain: list[Shift | Scale], joined: Limit, last: Limit | None
) -> None:
    """Take a limit away, and put the joined one behind the steps that followed it.

    Args:
        graph: Changed in place.
        first: The limit before the steps.
        chain: The steps between, each of what the one before it gives.
        joined: What stands behind them.
        last: The limit that stood there; None if there was none, so that its results are new.
    """
    moved: dict[int, Step] = {}
    if chain:
        moved[id(chain[0])] = replace(chain[0], inputs=first.inputs)
    inputs = chain[-1].outputs if chain else first.inputs
    steps = [moved.get(id(step), step) for step in graph.steps if step is not first]
    if last is not None:
        limit = replace(joined, inputs=inputs, outputs=last.outputs)
        graph.steps = [limit if step is last else step for step in steps]
        return
    fresh = np.arange(graph.size, graph.size + len(inputs))
    names = np.arange(graph.size)
    names[inputs] = fresh
    place = next(k for k, step in enumerate(steps) if np.array_equal(step.outputs, inputs)) + 1
    limit = replace(joined, inputs=inputs, outputs=fresh)
    graph.steps = [*steps[:place], limit, *(step.renamed(names) for step in steps[place:])]
    graph.outputs, graph.memory = names[graph.outputs], names[graph.memory]
    graph.size += len(inputs)
