"""Parts of a box along neurons: whatever lines and prices are given, no input exceeds its bound."""

from typing import Any

import numpy as np
import pytest

from support.policies import file_of, random_policy
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.bounds.conditions import ConditionBounds
from surefoot.certify.bounds.neuron_trees import LeafLines, Neuron, NeuronTree, split_excesses
from surefoot.certify.bounds.upward import Float
from surefoot.certify.counterexamples import deployed_arithmetic
from surefoot.errors import IntegrityError
from surefoot.policy import Activation, Policy, Squash
from surefoot.question import Condition

CONDITION = Condition.parse(("action[0] - action[1] <= 0.1",), ("action[0] <= 0", "action[1] <= 0"))
LOW, HIGH = np.full(3, -0.6), np.full(3, 0.6)


def bounds_of(policy: Policy) -> ConditionBounds:
    return ConditionBounds(policy, CONDITION, LOW, HIGH, ARITHMETICS["float32"])


def random_tree(rng: np.random.Generator, widths: list[int]) -> NeuronTree:
    """A tree of random neurons, and random multipliers of all of them on every leaf."""
    neurons = [Neuron(layer, n) for layer, width in enumerate(widths) for n in range(width)]

    def grown(depth: int) -> list[Neuron | None]:
        if not depth:
            return [None]
        neuron = neurons[rng.integers(len(neurons))]
        return [neuron, *grown(depth - 1), *grown(int(rng.integers(depth)))]

    cuts = tuple(grown(3))
    lines = tuple(
        LeafLines(
            leaf=leaf,
            row=row,
            slopes={neuron: float(rng.random()) for neuron in neurons},
            prices={neuron: float(rng.exponential(0.2)) for neuron in neurons},
        )
        for leaf in range(cuts.count(None))
        for row in range(3)
    )
    return NeuronTree(cuts=cuts, lines=lines)


def inputs_of_neurons(policy: Policy, states: Float) -> list[Float]:
    """Inputs of the neurons of each hidden layer."""
    found, values = [], states
    for layer in policy.layers[:-1]:
        found.append(values @ layer.weight.astype(float).T + layer.bias)
        values = np.maximum(found[-1], 0.0)
    return found


@pytest.mark.parametrize("squash", [*Squash, None])
def test_no_input_of_a_part_exceeds_its_bound_in_deployed_arithmetic(squash: Squash | None) -> None:
    rows, limits = CONDITION.rows(2)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        policy = random_policy(rng, [3, 6, 5, 2], Activation.RELU, squash)
        tree = random_tree(rng, [6, 5])
        proved = split_excesses(bounds_of(policy), LOW, HIGH, tree)
        states = rng.uniform(LOW, HIGH, (4000, 3)).astype(np.float32)
        outputs = deployed_arithmetic(file_of(policy)).outputs_at(states).astype(np.float64)
        excesses, before = outputs @ rows.T - limits, inputs_of_neurons(policy, states)
        covered = np.zeros(len(states), dtype=bool)
        for bound, sides in zip(proved, tree.sides, strict=True):
            inside = np.ones(len(states), dtype=bool)
            for neuron, side in sides.items():
                inside &= side * before[neuron.layer][:, neuron.number] >= 0
            assert (excesses[inside] <= bound).all()
            covered |= inside
        assert covered.all()


def test_some_part_is_bounded_tighter_than_the_box() -> None:
    rng = np.random.default_rng(0)
    policy = random_policy(rng, [3, 6, 5, 2], Activation.RELU)
    whole = bounds_of(policy).excesses(LOW[None], HIGH[None])[0]
    best = min(
        float(split_excesses(bounds_of(policy), LOW, HIGH, random_tree(rng, [6, 5]))[:, 0].min())
        for _ in range(4)
    )
    assert best < whole[0]


def saved(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    line = {"leaf": 0, "row": 0, "slopes": "0/1=0.5", "prices": "0/0=0.25"}
    table: dict[str, Any] = {"cuts": "0/0 . .", "lines": [line | changes]}
    return table


def test_a_tree_is_read_back_as_it_was_written() -> None:
    tree = random_tree(np.random.default_rng(0), [6, 5])
    assert NeuronTree.from_table(tree.to_table()) == tree


@pytest.mark.parametrize(
    "table",
    [
        None,
        {},
        {"cuts": ".", "lines": 5},
        {"cuts": "0/0 .", "lines": []},
        {"cuts": ". .", "lines": []},
        {"cuts": "0 . .", "lines": []},
        {"cuts": "-1/0 . .", "lines": []},
        {"cuts": "0/0 . .", "lines": ["."]},
        saved(leaf=0.0),
        saved(row=None),
        saved(slopes="0/1=-0.5"),
        saved(prices="0/0=-1"),
        saved(prices="0/0=nan"),
        saved(prices="0/0=1e999"),
        saved(prices={"0/0": 1.0}),
        saved(slopes="0/1"),
        {"cuts": "0/0 . .", "lines": 2 * saved()["lines"]},
    ],
)
def test_what_is_no_tree_is_refused(table: Any) -> None:  # noqa: ANN401
    with pytest.raises(IntegrityError):
        NeuronTree.from_table(table)


@pytest.mark.parametrize(
    "table",
    [
        saved(leaf=2),
        saved(leaf=-1),
        saved(row=3),
        saved(row=-1),
        saved(slopes="0/6=0.5"),
        saved(slopes="2/0=0.5"),
        {"cuts": "2/0 . .", "lines": saved(prices="")["lines"]},
    ],
)
def test_a_tree_of_another_network_is_refused(table: dict[str, Any]) -> None:
    policy = random_policy(np.random.default_rng(0), [3, 6, 5, 2], Activation.RELU, Squash.TANH)
    with pytest.raises(IntegrityError):
        split_excesses(bounds_of(policy), LOW, HIGH, NeuronTree.from_table(table))


def test_a_neuron_without_a_kink_is_not_cut() -> None:
    policy = random_policy(np.random.default_rng(0), [3, 6, 5, 2], Activation.TANH)
    with pytest.raises(IntegrityError, match="has no kink"):
        split_excesses(bounds_of(policy), LOW, HIGH, NeuronTree.from_table(saved()))
