"""Activations with a parameter: what they compute, how they are written, and what is refused."""

import math
from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest

from support.policies import random_policy
from surefoot.activation import Activation, AnyActivation, Clamp, LeakyRelu, ScaledElu
from surefoot.errors import InputError
from surefoot.onnx_file import INPUT, policy_from_onnx, policy_to_onnx
from surefoot.policy import Squash, weights_sha256


def f32(value: float) -> float:
    return float(np.float32(value))


LEAKY, SELU = LeakyRelu(f32(0.01)), ScaledElu(f32(1.6732632), f32(1.050701))
PARAMETRIC = [
    LEAKY,
    LeakyRelu(1.0),
    SELU,
    ScaledElu(f32(0.3), 1.0),
    Clamp(-1.0, 1.0),
    Clamp(0.5, 6.0),
]
FORMULAS = {
    LEAKY: lambda x: x if x > 0 else LEAKY.alpha * x,
    SELU: lambda x: SELU.gamma * (x if x > 0 else SELU.alpha * (math.exp(x) - 1)),
    Clamp(0.5, 6.0): lambda x: 0.5 if x < 0.5 else 6.0 if x > 6 else x,
}


@pytest.mark.parametrize("activation", FORMULAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_computes_its_formula_in_the_type_of_its_input(
    activation: AnyActivation, dtype: type[np.floating]
) -> None:
    x = np.array([-30.0, -3.0, -0.5, -0.0, 0.0, 0.25, 0.5, 2.0, 7.0], dtype)
    found = activation(x)
    assert found.dtype == dtype
    expected = [FORMULAS[activation](float(value)) for value in x]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    assert np.isnan(activation(np.array([np.nan], dtype))).all()


@pytest.mark.parametrize("activation", PARAMETRIC)
@pytest.mark.parametrize("squash", [*Squash, None])
def test_its_canonical_file_is_read_back_and_computed_by_onnx_runtime(
    activation: AnyActivation, squash: Squash | None
) -> None:
    rng = np.random.default_rng(1)
    policy = random_policy(rng, (5, 16, 8, 3), activation, squash)
    data = policy_to_onnx(policy)
    again = policy_from_onnx(data).policy
    assert [layer.activation for layer in again.layers[:-1]] == [activation] * 2
    assert weights_sha256(again) == weights_sha256(policy)
    assert policy_to_onnx(again) == data
    obs = rng.normal(0, 3, (50, 5)).astype(np.float32)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(
        session.run(None, {INPUT: obs})[0], policy.outputs(obs), rtol=2e-5, atol=2e-5
    )


def test_another_parameter_is_another_controller() -> None:
    digests = {
        weights_sha256(random_policy(np.random.default_rng(0), (3, 4, 2), activation))
        for activation in [*Activation, *PARAMETRIC, LeakyRelu(0.5), Clamp(-1.0, 2.0)]
    }
    assert len(digests) == len(Activation) + len(PARAMETRIC) + 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LeakyRelu(-0.5), r"LeakyRelu alpha must be in \[0, 1\], got -0.5"),
        (lambda: LeakyRelu(1.5), r"LeakyRelu alpha must be in \[0, 1\], got 1.5"),
        (lambda: LeakyRelu(0.01), "LeakyRelu alpha must be a finite float32 by value, got 0.01"),
        (lambda: LeakyRelu(math.nan), "must be a finite float32 by value, got nan"),
        (lambda: ScaledElu(0.0, 1.0), "ScaledElu alpha must be in"),
        (lambda: ScaledElu(1.0, -1.0), "ScaledElu gamma must be in"),
        (lambda: ScaledElu(2.0**50, 1.0), "ScaledElu alpha must be in"),
        (lambda: Clamp(1.0, 1.0), "Clamp low must be below high"),
        (lambda: Clamp(-math.inf, 1.0), "Clamp low must be a finite float32"),
    ],
)
def test_a_parameter_out_of_range_is_refused(
    make: Callable[[], AnyActivation], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        make()
