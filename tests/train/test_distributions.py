from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from surefoot.train.distributions import Categorical, Distribution, Gaussian


def doubles(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


Law = Callable[[Tensor], torch.distributions.Distribution]
"""PyTorch's own distribution of the actions at outputs."""


def laws(seed: int = 0) -> Iterator[tuple[Distribution, Tensor, Tensor, Tensor, Law]]:
    """Both heads, with outputs, other outputs, actions, and PyTorch's own object for them."""
    log_std = doubles(3, seed=seed + 1) * 0.3
    mean, other = doubles(6, 3, seed=seed + 2), doubles(6, 3, seed=seed + 3)
    yield (
        Gaussian(log_std=log_std, learned=True),
        mean,
        other,
        doubles(6, 3, seed=seed + 4),
        lambda output: torch.distributions.Independent(
            torch.distributions.Normal(output, log_std.exp()), 1
        ),
    )
    yield (
        Categorical(num_actions=3),
        mean,
        other,
        torch.arange(6) % 3,
        lambda output: torch.distributions.Categorical(logits=output),
    )


@pytest.mark.parametrize("case", [0, 1])
def test_log_probabilities_are_those_of_pytorch(case: int) -> None:
    law, output, _, actions, reference = list(laws())[case]
    found = law.log_prob(output, actions).value
    assert found.numpy() == pytest.approx(reference(output).log_prob(actions).numpy(), rel=1e-12)


@pytest.mark.parametrize("case", [0, 1])
def test_the_gradient_of_log_probabilities_is_that_of_autograd(case: int) -> None:
    law, output, _, actions, reference = list(laws())[case]
    output = output.requires_grad_()
    (expected,) = torch.autograd.grad(reference(output).log_prob(actions).sum(), output)
    found = law.log_prob(output.detach(), actions).by_output
    assert found.numpy() == pytest.approx(expected.numpy(), rel=1e-10, abs=1e-12)


def test_the_gradient_by_the_noise_is_that_of_autograd() -> None:
    law, mean, _, actions, _ = next(laws())
    log_std = law.log_std.clone().requires_grad_()
    value = torch.distributions.Normal(mean, log_std.exp()).log_prob(actions).sum()
    (expected,) = torch.autograd.grad(value, log_std)
    assert law.log_prob(mean, actions).by_log_std.sum(0).numpy() == pytest.approx(expected.numpy())
    assert Gaussian(log_std=law.log_std, learned=False).log_prob(mean, actions).by_log_std is None


@pytest.mark.parametrize("case", [0, 1])
def test_the_gradient_of_the_entropy_is_that_of_autograd(case: int) -> None:
    law, output, _, _, reference = list(laws())[case]
    if case == 0:
        log_std = law.log_std.clone().requires_grad_()
        entropy = torch.distributions.Normal(output, log_std.exp()).entropy().sum(1).mean()
        expected = (torch.zeros_like(output), torch.autograd.grad(entropy, log_std)[0])
    else:
        output = output.requires_grad_()
        expected = (torch.autograd.grad(reference(output).entropy().mean(), output)[0], None)
    for found, wanted in zip(law.entropy_gradient(output.detach()), expected, strict=True):
        assert (found is None) == (wanted is None)
        assert found is None or found.numpy() == pytest.approx(wanted.numpy(), abs=1e-12)


@pytest.mark.parametrize("case", [0, 1])
def test_the_squared_distance_is_twice_the_divergence_and_has_no_factor_one_half(case: int) -> None:
    law, output, other, _, reference = list(laws())[case]
    divergence = torch.distributions.kl_divergence(reference(output), reference(other))
    found = law.squared_distance(output, other)
    assert found.numpy() == pytest.approx(2 * divergence.numpy(), rel=1e-10)


@pytest.mark.parametrize("case", [0, 1])
def test_the_gradient_of_the_squared_distance_is_that_of_autograd(case: int) -> None:
    law, output, other, _, _ = list(laws())[case]
    other = other.requires_grad_()
    (expected,) = torch.autograd.grad(law.squared_distance(output, other).sum(), other)
    found = law.squared_distance_gradient(output)(other.detach())
    assert found.numpy() == pytest.approx(expected.numpy(), rel=1e-10, abs=1e-12)
    assert (law.squared_distance_gradient(output)(output) == 0).all()


def test_gaussian_samples_have_the_moments_of_the_law() -> None:
    law = Gaussian(log_std=torch.tensor([0.0, -1.0]), learned=False)
    noise = law.noise(np.random.default_rng(0), (20_000,))
    samples = law.sample(np.array([[1.0, -2.0]], np.float32), noise)
    assert samples.dtype == np.float32
    assert samples.mean(0) == pytest.approx([1, -2], abs=0.03)
    assert samples.std(0) == pytest.approx([1, np.exp(-1)], rel=0.03)


def test_categorical_samples_have_the_probabilities_of_the_law() -> None:
    law = Categorical(num_actions=3)
    logits = np.array([[0.0, 1.0, -1.0]], np.float32)
    samples = law.sample(logits, law.noise(np.random.default_rng(0), (20_000,)))
    frequencies = np.bincount(samples, minlength=3) / len(samples)
    assert frequencies == pytest.approx(np.exp(logits[0]) / np.exp(logits[0]).sum(), abs=0.015)
