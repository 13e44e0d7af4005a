"""Small policies, and the files that they are read back from."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from surefoot.activation import AnyActivation
from surefoot.artifact import Json
from surefoot.onnx_file import ControllerFile, policy_from_onnx, policy_to_onnx
from surefoot.policy import (
    Activation,
    Array,
    CategoricalHead,
    GaussianHead,
    Head,
    Layer,
    Normaliser,
    Policy,
    Squash,
)


def _float32(array: Array) -> NDArray[np.float32]:
    return array.astype(np.float32)


def bare_states(obs_dim: int, clip: float = 10.0) -> Normaliser:
    """The normaliser under which states are the clipped observations."""
    mean, scale = np.zeros(obs_dim, np.float32), np.ones(obs_dim, np.float32)
    return Normaliser(mean=mean, scale=scale, clip=clip)


def random_policy(
    rng: np.random.Generator,
    sizes: Sequence[int],
    activation: AnyActivation = Activation.TANH,
    squash: Squash | None = Squash.CLIP,
    clip: float = 10.0,
    zeros: float = 0.3,
) -> Policy:
    """A float32 policy, of which nothing is special but the zeros among its weights.

    Args:
        rng: Draws everything.
        sizes: obs_dim, hidden widths, number of outputs.
        activation: Of every hidden layer.
        squash: Of the actions; None for a categorical head.
        clip: Largest state, normalised units.
        zeros: Share of the weights that are zero.
    """
    layers: list[Layer] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        weight = rng.normal(0, 1.2 / np.sqrt(fan_in), (fan_out, fan_in))
        weight[rng.random(weight.shape) < zeros] = 0
        is_last = len(layers) == len(sizes) - 2
        layers.append(
            Layer(
                weight=_float32(weight),
                bias=_float32(rng.normal(0, 0.1, fan_out)),
                activation=Activation.IDENTITY if is_last else activation,
            )
        )
    head: Head
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


def unit_range(policy: Policy) -> Policy:
    """The policy with actions in [-1, 1], as Hopper takes them."""
    assert isinstance(policy.head, GaussianHead)
    zeros = np.zeros(policy.num_outputs, np.float32)
    return replace(policy, head=replace(policy.head, centre=zeros, half_range=zeros + 1))


class Settings(TypedDict, total=False):
    """What else a policy with given weights may have, see `build_policy`."""

    squash: Squash
    half_range: float
    std: ArrayLike
    clip: float
    categorical: bool


def build_policy(
    weights: Sequence[ArrayLike],
    activation: AnyActivation = Activation.TANH,
    *,
    biases: Sequence[ArrayLike] | None = None,
    squash: Squash = Squash.IDENTITY,
    half_range: float = 1.0,
    std: ArrayLike = 0.1,
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
            std=np.broadcast_to(np.asarray(std, np.float64), (outputs,)).copy(),
            squash=squash,
            centre=0 * ones,
            half_range=half_range * ones,
        )
    )
    return Policy(
        normaliser=bare_states(obs_dim, clip),
        layers=layers,
        head=head,
    )


def draw_policy(
    rng: np.random.Generator,
    sizes: Sequence[int],
    activation: AnyActivation = Activation.TANH,
    *,
    gain: float = 1.5,
    bias: float = 0.3,
    sparsity: float = 0.0,
    **settings: Unpack[Settings],
) -> Policy:
    """A policy with random weights of a given sparsity."""
    weights, biases = [], []
    for fan_in, fan_out in itertools.pairwise(sizes):
        weight = gain * rng.standard_normal((fan_out, fan_in)) / np.sqrt(fan_in)
        weight[rng.random(weight.shape) < sparsity] = 0
        weights.append(weight)
        biases.append(bias * rng.standard_normal(fan_out))
    return build_policy(weights, activation, biases=biases, **settings)


def linear_policy(
    matrix: ArrayLike, *, bias: ArrayLike = 0.0, std: ArrayLike = 1.0, clip: float = 10.0
) -> Policy:
    """The policy a = matrix @ z + bias, with observations as states."""
    biases = [np.full(len(np.asarray(matrix)), bias)]
    return build_policy([matrix], biases=biases, std=std, clip=clip)


def file_of(policy: Policy, metadata: Mapping[str, Json] | None = None) -> ControllerFile:
    """The policy as it is read back from its file."""
    return policy_from_onnx(policy_to_onnx(policy, metadata))
