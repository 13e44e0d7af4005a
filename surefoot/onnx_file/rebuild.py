"""From the elementary steps of a controller to a policy: what becomes normaliser, layer and head.

Affine maps and the activations behind them become units. A unit stands one layer behind the last of
what it takes; what is needed later is carried through the layers between. Elementwise affine steps
become part of the normaliser, of the head, or of the affine map beside them.

What bounds what: the rounding term of a policy bounds |file in float32 - policy in real arithmetic|
where the file is the one that was read. A layer may round each term twice, and once each sum of two
terms that are not zero, which covers x @ W + b as MatMul and Add, Gemm with alpha, and one sum of
two computed values; float64 data between constants that float32 can hold rounds less.
:class:`Rounding` counts the rest.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from surefoot.activation import Mixed, RmsNorm
from surefoot.errors import InputError
from surefoot.limits import MAX_ENTRIES
from surefoot.onnx_file.computation import (
    Affine,
    Computation,
    Given,
    Limit,
    Normalise,
    Numbers,
    Pairs,
    Step,
    needed,
    no_numbers,
)
from surefoot.onnx_file.ends import Graph, take_head, take_normaliser
from surefoot.onnx_file.front_limits import sink_limits
from surefoot.onnx_file.idle_limits import drop_idle_limits
from surefoot.onnx_file.split_limits import join_limits
from surefoot.onnx_file.units import Unit, units_of
from surefoot.policy import CategoricalHead, Layer, Memory, Policy, Rounding


def rebuild(
    computation: Computation,
    outputs: Numbers,
    memory: Numbers | None = None,
    *,
    choice: bool = False,
) -> Policy:
    """Return the policy that a computation is; all arrays are float32.

    Args:
        computation: The elementary steps of a whole graph.
        outputs: Numbers of the actions.
        memory: Numbers of the next values of the last sensors, where these are a memory.
        choice: Whether they are logits, of which the largest is chosen.

    Raises:
        InputError: If it has no form that a policy can take, naming the node.
    """
    later = no_numbers() if memory is None else memory
    steps = needed(computation.steps, np.concatenate([outputs, later]), computation.size)
    graph = Graph(steps, outputs, computation.size, later)
    join_limits(graph)
    drop_idle_limits(graph)
    moved = sink_limits(graph, len(computation.sensors))
    graph.steps = _by_maker(graph)
    normaliser, states = take_normaliser(graph, len(computation.sensors), moved)
    head = CategoricalHead(num_actions=len(outputs)) if choice else take_head(graph)
    graph.steps = _by_limits(graph.steps)
    graph.steps = _by_use(graph)
    graph.steps = _by_maker(graph)
    units, later = units_of(graph, states)
    stacks = [*_stacks(units, states)]
    return Policy(
        normaliser=normaliser,
        layers=tuple(_layers(stacks, states)),
        head=head,
        memory=None if memory is None else _memory(later, stacks),
    )


# --- one step where one unit will be


def _groups(keys: Sequence[object]) -> Iterator[Numbers]:
    """Yield the places of equal keys, by first place."""
    rows: dict[object, list[int]] = {}
    for place, key in enumerate(keys):
        rows.setdefault(key, []).append(place)
    yield from (np.array(places) for places in rows.values())


def _by_limits(steps: Sequence[Step]) -> list[Step]:
    """Return the same steps, with one clip for each pair of limits."""
    split: list[Step] = []
    for step in steps:
        if isinstance(step, Limit):
            pairs = list(zip(step.low.tolist(), step.high.tolist(), strict=True))
            split += [step.part(rows) for rows in _groups(pairs)]
        else:
            split.append(step)
    return split


def _by_maker(graph: Graph) -> list[Step]:
    """Return the same steps, with one elementwise step for each step that it follows."""
    made_by = graph.makers()
    split: list[Step] = []
    for step in graph.steps:
        if isinstance(step, (Affine, Given, Normalise, Pairs)):
            split.append(step)
        else:
            split += [step.part(rows) for rows in _groups(made_by[step.inputs].tolist())]
    return split


def _by_use(graph: Graph) -> list[Step]:
    """Return the same steps, each split by the steps that take its results."""
    users: dict[int, tuple[int, ...]] = {}

    def note(numbers: Numbers, user: int) -> None:
        for number in np.unique(numbers).tolist():
            users[number] = (*users.get(number, ()), user)

    note(graph.outputs, -1)
    note(graph.memory, -2)
    split: list[Step] = []
    for step in reversed(graph.steps):
        if isinstance(step, Normalise):
            split.append(step)
            note(step.sources, len(split))
            continue
        for rows in _groups([users[number] for number in step.outputs.tolist()]):
            split.append(step.part(rows))
            note(split[-1].sources, len(split))
    return split[::-1]


# --- units to layers


def _stacks(units: Sequence[Unit], states: Numbers) -> Iterator[list[Unit]]:
    """Yield the units of each layer side by side, with those that carry what is needed later."""
    levels, vector = _levels(units, states), states
    for level in range(1, levels[-1] + 1):
        here = [unit for unit, own in zip(units, levels, strict=True) if own == level]
        later = [unit.sources for unit, own in zip(units, levels, strict=True) if own > level]
        carried = np.intersect1d(np.concatenate([vector[:0], *later]), vector)
        if len(carried):
            here.append(Unit.copy_of(carried, carried))
        here.sort(key=lambda unit: unit.activation.value)
        yield here
        vector = _outputs_of(here)


def _outputs_of(units: Sequence[Unit]) -> Numbers:
    return np.concatenate([unit.outputs for unit in units])


def _layers(stacks: Sequence[Sequence[Unit]], states: Numbers) -> Iterator[Layer]:
    """Yield the layers of units, the last of which gives the outputs of the network.

    Raises:
        InputError: If a layer would be too large.
    """
    total, vector = 0, states
    for units in stacks:
        outputs = _outputs_of(units)
        total += len(outputs) * len(vector)
        if total > MAX_ENTRIES:
            raise InputError(f"all layers must have at most {MAX_ENTRIES} weights")
        yield _layer(units, vector)
        vector = outputs


def _memory(numbers: Numbers, stacks: Sequence[Sequence[Unit]]) -> Memory:
    """Return the layers and neurons that are the next values of a memory.

    Raises:
        InputError: If one is made behind the layers that the actions need.
    """
    place = {
        int(number): (layer, neuron)
        for layer, units in enumerate(stacks, start=1)
        for neuron, number in enumerate(_outputs_of(units))
    }
    if missing := [number for number in numbers.tolist() if number not in place]:
        raise InputError(f"{len(missing)} numbers of its next memory need more layers than actions")
    found = [place[number] for number in numbers.tolist()]
    return Memory(
        layers=tuple(layer for layer, _ in found), neurons=tuple(neuron for _, neuron in found)
    )


def _levels(units: Sequence[Unit], states: Numbers) -> list[int]:
    """Return the number of each unit's layer."""
    level_of = dict.fromkeys(states.tolist(), 0)
    levels = []
    for unit in units:
        level = 1 + max((level_of[number] for number in unit.sources.tolist()), default=0)
        level_of.update(dict.fromkeys(unit.outputs.tolist(), level))
        levels.append(level)
    return levels


def _layer(units: Sequence[Unit], vector: Numbers) -> Layer:
    """Return the layer of units side by side.

    Args:
        units: Their rows, first to last.
        vector: Numbers of the outputs of the layer before.

    Raises:
        InputError: If a weight exceeds float32.
    """
    place = {int(number): column for column, number in enumerate(vector)}
    blocks = [unit.matrix(place) for unit in units]
    exact = np.concatenate([matrix for matrix, _ in blocks])
    is_weight = np.concatenate([own for _, own in blocks])
    bias = np.concatenate([unit.bias for unit in units])
    with np.errstate(over="ignore"):
        weight, single = exact.astype(np.float32), bias.astype(np.float32)
    if not (np.isfinite(weight).all() and np.isfinite(single).all()):
        raise InputError("a weight that is folded into another exceeds float32")
    changed = not (np.array_equal(weight, exact) and np.array_equal(single, bias))
    extra = max(unit.extra for unit in units) + changed
    excess = np.concatenate([unit.excess for unit in units])
    rounding = None
    centred = [unit.is_centring for unit in units if isinstance(unit.activation, RmsNorm)]
    if extra or excess.any():
        count = len(vector) + 2 + extra
        rounding = Rounding(count=count, excess=excess, in_one_pass=any(centred))
    return Layer(
        weight=weight,
        bias=single,
        activation=Mixed.of([(unit.activation, len(unit.outputs)) for unit in units]),
        is_weight=None if is_weight.all() else is_weight,
        rounding=rounding,
    )
