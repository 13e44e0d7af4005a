"""A tree that grows lists each box before its halves, whatever the order in which it was cut."""

import numpy as np

from surefoot.certify.bounds.box_trees import LEAF, BoxTree
from surefoot.certify.bounds.neuron_trees import Neuron, NeuronTree
from surefoot.certify.open_boxes import Nodes

PART = NeuronTree(cuts=(Neuron(0, 1), None, None), lines=())


def test_a_grown_tree_has_the_cuts_where_they_were_made_and_its_neurons_in_order() -> None:
    nodes = Nodes([LEAF], [LEAF])
    first = nodes.cut(0, 2)
    upper = nodes.cut(first + 1, 0)
    lower = nodes.cut(first, 1)
    nodes.closed = {upper: PART, lower: PART}
    tree = nodes.tree()
    assert tree == BoxTree((2, 1, LEAF, LEAF, 0, LEAF, LEAF), ((0, PART), (2, PART)))
    assert nodes.num_leaves == tree.num_parts == 6
    assert BoxTree.from_table(tree.to_table(), 3) == tree
    low, high = tree.leaves(np.zeros(3), np.ones(3))
    assert low.tolist() == [[0, 0, 0], [0, 0.5, 0], [0, 0, 0.5], [0.5, 0, 0.5]]
    assert high.tolist() == [[1, 0.5, 0.5], [1, 1, 0.5], [0.5, 1, 1], [1, 1, 1]]
