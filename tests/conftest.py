"""What tests of several stages share: small random policies and certificates about them.

Fixtures that return functions, because test modules do not import each other:

    def test_law(random_policy, certificate_of):
        policy = random_policy(np.random.default_rng(0), (4, 8, 2), Activation.TANH, Squash.CLIP)
        file = policy_from_onnx(policy_to_onnx(policy))
        certificate = certificate_of(file, Verdict.PROVED)
"""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from surefoot.artifact import sha256_hex
from surefoot.budget import Budget
from surefoot.certificate import Certificate, Finding, Verdict
from surefoot.policy import (
    Activation,
    CategoricalHead,
    GaussianHead,
    Layer,
    Normaliser,
    Policy,
    Squash,
    weights_sha256,
)
from surefoot.quantities.base.witness import Witness


def _float32(array):
    return array.astype(np.float32)


def make_random_policy(rng, sizes, activation=Activation.TANH, squash=Squash.CLIP, clip=10.0):
    """Return a float32 policy; about a third of the weights is zero, nothing else is special.

    Args:
        rng: NumPy generator.
        sizes: obs_dim, hidden widths, number of outputs.
        activation: Of every hidden layer.
        squash: Of the actions; None for a categorical head.
        clip: Largest state, normalised units.
    """
    layers = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        weight = rng.normal(0, 1.2 / np.sqrt(fan_in), (fan_out, fan_in))
        weight[rng.random(weight.shape) < 0.3] = 0
        is_last = len(layers) == len(sizes) - 2
        layers.append(
            Layer(
                weight=_float32(weight),
                bias=_float32(rng.normal(0, 0.1, fan_out)),
                activation=Activation.IDENTITY if is_last else activation,
            )
        )
    if squash is None:
        head = CategoricalHead(num_actions=sizes[-1])
    else:
        head = GaussianHead(
            std=np.full(sizes[-1], 0.1),
            squash=squash,
            centre=_float32(rng.normal(0, 0.2, sizes[-1])),
            half_range=_float32(rng.uniform(0.5, 2, sizes[-1])),
        )
    normaliser = Normaliser(
        mean=_float32(rng.normal(0, 1, sizes[0])),
        scale=_float32(rng.uniform(0.2, 3, sizes[0])),
        clip=clip,
    )
    return Policy(normaliser=normaliser, layers=tuple(layers), head=head)


BUDGET = """[[require]]
quantity = "action_deviation"
epsilon = 0.05
norm = "linf"
scope = "everywhere"
at_most = 0.5
"""


def make_certificate(file, verdict=Verdict.PROVED, **changes):
    """Return a certificate about a controller file with this verdict on one requirement."""
    budget = Budget.parse(BUDGET)
    finding = Finding(
        requirement=budget.requirements[0],
        certified=0.25 if verdict is Verdict.PROVED else None,
        sampled=0.125,
        method="test",
        verdict=verdict,
        reason="made up by a test",
        witness=Witness(state=(0.0,)) if verdict is Verdict.REFUTED else None,
    )
    fields = {
        "weights_sha256": weights_sha256(file.policy),
        "onnx_sha256": sha256_hex(file.data),
        "budget": budget,
        "arithmetic": "float32",
        "runtime_error": (0.01,) * file.policy.num_outputs,
        "lipschitz_l2": {"best": 1.0, "sampled": 0.5},
        "deviation_linf": {"epsilon": 0.05, "best": 0.25, "sampled": 0.125},
        "findings": (finding,),
    }
    return Certificate(**fields | changes)


def with_unit_range(policy):
    """Return the policy with actions in [-1, 1], as Hopper takes them."""
    zeros = np.zeros(policy.num_outputs, np.float32)
    return replace(policy, head=replace(policy.head, centre=zeros, half_range=zeros + 1))


def make_linear_policy(matrix, *, bias=0.0, std=1.0, clip=10.0):
    """Return the policy a = matrix @ z + bias with observations as states."""
    matrix = np.asarray(matrix, np.float32)
    num_outputs, obs_dim = matrix.shape
    return Policy(
        normaliser=Normaliser(
            mean=np.zeros(obs_dim, np.float32), scale=np.ones(obs_dim, np.float32), clip=clip
        ),
        layers=(
            Layer(
                weight=matrix,
                bias=np.full(num_outputs, bias, np.float32),
                activation=Activation.IDENTITY,
            ),
        ),
        head=GaussianHead(
            std=np.broadcast_to(np.asarray(std, np.float64), (num_outputs,)).copy(),
            squash=Squash.IDENTITY,
            centre=np.zeros(num_outputs, np.float32),
            half_range=np.ones(num_outputs, np.float32),
        ),
    )


@pytest.fixture(scope="session")
def random_policy():
    return make_random_policy


@pytest.fixture(scope="session")
def linear_policy():
    return make_linear_policy


@pytest.fixture(scope="session")
def certificate_of():
    return make_certificate


@pytest.fixture(scope="session")
def unit_range():
    return with_unit_range
