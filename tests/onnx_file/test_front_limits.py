"""Limits of raw sensors are those of the state: equal functions get equal bounds, in one unit."""

from collections.abc import Callable

import numpy as np
import pytest

from support.onnx_graphs import Array, Graph, on_runtime
from surefoot.activation import Activation
from surefoot.ball import Ball, Norm
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.bounds.rounding import rounding_at
from surefoot.certify.counterexamples import deployed_arithmetic
from surefoot.certify.everywhere import ActionBounds, Everywhere
from surefoot.onnx_file import ControllerFile, policy_from_onnx, policy_to_onnx
from surefoot.policy import Policy
from surefoot.runtime.arithmetic import runtime_error_at
from surefoot.runtime.controller_file import controller_from_onnx
from surefoot.unknown import Unknown

RNG = np.random.default_rng(0)
FIRST, BIAS = RNG.normal(size=(8, 4)), RNG.normal(size=8)
LAST = RNG.normal(size=(2, 8)) / 2
MEAN = np.array([1.0, -2.0, 0.5, 3.0], np.float32)
SCALE = np.array([0.5, 2.0, -0.75, 1.5], np.float32)
LOW, HIGH = MEAN - 5 * np.abs(SCALE), MEAN + 5 * np.abs(SCALE)
FAR, NEAR = np.array([1.0, 2.0, 0.5, 10.0]), np.array([3.0, 1.0, 2.0, -9.0])
Front = Callable[[Graph], str]
FLOAT32 = ARITHMETICS["float32"]


def read(front: Front) -> ControllerFile:
    graph = Graph()
    hidden = graph.node("Tanh", graph.dense(front(graph), FIRST, BIAS))
    out = graph.node("Tanh", graph.dense(hidden, LAST))
    return controller_from_onnx(graph.file({out: ("N", 2)}, {"obs": ("N", 4)}), "actor.onnx")


def limited(graph: Graph, x: str, low: Array, high: Array) -> str:
    return graph.node("Min", graph.node("Max", x, graph.constant(low)), graph.constant(high))


def normalised(graph: Graph, x: str) -> str:
    centred = graph.node("Sub", x, graph.constant(MEAN))
    return graph.node("Div", centred, graph.constant(SCALE))


def clipped_state(graph: Graph) -> str:
    return graph.node("Clip", normalised(graph, "obs"), graph.constant(-5.0), graph.constant(5.0))


def limited_sensors(graph: Graph) -> str:
    return normalised(graph, limited(graph, "obs", LOW, HIGH))


def limited_between(graph: Graph) -> str:
    """Each sensor limited twice, before its mean is taken off and after."""
    outer = limited(graph, "obs", LOW - 1, HIGH)
    centred = graph.node("Sub", outer, graph.constant(MEAN))
    inner = limited(graph, centred, LOW - MEAN, HIGH - MEAN + 1)
    return graph.node("Div", inner, graph.constant(SCALE))


def two_sided(graph: Graph) -> str:
    """Each sensor with a range of its own, one of which its mean is outside of."""
    return normalised(graph, limited(graph, "obs", MEAN - FAR, MEAN + NEAR))


def two_sided_state(graph: Graph) -> str:
    low, high = -FAR / SCALE, NEAR / SCALE
    return limited(graph, normalised(graph, "obs"), np.minimum(low, high), np.maximum(low, high))


def deviation(policy: Policy, ball: Ball) -> Array:
    found = Everywhere(policy, FLOAT32).deployed_deviation(ball)
    assert isinstance(found, ActionBounds)
    return found.rows


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize(
    ("front", "same"),
    [
        (limited_sensors, clipped_state),
        (limited_between, clipped_state),
        (two_sided, two_sided_state),
    ],
)
def test_limits_before_the_normaliser_have_the_bound_of_those_behind_it(
    front: Front, same: Front, norm: Norm
) -> None:
    ball = Ball(norm=norm, epsilon=0.05)
    ours, canonical = read(front).policy, read(same).policy
    np.testing.assert_array_equal(ours.normaliser.scale, canonical.normaliser.scale)
    assert (deviation(ours, ball) <= 1.01 * deviation(canonical, ball)).all()


def test_the_same_limits_of_all_sensors_leave_no_layer_of_their_own() -> None:
    policy = read(limited_sensors).policy
    assert policy.normaliser.clip == 5.0
    assert [layer.activation for layer in policy.layers] == [Activation.TANH, Activation.IDENTITY]


@pytest.mark.parametrize("front", [limited_sensors, limited_between, two_sided])
def test_the_rounding_of_the_file_is_bounded_on_both_sides_of_its_limits(front: Front) -> None:
    file = read(front)
    policy = file.policy
    spread = 10.0 ** RNG.uniform(-2, 4, (500, 1))
    obs = (MEAN + SCALE * spread * RNG.normal(size=(500, 4))).astype(np.float32)
    states = policy.state(obs.astype(np.float64))
    error = np.abs(on_runtime(file.data, {"obs": obs}) - policy.outputs_at(states))
    assert (error <= runtime_error_at(policy, states)).all()
    bound = rounding_at(policy, states, FLOAT32)
    assert not isinstance(bound, Unknown)
    assert (error <= bound.action).all()
    written = on_runtime(policy_to_onnx(policy), {"obs": obs})
    again = policy_from_onnx(policy_to_onnx(policy)).policy
    assert (np.abs(written - again.outputs(obs.astype(np.float64))) <= bound.action).all()


def test_a_limit_on_one_side_stays_where_it_is() -> None:
    policy = read(
        lambda graph: normalised(graph, graph.node("Max", "obs", graph.constant(0.0)))
    ).policy
    assert policy.normaliser.clip == np.inf
    assert policy.layers[0].activation is Activation.RELU


def test_perturbed_states_are_replayed_before_the_limits_of_a_file_that_has_a_state() -> None:
    graph = Graph()
    limits = graph.constant(-1.0), graph.constant(2.0)
    state = normalised(graph, graph.node("Clip", "obs", *limits))
    graph.nodes[-1].output[0] = state = "state"
    out = graph.node("Tanh", graph.dense(state, FIRST, BIAS))
    file = controller_from_onnx(graph.file({out: ("N", 8)}, {"obs": ("N", 4)}), "actor.onnx")
    states = RNG.uniform(-9, 9, (100, 4)).astype(np.float32)
    replayed = deployed_arithmetic(file).outputs_at(states)
    np.testing.assert_allclose(replayed, file.policy.outputs_at(states), atol=1e-5)
