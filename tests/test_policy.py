"""Laws of `surefoot.policy`: what a controller computes, and the digest of it."""

import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from support.policies import random_policy
from surefoot.errors import InputError
from surefoot.policy import (
    Activation,
    Array,
    CategoricalHead,
    GaussianHead,
    Layer,
    Normaliser,
    Policy,
    Squash,
    weights_sha256,
)

HIDDEN = [activation for activation in Activation if activation is not Activation.IDENTITY]
replace = dataclasses.replace

# The functions as a textbook writes them, on Python floats.
TEXTBOOK = {
    Activation.IDENTITY: lambda x: x,
    Activation.RELU: lambda x: max(x, 0.0),
    Activation.TANH: math.tanh,
    Activation.SIGMOID: lambda x: 1 / (1 + math.exp(-x)),
    Activation.SILU: lambda x: x / (1 + math.exp(-x)),
    Activation.ELU: lambda x: x if x > 0 else math.exp(x) - 1,
    Activation.SOFTPLUS: lambda x: math.log(1 + math.exp(x)),
}


def clipped(x: float, limit: float) -> float:
    return min(max(x, -limit), limit)


def textbook_outputs(policy: Policy, obs: NDArray[np.float32]) -> list[float]:
    """Compute one action with scalar loops over Python floats."""
    normaliser = policy.normaliser
    values = [
        clipped((float(o) - float(mean)) / float(scale), normaliser.clip)
        for o, mean, scale in zip(obs, normaliser.mean, normaliser.scale, strict=True)
    ]
    for layer in policy.layers:
        function = TEXTBOOK[layer.activation]
        values = [
            function(sum(float(w) * v for w, v in zip(row, values, strict=True)) + float(bias))
            for row, bias in zip(layer.weight, layer.bias, strict=True)
        ]
    if isinstance(policy.head, CategoricalHead):
        return values
    squash = {
        Squash.IDENTITY: lambda x: x,
        Squash.CLIP: lambda x: clipped(x, 1.0),
        Squash.TANH: math.tanh,
    }[policy.head.squash]
    ranges = zip(values, policy.head.half_range, policy.head.centre, strict=True)
    return [squash(value) * float(half) + float(centre) for value, half, centre in ranges]


@pytest.mark.parametrize("squash", [*Squash, None])
@pytest.mark.parametrize("activation", HIDDEN)
def test_outputs_are_the_textbook_formula(activation: Activation, squash: Squash | None) -> None:
    rng = np.random.default_rng(1)
    policy = random_policy(rng, (5, 7, 4, 3), activation, squash, 1.5)
    obs = rng.normal(0, 4, (20, 5)).astype(np.float32)
    expected = [textbook_outputs(policy, row) for row in obs]
    np.testing.assert_allclose(policy.outputs(obs), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("activation", list(Activation))
def test_activations_are_finite_at_extremes_and_keep_the_dtype(activation: Activation) -> None:
    for dtype in (np.float32, np.float64):
        x = np.array([-1e30, -800, -100, -1e-30, 0, 1e-30, 100, 800, 1e30], dtype)
        y = activation(x)
        assert y.dtype == dtype
        assert np.isfinite(y).all()


def test_outputs_run_in_the_dtype_that_is_asked_for() -> None:
    rng = np.random.default_rng(2)
    policy, obs = random_policy(rng, (5, 8, 2)), rng.normal(size=(6, 5))
    assert policy.outputs(obs, np.float32).dtype == np.float32
    assert policy.outputs(obs).dtype == np.float64
    np.testing.assert_allclose(policy.outputs(obs, np.float32), policy.outputs(obs), atol=1e-5)


def test_outputs_of_a_batch_are_those_of_its_rows() -> None:
    rng = np.random.default_rng(3)
    policy, obs = random_policy(rng, (5, 8, 2)), rng.normal(size=(6, 5))
    rows = np.concatenate([policy.outputs(row[None]) for row in obs])
    np.testing.assert_allclose(policy.outputs(obs), rows, rtol=1e-14)


def test_outputs_are_the_outputs_at_the_state() -> None:
    rng = np.random.default_rng(4)
    policy, obs = random_policy(rng, (5, 8, 2), clip=0.5), rng.normal(size=(6, 5))
    state = policy.state(obs)
    assert np.abs(state).max() == 0.5
    assert np.array_equal(policy.outputs_at(state), policy.outputs(obs))


def test_observations_are_taken_as_float32() -> None:
    rng = np.random.default_rng(5)
    policy, obs = random_policy(rng, (5, 8, 2)), rng.normal(size=(6, 5))
    assert np.array_equal(policy.outputs(obs), policy.outputs(obs.astype(np.float32)))


def test_a_gaussian_acts_by_its_outputs_and_a_categorical_by_their_argmax() -> None:
    rng = np.random.default_rng(6)
    logits = np.array([[0.0, 2.0, 1.0], [3.0, 0.0, 1.0]])
    assert random_policy(rng, (2, 3), squash=None).head.select(logits).tolist() == [1, 0]
    assert random_policy(rng, (2, 3)).head.select(logits) is logits


@pytest.mark.parametrize("start", [-1, 0, 7])
def test_choices_are_counted_from_the_start_of_the_task(start: int) -> None:
    head = CategoricalHead(num_actions=3, start=start)
    logits = np.array([[9.0, 2.0, 1.0], [3.0, 0.0, 4.0]])
    assert head.select(logits).tolist() == [start, start + 2]
    assert head.act(np.array([1])).tolist() == [start + 1]


def test_sparsity_counts_zero_weights_of_either_sign_and_no_biases() -> None:
    policy = random_policy(np.random.default_rng(7), (4, 6, 2))
    layers = tuple(
        replace(layer, weight=np.ones_like(layer.weight), bias=np.zeros_like(layer.bias))
        for layer in policy.layers
    )
    dense = replace(policy, layers=layers)
    assert dense.sparsity == 0
    layers[0].weight[0] = [0.0, -0.0, 1.0, 1.0]
    assert dense.sparsity == 2 / (24 + 12)


# --- the digest ------------------------------------------------------------------------------


def changed(array: Array, index: int = 0) -> Array:
    other = array.copy()
    other.flat[index] = np.nextafter(other.flat[index], other.dtype.type(np.inf))
    return other


def single_changes(policy: Policy) -> Iterator[tuple[str, Policy]]:
    """Yield (what, policy) with exactly one thing changed, by one unit in the last place."""
    normaliser, head = policy.normaliser, policy.head
    for name in ("mean", "scale"):
        value = changed(getattr(normaliser, name))
        yield f"normaliser {name}", replace(policy, normaliser=replace(normaliser, **{name: value}))
    for clip in (math.nextafter(normaliser.clip, 0), math.inf):
        yield f"clip {clip}", replace(policy, normaliser=replace(normaliser, clip=clip))
    for number, layer in enumerate(policy.layers):
        variants = {
            "weight": replace(layer, weight=changed(layer.weight, -1)),
            "bias": replace(layer, bias=changed(layer.bias, -1)),
        }
        if number < len(policy.layers) - 1:
            for other in set(HIDDEN) - {layer.activation}:
                variants[other.value] = replace(layer, activation=other)
        for what, variant in variants.items():
            layers = (*policy.layers[:number], variant, *policy.layers[number + 1 :])
            yield f"layer {number} {what}", replace(policy, layers=layers)
    if isinstance(head, GaussianHead):
        for name in ("std", "centre", "half_range"):
            value = changed(getattr(head, name))
            yield f"head {name}", replace(policy, head=replace(head, **{name: value}))
        for squash in set(Squash) - {head.squash}:
            yield f"squash {squash}", replace(policy, head=replace(head, squash=squash))
        yield "head kind", replace(policy, head=CategoricalHead(num_actions=head.std.size))
        yield "no noise", replace(policy, head=replace(head, std=None))
    else:
        for start in (-1, 1):
            yield f"start {start}", replace(policy, head=replace(head, start=start))


@pytest.mark.parametrize("squash", [Squash.CLIP, None])
def test_the_digest_changes_when_any_single_thing_changes(squash: Squash | None) -> None:
    policy = random_policy(np.random.default_rng(8), (3, 4, 2), squash=squash)
    digests = {"itself": weights_sha256(policy)}
    for what, other in single_changes(policy):
        digests[what] = weights_sha256(other)
    assert len(set(digests.values())) == len(digests) > 10


def test_a_row_moved_to_another_layer_changes_the_digest() -> None:
    # The same numbers in the same order, cut into other layers.
    rng = np.random.default_rng(9)
    policy = random_policy(rng, (2, 2, 2, 2), Activation.IDENTITY)
    one, two, three = policy.layers
    assert weights_sha256(policy) != weights_sha256(replace(policy, layers=(one, two)))
    assert weights_sha256(policy) != weights_sha256(replace(policy, layers=(one, three, two)))


def test_minus_zero_has_the_digest_of_zero() -> None:
    policy = random_policy(np.random.default_rng(10), (3, 8, 2))

    def with_zeros(sign: int) -> Policy:
        layers = tuple(
            replace(layer, weight=np.where(layer.weight == 0, sign * 0.0, layer.weight))
            for layer in policy.layers
        )
        return replace(policy, layers=layers)

    assert any(np.signbit(layer.weight[layer.weight == 0]).any() for layer in with_zeros(-1).layers)
    assert weights_sha256(with_zeros(-1)) == weights_sha256(with_zeros(1))


def test_neither_dtype_nor_memory_order_nor_byte_order_changes_the_digest() -> None:
    policy = random_policy(np.random.default_rng(11), (3, 8, 2))
    for change in (
        lambda array: array.astype(np.float64),
        np.asfortranarray,
        lambda array: array.astype(array.dtype.newbyteorder()),
    ):
        layers = tuple(replace(x, weight=change(x.weight)) for x in policy.layers)
        assert weights_sha256(replace(policy, layers=layers)) == weights_sha256(policy)


# --- what is refused -------------------------------------------------------------------------


def gaussian(**changes: NDArray[np.float64]) -> GaussianHead | None:
    fields = {"std": np.ones(2), "centre": np.zeros(2), "half_range": np.ones(2)}
    return GaussianHead(squash=Squash.CLIP, **fields | changes)


def layer(fan_in: int, fan_out: int, activation: Activation = Activation.IDENTITY) -> Layer:
    return Layer(weight=np.ones((fan_out, fan_in)), bias=np.zeros(fan_out), activation=activation)


def normaliser(size: int = 3, **changes: NDArray[np.float64] | float) -> Normaliser | None:
    return Normaliser(**{"mean": np.zeros(size), "scale": np.ones(size), "clip": 10.0} | changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: normaliser(scale=np.array([1, 0, 1.0])), r"scale must be positive, got 0\.0"),
        (lambda: normaliser(scale=np.ones(2)), r"scale must have shape \(3,\), got \(2,\)"),
        (lambda: normaliser(mean=np.array([0, np.nan, 0])), "mean must be finite, got nan"),
        (lambda: normaliser(size=0), "mean must not be empty"),
        (lambda: normaliser(clip=0.0), r"clip must be positive, got 0\.0"),
        (lambda: normaliser(clip=math.nan), "clip must be positive, got nan"),
        (lambda: replace(layer(3, 2), weight=np.full((2, 3), np.inf)), "must be finite, got inf"),
        (lambda: replace(layer(3, 2), weight=np.ones(3)), r"\(fan_out, fan_in\), got \(3,\)"),
        (lambda: replace(layer(3, 2), weight=np.ones((0, 3))), r"got \(0, 3\)"),
        (lambda: replace(layer(3, 2), bias=np.ones(3)), r"bias must have shape \(2,\), got"),
        (lambda: gaussian(std=np.array([1, -1.0])), r"std must be positive, got -1\.0"),
        (lambda: gaussian(half_range=np.zeros(2)), r"half_range must be positive, got 0\.0"),
        (lambda: gaussian(centre=np.zeros(3)), r"centre must have shape \(2,\), got \(3,\)"),
        (lambda: CategoricalHead(num_actions=1), "num_actions must be at least 2, got 1"),
        (lambda: CategoricalHead(num_actions=2, start=2**31 - 1), "start must leave every action"),
        (lambda: CategoricalHead(num_actions=2, start=-(2**31) - 1), "start must leave every"),
        (lambda: Policy(normaliser=normaliser(), layers=(), head=gaussian()), "at least one"),
        (
            lambda: Policy(normaliser=normaliser(), layers=(layer(4, 2),), head=gaussian()),
            r"layer 1 must take 3 inputs, its weight has shape \(2, 4\)",
        ),
        (
            lambda: Policy(
                normaliser=normaliser(), layers=(layer(3, 5), layer(4, 2)), head=gaussian()
            ),
            r"layer 2 must take 5 inputs, its weight has shape \(2, 4\)",
        ),
        (
            lambda: Policy(normaliser=normaliser(), layers=(layer(3, 4),), head=gaussian()),
            "head needs 2 outputs, the network has 4",
        ),
        (
            lambda: Policy(
                normaliser=normaliser(), layers=(layer(3, 2, Activation.TANH),), head=gaussian()
            ),
            "last layer must have no activation",
        ),
    ],
)
def test_a_piece_that_does_not_fit_is_refused_in_one_line(
    make: Callable[[], object], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_factor_is_the_reciprocal_of_its_scale() -> None:
    mean, factor = np.zeros(2, np.float32), np.array([0.3, 4.0], np.float32)
    normaliser = Normaliser.multiplying(mean, factor, 5.0)
    np.testing.assert_allclose(normaliser.scale * factor.astype(np.float64), 1, rtol=1e-15)
    with pytest.raises(InputError, match="scale must be 1 / factor"):
        replace(normaliser, scale=normaliser.scale.astype(np.float32))
    with pytest.raises(InputError, match="factor must be positive, got 0"):
        Normaliser.multiplying(mean, factor * 0, 5.0)
