from dataclasses import replace

import numpy as np
import pytest
import torch

from surefoot.compress import erdos_renyi_kernel, num_kept
from surefoot.policy import Activation
from surefoot.train.config import MagnitudePruning
from surefoot.train.networks import new_network
from surefoot.train.pruning import Pruner

CONFIG = MagnitudePruning(sparsity=0.8, interval=10)
NUM_UPDATES = 1000


def trained(config, num_updates=NUM_UPDATES, weight_decay=0.01, watch=lambda update, network: None):
    """Prune through Adam steps on noisy gradients that pull every weight off zero."""
    network = new_network(
        (5, 16, 12, 3),
        Activation.TANH,
        output_gain=1.0,
        generator=torch.Generator().manual_seed(0),
        device=torch.device("cpu"),
    )
    network.parameters.grad = network.gradient
    optimiser = torch.optim.AdamW(
        [network.parameters], lr=0.01, weight_decay=weight_decay, fused=True
    )
    pruner = Pruner(network, config, num_updates)
    generator = torch.Generator().manual_seed(1)
    for update in range(1, num_updates + 1):
        network.gradient.normal_(1.0, 1.0, generator=generator)
        pruner.mask_gradient()
        optimiser.step()
        pruner.apply(update, optimiser.state[network.parameters])
        watch(update, network)
    return network, optimiser.state[network.parameters], pruner


@pytest.mark.parametrize("interval", [1, 10])
def test_a_pruned_weight_is_exactly_zero_through_a_thousand_adam_steps(interval):
    pruned = [np.zeros((16, 5), bool), np.zeros((12, 16), bool), np.zeros((3, 12), bool)]

    def watch(update, network):
        for mask, weight in zip(pruned, network.mlp.weights, strict=True):
            zero = weight.numpy() == 0
            assert not (mask & ~zero).any(), f"a weight came back at update {update}"
            mask |= zero

    _, momentum, _ = trained(replace(CONFIG, interval=interval), watch=watch)
    assert sum(mask.sum() for mask in pruned) > 200
    assert (momentum["exp_avg"] == 0).sum() >= sum(mask.sum() for mask in pruned)


@pytest.mark.parametrize("allocation", ["erk", "uniform", "global"])
def test_sparsity_counted_on_the_weights_is_that_of_the_schedule(allocation):
    config = replace(CONFIG, allocation=allocation)

    def watch(update, network):
        if not (250 <= update <= 750 and (update - 250) % 10 == 0) and update != 999:
            return
        fraction = 1 - (1 - min((update - 250) / 500, 1.0)) ** 3
        sizes = [weight.numel() for weight in network.mlp.weights]
        kept = [int((weight != 0).sum()) for weight in network.mlp.weights]
        if allocation == "global":
            assert sum(kept) == num_kept(sum(sizes), 0.8 * fraction)
            return
        shapes = [tuple(weight.shape) for weight in network.mlp.weights]
        layers = erdos_renyi_kernel(shapes, 0.8) if allocation == "erk" else [0.8] * 3
        assert kept == [
            num_kept(size, layer * fraction) for size, layer in zip(sizes, layers, strict=True)
        ]

    network, _, _ = trained(config, watch=watch)
    total = sum(weight.numel() for weight in network.mlp.weights)
    zeros = sum(int((weight == 0).sum()) for weight in network.mlp.weights)
    assert zeros / total == pytest.approx(0.8, abs=3 / total)


def test_nothing_is_pruned_before_the_burn_in_ends():
    network, _, _ = trained(CONFIG, num_updates=240, watch=lambda *_: None)
    early = Pruner(network, CONFIG, NUM_UPDATES)
    before = network.parameters.clone()
    early.apply(249, {})
    assert torch.equal(network.parameters, before)


def test_biases_are_never_pruned():
    network, _, _ = trained(replace(CONFIG, sparsity=0.99, min_density=0.0))
    assert all((bias != 0).all() for bias in network.mlp.biases)
    assert all((weight != 0).sum() >= 1 for weight in network.mlp.weights)


def test_a_stored_mask_goes_on_the_same():
    network, _, pruner = trained(CONFIG)
    other = Pruner(network, CONFIG, NUM_UPDATES)
    other.load_state_dict(pruner.state_dict())
    for entry in (pruner, other):
        network.gradient.fill_(1)
        entry.mask_gradient()
        assert torch.equal(network.gradient == 0, network.parameters == 0)
