import numpy as np
import pytest
import torch
from torch import Tensor

from surefoot.attack.regression import Loss, choice_loss, fit, squared_loss
from surefoot.policy import Activation
from surefoot.train.networks import new_network


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 2, shape))


def test_the_gradient_of_choices_is_that_of_the_cross_entropy() -> None:
    logits, choices = numbers(40, 5).requires_grad_(), torch.arange(40) % 5
    torch.nn.functional.cross_entropy(logits, choices).backward()
    torch.testing.assert_close(choice_loss(logits.detach(), choices), logits.grad)


def test_the_gradient_of_squares_is_that_of_their_mean_over_the_samples() -> None:
    outputs, targets = numbers(40, 5).requires_grad_(), numbers(40, 5, seed=1)
    (outputs - targets).square().sum(1).mean().backward()
    torch.testing.assert_close(squared_loss(outputs.detach(), targets), outputs.grad)


@pytest.mark.parametrize("loss", [squared_loss, choice_loss])
def test_a_fit_finds_what_a_few_weights_can_say(loss: Loss) -> None:
    weight = numbers(3, 2, seed=2).float()
    inputs = numbers(600, 2, seed=3).float()
    outputs = inputs @ weight.T
    generator = torch.Generator().manual_seed(0)
    network = new_network(
        (2, 32, 3),
        Activation.TANH,
        output_gain=0.01,
        generator=generator,
        device=torch.device("cpu"),
    )
    wanted = outputs if loss is squared_loss else outputs.argmax(1)
    fit(network, inputs, wanted, epochs=150, generator=generator, learning_rate=1e-2, loss=loss)
    found = network.mlp(inputs)
    if loss is squared_loss:
        assert (found - outputs).square().mean() < 0.02 * outputs.var()
    else:
        assert (found.argmax(1) == wanted).float().mean() > 0.97
