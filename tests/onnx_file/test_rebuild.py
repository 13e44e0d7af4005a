"""Laws of `surefoot.onnx_file.rebuild`: equal functions are equal policies, and nothing is lost.

Also of ``onnx_file/computation.py``, ``onnx_file/ends.py``, ``onnx_file/linear.py``,
``onnx_file/structure.py`` and ``onnx_file/units.py``.
"""

import os
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from support.onnx_graphs import Array, Graph, RandomController, on_runtime
from surefoot.activation import Activation, Clamp
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.bounds.rounding import RoundingBound, rounding_bound
from surefoot.errors import InputError
from surefoot.onnx_file import ForeignFile, policy_from_onnx, policy_to_onnx, read_onnx
from surefoot.policy import GaussianHead, Policy, Squash, weights_sha256
from surefoot.runtime.arithmetic import TAU, runtime_error, runtime_error_at
from surefoot.unknown import Unknown

TRIALS = int(os.environ.get("SUREFOOT_TRIALS", "200"))
RNG = np.random.default_rng(0)
W1, B1 = RNG.normal(size=(8, 4)).astype(np.float32), RNG.normal(size=8).astype(np.float32)
W2, B2 = RNG.normal(size=(2, 8)).astype(np.float32), RNG.normal(size=2).astype(np.float32)
MEAN = np.array([1.0, -2.0, 0.5, 3.0], np.float32)
SCALE = np.array([0.5, 2.0, 0.75, 1.5], np.float32)
HALF, CENTRE = np.array([2.0, 0.5], np.float32), np.array([1.0, -1.0], np.float32)


def read(data: bytes) -> ForeignFile:
    file = read_onnx(data, "controller.onnx")
    assert isinstance(file, ForeignFile)
    return file


def gaussian(policy: Policy) -> GaussianHead:
    assert isinstance(policy.head, GaussianHead)
    return policy.head


def errors(file: ForeignFile, obs: Array) -> tuple[Array, float]:
    """|ONNX Runtime - policy| at observations, and the largest state of them."""
    policy = file.policy
    error = on_runtime(file.data, {"obs": obs}).astype(np.float64) - policy.outputs(obs)
    return np.abs(error), float(np.abs(policy.state(obs)).max())


def test_both_bounds_on_rounding_hold_for_random_controllers_of_others() -> None:
    necessary = 0
    for seed in range(TRIALS):
        rng = np.random.default_rng(seed)
        num_sensors, controller = int(rng.integers(2, 6)), RandomController(rng)
        build = controller.branched if seed % 2 else controller.chain
        file = read(build(num_sensors)[0])
        size = 10.0 ** rng.uniform(-3, 2, (200, 1))
        states = size * rng.normal(size=(200, num_sensors))
        normaliser = file.policy.normaliser
        obs = (normaliser.mean + normaliser.scale * states).astype(np.float32)
        error, limit = errors(file, obs)
        assert (error <= runtime_error(file.policy, state_limit=limit)).all(), seed
        box = np.full(num_sensors, limit)
        bound = rounding_bound(file.policy, box, ARITHMETICS["float32"])
        assert isinstance(bound, RoundingBound)
        assert (error <= bound.action).all(), seed
        plain = as_canonical(file.policy)
        necessary += not (error <= runtime_error(plain, state_limit=limit)).all()
    assert necessary > 0  # without what a policy says of its file the bounds would be false


def as_canonical(policy: Policy) -> Policy:
    """The policy as its canonical file computes it."""
    layers = tuple(replace(layer, rounding=None) for layer in policy.layers)
    return Policy(
        normaliser=replace(policy.normaliser, rounding=None),
        layers=layers,
        head=replace(gaussian(policy), rounding=None),
    )


# --- equal functions


def network(graph: Graph, state: str) -> str:
    return graph.dense(graph.node("Tanh", graph.dense(state, W1, B1)), W2, B2)


def normalised(graph: Graph) -> str:
    centred = graph.node("Sub", "obs", graph.constant(MEAN))
    return graph.node("Div", centred, graph.constant(SCALE))


def canonical() -> Policy:
    graph = Graph()
    squashed = graph.node("Tanh", network(graph, normalised(graph)))
    scaled = graph.node("Mul", squashed, graph.constant(HALF))
    return read(graph.file(graph.node("Add", scaled, graph.constant(CENTRE)), OBS)).policy


OBS = {"obs": ("N", 4)}


def outer_scale(graph: Graph) -> str:
    """(4 o - 4 mean) / (4 scale)."""
    scaled = graph.node("Mul", "obs", graph.constant(4.0))
    centred = graph.node("Sub", scaled, graph.constant(4 * MEAN))
    return graph.node("Div", centred, graph.constant(4 * SCALE))


def affine_first(graph: Graph) -> str:
    """o / scale - mean / scale."""
    scaled = graph.node("Mul", "obs", graph.constant(1 / SCALE))
    return graph.node("Sub", scaled, graph.constant(MEAN / SCALE))


def batch_norm(graph: Graph) -> str:
    arrays = (np.ones(4), np.zeros(4), MEAN, SCALE**2 - np.float32(1e-5))
    constants = [graph.constant(array) for array in arrays]
    return graph.node("BatchNormalization", "obs", *constants)


@pytest.mark.parametrize("front", [outer_scale, affine_first, batch_norm])
def test_epsilon_counts_in_the_unit_of_the_whole_normaliser(front: Callable[[Graph], str]) -> None:
    graph = Graph()
    squashed = graph.node("Tanh", network(graph, front(graph)))
    scaled = graph.node("Mul", squashed, graph.constant(HALF))
    out = graph.node("Add", scaled, graph.constant(CENTRE))
    policy = read(graph.file(out, OBS)).policy
    np.testing.assert_allclose(policy.normaliser.mean, MEAN, rtol=1e-6)
    np.testing.assert_allclose(policy.normaliser.scale, SCALE, rtol=1e-5)
    assert [layer.weight.shape for layer in policy.layers] == [(8, 4), (2, 8)]
    np.testing.assert_array_equal(policy.layers[0].weight, W1)


def test_a_sensor_that_is_turned_around_is_one_of_the_normaliser() -> None:
    """clip(-(o - mean) / scale), as of an IMU that is mounted upside down."""
    signs, policies = np.array([1, -1, -1, 1], np.float32), []
    for scale, first in ((SCALE, W1), (signs * SCALE, W1 * signs)):
        graph = Graph()
        centred = graph.node("Sub", "obs", graph.constant(MEAN))
        state = graph.node("Div", centred, graph.constant(scale))
        clipped = graph.node("Clip", state, graph.constant(-5.0), graph.constant(5.0))
        hidden = graph.node("Tanh", graph.dense(clipped, first, B1))
        policies.append(read(graph.file(graph.node("Tanh", graph.dense(hidden, W2, B2)), OBS)))
    plain, turned = (file.policy for file in policies)
    assert np.array_equal(plain.normaliser.scale, turned.normaliser.scale)
    assert plain.normaliser.clip == turned.normaliser.clip == 5.0
    observations = RNG.normal(size=(500, 4)) * 10
    assert np.array_equal(plain.outputs(observations), turned.outputs(observations))
    for one, other in zip(plain.layers, turned.layers, strict=True):
        assert np.array_equal(one.weight, other.weight)


def described_clip(graph: Graph, raw: str) -> str:
    """half clip((a - centre) / half) + centre, as users describe an actuator."""
    centred = graph.node("Sub", raw, graph.constant(CENTRE))
    unit = graph.node("Div", centred, graph.constant(HALF))
    clipped = graph.node("Clip", unit, graph.constant(-1.0), graph.constant(1.0))
    scaled = graph.node("Mul", clipped, graph.constant(HALF))
    return graph.node("Add", scaled, graph.constant(CENTRE))


def limited_clip(graph: Graph, raw: str) -> str:
    """min(max(a, low), high)."""
    least = graph.node("Max", raw, graph.constant(CENTRE - HALF))
    return graph.node("Min", graph.constant(CENTRE + HALF), least)


@pytest.mark.parametrize("clip", [described_clip, limited_clip])
def test_a_clip_to_the_range_of_the_actuators_is_the_squash(
    clip: Callable[[Graph, str], str],
) -> None:
    graph = Graph()
    data = graph.file(clip(graph, network(graph, normalised(graph))), OBS)
    file = read(data)
    policy, head = file.policy, gaussian(file.policy)
    assert head.squash is Squash.CLIP
    np.testing.assert_array_equal(head.half_range, HALF)
    np.testing.assert_array_equal(head.centre, CENTRE)
    assert [layer.weight.shape for layer in policy.layers] == [(8, 4), (2, 8)]
    np.testing.assert_allclose(policy.layers[1].weight, W2 / HALF[:, None], rtol=1e-7)
    error, _ = errors(file, (3 * RNG.normal(size=(500, 4))).astype(np.float32))
    assert error.max() < 1e-5


def mirrored(graph: Graph, raw: str) -> str:
    """A joint that turns the other way: the scale of its action is negative."""
    squashed = graph.node("Tanh", raw)
    scaled = graph.node("Mul", squashed, graph.constant(HALF * np.array([1, -1])))
    return graph.node("Add", scaled, graph.constant(CENTRE))


def in_degrees(graph: Graph, raw: str) -> str:
    """Two scales and two offsets behind the squash."""
    first = graph.node("Add", graph.node("Tanh", raw), graph.constant(0.25))
    turned = graph.node("Mul", first, graph.constant(57.5))
    return graph.node(
        "Div", graph.node("Sub", turned, graph.constant(CENTRE)), graph.constant(HALF)
    )


@pytest.mark.parametrize("tail", [mirrored, in_degrees])
def test_whatever_scales_a_squash_bounds_the_action(tail: Callable[[Graph, str], str]) -> None:
    graph = Graph()
    file = read(graph.file(tail(graph, network(graph, normalised(graph))), OBS))
    head = gaussian(file.policy)
    assert head.squash is Squash.TANH
    obs = (100 * RNG.normal(size=(2000, 4))).astype(np.float32)
    outputs = on_runtime(file.data, {"obs": obs})
    low, high = head.centre - head.half_range, head.centre + head.half_range
    np.testing.assert_allclose(outputs.min(axis=0), low, rtol=1e-3)
    np.testing.assert_allclose(outputs.max(axis=0), high, rtol=1e-3)
    assert [layer.weight.shape for layer in file.policy.layers] == [(8, 4), (2, 8)]


@pytest.mark.parametrize("place", ["before", "between", "behind"])
def test_a_map_of_one_entry_each_is_no_layer_of_its_own(place: str) -> None:
    graph, width = Graph(), {"before": 4, "between": 8, "behind": 2}[place]
    factors = np.geomspace(0.001, 10, width).astype(np.float32)
    diagonal = graph.constant(np.diag(factors))
    x = graph.node("MatMul", "obs", diagonal) if place == "before" else "obs"
    x = graph.node("Tanh", graph.dense(x, W1, B1))
    x = graph.node("MatMul", x, diagonal) if place == "between" else x
    x = graph.dense(x, W2, B2)
    x = graph.node("Mul", x, graph.constant(factors)) if place == "behind" else x
    file = read(graph.file(graph.node("Tanh", x), OBS))
    assert [layer.weight.shape for layer in file.policy.layers] == [(8, 4), (2, 8)]
    assert file.policy.layers[0].activation is Activation.TANH
    error, limit = errors(file, RNG.normal(size=(500, 4)).astype(np.float32))
    assert (error <= runtime_error(file.policy, state_limit=limit)).all()


def test_a_file_that_rounds_as_the_canonical_one_is_the_same_policy() -> None:
    policy = canonical()
    assert policy.normaliser.rounding is gaussian(policy).rounding is None
    assert all(layer.rounding is None for layer in policy.layers)
    file = policy_from_onnx(policy_to_onnx(policy))
    assert weights_sha256(file.policy) == weights_sha256(policy)


def multiplied(graph: Graph) -> str:
    """(o - mean) * factor, as brax writes it."""
    centred = graph.node("Sub", "obs", graph.constant(MEAN))
    return graph.node("Mul", centred, graph.constant(1 / SCALE))


@pytest.mark.parametrize("front", [normalised, multiplied])
@pytest.mark.parametrize("activation", ["Tanh", "Relu", "Elu", "Sigmoid"])
@pytest.mark.parametrize("clip", [False, True])
def test_the_canonical_file_has_the_bits_of_the_file_that_was_read(
    front: Callable[[Graph], str], activation: str, clip: bool
) -> None:
    graph = Graph()
    state = front(graph)
    if clip:
        state = graph.node("Clip", state, graph.constant(-5.0), graph.constant(5.0))
    hidden = graph.node(activation, graph.dense(state, W1, B1))
    raw = graph.node("MatMul", hidden, graph.constant(W2.T))
    squashed = graph.node("Tanh", graph.node("Add", raw, graph.constant(B2)))
    scaled = graph.node("Mul", squashed, graph.constant(HALF))
    file = read(graph.file(graph.node("Add", graph.constant(CENTRE), scaled), OBS))
    obs = (5 * RNG.normal(size=(10_000, 4))).astype(np.float32)
    theirs = on_runtime(file.data, {"obs": obs})
    np.testing.assert_array_equal(theirs, on_runtime(policy_to_onnx(file.policy), {"obs": obs}))


@pytest.mark.parametrize(
    ("factor", "offset"), [(2.0, -1.0), (-2.0, 1.0), (1.0, 0.0), (0.3, 5.0), (1e-3, 0.0)]
)
def test_a_sigmoid_at_the_end_is_the_tanh_of_half_its_input(factor: float, offset: float) -> None:
    def file_of(squash: Callable[[Graph, str], str]) -> ForeignFile:
        graph = Graph()
        out = squash(graph, graph.dense(graph.node("Relu", graph.dense("obs", W1, B1)), W2, B2))
        out = graph.node("Mul", out, graph.constant(factor)) if factor != 1 else out
        out = graph.node("Add", out, graph.constant(offset)) if offset else out
        return read(graph.file(out, OBS))

    def half_of_tanh(graph: Graph, x: str) -> str:
        tanh = graph.node("Tanh", graph.node("Mul", x, graph.constant(0.5)))
        return graph.node("Add", graph.node("Mul", tanh, graph.constant(0.5)), graph.constant(0.5))

    file = file_of(lambda graph, x: graph.node("Sigmoid", x))
    other = gaussian(file_of(half_of_tanh).policy)
    head = gaussian(file.policy)
    assert head.squash is Squash.TANH
    np.testing.assert_array_equal(head.half_range, other.half_range)
    np.testing.assert_array_equal(head.centre, other.centre)
    error, limit = errors(file, (30 * RNG.normal(size=(2000, 4))).astype(np.float32))
    assert (error <= runtime_error(file.policy, state_limit=limit)).all()


def test_a_sigmoid_at_the_end_counts_with_all_that_a_runtime_may_err() -> None:
    graph = Graph()
    file = read(graph.file(graph.node("Sigmoid", graph.dense("obs", 0 * W1, 0 * B1)), OBS))
    assert (runtime_error(file.policy, state_limit=1.0) >= TAU).all()


def test_a_sum_of_two_parts_of_one_layer_is_the_policy_of_both() -> None:
    graph = Graph()
    hidden = graph.node("Relu", graph.dense("obs", W1, B1))
    left, right = graph.cut(hidden, 0, 4), graph.cut(hidden, 4, 8)
    out = graph.dense(graph.node("Add", left, right), W2[:, :4], B2)
    file = read(graph.file(out, OBS))
    error, limit = errors(file, RNG.normal(size=(500, 4)).astype(np.float32))
    assert (error <= runtime_error(file.policy, state_limit=limit)).all()


@pytest.mark.parametrize("times", [2, 3])
def test_a_value_that_is_used_twice_is_not_added_up_before_the_file_does(times: int) -> None:
    # In float32 w x + v x is not (w + v) x.
    graph = Graph()
    repeated = graph.node("Concat", *["obs"] * times, axis=1)
    weight = RNG.normal(size=(2, 4 * times)).astype(np.float32)
    weight[:, 4:8] = -weight[:, :4] * np.float32(1 - 2.0**-20)
    file = read(graph.file(graph.dense(repeated, weight, B2), OBS))
    error, limit = errors(file, (1e3 * RNG.normal(size=(500, 4))).astype(np.float32))
    assert (error <= runtime_error(file.policy, state_limit=limit)).all()


def test_branches_of_one_depth_stand_side_by_side_and_their_zeros_are_no_weights() -> None:
    graph = Graph()
    parts = [graph.cut("obs", 0, 2), graph.cut("obs", 2, 4)]
    encoded = [graph.node("Elu", graph.dense(part, W1[:3, :2], B1[:3])) for part in parts]
    out = graph.dense(graph.node("Concat", *encoded, axis=1), W2[:, :6], B2)
    file = read(graph.file(out, OBS))
    first = file.policy.layers[0]
    assert first.weight.shape == (6, 4)
    assert first.is_weight is not None
    np.testing.assert_array_equal(first.is_weight, first.weight != 0)
    assert file.policy.sparsity == 0
    error, _ = errors(file, RNG.normal(size=(500, 4)).astype(np.float32))
    assert error.max() < 1e-5
    again = policy_from_onnx(policy_to_onnx(file.policy)).policy
    assert again.layers[0].is_weight is not None
    np.testing.assert_array_equal(again.layers[0].is_weight, first.is_weight)
    assert (again.sparsity, weights_sha256(again)) == (0, weights_sha256(file.policy))


@pytest.mark.parametrize(("op", "limits"), [("Min", {3.0}), ("Max", {-3.0})])
def test_a_clip_on_one_side_is_refused_by_name(op: str, limits: set[float]) -> None:
    graph = Graph()
    hidden = graph.node(op, graph.dense("obs", W1, B1), graph.constant(limits.pop()))
    with pytest.raises(InputError, match=f"'{op}': a clip needs two finite limits"):
        read(graph.file(graph.dense(hidden, W2, B2), OBS))


def test_infinite_limits_are_none() -> None:
    graph = Graph()
    hidden = graph.dense("obs", W1, B1)
    clipped = graph.node("Clip", hidden, graph.constant(-np.inf), graph.constant(np.inf))
    least = graph.node("Max", clipped, graph.constant(-np.inf))
    out = graph.dense(graph.node("Clip", least, graph.constant(-2.0), graph.constant(2.0)), W2, B2)
    policy = read(graph.file(out, OBS)).policy
    assert policy.layers[0].activation == Clamp(-2.0, 2.0)


@pytest.mark.parametrize("name", ["tf32", "float16"])
def test_coarser_arithmetics_are_bounded_for_the_steps_of_a_canonical_file_alone(name: str) -> None:
    graph = Graph()
    folded = read(graph.file(described_clip(graph, network(graph, normalised(graph))), OBS)).policy
    box = np.full(4, 3.0)
    unknown = rounding_bound(folded, box, ARITHMETICS[name])
    assert isinstance(unknown, Unknown)
    assert "more than those of a canonical one" in unknown.reason
    again = policy_from_onnx(policy_to_onnx(folded)).policy
    assert isinstance(rounding_bound(again, box, ARITHMETICS[name]), RoundingBound)
    assert isinstance(rounding_bound(folded, box, ARITHMETICS["float32"]), RoundingBound)


def test_random_controllers_with_products_are_what_the_runtime_computes() -> None:
    products = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        file = read(RandomController(rng, products=0.5).branched(4)[0])
        canonical = policy_to_onnx(file.policy)
        policy = policy_from_onnx(canonical).policy
        assert weights_sha256(policy) == weights_sha256(file.policy)
        products += not policy.is_elementwise
        scale, mean = policy.normaliser.scale, policy.normaliser.mean
        obs = (mean + scale * rng.normal(size=(50, 4))).astype(np.float32)
        for data, rebuilt in ((file.data, file.policy), (canonical, policy)):
            error = np.abs(on_runtime(data, {"obs": obs}) - policy.outputs(obs))
            assert (error <= runtime_error_at(rebuilt, policy.state(obs))).all()
    assert products > 6


def test_a_factor_of_one_number_multiplies_all_entries() -> None:
    graph = Graph()
    factor = graph.node("Sigmoid", graph.dense("obs", W1[:1], B1[:1]))
    x = graph.node("Mul", graph.node("Tanh", graph.dense("obs", W1, B1)), factor)
    data = graph.file({graph.dense(x, W2, B2): ("N", 2)}, {"obs": ("N", 4)})
    obs = RNG.normal(size=(50, 4)).astype(np.float32)
    found, limit = errors(read(data), obs)
    assert (found <= runtime_error(read(data).policy, state_limit=limit)).all()
