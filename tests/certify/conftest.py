"""Policies to certify."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest

from surefoot.budget import Budget
from surefoot.certificate import Certificate
from surefoot.certify import (
    CertifyConfig,
    Evidence,
    certify_policy,
    check_certificate,
)
from surefoot.onnx_file import ControllerFile, policy_from_onnx, policy_to_onnx
from surefoot.policy import (
    Activation,
    CategoricalHead,
    GaussianHead,
    Layer,
    Normaliser,
    Policy,
    Squash,
)


def build_policy(
    weights: list,
    activation: Activation = Activation.TANH,
    *,
    biases: list | None = None,
    squash: Squash = Squash.IDENTITY,
    half_range: float = 1.0,
    std: float = 0.1,
    clip: float = 10.0,
    categorical: bool = False,
) -> Policy:
    """A policy with given weights, whose states are its observations."""
    arrays = [np.asarray(weight, dtype=np.float32) for weight in weights]
    if biases is None:
        biases = [np.zeros(len(array)) for array in arrays]
    layers = tuple(
        Layer(
            weight=weight,
            bias=np.asarray(bias, dtype=np.float32),
            activation=activation if number < len(arrays) - 1 else Activation.IDENTITY,
        )
        for number, (weight, bias) in enumerate(zip(arrays, biases, strict=True))
    )
    obs_dim, outputs = arrays[0].shape[1], len(arrays[-1])
    ones = np.ones(outputs, dtype=np.float32)
    head = (
        CategoricalHead(num_actions=outputs)
        if categorical
        else GaussianHead(
            std=np.full(outputs, std), squash=squash, centre=0 * ones, half_range=half_range * ones
        )
    )
    return Policy(
        normaliser=Normaliser(
            mean=np.zeros(obs_dim, dtype=np.float32),
            scale=np.ones(obs_dim, dtype=np.float32),
            clip=clip,
        ),
        layers=layers,
        head=head,
    )


def draw_policy(
    rng: np.random.Generator,
    sizes: list[int],
    activation: Activation = Activation.TANH,
    *,
    gain: float = 1.5,
    bias: float = 0.3,
    sparsity: float = 0.0,
    **settings: object,
) -> Policy:
    """A policy with random weights of a given sparsity."""
    weights, biases = [], []
    for fan_in, fan_out in pairwise(sizes):
        weight = gain * rng.standard_normal((fan_out, fan_in)) / np.sqrt(fan_in)
        weight[rng.random(weight.shape) < sparsity] = 0
        weights.append(weight)
        biases.append(bias * rng.standard_normal(fan_out))
    return build_policy(weights, activation, biases=biases, **settings)


def controller(policy: Policy) -> ControllerFile:
    return policy_from_onnx(policy_to_onnx(policy))


def certify_and_check(
    file: ControllerFile, budget: Budget, evidence: Evidence, config: CertifyConfig
) -> Certificate:
    """Certify, and prove what came out again from its saved form."""
    certificate = certify_policy(file, budget, evidence, config)
    report = check_certificate(
        Certificate.parse(certificate.to_json()),
        file,
        observations=evidence.observations,
        sampled=evidence.sampled,
        dense_policy=evidence.dense_policy,
    )
    assert len(report.proved) + len(report.unchecked) == len(budget.requirements)
    return certificate


@pytest.fixture(scope="module", autouse=True)
def _every_certificate_is_checked(request: pytest.FixtureRequest) -> Iterator[None]:
    """The checker accepts every certificate that a test of this folder makes."""
    with pytest.MonkeyPatch.context() as patch:
        if hasattr(request.module, "certify_policy"):
            patch.setattr(request.module, "certify_policy", certify_and_check)
        yield


@pytest.fixture(scope="session", name="build_policy")
def _build_policy() -> Callable[..., Policy]:
    return build_policy


@pytest.fixture(scope="session", name="draw_policy")
def _draw_policy() -> Callable[..., Policy]:
    return draw_policy


@pytest.fixture(scope="session", name="controller")
def _controller() -> Callable[[Policy], ControllerFile]:
    return controller
