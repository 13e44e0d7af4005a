"""Sandwich of every bound: error observed in float32 <= bound; closed forms where there are any."""

import itertools
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from support.oracles import FLOAT64_ACTIVATIONS
from support.policies import file_of, random_policy
from surefoot.errors import InputError
from surefoot.policy import Activation, Array, GaussianHead, Layer, Normaliser, Policy, Squash
from surefoot.runtime.arithmetic import TAU, UNIT_ROUNDOFF, runtime_error
from surefoot.runtime.load import Backend, controller_of

SIZES = [(3, 2), (11, 16, 3), (17, 64, 64, 6), (5, 24, 24, 24, 2)]
SMOOTH = [Activation.TANH, Activation.SIGMOID, Activation.SILU, Activation.ELU, Activation.SOFTPLUS]


def observations(
    policy: Policy, rng: np.random.Generator, rows: int, spread: float
) -> NDArray[np.float32]:
    """Half of a wide normal distribution, half on the clip to one unit in the last place."""
    state = rng.normal(0, spread, (rows, policy.obs_dim))
    edge = rng.random(rows) < 0.5
    state[edge] = np.sign(state[edge]) * 10
    obs = state * policy.normaliser.scale + policy.normaliser.mean
    obs = obs.astype(np.float32)
    return np.nextafter(obs, rng.choice([-np.inf, np.inf], obs.shape).astype(np.float32))


@pytest.mark.parametrize("backend", [Backend.NUMPY, Backend.ONNX])
@pytest.mark.parametrize("activation", [Activation.RELU, Activation.IDENTITY, *SMOOTH])
def test_bound_dominates_the_observed_error_at_observations_and_states(
    activation: Activation, backend: Backend
) -> None:
    rng = np.random.default_rng(7)
    for sizes, squash in itertools.product(SIZES, [*Squash, None]):
        policy = random_policy(rng, sizes, activation, squash)
        controller = controller_of(file_of(policy), backend)
        bound = runtime_error(policy, state_limit=10.5)
        assert np.isfinite(bound).all()
        for rows in (1, 64):
            obs = observations(policy, rng, rows, 4.0)
            assert (np.abs(controller(obs) - policy.outputs(obs)) <= bound).all()
            state = rng.uniform(-10.5, 10.5, (rows, policy.obs_dim)).astype(np.float32)
            reference = policy.outputs_at(state.astype(np.float64))
            assert (np.abs(controller.from_state(state) - reference) <= bound).all()


def single_layer(weight: NDArray[np.float32] | list[float], bias: float = 0.0) -> Policy:
    """One output on inputs that the normaliser leaves as they are, without squash."""
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    width = len(weight)
    return Policy(
        normaliser=Normaliser(
            mean=np.zeros(width, np.float32), scale=np.ones(width, np.float32), clip=4.0
        ),
        layers=(
            Layer(
                weight=np.float32([weight]),
                bias=np.float32([bias]),
                activation=Activation.IDENTITY,
            ),
        ),
        head=GaussianHead(std=one, squash=Squash.IDENTITY, centre=zero, half_range=one),
    )


def test_bound_covers_every_order_of_summation() -> None:
    # Ill-conditioned sums, added in every order in float32; the exact value is a rational.
    rng = np.random.default_rng(1)
    for _ in range(20):
        weight = (rng.normal(0, 1, 5) * 10.0 ** rng.integers(-3, 4, 5)).astype(np.float32)
        state = rng.uniform(-4, 4, 5).astype(np.float32)
        exact = sum(
            Fraction(float(w)) * Fraction(float(z)) for w, z in zip(weight, state, strict=True)
        )
        bound = runtime_error(single_layer(weight), state_limit=4.0)[0]
        for order in itertools.permutations(weight * state):
            total = np.float32(0)
            for term in order:
                total += term
            assert abs(Fraction(float(total)) - exact) <= Fraction(bound)


def test_bound_of_one_layer_is_the_closed_form() -> None:
    # Three roundings of the normaliser, n = fan_in + 2 = 5 of the sum on |W| |z| + |b|, three of
    # the scale. Terms of second order are below 1e-5 of it.
    weight, bias, limit = [1.0, -2.0, 0.5], 3.0, 4.0
    reach = limit * 3.5 + bias
    expected = UNIT_ROUNDOFF * (3 * limit * 3.5 + 5 * reach + 3 * reach)
    bound = runtime_error(single_layer(weight, bias), state_limit=limit)[0]
    assert expected <= bound <= expected * (1 + 1e-5)


@pytest.mark.parametrize(
    ("activation", "slope", "largest", "tau"),
    [
        (Activation.RELU, 1, 3, 0),
        (Activation.TANH, 1, math.tanh(3), TAU),
        (Activation.SIGMOID, 1 / 4, 1 / (1 + math.exp(-3)), TAU),
        (Activation.ELU, 1, 3, TAU),
        (Activation.SILU, 1.0998395, 3 / (1 + math.exp(-3)), 3 * TAU),
        (Activation.SOFTPLUS, 1, math.log1p(math.exp(3)), 3 * TAU),
    ],
)
def test_bound_through_an_activation_is_the_closed_form(
    activation: Activation, slope: float, largest: float, tau: float
) -> None:
    # One neuron with weight 3/2, then one output with weight 7, on |z| <= 2.
    last = single_layer([7.0])
    first = Layer(weight=np.float32([[1.5]]), bias=np.zeros(1, np.float32), activation=activation)
    policy = Policy(normaliser=last.normaliser, layers=(first, *last.layers), head=last.head)
    hidden = slope * UNIT_ROUNDOFF * (3 * 2 * 1.5 + 3 * 3) + tau
    expected = 7 * hidden + 2 * 3 * UNIT_ROUNDOFF * 7 * largest
    bound = runtime_error(policy, state_limit=2.0)[0]
    assert expected * (1 - 1e-5) <= bound <= expected * (1 + 1e-5)


def test_gradual_underflow_is_counted() -> None:
    policy = single_layer([2.0**-149] * 20)
    state = np.full((1, 20), 0.4, np.float32)
    bound = runtime_error(policy, state_limit=0.5)[0]
    # Each product 0.4 * 2^-149 is rounded to zero in float32, and lost.
    assert policy.outputs_at(state)[0, 0] == 0
    assert bound >= policy.outputs_at(state.astype(np.float64))[0, 0] > 7 * 2.0**-149


def test_a_larger_box_or_wider_action_never_lowers_the_bound() -> None:
    rng = np.random.default_rng(2)
    for activation in Activation:
        policy = random_policy(rng, (6, 16, 2), activation, Squash.TANH)
        bounds = [runtime_error(policy, state_limit=limit) for limit in (0.1, 1.0, 10.0, 100.0)]
        assert all((a <= b).all() for a, b in itertools.pairwise(bounds))
        head = policy.head
        wider = GaussianHead(
            std=head.std, squash=head.squash, centre=head.centre, half_range=2 * head.half_range
        )
        twice = Policy(normaliser=policy.normaliser, layers=policy.layers, head=wider)
        assert (
            runtime_error(twice, state_limit=1.0) > runtime_error(policy, state_limit=1.0)
        ).all()


def test_no_finite_bound_where_float32_can_overflow() -> None:
    for weight in ([3e38, 3e38], [1e38] * 4):
        last = single_layer(weight)
        assert math.isinf(runtime_error(last, state_limit=4.0)[0])
        # Behind a saturated activation, too: infinity - infinity is no number before it.
        hidden = Layer(
            weight=np.repeat(last.layers[0].weight, len(weight), axis=0),
            bias=np.zeros(len(weight), np.float32),
            activation=Activation.TANH,
        )
        small = single_layer([1.0] * len(weight))
        policy = Policy(normaliser=last.normaliser, layers=(hidden, *small.layers), head=small.head)
        assert math.isinf(runtime_error(policy, state_limit=4.0)[0])


@pytest.mark.parametrize("limit", [0.0, -1.0, math.inf, math.nan])
def test_state_limit_must_be_positive_and_finite(limit: float) -> None:
    with pytest.raises(InputError, match="state_limit must be positive and finite"):
        runtime_error(single_layer([1.0]), state_limit=limit)


def float32_sweep(stride: int) -> NDArray[np.float32]:
    """Every ``stride``-th float32 of magnitude 2^-40 to 64, both signs, and a few far beyond."""
    low, high = np.float32([2.0**-40, 64]).view(np.uint32)
    positive = np.arange(low, high, stride, dtype=np.uint32).view(np.float32)
    far = np.float32([0, 1e-45, 1e-39, 89, 1e3, 1e10])
    return np.concatenate([positive, far, -positive, -far])


def ort_activation(activation: Activation) -> Callable[[Array], Array]:
    """Return the activation as ONNX Runtime computes it, from a graph of its own."""
    kind = onnx.TensorProto.FLOAT
    name = "Sigmoid" if activation is Activation.SILU else activation.value.capitalize()
    nodes = [onnx.helper.make_node(name, ["x"], ["y"])]
    if activation is Activation.SILU:
        nodes.append(onnx.helper.make_node("Mul", ["x", "y"], ["z"]))
    graph = onnx.helper.make_graph(
        nodes,
        "activation",
        [onnx.helper.make_tensor_value_info("x", kind, ["N"])],
        [onnx.helper.make_tensor_value_info(nodes[-1].output[0], kind, ["N"])],
    )
    opset = onnx.helper.make_opsetid("", 17)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda x: session.run(None, {"x": x})[0]


@pytest.mark.parametrize("activation", SMOOTH)
@pytest.mark.parametrize("runtime", ["numpy", "onnx"])
def test_smooth_activations_err_by_at_most_tau(activation: Activation, runtime: str) -> None:
    function = activation if runtime == "numpy" else ort_activation(activation)
    sweep = float32_sweep(stride=1009)
    # In blocks of odd size, so that the scalar remainder of vectorised code is seen too.
    for x in np.array_split(sweep, len(sweep) // 1021):
        exact = FLOAT64_ACTIVATIONS[activation](x.astype(np.float64))
        allowed = np.full(x.shape, TAU)
        if activation in (Activation.SILU, Activation.SOFTPLUS):
            allowed *= np.maximum(1, np.abs(x))
        with np.errstate(under="ignore", over="ignore"):
            computed = function(x)
        assert computed.dtype == np.float32
        assert (np.abs(computed.astype(np.float64) - exact) <= allowed).all()
