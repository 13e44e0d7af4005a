"""A pruned network has exactly the zeros that were asked for, at any moment and by any method.

Also of ``train/pruned_units.py``.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from math import ceil
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from surefoot.compress import Allocation, erdos_renyi_kernel, num_kept, uniform
from surefoot.errors import InputError
from surefoot.policy import Activation, Layer
from surefoot.train.networks import TorchNetwork, new_network
from surefoot.train.pruning import Pruner
from surefoot.train.pruning_config import (
    BlockPruning,
    MagnitudePruning,
    MagnitudeStePruning,
    NeuronPruning,
    Pruning,
    RandomPruning,
    SaliencyPruning,
    TwoFourPruning,
)

CONFIG = MagnitudePruning(sparsity=0.8, interval=10)
NUM_UPDATES = 1000
SIZES = (5, 16, 12, 3)
METHODS = [
    RandomPruning(sparsity=0.8),
    CONFIG,
    MagnitudeStePruning(sparsity=0.8),
    SaliencyPruning(sparsity=0.8),
    BlockPruning(sparsity=0.8, rows=4),
    NeuronPruning(sparsity=0.6),
    NeuronPruning(sparsity=0.6, allocation="global"),
    TwoFourPruning(),
]


def name_of(
    value: Pruning,
) -> str:
    return getattr(value, "kind", None)


def make_network(sizes: tuple[int, ...] = SIZES) -> TorchNetwork:
    return new_network(
        sizes,
        Activation.TANH,
        output_gain=1.0,
        generator=torch.Generator().manual_seed(0),
        device=torch.device("cpu"),
    )


def make_pruner(
    network: TorchNetwork,
    config: Pruning,
    num_updates: int = NUM_UPDATES,
) -> Pruner:
    return Pruner(network, config, num_updates, np.random.default_rng(0))


class Training:
    """Prune through Adam steps on noisy gradients that pull every weight off zero."""

    def __init__(
        self,
        config: Pruning,
        sizes: tuple[int, ...] = SIZES,
        num_updates: int = NUM_UPDATES,
        weight_decay: float = 0.01,
    ) -> None:
        self.network = make_network(sizes)
        self.pruner = make_pruner(self.network, config, num_updates)
        self.pruner.trained.grad = self.network.gradient
        self.optimiser = torch.optim.AdamW(
            [self.pruner.trained], lr=0.01, weight_decay=weight_decay, fused=True
        )
        self.generator = torch.Generator().manual_seed(1)
        self.num_updates, self.update = num_updates, 0

    @property
    def momentum(self) -> dict[str, Tensor]:
        return self.optimiser.state[self.pruner.trained]

    @property
    def weights(self) -> list[NDArray[np.float32]]:
        return [weight.numpy() for weight in self.network.mlp.weights]

    def step(self) -> None:
        self.network.gradient.normal_(1.0, 1.0, generator=self.generator)
        self.pruner.before_step()
        self.optimiser.step()
        self.update += 1
        self.pruner.after_step(self.update, self.momentum)

    def run(self, watch: "Callable[[Training], object]" = lambda training: None) -> "Training":
        while self.update < self.num_updates:
            self.step()
            watch(self)
        return self


def num_weights(sizes: tuple[int, ...]) -> list[int]:
    return [after * before for before, after in itertools.pairwise(sizes)]


def zeros(training: Training) -> list[int]:
    return [int((weight == 0).sum()) for weight in training.weights]


@pytest.mark.parametrize("config", METHODS, ids=name_of)
@pytest.mark.parametrize("sizes", [SIZES, (11, 8, 1), (17, 40, 24, 6)])
def test_at_the_end_exactly_the_target_is_pruned(
    config: Pruning,
    sizes: tuple[int, ...],
) -> None:
    training = Training(config, sizes, num_updates=60).run()
    shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
    assert training.pruner.state_dict()["mask"].sum() == sum(
        int((entry != 0).sum()) for entry in (*training.weights, *biases(training))
    )
    if isinstance(config, NeuronPruning):
        alive = [int((bias != 0).sum()) for bias in biases(training)[:-1]]
        if config.allocation == "global":
            assert sum(alive) == num_kept(sum(sizes[1:-1]), 0.6)
        else:
            assert alive == [num_kept(width, 0.6) for width in sizes[1:-1]]
        ends = [sizes[0], *alive, sizes[-1]]
        kept = [np.prod(pair) for pair in itertools.pairwise(ends)]
        assert [weight.size for weight in training.weights] == num_weights(sizes)
        assert [int((weight != 0).sum()) for weight in training.weights] == kept
    elif isinstance(config, TwoFourPruning):
        per_row = [sum(max(0, min(4, n - k) - 2) for k in range(0, n, 4)) for _, n in shapes]
        assert zeros(training) == [
            count * rows for count, (rows, _) in zip(per_row, shapes, strict=True)
        ]
        assert all(
            (row[start : start + 4] != 0).sum() <= 2
            for weight in training.weights
            for row in weight
            for start in range(0, len(row), 4)
        )
    elif isinstance(config, BlockPruning):
        assert_in_blocks(training, config)
    else:
        total = sum(num_weights(sizes))
        assert sum(zeros(training)) == ceil(total * Fraction("0.8"))
        if config.allocation == "erk":
            assert_near(zeros(training), sizes, erdos_renyi_kernel(shapes, 0.8))


def assert_in_blocks(training: Training, config: BlockPruning) -> None:
    """All weights have the sparsity to less than a block; layers that blocks divide have blocks."""
    rows, sizes = config.rows, [weight.size for weight in training.weights]
    too_many = sum(zeros(training)) - ceil(sum(sizes) * Fraction(str(config.sparsity)))
    assert 0 <= too_many < rows
    for weight in training.weights:
        if len(weight) % rows:
            assert (weight != 0).all()
            continue
        alive = (weight != 0).reshape(-1, rows, weight.shape[1])
        assert (alive.all(axis=1) | ~alive.any(axis=1)).all()
        assert 0 < alive.sum() < alive.size


@pytest.mark.parametrize("allocation", ["erk", "uniform", "global"])
@pytest.mark.parametrize("score", ["random", "magnitude", "magnitude_ste", "saliency"])
def test_blocks_are_exact_under_every_score_and_allocation(
    score: Literal["random", "magnitude", "magnitude_ste", "saliency"], allocation: str
) -> None:
    config = BlockPruning(sparsity=0.7, rows=8, score=score, allocation=Allocation(allocation))
    training = Training(config, (5, 16, 24, 3), num_updates=60).run()
    assert_in_blocks(training, config)
    if allocation != "global":
        # Over blocks; the layer that stays is made up for.
        spread = erdos_renyi_kernel if allocation == "erk" else uniform
        shapes = [(2, 5), (3, 16)]
        wanted = spread(shapes, 1 - (num_kept(536, 0.7) - 72) // 8 / 58)
        kept = [np.count_nonzero(weight) / 8 for weight in training.weights[:2]]
        for count, (height, width), share in zip(kept, shapes, wanted, strict=True):
            assert abs(count - height * width * (1 - share)) <= 1


def test_the_largest_blocks_stay_and_count_as_a_whole() -> None:
    network = make_network((6, 16, 1))
    first = network.mlp.weights[0].numpy().copy()
    config = BlockPruning(sparsity=0.5, rows=8, interval=10**9)
    momentum = {key: torch.zeros_like(network.parameters) for key in ("exp_avg", "exp_avg_sq")}
    make_pruner(network, config, 10).after_step(7, momentum)
    sums = np.abs(first).reshape(2, 8, 6).sum(axis=1)
    stay = network.mlp.weights[0].numpy().reshape(2, 8, 6)[:, 0] != 0
    assert stay.sum() == (112 // 2 - 16) // 8
    assert sums[stay].min() > sums[~stay].max()


def assert_near(found: list[int], sizes: tuple[int, ...], shares: list[float]) -> None:
    """Each layer has its share of zeros, up to what rounding all of them to a total may move."""
    for zero, size, share in zip(found, num_weights(sizes), shares, strict=True):
        assert abs(zero - size * share) <= 1 + len(shares) / 2


def biases(training: Training) -> list[NDArray[np.float32]]:
    return [bias.numpy() for bias in training.network.mlp.biases]


@pytest.mark.parametrize("config", METHODS, ids=name_of)
def test_a_pruned_weight_is_exactly_zero_through_a_thousand_adam_steps(
    config: Pruning,
) -> None:
    pruned = [np.zeros(weight.shape, bool) for weight in Training(config).weights]
    returned = 0

    def watch(training: Training) -> None:
        nonlocal returned
        mask = training.pruner.mask.numpy()
        assert (training.network.parameters.numpy()[mask == 0] == 0).all()
        for seen, weight in zip(pruned, training.weights, strict=True):
            returned += int((seen & (weight != 0)).sum())
            seen |= weight == 0

    training = Training(replace(config, interval=1)).run(watch)
    num_pruned = sum(zeros(training))
    assert num_pruned > 100
    if isinstance(config, MagnitudeStePruning):
        assert returned > 0
        assert (training.momentum["exp_avg"] != 0).all()
    else:
        assert returned == 0
        for key in ("exp_avg", "exp_avg_sq"):
            assert (training.momentum[key].numpy()[training.pruner.mask.numpy() == 0] == 0).all()


@pytest.mark.parametrize("allocation", ["erk", "uniform", "global"])
def test_sparsity_counted_on_the_weights_is_that_of_the_schedule(allocation: str) -> None:
    sizes, shapes = num_weights(SIZES), [(16, 5), (12, 16), (3, 12)]

    def watch(training: Training) -> None:
        update = training.update
        if not (250 <= update <= 750 and (update - 250) % 10 == 0) and update != 999:
            return
        fraction = 1 - (1 - min((update - 250) / 500, 1.0)) ** 3
        assert sum(zeros(training)) == sum(sizes) - num_kept(sum(sizes), 0.8 * fraction)
        if allocation == "global":
            return
        layers = erdos_renyi_kernel(shapes, 0.8) if allocation == "erk" else [0.8] * 3
        assert_near(zeros(training), SIZES, [layer * fraction for layer in layers])

    training = Training(replace(CONFIG, allocation=allocation)).run(watch)
    assert 0 <= sum(zeros(training)) - sum(sizes) * Fraction("0.8") < 1


@pytest.mark.parametrize("config", METHODS, ids=name_of)
@pytest.mark.parametrize(("interval", "changes"), [(1, 51), (10, 6), (20, 4), (51, 2), (10**9, 2)])
def test_masks_change_at_the_interval_and_at_the_end_only(
    config: Pruning,
    interval: int,
    changes: int,
) -> None:
    """At the first change nothing is due yet: a long interval is one large step at the end."""
    seen = []

    def watch(training: Training) -> None:
        seen.append(sum(zeros(training)))

    training = Training(replace(config, interval=interval), num_updates=100).run(watch)
    due = sorted({*range(25, 76, interval), 75})
    assert len(due) == changes
    assert seen[:25] == [0] * 25
    grown = {number + 1 for number in range(1, 100) if seen[number] != seen[number - 1]}
    assert grown <= set(due)
    assert grown == {75} if changes == 2 else len(grown) >= 2
    if getattr(config, "allocation", None) != "global":  # which spreads as the weights then say
        assert zeros(training) == zeros(Training(config, num_updates=100).run())


def test_nothing_is_pruned_before_the_burn_in_ends() -> None:
    network = make_network()
    before = network.parameters.clone()
    make_pruner(network, CONFIG).after_step(249, {})
    assert torch.equal(network.parameters, before)


@pytest.mark.parametrize("config", METHODS, ids=name_of)
def test_biases_are_pruned_with_their_neuron_only(
    config: Pruning,
) -> None:
    training = Training(config).run()
    for bias, weight, after in zip(
        biases(training), training.weights, [*training.weights[1:], None], strict=True
    ):
        gone = bias == 0
        assert gone.any() == (isinstance(config, NeuronPruning) and after is not None)
        if gone.any():
            assert (weight[gone] == 0).all()
            assert (after[:, gone] == 0).all()


def test_of_the_extremest_sparsity_one_weight_per_layer_is_left() -> None:
    training = Training(replace(CONFIG, sparsity=0.985), num_updates=40).run()
    assert all((weight != 0).sum() >= 1 for weight in training.weights)


def test_the_straight_through_gradient_is_that_of_the_masked_network_on_the_dense_weights() -> None:
    """Against autograd, through `w + (mask * w - w).detach()`."""
    training = Training(MagnitudeStePruning(sparsity=0.5), num_updates=40).run()
    dense = training.pruner.trained.detach().clone().requires_grad_()
    mask = training.pruner.mask
    assert torch.equal(training.network.parameters, dense.detach() * mask)
    states = torch.randn(7, 5, generator=training.generator)
    through = dense + (mask * dense - dense).detach()
    loss = training.network.views_of(through)(states).square().sum()
    (expected,) = torch.autograd.grad(loss, dense)

    trace = training.network.mlp.trace(states)
    training.network.backward(trace, 2 * trace.output)
    training.pruner.before_step()
    assert training.network.gradient.numpy() == pytest.approx(expected.numpy(), rel=1e-4, abs=1e-5)
    assert (expected[mask == 0] != 0).any()


@pytest.mark.parametrize("kind", [MagnitudePruning, MagnitudeStePruning])
def test_momentum_goes_with_a_pruned_weight_unless_it_is_trained_underneath(
    kind: type[MagnitudePruning] | type[MagnitudeStePruning],
) -> None:
    network = make_network((8, 8, 1))
    pruner = make_pruner(network, kind(sparsity=0.5, interval=1), num_updates=100)
    momentum = {key: torch.ones_like(network.parameters) for key in ("exp_avg", "exp_avg_sq")}
    pruner.after_step(75, momentum)
    assert (pruner.mask == 0).sum() == round(0.5 * 72)
    left = torch.ones_like(pruner.mask) if kind is MagnitudeStePruning else pruner.mask
    assert all(torch.equal(entry, left) for entry in momentum.values())


def test_a_weight_that_grows_underneath_its_mask_returns() -> None:
    training = Training(MagnitudeStePruning(sparsity=0.5, interval=1), num_updates=100)
    while training.update < 60:
        training.step()
    index = int(torch.nonzero(training.pruner.mask[:80] == 0)[0, 0])
    with torch.no_grad():
        training.pruner.trained[index] = 100.0
    training.step()
    assert training.network.parameters[index] > 99


def test_saliency_prunes_what_the_loss_needs_least_however_large_it_is() -> None:
    """Weights of equal size; the loss does not depend on some, noise apart that averages out."""
    network = make_network((8, 8, 1))
    config = SaliencyPruning(sparsity=0.5, allocation="uniform", memory=0.99, interval=10**9)
    pruner = make_pruner(network, config, num_updates=800)
    network.parameters.fill_(0.5)
    generator = torch.Generator().manual_seed(0)
    useful = torch.zeros_like(network.parameters)
    for weight in network.views_of(useful).weights:
        weight[:, ::2] = 1.0
    for update in range(1, 601):
        network.gradient.normal_(0.0, 1.0, generator=generator)
        network.gradient.add_(useful, alpha=0.8)  # a single minibatch is noisier than this
        pruner.before_step()
        pruner.after_step(update, {"exp_avg": useful.clone(), "exp_avg_sq": useful.clone()})
    hit = [
        float(used[mask > 0].mean())
        for used, mask in zip(
            network.views_of(useful).weights, network.views_of(pruner.mask).weights, strict=True
        )
    ]
    assert min(hit) == 1.0


def test_the_saliency_is_the_exponential_mean_over_minibatches() -> None:
    training = Training(SaliencyPruning(sparsity=0.5, memory=0.7))
    expected = np.zeros(len(training.network.parameters))
    for _ in range(20):
        before = training.network.parameters.numpy().astype(float)
        training.step()
        expected = 0.7 * expected + 0.3 * abs(before * training.network.gradient.numpy())
    assert training.pruner.state_dict()["saliency"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("config", METHODS, ids=name_of)
def test_what_is_pruned_stays_so_even_if_it_scores_highest_later(
    config: Pruning,
) -> None:
    training = Training(replace(config, interval=1), num_updates=100)
    while training.update < 50:
        training.step()
    before = training.pruner.mask.clone()
    with torch.no_grad():  # as if all else had become worthless
        training.pruner._saliency.copy_(1 - before)
        training.pruner._order = [
            (1 - mask).numpy() for mask in training.network.views_of(before).weights
        ]
        training.pruner.trained.add_(1 - before, alpha=100.0)
    training.step()
    returned = bool((training.pruner.mask > before).any())
    assert returned == isinstance(config, MagnitudeStePruning)


def test_random_masks_are_a_function_of_the_generator_alone() -> None:
    masks = []
    for seed, scale in ((0, 1), (0, 7), (1, 1)):
        network = make_network()
        network.parameters.mul_(scale)
        pruner = Pruner(network, RandomPruning(sparsity=0.5), 10, np.random.default_rng(seed))
        momentum = {"exp_avg": torch.zeros(1), "exp_avg_sq": torch.zeros(1)}
        pruner.after_step(
            7, {key: value.expand(len(pruner.mask)).clone() for key, value in momentum.items()}
        )
        masks.append(pruner.state_dict()["mask"])
    assert np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], masks[2])


@pytest.mark.parametrize("config", METHODS, ids=name_of)
def test_stored_in_the_middle_it_goes_on_the_same_bit_for_bit(
    config: Pruning,
) -> None:
    whole = Training(config, num_updates=100).run()
    first, second = Training(config, num_updates=100), Training(config, num_updates=100)
    while first.update < 50:
        first.step()
    state = first.pruner.state_dict()
    second.update = 50
    second.generator.set_state(first.generator.get_state())
    with torch.no_grad():
        second.network.parameters.fill_(np.nan)
        second.pruner.trained.copy_(first.pruner.trained)
    second.optimiser.state[second.pruner.trained] = {
        key: value.clone() for key, value in first.momentum.items()
    }
    second.pruner.load_state_dict(state)
    assert torch.equal(second.network.parameters, first.network.parameters)
    second.run()
    assert torch.equal(second.network.parameters, whole.network.parameters)
    assert torch.equal(second.pruner.trained, whole.pruner.trained)


@pytest.mark.parametrize("activation", [Activation.TANH, Activation.RELU, Activation.SIGMOID])
@settings(max_examples=20, deadline=None)
@given(
    widths=st.lists(st.integers(2, 12), min_size=1, max_size=3),
    sparsity=st.floats(0, 0.45),
    seed=st.integers(0, 99),
)
def test_the_smaller_net_computes_what_the_masked_one_does(
    activation: Activation, widths: list[int], sparsity: float, seed: int
) -> None:
    network = new_network(
        (4, *widths, 2),
        activation,
        output_gain=1.0,
        generator=torch.Generator().manual_seed(seed),
        device=torch.device("cpu"),
    )
    noise = torch.randn(len(network.parameters), generator=torch.Generator().manual_seed(seed))
    network.parameters.add_(noise, alpha=0.1)  # biases, too
    pruner = make_pruner(network, NeuronPruning(sparsity=sparsity), 10)
    zero = torch.zeros_like(network.parameters)
    pruner.after_step(7, {"exp_avg": zero, "exp_avg_sq": zero})
    layers = network.mlp.to_layers()
    small = pruner.deployed(layers)
    kept = [num_kept(width, sparsity) for width in widths]
    assert [len(layer.bias) for layer in small] == [*kept, 2]
    assert all((layer.weight != 0).all() for layer in small)
    states = np.random.default_rng(seed).normal(size=(9, 4))
    assert forward(small, states) == pytest.approx(forward(layers, states), rel=1e-9, abs=1e-12)
    assert network.mlp(torch.from_numpy(states).float()).numpy() == pytest.approx(
        forward(small, states), rel=1e-4, abs=1e-5
    )


def forward(layers: tuple[Layer, ...], states: NDArray[np.float64]) -> NDArray[np.float64]:
    phi = {
        Activation.TANH: np.tanh,
        Activation.RELU: lambda x: np.maximum(x, 0),
        Activation.SIGMOID: lambda x: 1 / (1 + np.exp(-x)),
        Activation.IDENTITY: lambda x: x,
    }
    for layer in layers:
        states = phi[layer.activation](
            states @ layer.weight.astype(float).T + layer.bias.astype(float)
        )
    return states


def test_other_methods_deploy_the_layers_as_they_are() -> None:
    training = Training(CONFIG, num_updates=40).run()
    layers = training.network.mlp.to_layers()
    assert training.pruner.deployed(layers) == layers


@pytest.mark.parametrize(
    ("config", "sizes", "message"),
    [
        (
            MagnitudePruning(sparsity=0.999, allocation="uniform"),
            (5, 10, 2),
            "sparsity must be at most 0.9714 in these layers, of which each keeps at least one",
        ),
        (MagnitudePruning(sparsity=0.999), SIZES, "sparsity must be at most 0.99"),
        (
            MagnitudePruning(sparsity=0.99, allocation="global", min_density=0.0),
            (5, 10, 2),
            "sparsity must be at most 0.9714 in",
        ),
        (NeuronPruning(sparsity=0.99), (5, 10, 2), "sparsity must be at most 0.9 in these"),
        (
            NeuronPruning(sparsity=0.9),
            (5, 4, 64, 2),
            "sparsity must be at most 0.75 in these layers, .* keeps at least one neuron, got 0.9",
        ),
        (NeuronPruning(sparsity=0.5), (5, 2), "at least one hidden layer, got none"),
        (BlockPruning(sparsity=0.9), (5, 10, 2), "rows must divide those of a layer, got 8"),
        (
            BlockPruning(sparsity=0.9),
            (5, 8, 2),
            "sparsity must be at most 0.5714 in these layers, .* keeps at least one block, got 0.9",
        ),
        (
            BlockPruning(sparsity=0.7, allocation="global", min_density=0.1),
            (5, 8, 2),
            r"sparsity must be at most 0\.642857 where every layer keeps the min_density of 0.1",
        ),
        (TwoFourPruning(), (2, 2, 2, 2), "needs a layer with at least 3 inputs"),
    ],
)
def test_what_cannot_be_reached_is_refused_with_what_can(
    config: Pruning, sizes: tuple[int, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message) as refusal:
        make_pruner(make_network(sizes), config)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("config", METHODS, ids=name_of)
@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_network_that_diverged_keeps_its_mask_and_stays_non_finite(
    config: Pruning,
    broken: float,
) -> None:
    """The run stops at the end of the iteration; until then nothing is hidden or refused."""
    training = Training(replace(config, interval=1), num_updates=100)
    while training.update < 50:
        training.step()
    before = training.pruner.mask.clone()
    kept = int(torch.nonzero(before)[0, 0])
    with torch.no_grad():
        training.pruner.trained[kept] = broken
    training.run()
    assert torch.equal(training.pruner.mask, before)
    assert not torch.isfinite(training.pruner.trained).all()
