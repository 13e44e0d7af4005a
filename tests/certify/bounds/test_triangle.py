"""The linear programme bounds every input, and its dual's multipliers prove its optimum."""

import numpy as np
import pytest

from support.policies import random_policy
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.bounds.branch_and_bound import region_between
from surefoot.certify.bounds.conditions import ConditionBounds
from surefoot.certify.bounds.crown import layer_bounds
from surefoot.certify.bounds.neuron_trees import LeafLines, Neuron, NeuronTree, split_excesses
from surefoot.certify.bounds.triangle import maximum
from surefoot.policy import Activation, Squash
from surefoot.question import Condition

CONDITION = Condition.parse(("action[0] - action[1] <= 0.1",), ())
LOW, HIGH = np.full(4, -0.4), np.full(4, 0.4)


@pytest.mark.parametrize("squash", [Squash.IDENTITY, Squash.TANH])
@pytest.mark.parametrize("seed", range(3))
def test_the_multipliers_prove_what_the_programme_finds(seed: int, squash: Squash) -> None:
    policy = random_policy(np.random.default_rng(seed), [4, 8, 8, 2], Activation.RELU, squash)
    bounds = ConditionBounds(policy, CONDITION, LOW, HIGH, ARITHMETICS["float32"])
    network = bounds.network_of_row(0)
    before = layer_bounds(network, region_between(LOW[None], HIGH[None]))[:-1]
    neuron = Neuron(0, int(np.argmax(np.minimum(-before[0].lower[0], before[0].upper[0]))))
    halves = [maximum(network, LOW, HIGH, before, {neuron: side}) for side in (1.0, -1.0)]
    assert None not in halves
    lines = tuple(
        LeafLines(leaf=leaf, row=0, slopes=half.slopes, prices=half.prices)
        for leaf, half in enumerate(halves)
        if half is not None
    )
    tree = NeuronTree(cuts=(neuron, None, None), lines=lines)
    proved = split_excesses(bounds, LOW, HIGH, tree)[:, 0]
    found = [half.value for half in halves if half is not None]
    margin = float(bounds.whole_margin[0])
    assert (proved <= np.array(found) + margin + 1e-4).all()
    states = np.random.default_rng(0).uniform(LOW, HIGH, (4000, 4))
    assert bounds.excesses_at(states)[:, 0].max() <= max(found) + 1e-9


def test_a_side_that_no_input_reaches_has_no_excess_at_all() -> None:
    policy = random_policy(np.random.default_rng(0), [4, 8, 2], Activation.RELU)
    low, high = LOW / 10, HIGH / 10
    bounds = ConditionBounds(policy, CONDITION, low, high, ARITHMETICS["float32"])
    network = bounds.network_of_row(0)
    before = layer_bounds(network, region_between(low[None], high[None]))[:-1]
    number = int(np.argmax(before[0].lower[0]))
    assert before[0].lower[0, number] > 0
    found = maximum(network, low, high, before, {Neuron(0, number): -1.0})
    assert found is not None
    assert found.value < -10.0
