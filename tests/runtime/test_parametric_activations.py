"""Activations with a parameter in deployed arithmetic: every bound, the C, and its NumPy twin."""

import itertools

import numpy as np
import pytest

from support.policies import file_of, random_policy
from surefoot.activation import Activation, AnyActivation, Clamp, LeakyRelu, ScaledElu
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.bounds.rounding import (
    rounding_bound,
    smooth_activations,
    state_bound,
)
from surefoot.policy import GaussianHead, Layer, Normaliser, Policy, Squash
from surefoot.runtime.arithmetic import TAU, UNIT_ROUNDOFF, runtime_error
from surefoot.runtime.c_activations import C_TAU, twin
from surefoot.runtime.c_source import twin_outputs
from surefoot.runtime.load import Backend, controller_of
from surefoot.unknown import Unknown


def f32(value: float) -> float:
    return float(np.float32(value))


SELU = ScaledElu(f32(1.6732632), f32(1.050701))
PARAMETRIC = [
    LeakyRelu(f32(0.01)),
    LeakyRelu(1.0),
    SELU,
    ScaledElu(f32(0.3), f32(7.1)),
    Clamp(-1.0, 1.0),
    Clamp(f32(0.3), 6.0),
]


@pytest.mark.parametrize("backend", [Backend.NUMPY, Backend.ONNX])
@pytest.mark.parametrize("activation", PARAMETRIC)
def test_both_bounds_dominate_the_observed_error(
    activation: AnyActivation, backend: Backend
) -> None:
    rng = np.random.default_rng(7)
    for sizes, squash in itertools.product([(3, 2), (11, 16, 3), (17, 64, 64, 6)], Squash):
        policy = random_policy(rng, sizes, activation, squash)
        controller = controller_of(file_of(policy), backend)
        bound = runtime_error(policy, state_limit=10.5)
        proved = rounding_bound(policy, state_bound(policy, 0.5), ARITHMETICS["float32"])
        state = rng.uniform(-10.5, 10.5, (64, policy.obs_dim)).astype(np.float32)
        error = np.abs(controller.from_state(state) - policy.outputs_at(state.astype(np.float64)))
        assert np.isfinite(bound).all()
        assert (error <= bound).all()
        assert (error <= proved.action).all()


@pytest.mark.parametrize("activation", PARAMETRIC)
def test_an_activation_alone_errs_no_more_than_is_counted(
    activation: AnyActivation,
) -> None:
    # One neuron that copies its input: all that is left is the error of the activation.
    x = np.concatenate([np.linspace(-40, 40, 20001), 2.0 ** np.arange(-140, 5)]).astype(np.float32)
    for values in (activation(x), twin(activation, x)):
        error = np.abs(values.astype(np.float64) - activation(x.astype(np.float64)))
        reach = np.abs(x.astype(np.float64))
        if isinstance(activation, ScaledElu):
            allowed = C_TAU * activation.size * np.maximum(1, reach)
        elif isinstance(activation, LeakyRelu):
            allowed = activation.alpha * 2.0**-24 * reach + 2.0**-149
        else:
            allowed = np.zeros_like(reach)
        assert (error <= allowed).all()


def test_what_may_overflow_has_no_bound() -> None:
    activation = ScaledElu(1.0, 2.0**40)
    policy = random_policy(np.random.default_rng(0), (3, 4, 2), activation)
    layers = [
        Layer(
            weight=(layer.weight * np.float32(factor)), bias=layer.bias, activation=layer.activation
        )
        for layer, factor in zip(policy.layers, (2.0**100, 2.0**-60), strict=True)
    ]
    policy = Policy(normaliser=policy.normaliser, layers=tuple(layers), head=policy.head)
    assert not np.isfinite(runtime_error(policy, state_limit=10.0)).all()
    proved = rounding_bound(policy, state_bound(policy, 0.5), ARITHMETICS["float32"])
    assert proved == Unknown("a value may exceed the largest float32")


def test_only_smooth_activations_rest_on_a_measurement() -> None:
    for activation in PARAMETRIC:
        policy = random_policy(np.random.default_rng(0), (3, 4, 2), activation, Squash.CLIP)
        assert smooth_activations(policy) == isinstance(activation, ScaledElu)


def test_the_generated_c_has_the_bits_of_its_twin() -> None:
    rng = np.random.default_rng(3)
    chosen = [PARAMETRIC[0], SELU, PARAMETRIC[5]]
    policy = random_policy(rng, (7, 33, 20, 12, 3), SELU, Squash.CLIP)
    layers = [
        Layer(weight=layer.weight, bias=layer.bias, activation=activation)
        for layer, activation in zip(policy.layers, chosen, strict=False)
    ]
    policy = Policy(
        normaliser=policy.normaliser, layers=(*layers, policy.layers[-1]), head=policy.head
    )
    controller = controller_of(file_of(policy), Backend.C)
    obs = rng.normal(0, 4, (200, 7)).astype(np.float32)
    np.testing.assert_array_equal(controller(obs), twin_outputs(policy, obs))
    np.testing.assert_allclose(controller(obs), policy.outputs(obs), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("activation", "slope", "largest", "own"),
    [
        (LeakyRelu(1.0), 1, 3, 3 * UNIT_ROUNDOFF),
        (ScaledElu(2.0, 1.5), 3, 4.5, 3 * 3 * TAU),
        (Clamp(-1.0, 0.5), 1, 1, 0),
    ],
)
def test_the_bound_through_an_activation_is_the_closed_form(
    activation: AnyActivation, slope: int, largest: float, own: float
) -> None:
    # One neuron with weight 3/2, then one output with weight 7, on |z| <= 2, as in
    # test_arithmetic: 3 roundings of each step, what the activation adds, and its slope.
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    tiny = np.full(1, 2.0**-60, np.float32)  # a term of the sums that changes none of them
    policy = Policy(
        normaliser=Normaliser(mean=zero, scale=one, clip=4.0),
        layers=(
            Layer(weight=np.float32([[1.5]]), bias=tiny, activation=activation),
            Layer(weight=np.float32([[7.0]]), bias=tiny, activation=Activation.IDENTITY),
        ),
        head=GaussianHead(std=one, squash=Squash.IDENTITY, centre=zero, half_range=one),
    )
    hidden = slope * UNIT_ROUNDOFF * (3 * 2 * 1.5 + 3 * 3) + own
    expected = 7 * hidden + 2 * 3 * UNIT_ROUNDOFF * 7 * largest
    bound = runtime_error(policy, state_limit=2.0)[0]
    assert expected * (1 - 1e-5) <= bound <= expected * (1 + 1e-5)
    proved = rounding_bound(policy, np.full(1, 2.0), ARITHMETICS["float32"])
    assert proved.action[0] >= expected * (1 - 1e-5)


def test_a_leaky_relu_of_slope_one_is_the_identity_with_one_more_rounding() -> None:
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    bounds = []
    for activation in (Activation.IDENTITY, LeakyRelu(1.0)):
        layers = [
            Layer(weight=np.float32([[weight]]), bias=zero, activation=kind)
            for weight, kind in ((1.5, activation), (7.0, Activation.IDENTITY))
        ]
        policy = Policy(
            normaliser=Normaliser(mean=zero, scale=one, clip=4.0),
            layers=tuple(layers),
            head=GaussianHead(std=one, squash=Squash.IDENTITY, centre=zero, half_range=one),
        )
        proved = rounding_bound(policy, np.full(1, 2.0), ARITHMETICS["float32"])
        bounds.append((runtime_error(policy, state_limit=2.0)[0], proved.network[0]))
    for identity, leaky in zip(*bounds, strict=True):
        assert leaky - identity >= 7 * 3 * UNIT_ROUNDOFF
