"""Units: an affine map of values that come earlier, and the activation behind it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from surefoot.activation import Activation, Array, Clamp, OneActivation, Product
from surefoot.errors import InputError
from surefoot.onnx_file.computation import (
    Affine,
    Apply,
    Exponential,
    Given,
    Limit,
    Multiply,
    Normalise,
    Numbers,
    Root,
    Square,
    Step,
    Sum,
)
from surefoot.onnx_file.ends import Graph
from surefoot.onnx_file.linear import LINEAR_STEPS, Linear


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Term:
    """weight @ x, or weight * x where the weight is a vector.

    Attributes:
        inputs: Numbers of x.
        weight: Shape (m, n), or (m,) for x of shape (m,); float64.
        is_weight: Which entries are weights of the file, and no factors beside them; bool, the
            shape of ``weight``.
    """

    inputs: Numbers
    weight: Array
    is_weight: NDArray[np.bool_]

    @classmethod
    def elementwise(cls, inputs: Numbers, factor: Array) -> "Term":
        """Return factor * x."""
        return cls(inputs=inputs, weight=factor, is_weight=np.zeros(len(factor), np.bool_))

    def part(self, rows: Numbers) -> "Term":
        """Return the term for some results."""
        inputs = self.inputs if self.weight.ndim == 2 else self.inputs[rows]
        return Term(inputs=inputs, weight=self.weight[rows], is_weight=self.is_weight[rows])

    def times(self, factor: Array) -> "Term":
        """Return the term times a broadcast factor; what it makes zero counts as no weight."""
        weight = self.weight * factor
        lost = (weight == 0) & (self.weight != 0)
        return replace(self, weight=weight, is_weight=self.is_weight & ~lost)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Unit:
    """activation(sum of terms + bias), of m results.

    Attributes:
        terms: Terms of the sum; no value occurs twice.
        bias: Shape (m,), float64.
        has_bias: Whether the file has already added one: a first sum costs no extra rounding.
        activation: Function applied to the sum.
        extra: Roundings of a term beyond those of a layer.
        excess: Size of what the file rounds beyond the terms and the bias, shape (m,).
        is_centring: Whether it subtracts a mean, which a runtime may fuse with a normalisation.
        outputs: Numbers of the results.
    """

    terms: tuple[Term, ...]
    bias: Array
    has_bias: bool
    activation: OneActivation = Activation.IDENTITY
    extra: int = 0
    excess: Array
    is_centring: bool = False
    outputs: Numbers

    @classmethod
    def copy_of(cls, inputs: Numbers, outputs: Numbers) -> "Unit":
        """Return the unit that passes its inputs on unchanged."""
        term = Term.elementwise(inputs, np.ones(len(inputs)))
        zeros = np.zeros(len(inputs))
        return cls(terms=(term,), bias=zeros, has_bias=False, excess=zeros, outputs=outputs)

    @property
    def sources(self) -> Numbers:
        """Numbers of everything that it takes."""
        return np.concatenate([np.empty(0, np.int64), *(term.inputs for term in self.terms)])

    def matrix(self, place: Mapping[int, int]) -> tuple[Array, NDArray[np.bool_]]:
        """Return a matrix on the outputs of the layer before, and which entries are weights.

        Args:
            place: Position of each number among those outputs.
        """
        matrix = np.zeros((len(self.outputs), len(place)))
        is_weight = np.zeros(matrix.shape, np.bool_)
        rows = np.arange(len(matrix))
        for term in self.terms:
            columns = np.array([place[number] for number in term.inputs.tolist()], np.int64)
            block = np.ix_(rows, columns) if term.weight.ndim == 2 else (rows, columns)
            matrix[block], is_weight[block] = term.weight, term.is_weight
        return matrix, is_weight

    def then(self, rows: Numbers, linear: Linear, outputs: Numbers) -> "Unit":
        """Return the unit with some of its results in another order, mapped once more."""
        before = self.bias[rows]
        bias = linear.factor * before + linear.offset
        first = np.abs(linear.factor) * (np.abs(before) + self.excess[rows])
        excess = first + np.abs(linear.offset) + linear.excess - np.abs(bias)
        is_bias = not self.has_bias and bool(linear.offset.any())
        return replace(
            self,
            terms=tuple(_times_rows(term.part(rows), linear.factor) for term in self.terms),
            bias=bias,
            has_bias=self.has_bias or is_bias,
            extra=self.extra + max(0, int(linear.count.max()) - is_bias),
            excess=np.maximum(excess, 0.0),
            outputs=outputs,
        )

    def beside(self, other: "Unit") -> "Unit":
        """Return the unit of the sums of this one and then of another one."""
        both = (self, other)
        inputs = np.unique(np.concatenate([unit.sources for unit in both]))
        place = {number: column for column, number in enumerate(inputs.tolist())}
        blocks = zip(*(unit.matrix(place) for unit in both), strict=True)
        weight, is_weight = (np.concatenate(rows) for rows in blocks)
        return Unit(
            terms=(Term(inputs=inputs, weight=weight, is_weight=is_weight),),
            bias=np.concatenate([unit.bias for unit in both]),
            has_bias=True,
            extra=max(unit.extra for unit in both),
            excess=np.concatenate([unit.excess for unit in both]),
            outputs=np.concatenate([unit.outputs for unit in both]),
        )


def units_of(graph: Graph, states: Numbers) -> tuple[list[Unit], Numbers]:
    """Return the units of a graph without its ends, each after what it takes, and its memory.

    The last one gives the outputs. The memory are numbers of results of units.

    Args:
        graph: What is left between normaliser and head.
        states: Numbers of the states.

    Raises:
        InputError: If a step has no form that a layer can take.
    """
    builder = _Builder(graph, states)
    for step in graph.steps:
        builder.add(step)
    memory = builder.named(graph.memory)
    return builder.finished(graph.outputs, memory), memory


class _Builder:
    """Makes units of steps.

    The scalar k is ``linear`` k of the scalar ``base`` k, which is a state or a unit's result.
    """

    def __init__(self, graph: Graph, states: Numbers) -> None:
        uses = graph.uses()
        self._base = np.arange(graph.size)
        self._linear = Linear.identity(graph.size)
        self._once = uses == 1
        self._unit_of = np.full(graph.size, -1)
        self._units: list[Unit | None] = []
        self._next = graph.size

    def add(self, step: Step) -> None:
        """Make a unit of a step, or a part of one.

        Raises:
            InputError: If it has no form that a layer can take.
        """
        match step:
            case Affine():
                self._place(self._affine(step))
            case Sum():
                self._place(self._sum(step))
            case Multiply():
                self._multiply(step)
            case Given(amount=amount):
                self._place(_constant(amount, step.outputs))
            case Apply(activation=activation):
                self._activate(step, activation)
            case Limit():
                self._activate(step, _activation_of(step))
            case Normalise(norm=norm):
                self._activate(step, norm)
            case Square(label=label) | Root(label=label):
                raise InputError(
                    f"{label}: not in the controller operator set, but for a normalisation "
                    "x / sqrt(mean(x^2) + epsilon)"
                )
            case Exponential(label=label):
                raise InputError(
                    f"{label}: not in the controller operator set, but for exp(..) * 0"
                )
            case _:
                self._follow(step)

    def named(self, numbers: Numbers) -> Numbers:
        """Return the results of units that these scalars are, of a unit of their own if need be."""
        base = self._base[numbers]
        if self._linear.part(numbers).is_identity and (self._unit_of[base] >= 0).all():
            return base
        fresh = self._fresh(len(numbers))
        self._units.append(self._single(numbers, fresh))
        return fresh

    def finished(self, outputs: Numbers, memory: Numbers) -> list[Unit]:
        """Return the units that the outputs depend on; the last one gives them, in order."""
        fresh = self._fresh(len(outputs))
        last = self._opened(outputs, fresh) or self._single(outputs, fresh)
        self._units.append(last)
        wanted: set[int] = set(memory.tolist())
        kept: list[Unit] = []
        for unit in reversed([unit for unit in self._units if unit is not None]):
            if unit is last or wanted.intersection(unit.outputs.tolist()):
                wanted.update(unit.sources.tolist())
                kept.append(unit)
        return kept[::-1]

    def _follow(self, step: Step) -> None:
        """Remember an elementwise affine step for what takes its results.

        Raises:
            TypeError: If it is another step.
        """
        if not isinstance(step, LINEAR_STEPS):
            raise TypeError(f"{type(step).__name__} is no step of a layer")
        linear = self._linear.part(step.inputs).then(Linear.of(step))
        self._linear.assign(step.outputs, linear)
        self._base[step.outputs] = self._base[step.inputs]
        self._once[step.outputs] &= self._once[step.inputs]

    def _place(self, unit: Unit) -> None:
        self._unit_of[unit.outputs] = len(self._units)
        self._units.append(unit)

    def _fresh(self, count: int) -> Numbers:
        numbers = np.arange(self._next, self._next + count)
        self._next += count
        return numbers

    def _opened(self, numbers: Numbers, outputs: Numbers) -> Unit | None:
        """Return the unit without activation whose results these are, for nobody else.

        It is no unit of its own any more.

        Args:
            numbers: All of its results, each once, mapped or not.
            outputs: New numbers of the results.
        """
        base = self._base[numbers]
        owners = np.unique(self._unit_of[base])
        unit = self._owner(owners)
        if unit is None or unit.activation is not Activation.IDENTITY:
            return None
        same = len(base) == len(unit.outputs) and len(np.unique(base)) == len(base)
        if not same or not self._once[numbers].all():
            return None
        self._units[owners[0]] = None
        order = np.argsort(unit.outputs)
        rows = order[np.searchsorted(unit.outputs, base, sorter=order)]
        return unit.then(rows, self._linear.part(numbers), outputs)

    def _owner(self, places: Numbers) -> Unit | None:
        """Return the unit at the one place that there is, None for a state or several units."""
        return self._units[int(places[0])] if len(places) == 1 and places[0] >= 0 else None

    def _single(self, numbers: Numbers, outputs: Numbers) -> Unit:
        """Return a unit that takes one value for each result."""
        linear = self._linear.part(numbers)
        term = Term.elementwise(self._base[numbers], linear.factor)
        return Unit(
            terms=self._distinct((term,)),
            bias=linear.offset,
            has_bias=bool(linear.offset.any()),
            extra=int(linear.count.max()),
            excess=linear.excess,
            outputs=outputs,
        )

    def _activate(self, step: Step, activation: OneActivation) -> None:
        unit = self._opened(step.inputs, step.outputs) or self._single(step.inputs, step.outputs)
        self._place(replace(unit, activation=activation))

    def _multiply(self, step: Multiply) -> None:
        """Place a unit of both factors, of which a product passes the second one on to nobody."""
        factors = (step.inputs, step.outputs), (step.others, self._fresh(step.size))
        first, second = (self._opened(*each) or self._single(*each) for each in factors)
        self._unit_of[step.outputs] = len(self._units)
        self._units.append(replace(first.beside(second), activation=Product()))

    def _affine(self, step: Affine) -> Unit:
        """Return weight (factor x + offset) + bias as a map of x."""
        inputs, linear = self._through(step.inputs)
        weight = step.weight.astype(np.float64)
        own = np.zeros(step.size) if step.bias is None else step.bias.astype(np.float64)
        bias = weight @ linear.offset + own
        size = np.abs(weight) @ (np.abs(linear.offset) + linear.excess) + np.abs(own)
        is_weight = np.full(weight.shape, not (step.is_structure or step.is_centring))
        own_weights = Term(inputs=inputs, weight=weight, is_weight=is_weight)
        return Unit(
            terms=self._distinct((own_weights.times(linear.factor),)),
            bias=bias,
            has_bias=step.bias is not None or bool(linear.offset.any()),
            extra=int(linear.count.max()) + step.extra,
            excess=np.maximum(size - np.abs(bias), 0.0),
            is_centring=step.is_centring,
            outputs=step.outputs,
        )

    def _through(self, numbers: Numbers) -> tuple[Numbers, Linear]:
        """Return values of which these are elementwise maps, behind selecting products as well.

        A product whose rows have one weight each is such a map: there |W V| = |W| |V|, so that the
        product of both rounds no more than they do.
        """
        base, linear = self._base[numbers], self._linear.part(numbers)
        unit = self._owner(np.unique(self._unit_of[base]))
        if unit is None or unit.activation is not Activation.IDENTITY or len(unit.terms) != 1:
            return base, linear
        weight, inputs = unit.terms[0].weight, unit.terms[0].inputs
        if weight.ndim != 2 or ((weight != 0).sum(axis=1) != 1).any():
            return base, linear
        row_of = {number: row for row, number in enumerate(unit.outputs.tolist())}
        rows = np.array([row_of[number] for number in base.tolist()])
        columns = np.abs(weight).argmax(axis=1)
        first = Linear(
            factor=weight[np.arange(len(columns)), columns],
            offset=unit.bias,
            count=np.full(len(columns), 2 + unit.extra),
            excess=unit.excess,
        )
        return inputs[columns[rows]], first.part(rows).then(linear)

    def _sum(self, step: Sum) -> Unit:
        """Return x + y, as one more term of x or y where one of them is a sum of nobody else."""
        for x, y in ((step.inputs, step.others), (step.others, step.inputs)):
            unit = self._opened(x, step.outputs)
            if unit is not None:
                return self._with_term(unit, y)
        return self._with_term(self._single(step.inputs, step.outputs), step.others)

    def _with_term(self, unit: Unit, numbers: Numbers) -> Unit:
        linear = self._linear.part(numbers)
        bias = unit.bias + linear.offset
        size = np.abs(unit.bias) + np.abs(linear.offset) + linear.excess + unit.excess
        term = Term.elementwise(self._base[numbers], linear.factor)
        return replace(
            unit,
            terms=self._distinct((*unit.terms, term)),
            bias=bias,
            has_bias=unit.has_bias or bool(linear.offset.any()),
            extra=unit.extra + int(linear.count.max()),
            excess=np.maximum(size - np.abs(bias), 0.0),
        )

    def _distinct(self, terms: tuple[Term, ...]) -> tuple[Term, ...]:
        """Return the same terms, with copies of the values that occur a second time.

        The weights of one value would have to be added, which rounds otherwise than the file.
        """
        seen: set[int] = set()
        copied: list[tuple[int, int]] = []
        distinct = []
        for term in terms:
            inputs = term.inputs.copy()
            for place, number in enumerate(term.inputs.tolist()):
                if number in seen:
                    inputs[place] = self._fresh(1)[0]
                    copied.append((number, int(inputs[place])))
                seen.add(number)
            distinct.append(replace(term, inputs=inputs))
        if copied:
            self._copy(copied)
        return tuple(distinct)

    def _copy(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Add units that copy values; a value that is copied twice is copied by two units."""
        times: Counter[int] = Counter()
        rounds: list[dict[int, int]] = []
        for number, copy in pairs:
            if times[number] == len(rounds):
                rounds.append({})
            rounds[times[number]][number] = copy
            times[number] += 1
        for copies in rounds:
            self._units.append(Unit.copy_of(np.array([*copies]), np.array([*copies.values()])))


def _times_rows(term: Term, factor: Array) -> Term:
    return term.times(factor[:, None] if term.weight.ndim == 2 else factor)


def _constant(amount: Array, outputs: Numbers) -> Unit:
    bias = amount.astype(np.float64)
    zeros = np.zeros(len(bias))
    return Unit(terms=(), bias=bias, has_bias=True, excess=zeros, outputs=outputs)


def _activation_of(step: Limit) -> OneActivation:
    """Return the activation of limits that are the same for all.

    Raises:
        InputError: If one of them is infinite, but for [0, inf].
    """
    low, high = float(step.low[0]), float(step.high[0])
    if (low, high) == (0.0, np.inf):
        return Activation.RELU
    if not np.isfinite([low, high]).all():
        raise InputError(f"{step.label}: a clip needs two finite limits, or [0, inf]")
    return Clamp(low, high)
