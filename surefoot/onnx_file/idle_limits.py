"""Limits behind the squash that no action reaches: a clip to the range that tanh already keeps.

They are left out. Each is the identity in real arithmetic; in float32 it moves what is computed no
further from what is exact, so that no bound on rounding changes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from surefoot.activation import Activation
from surefoot.onnx_file.computation import Apply, Limit, Numbers, Scale, Shift, Step
from surefoot.onnx_file.ends import Graph

_RANGES = {Activation.TANH: (-1, 1), Activation.SIGMOID: (0, 1)}
"""What an activation keeps its results within."""


@dataclass(frozen=True, slots=True)
class _Interval:
    """Exact ends between which a number lies; None for no end.

    Attributes:
        low: The lower end.
        high: The upper end.
    """

    low: Fraction | None = None
    high: Fraction | None = None

    def behind(self, step: Step, row: int) -> "_Interval":
        """Return the range of a result of a step whose input has this range."""
        match step:
            case Apply(activation=activation) if activation in _RANGES:
                low, high = _RANGES[activation]
                return _Interval(Fraction(low), Fraction(high))
            case Shift(amount=amount):
                return self._shifted(_exact(amount[row]))
            case Scale(factor=factor, divides=divides):
                exact = _exact(factor[row])
                return self._scaled(1 / exact if divides else exact)
            case Limit(low=low, high=high):
                return self._limited(float(low[row]), float(high[row]))
        return _Interval()

    def within(self, low: float, high: float) -> bool:
        """Return True if nothing lies outside two limits, which may be infinite."""
        above = low == -np.inf or (self.low is not None and self.low >= _exact(low))
        below = high == np.inf or (self.high is not None and self.high <= _exact(high))
        return above and below

    def _shifted(self, amount: Fraction) -> "_Interval":
        ends = (None if end is None else end + amount for end in (self.low, self.high))
        return _Interval(*ends)

    def _scaled(self, factor: Fraction) -> "_Interval":
        low, high = (None if end is None else end * factor for end in (self.low, self.high))
        return _Interval(low, high) if factor > 0 else _Interval(high, low)

    def _limited(self, low: float, high: float) -> "_Interval":
        lows = [self.low] if np.isinf(low) else [self.low, _exact(low)]
        highs = [self.high] if np.isinf(high) else [self.high, _exact(high)]
        known = [end for end in lows if end is not None], [end for end in highs if end is not None]
        return _Interval(max(known[0], default=None), min(known[1], default=None))


def _exact(number: float | np.floating) -> Fraction:
    return Fraction(float(number))


def drop_idle_limits(graph: Graph) -> None:
    """Remove limits that do nothing from what stands elementwise before the outputs."""
    idle: dict[int, set[int]] = {}
    made_by, uses = graph.makers(), graph.uses()
    for output in graph.outputs.tolist():
        reach = _Interval()
        for place, row in reversed([*_chain(graph.steps, output, made_by, uses)]):
            step = graph.steps[place]
            if isinstance(step, Limit) and reach.within(step.low[row], step.high[row]):
                idle.setdefault(place, set()).add(row)
            else:
                reach = reach.behind(step, row)
    if idle:
        _remove(graph, idle)


def _chain(
    steps: Sequence[Step], output: int, made_by: Numbers, uses: Numbers
) -> Iterator[tuple[int, int]]:
    """Yield place and row of the elementwise steps that make an output for nobody else."""
    number = output
    while made_by[number] >= 0 and uses[number] == 1:
        place = int(made_by[number])
        step = steps[place]
        if not isinstance(step, (Apply, Limit, Scale, Shift)):
            return
        row = int(np.flatnonzero(step.outputs == number)[0])
        yield place, row
        number = int(step.inputs[row])


def _remove(graph: Graph, idle: dict[int, set[int]]) -> None:
    """Remove rows of limits; who took a result takes what the limit took."""
    same = np.arange(graph.size)
    kept = []
    for place, step in enumerate(graph.steps):
        renamed = step.renamed(same)
        gone: Numbers = np.array(sorted(idle.get(place, ())), np.int64)
        same[step.outputs[gone]] = renamed.inputs[gone]
        rest = np.setdiff1d(np.arange(step.size), gone)
        if len(rest):
            kept.append(renamed if not len(gone) else renamed.part(rest))
    graph.steps, graph.outputs, graph.memory = kept, same[graph.outputs], same[graph.memory]
