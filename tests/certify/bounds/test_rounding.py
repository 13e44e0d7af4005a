"""The rounding term against what NumPy and ONNX Runtime really do in float32.

Also of ``certify/bounds/arithmetics.py``.
"""

import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from flint import fmpq
from onnx import TensorProto, helper, numpy_helper

from support.policies import build_policy, draw_policy, file_of, random_policy
from surefoot.activation import RmsNorm
from surefoot.ball import Norm
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.bounds.crown import layer_bounds
from surefoot.certify.bounds.local_bounds import local_bounds, local_region
from surefoot.certify.bounds.region import network_of
from surefoot.certify.bounds.rounding import (
    RoundingBound,
    deployed_range,
    rounding_around,
    rounding_at,
    rounding_bound,
    rounding_of_change,
    state_bound,
)
from surefoot.compress.weights import WeightFormat, store_weights
from surefoot.onnx_file import cut_at_state, policy_to_onnx
from surefoot.policy import Activation, Policy, Squash
from surefoot.runtime.arithmetic import TAU
from surefoot.runtime.c_source import twin_outputs
from surefoot.runtime.controller_file import load_controller_file
from surefoot.runtime.load import Backend, controller_of
from surefoot.unknown import Unknown

FLOAT32 = ARITHMETICS["float32"]
GO1 = Path(os.environ.get("SUREFOOT_TEST_CONTROLLERS", "controllers")) / "go1_policy.onnx"


def session(data: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


def observations(policy: Policy, rng: np.random.Generator, count: int) -> np.ndarray:
    sizes = 10.0 ** rng.uniform(-3, 2, (count, 1))
    raw = policy.normaliser.mean + policy.normaliser.scale * sizes * rng.standard_normal(
        (count, policy.obs_dim)
    )
    return raw.astype(np.float32)


@pytest.mark.parametrize("activation", Activation)
@pytest.mark.parametrize("squash", Squash)
def test_the_bound_dominates_both_runtimes(activation: Activation, squash: Squash) -> None:
    rng = np.random.default_rng(0)
    for sizes in ([3, 2], [5, 32, 32, 3], [17, 128, 4]):
        policy = draw_policy(rng, sizes, activation, squash=squash, half_range=2.5)
        normaliser = replace(
            policy.normaliser,
            mean=rng.normal(0, 3, sizes[0]).astype(np.float32),
            scale=(10.0 ** rng.uniform(-3, 1, sizes[0])).astype(np.float32),
        )
        file = file_of(replace(policy, normaliser=normaliser))
        policy = file.policy
        bound = rounding_bound(policy, state_bound(policy, 0.0), FLOAT32)
        run = session(file.data)
        obs = observations(policy, rng, 64)
        exact = policy.outputs(obs)
        together = run.run(None, {"obs": obs})[0]
        alone = np.concatenate([run.run(None, {"obs": row[None]})[0] for row in obs])
        for name, outputs in (
            ("ONNX Runtime, batch of 64", together),
            ("ONNX Runtime, batches of 1", alone),
            ("NumPy", policy.outputs(obs, np.float32)),
        ):
            error = np.abs(outputs.astype(np.float64) - exact).max(axis=0)
            assert (error <= bound.action).all(), name


def test_the_bound_covers_perturbed_states() -> None:
    rng = np.random.default_rng(1)
    policy = draw_policy(rng, [8, 64, 64, 3])
    file = file_of(policy)
    bound = rounding_bound(policy, state_bound(policy, 0.5), FLOAT32)
    states = rng.uniform(-10.5, 10.5, (512, 8)).astype(np.float32)
    run = session(cut_at_state(file.data))
    outputs = run.run(None, {run.get_inputs()[0].name: states})[0].astype(np.float64)
    error = np.abs(outputs - policy.outputs_at(states.astype(np.float64))).max(axis=0)
    assert (error <= bound.action).all()
    assert (bound.action <= 1e-2).all()


def spread_weights(policy: Policy, kind: str, rng: np.random.Generator) -> Policy:
    """Weights that are ordinary, large, tiny (down to half-precision subnormals) or cancelling."""
    layers = []
    for layer in policy.layers:
        weight, bias = layer.weight.astype(np.float64), layer.bias.astype(np.float64)
        match kind:
            case "large":
                weight = 12 * weight
            case "tiny":
                weight = weight * 10.0 ** rng.uniform(-7, -2, weight.shape)
                bias = bias * 1e-6
            case "cancelling":  # neighbours of opposite sign, far larger than what they leave
                weight[:, 1::2] = -weight[:, : 2 * (weight.shape[1] // 2) : 2] * (1 + 2.0**-9)
                bias = 40 * bias
        weight, bias = weight.astype(np.float32), bias.astype(np.float32)
        layers.append(replace(layer, weight=weight, bias=bias))
    return replace(policy, layers=tuple(layers))


KINDS = ["ordinary", "large", "tiny", "cancelling"]


def half_graph(policy: Policy) -> bytes:
    """The network and the head as an ONNX graph in half precision, from the state on."""
    nodes, constants = [helper.make_node("Cast", ["state"], ["h"], to=TensorProto.FLOAT16)], []

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(value.astype(np.float16), name))
        return name

    last = "h"

    def then(kind: str, *inputs: str, **attributes: object) -> None:
        nonlocal last
        nodes.append(helper.make_node(kind, [last, *inputs], [f"x{len(nodes)}"], **attributes))
        last = f"x{len(nodes) - 1}"

    for number, layer in enumerate(policy.layers):
        weight = constant(f"w{number}", layer.weight)
        then("Gemm", weight, constant(f"b{number}", layer.bias), transB=1)
        if layer.activation in (Activation.TANH, Activation.RELU, Activation.SIGMOID):
            then(layer.activation.value.capitalize())
    head = policy.head
    if head.squash is Squash.TANH:
        then("Tanh")
    if head.squash is Squash.CLIP:
        then("Clip", constant("low", np.array(-1.0)), constant("high", np.array(1.0)))
    then("Mul", constant("half_range", head.half_range))
    then("Add", constant("centre", head.centre))
    then("Cast", to=TensorProto.FLOAT)
    nodes[-1].output[0] = "actions"
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "half",
        [value("state", TensorProto.FLOAT, ["N", policy.obs_dim])],
        [value("actions", TensorProto.FLOAT, ["N", policy.num_outputs])],
        constants,
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def numpy_half(policy: Policy, states: np.ndarray) -> np.ndarray:
    """Half-precision values, float32 sums and activations, in NumPy."""

    def half(array: np.ndarray) -> np.ndarray:
        return array.astype(np.float16).astype(np.float32)

    hidden = half(states)
    for layer in policy.layers:
        total = half(hidden @ half(layer.weight).T + half(layer.bias))
        hidden = half(layer.activation(total))
    squashed = half(policy.head.squash(hidden))
    return half(half(half(policy.head.half_range) * squashed) + half(policy.head.centre))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", [Activation.TANH, Activation.RELU, Activation.SIGMOID])
@pytest.mark.parametrize("squash", Squash)
def test_half_precision_is_counted_for_onnx_runtime_and_numpy(
    kind: str, activation: Activation, squash: Squash
) -> None:
    rng = np.random.default_rng(2)
    policy = draw_policy(rng, [6, 32, 32, 2], activation, squash=squash, half_range=2.7)
    policy = spread_weights(policy, kind, rng)
    bound = rounding_bound(policy, state_bound(policy, 0.0), ARITHMETICS["float16"])
    plain = rounding_bound(policy, state_bound(policy, 0.0), FLOAT32)
    if isinstance(bound, Unknown):
        assert (kind, activation) == ("large", Activation.RELU)
        assert "65504" in bound.reason
        return
    sizes = 10.0 ** rng.uniform(-6, 1, (500, 1))
    states = np.clip(sizes * rng.standard_normal((500, 6)), -10, 10).astype(np.float32)
    exact = policy.outputs_at(states.astype(np.float64))
    runtime = session(half_graph(policy)).run(None, {"state": states})[0]
    for outputs in (runtime, numpy_half(policy, states)):
        error = np.abs(outputs.astype(np.float64) - exact).max(axis=0)
        assert (error <= bound.action).all()
        if (kind, activation) == ("ordinary", Activation.TANH):
            assert (error > plain.action).any()


def test_half_precision_that_loses_all_it_can_reaches_most_of_its_bound() -> None:
    # Weights and states halfway between two half-precision numbers: both are rounded down.
    halfway = 1 + 2.0**-11
    policy = build_policy([np.full((2, 16), halfway)], categorical=True, clip=8 * halfway)
    bound = rounding_bound(policy, state_bound(policy, 0.0), ARITHMETICS["float16"])
    identity = replace(policy, head=build_policy([np.ones((2, 1))]).head)
    states = np.full((1, 16), np.float32(8 * halfway))
    outputs = numpy_half(identity, states)  # ONNX Runtime leaves out the rounding of the state
    error = np.abs(outputs.astype(np.float64) - policy.network(states.astype(np.float64)))[0]
    assert (0.6 * bound.network < error).all()
    assert (error <= bound.network).all()


@pytest.mark.parametrize("kind", KINDS)
def test_tf32_products_are_counted(kind: str) -> None:
    rng = np.random.default_rng(2)
    policy = spread_weights(draw_policy(rng, [6, 32, 32, 2]), kind, rng)
    bound = rounding_bound(policy, state_bound(policy, 0.0), ARITHMETICS["tf32"])
    plain = rounding_bound(policy, state_bound(policy, 0.0), FLOAT32)

    def stored(array: np.ndarray) -> np.ndarray:
        mantissa, exponent = np.frexp(array)  # ten bits behind the leading one
        return np.ldexp(np.round(mantissa * 2.0**11) / 2.0**11, exponent).astype(np.float32)

    states = rng.uniform(-10, 10, (2000, 6)).astype(np.float32)
    hidden = states
    for layer in policy.layers:
        hidden = layer.activation(stored(hidden) @ stored(layer.weight).T + layer.bias)
    outputs = policy.head.outputs(hidden).astype(np.float64)
    error = np.abs(outputs - policy.outputs_at(states.astype(np.float64))).max(axis=0)
    assert (error <= bound.action).all()
    assert (error > plain.action).any() or kind != "ordinary"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", [Activation.TANH, Activation.RELU])
@pytest.mark.parametrize("weights", [WeightFormat.FLOAT16, WeightFormat.INT8])
def test_weights_of_8_and_16_bits_err_by_no_more_than_float32_on_every_form(
    kind: str,
    activation: Activation,
    weights: WeightFormat,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The file holds the rounded weights, so that no weight errs; C multiplies by int8 counts.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rng = np.random.default_rng(5)
    policy = draw_policy(rng, [6, 32, 32, 2], activation, sparsity=0.8)
    file = file_of(store_weights(spread_weights(policy, kind, rng), weights))
    policy = file.policy
    bound = rounding_bound(policy, state_bound(policy, 0.0), FLOAT32)
    states = np.clip(rng.normal(0, 3, (500, 6)), -10, 10).astype(np.float32)
    exact = policy.outputs_at(states.astype(np.float64))
    for backend in (Backend.C, Backend.ONNX, Backend.ONNX_SPARSE, Backend.NUMPY):
        outputs = controller_of(file, backend).from_state(states).astype(np.float64)
        assert (np.abs(outputs - exact).max(axis=0) <= bound.action).all(), backend


def test_an_unbounded_state_has_no_bound_but_a_reason() -> None:
    policy = draw_policy(np.random.default_rng(3), [3, 4, 2], clip=np.inf)
    nothing = rounding_bound(policy, state_bound(policy, 0.1), FLOAT32)
    assert isinstance(nothing, Unknown)
    assert "unbounded" in nothing.reason


def test_possible_overflow_has_no_bound_but_a_reason() -> None:
    huge = build_policy([np.full((1, 2), 3e38)])
    assert "largest float32" in rounding_bound(huge, state_bound(huge, 0.0), FLOAT32).reason
    half = build_policy([np.full((1, 2), 7e4)])
    assert "65504" in rounding_bound(half, state_bound(half, 0.0), ARITHMETICS["float16"]).reason


def test_a_normaliser_that_may_overflow_has_no_bound() -> None:
    policy = build_policy([np.ones((1, 2))])
    normaliser = replace(policy.normaliser, scale=np.full(2, 1e38, dtype=np.float32))
    policy = replace(policy, normaliser=normaliser)
    assert "normaliser" in rounding_bound(policy, state_bound(policy, 0.0), FLOAT32).reason


def test_huge_cancelling_constants_are_covered() -> None:
    # (z + 2^24) - 2^24 loses every digit of z in float32: real and deployed values differ by 1.
    big = 2.0**24
    policy = build_policy([[[1.0]], [[1.0]]], Activation.RELU, biases=[[big], [-big]])
    states = np.array([[1.0]], dtype=np.float32)
    error = abs(float(policy.outputs_at(states)[0, 0]) - 1.0)
    bound = rounding_bound(policy, state_bound(policy, 0.0), FLOAT32)
    assert error == 1.0
    assert bound.action[0] >= error


def test_the_worst_order_of_summation_is_covered() -> None:
    # One after the other, in float32: no BLAS sums like that, but the bound must not depend on it.
    count = 4096
    policy = build_policy([np.full((1, count), 0.1)], clip=1.0)
    bound = rounding_bound(policy, state_bound(policy, 0.0), FLOAT32)
    terms = np.full(count, np.float32(0.1) * np.float32(0.9))
    sequential = float(np.cumsum(terms, dtype=np.float32)[-1])
    exact = count * float(np.float32(0.1)) * float(np.float32(0.9))
    assert 1e-4 < abs(sequential - exact) <= bound.network[0]


def test_the_bound_grows_with_the_states_it_covers() -> None:
    policy = draw_policy(np.random.default_rng(4), [4, 16, 2], Activation.RELU)
    sizes = [0.1, 1.0, 10.0, 100.0]
    bounds = [rounding_bound(policy, np.full(4, size), FLOAT32).action for size in sizes]
    assert (np.diff(np.array(bounds), axis=0) > 0).all()


@pytest.mark.parametrize(
    ("squash", "centre", "half_range"), [(Squash.IDENTITY, 0.0, 1e38), (Squash.CLIP, 3e38, 3e38)]
)
def test_an_action_that_overflows_has_no_bound(
    squash: Squash, centre: float, half_range: float
) -> None:
    policy = build_policy([[[1.0]]], squash=squash, half_range=half_range)
    head = replace(policy.head, centre=np.full(1, centre, np.float32))
    policy = replace(policy, head=head)
    with np.errstate(over="ignore"):  # the runtime really does overflow
        assert not np.isfinite(policy.outputs(np.full((1, 1), 9.0), np.float32)).all()
    bound = rounding_bound(policy, state_bound(policy, 0.0), FLOAT32)
    assert bound == Unknown("an action may exceed the largest float32")


@pytest.mark.parametrize("activation", [Activation.RELU, Activation.SOFTPLUS])
def test_a_sum_that_the_generated_c_doubles_has_no_bound(activation: Activation) -> None:
    policy = build_policy([[[2e37]], [[1e-37]]], activation)  # 2e38 at the clip
    at_clip = np.full((1, 1), 10.0)
    with np.errstate(over="ignore"):
        assert np.isfinite(policy.outputs(at_clip, np.float32)).all()
        assert not np.isfinite(twin_outputs(policy, at_clip)).all()
    bound = rounding_bound(policy, state_bound(policy, 0.0), FLOAT32)
    assert bound == Unknown("a value may exceed the largest float32")


@pytest.mark.parametrize("activation", list(Activation))
@pytest.mark.parametrize("times", [1.01, 2.0, 10.0])
def test_the_bound_grows_no_faster_than_the_perturbation(
    activation: Activation, times: float
) -> None:
    """What a table's bound says about a larger epsilon rests on this."""
    for seed, epsilon in enumerate((0.01, 0.15, 1.0)):
        rng = np.random.default_rng(seed)
        policy = random_policy(rng, (7, 12, 9, 3), activation, Squash.TANH)
        near, far = (
            rounding_bound(policy, state_bound(policy, size), FLOAT32)
            for size in (epsilon, epsilon * times)
        )
        assert not isinstance(near, Unknown)
        assert not isinstance(far, Unknown)
        assert (far.action <= times * near.action).all()


def by_size(terms: np.ndarray, first: int) -> np.ndarray:
    """Terms of one sign first, the largest of them first, then those of the other, rising."""
    order = np.argsort(-first * terms, axis=-1)
    return np.take_along_axis(terms, order, axis=-1)


def in_the_worst_order(policy: Policy, states: np.ndarray, first: int) -> np.ndarray:
    """The network in float32, each sum in an order that stays far from zero the longest."""
    hidden = states
    for layer in policy.layers:
        products = hidden[:, None, :] * layer.weight
        bias = np.broadcast_to(layer.bias[None, :, None], (*products.shape[:2], 1))
        terms = by_size(np.concatenate([products, bias], axis=2), first)
        hidden = layer.activation(np.add.accumulate(terms, axis=2)[..., -1])
    return hidden


def exactly(policy: Policy, state: np.ndarray) -> list[fmpq]:
    """The network of ReLU layers in rationals."""
    hidden = [fmpq(*float(value).as_integer_ratio()) for value in state]
    for number, layer in enumerate(policy.layers):
        rows = zip(layer.weight, layer.bias, strict=True)
        sums = [
            sum(
                (fmpq(*float(w).as_integer_ratio()) * h for w, h in zip(row, hidden, strict=True)),
                fmpq(*float(b).as_integer_ratio()),
            )
            for row, b in rows
        ]
        last = number == len(policy.layers) - 1
        hidden = sums if last else [max(value, fmpq(0)) for value in sums]
    return hidden


@pytest.mark.parametrize("first", [1, -1])
@pytest.mark.parametrize("gain", [0.5, 3.0])
def test_the_worst_orders_err_by_no_more_than_the_bound_around_a_state_in_exact_arithmetic(
    first: int, gain: float
) -> None:
    rng = np.random.default_rng(6)
    policy = draw_policy(rng, [5, 24, 24, 2], Activation.RELU, gain=gain)
    states = rng.normal(0, 2, (6, 5)).astype(np.float32)
    region = local_region(states, 0.05, Norm.LINF)
    around = rounding_around(policy, region, layer_bounds(network_of(policy), region), FLOAT32)
    here = rounding_at(policy, states.astype(float), FLOAT32)
    everywhere = rounding_bound(policy, np.abs(states).max(axis=0) + 0.05, FLOAT32)
    assert (here.network <= around.network).all()
    assert (around.network <= everywhere.network).all()
    for step in (0.0, 0.05, -0.05):
        points = (states + np.float32(step) * (1 - 2.0**-20)).astype(np.float32)
        deployed = in_the_worst_order(policy, points, first)
        bounds = here.network if step == 0 else around.network
        for point, values, bound in zip(points, deployed, bounds, strict=True):
            for value, truth, limit in zip(values, exactly(policy, point), bound, strict=True):
                assert abs(fmpq(*float(value).as_integer_ratio()) - truth) <= fmpq(
                    *float(limit).as_integer_ratio()
                )


@pytest.mark.parametrize(
    ("activation", "squash"),
    [
        (Activation.ELU, Squash.IDENTITY),
        (Activation.ELU, Squash.TANH),
        (Activation.SILU, Squash.TANH),
    ],
)
def test_rounding_is_a_small_part_of_the_deviation_of_networks_as_wide_as_robots_have(
    activation: Activation, squash: Squash
) -> None:
    # 45 sensors, 512-256-128, 12 actuators, as rsl_rl trains them, at recorded states.
    rng = np.random.default_rng(0)
    sizes = [45, 512, 256, 128, 12]
    weights = [
        1.6 * rng.standard_normal((rows, columns)) / np.sqrt(columns)
        for columns, rows in pairwise(sizes)
    ]
    policy = build_policy(weights, activation, squash=squash, clip=10.0)
    region = local_region(rng.normal(0, 1, (2, 45)), 0.05, Norm.LINF)
    local = local_bounds(policy, region)
    added = rounding_of_change(policy, region, local.before, FLOAT32)
    worst = local.action.argmax(axis=1)[:, None]
    total = np.take_along_axis(local.action + added.action, worst, axis=1)
    assert (np.take_along_axis(added.action, worst, axis=1) <= 0.05 * total).all()


@pytest.mark.skipif(not GO1.is_file(), reason="go1_policy.onnx is not on this machine")
def test_rounding_is_a_small_part_of_the_deviation_of_a_quadruped_s_controller() -> None:
    policy = load_controller_file(GO1).policy
    observations = np.random.default_rng(0).normal(size=(32, policy.obs_dim)).astype(np.float32)
    region = local_region(policy.state(observations, np.float32), 0.05, Norm.LINF)
    local = local_bounds(policy, region)
    added = rounding_of_change(policy, region, local.before, FLOAT32)
    worst = (local.action + added.action).argmax(axis=1)[:, None]
    total = np.take_along_axis(local.action + added.action, worst, axis=1)
    assert (np.take_along_axis(added.action, worst, axis=1) <= 0.05 * total).all()


@pytest.mark.parametrize("squash", [Squash.CLIP, Squash.TANH])
@pytest.mark.parametrize("centre", [0.0, 0.3])
def test_no_runtime_takes_an_action_further_than_the_range_that_is_said(
    squash: Squash, centre: float
) -> None:
    rng = np.random.default_rng(7)
    policy = draw_policy(rng, [4, 32, 3], gain=30.0, squash=squash, half_range=0.7)
    head = replace(policy.head, centre=np.full(3, centre, np.float32))
    file = file_of(replace(policy, head=head))
    ends = deployed_range(file.policy, FLOAT32)
    half_range = file.policy.head.half_range.astype(float)
    assert (2 * half_range <= ends).all()
    assert (ends <= 2 * half_range * (1 + 2.0**-19) + 2.0**-20 * centre).all()
    if (squash, centre) == (Squash.CLIP, 0.0):
        assert (ends == 2 * half_range).all()
    states = rng.uniform(-10, 10, (3000, 4)).astype(np.float32)
    for backend in (Backend.NUMPY, Backend.ONNX):
        actions = controller_of(file, backend).from_state(states).astype(np.float64)
        assert (0.99 * ends < np.ptp(actions, axis=0)).all()
        assert (np.ptp(actions, axis=0) <= ends).all()


def test_a_tanh_of_a_runtime_may_exceed_one_but_no_range_that_is_said() -> None:
    policy = build_policy([[[1.0]]], squash=Squash.TANH)
    run = session(policy_to_onnx(policy))
    bits = np.arange(*np.float32([7, 16]).view(np.uint32), 17, dtype=np.uint32)
    rising = np.minimum(bits.view(np.float32), np.float32(9.999))[:, None]
    actions = [run.run(None, {"obs": sign * rising})[0].astype(float) for sign in (-1, 1)]
    ends = deployed_range(policy, FLOAT32)
    assert 2.0 <= actions[1].max() - actions[0].min() <= ends[0]


def test_an_error_before_a_normalisation_reaches_the_neurons_beside_it() -> None:
    """A tanh that is off by as much as a runtime's may be moves a neuron it has no weight to."""
    norm, size = RmsNorm(0.25), 1024.0
    columns = [[[1.0]], [[size], [0.0]], [[0.0, 1.0]]]
    policy = build_policy(columns, norm, biases=[[0.0], [1.0, 1.0], [0.0]])
    first = replace(policy.layers[0], activation=Activation.TANH)
    policy = replace(policy, layers=(first, *policy.layers[1:]))
    exact, moved = (1 / np.sqrt((np.square(x) + 1) / 2 + 0.25) for x in (1.0, 1 + size * TAU))
    bound = rounding_at(policy, np.zeros((1, 1)), FLOAT32)
    assert isinstance(bound, RoundingBound)
    assert 0 < exact - moved <= bound.network[0, 0]
