"""What a recurrent controller remembers, and what is refused."""

import numpy as np
import pytest

from support.policies import build_policy
from surefoot.errors import InputError
from surefoot.policy import Memory, Policy, weights_sha256

ROWS = [np.eye(4, 3), np.ones((2, 4))]


def remembering(*pairs: tuple[int, int]) -> Policy:
    """A policy whose last sensors are neurons of layers."""
    plain = build_policy(ROWS)
    layers, neurons = zip(*pairs, strict=True)
    memory = Memory(layers=layers, neurons=neurons)
    return Policy(normaliser=plain.normaliser, layers=plain.layers, head=plain.head, memory=memory)


def test_the_next_memory_is_what_its_neurons_hold() -> None:
    policy, states = remembering((1, 2), (2, 0)), np.random.default_rng(0).normal(size=(5, 3))
    hidden = np.tanh(states)
    expected = np.stack([hidden[:, 2], hidden.sum(axis=1)], axis=1)
    np.testing.assert_allclose(policy.next_memory_at(states), expected)


def test_a_policy_without_memory_has_no_next_one() -> None:
    with pytest.raises(InputError, match="has no memory"):
        build_policy(ROWS).next_memory_at(np.zeros((1, 3)))


def test_what_is_remembered_is_part_of_the_digest() -> None:
    digests = {weights_sha256(each) for each in (build_policy(ROWS), remembering((1, 0)))}
    assert len({*digests, weights_sha256(remembering((1, 1)))}) == 3


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ([(1, 0)] * 3, "must leave a sensor of 3, has 3"),
        ([(0, 0)], "must name neurons of layers, got 0, 0"),
        ([(3, 0)], "must name neurons of layers, got 3, 0"),
        ([(1, 4)], "must name neurons of layers, got 1, 4"),
    ],
)
def test_a_memory_of_other_sensors_or_neurons_is_refused(
    pairs: list[tuple[int, int]], reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        remembering(*pairs)


def test_a_memory_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="a layer and a neuron for each number, got 0 and 0"):
        Memory(layers=(), neurons=())
