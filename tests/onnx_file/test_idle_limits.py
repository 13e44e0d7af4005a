"""A limit that nothing reaches changes no bound; one that is reached stays."""

from collections.abc import Callable

import numpy as np
import pytest

from support.onnx_graphs import Graph, on_runtime
from surefoot.ball import Ball, Norm
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.everywhere import ActionBounds, Everywhere
from surefoot.policy import GaussianHead, Policy, Squash, weights_sha256
from surefoot.runtime.controller_file import controller_from_onnx

RNG = np.random.default_rng(0)
FIRST, LAST = RNG.normal(size=(8, 3)), RNG.normal(size=(2, 8)) / 2
HALF, CENTRE = np.array([2.0, 0.5]), np.array([1.0, -0.25])
End = Callable[[Graph, str], str]


def read(end: End) -> tuple[Policy, bytes]:
    graph = Graph()
    state = graph.node("Clip", "obs", graph.constant(-5.0), graph.constant(5.0))
    out = end(graph, graph.dense(graph.node("Tanh", graph.dense(state, FIRST)), LAST))
    data = graph.file({out: ("N", 2)}, {"obs": ("N", 3)})
    return controller_from_onnx(data, "actor.onnx").policy, data


def clipped(graph: Graph, x: str, low: object, high: object) -> str:
    return graph.node("Min", graph.node("Max", x, graph.constant(low)), graph.constant(high))


def scaled(graph: Graph, x: str) -> str:
    return graph.node("Add", graph.node("Mul", x, graph.constant(HALF)), graph.constant(CENTRE))


def tanh_head(graph: Graph, x: str) -> str:
    return scaled(graph, graph.node("Tanh", x))


def clip_head(graph: Graph, x: str) -> str:
    return scaled(graph, clipped(graph, x, -1.0, 1.0))


IDLE: dict[str, tuple[End, End]] = {
    "to the range of tanh": (tanh_head, lambda g, x: clipped(g, tanh_head(g, x), CENTRE - HALF, 3)),
    "of tanh itself": (
        tanh_head,
        lambda g, x: scaled(g, clipped(g, g.node("Tanh", x), -1.0, 1.0)),
    ),
    "twice": (clip_head, lambda g, x: clipped(g, clip_head(g, x), CENTRE - HALF, CENTRE + HALF)),
    "far outside": (clip_head, lambda g, x: clipped(g, clip_head(g, x), -100.0, 100.0)),
    "turned around": (
        lambda g, x: g.node("Neg", tanh_head(g, x)),
        lambda g, x: clipped(g, g.node("Neg", tanh_head(g, x)), -CENTRE - HALF, 100.0),
    ),
}


@pytest.mark.parametrize("name", IDLE)
def test_a_limit_that_nothing_reaches_changes_nothing(name: str) -> None:
    plain, limited = (read(end)[0] for end in IDLE[name])
    assert weights_sha256(plain) == weights_sha256(limited)
    assert plain.rounds_as_canonical == limited.rounds_as_canonical
    ball, deviations = Ball(norm=Norm.LINF, epsilon=0.05), []
    for policy in (plain, limited):
        bounds = Everywhere(policy, ARITHMETICS["float32"]).deployed_deviation(ball)
        assert isinstance(bounds, ActionBounds)
        deviations.append(bounds.rows)
    assert np.array_equal(deviations[0], deviations[1])


@pytest.mark.parametrize(
    "end",
    [
        lambda g, x: clipped(g, tanh_head(g, x), np.nextafter(CENTRE - HALF, 9), 3.0),
        lambda g, x: clipped(g, tanh_head(g, x), CENTRE - HALF, [3.0, 0.125]),
        lambda g, x: clipped(g, scaled(g, g.node("Elu", x)), -0.5, 3.0),
    ],
)
def test_a_limit_that_is_reached_stays(end: End) -> None:
    """By a number, by one of two outputs, and where nothing is known of what it limits."""
    policy, data = read(lambda g, x: end(g, g.node("Mul", x, g.constant(20.0))))
    observations = 3 * np.random.default_rng(1).normal(size=(500, 3)).astype(np.float32)
    actions = on_runtime(data, {"obs": observations})
    assert np.abs(policy.outputs(observations) - actions).max() < 1e-4


def test_a_tanh_between_limits_is_the_squash() -> None:
    """As a controller writes whose actions are clipped by its library, and by its environment."""
    policy, _ = read(lambda g, x: clipped(g, clipped(g, tanh_head(g, x), -9.0, 9.0), -3.0, 3.0))
    assert isinstance(policy.head, GaussianHead)
    assert policy.head.squash is Squash.TANH
    assert [len(layer.bias) for layer in policy.layers] == [8, 2]
