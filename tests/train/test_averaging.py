import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from surefoot.policy import Activation
from surefoot.train.averaging import WeightAverage
from surefoot.train.networks import Mlp, TorchNetwork, new_network


@pytest.fixture
def network() -> TorchNetwork:
    return new_network(
        (3, 4, 2),
        Activation.TANH,
        output_gain=1.0,
        generator=torch.Generator().manual_seed(0),
        device=torch.device("cpu"),
    )


def numbers(mlp: Mlp) -> NDArray[np.float32]:
    return np.concatenate([entry.numpy().ravel() for entry in (*mlp.weights, *mlp.biases)])


def test_the_average_weighs_by_age(network: TorchNetwork) -> None:
    average = WeightAverage(network, num_iterations=4)
    start, seen = numbers(network.mlp), []
    for number in range(5):
        network.parameters.fill_(number)
        seen.append(number)
        average.update(None)
    expected = start * 0.75**5 + sum(0.25 * 0.75 ** (4 - age) * seen[age] for age in range(5))
    assert numbers(average.mlp) == pytest.approx(expected, rel=1e-5)
    assert (network.parameters == 4).all()


@pytest.mark.parametrize("num_iterations", [0, 0.5, 1])
def test_an_average_over_one_iteration_is_the_network_itself(
    network: TorchNetwork, num_iterations: float
) -> None:
    average = WeightAverage(network, num_iterations)
    network.parameters.normal_(generator=torch.Generator().manual_seed(1))
    average.update(None)
    assert np.array_equal(numbers(average.mlp), numbers(network.mlp))


def test_what_is_pruned_now_is_exactly_zero_in_the_average(network: TorchNetwork) -> None:
    average = WeightAverage(network, num_iterations=10)
    mask = torch.ones_like(network.parameters)
    mask[::2] = 0
    network.parameters.mul_(mask)
    average.update(mask)
    assert ((network.parameters == 0) == (numbers_tensor(average) == 0)).all()


def numbers_tensor(average: WeightAverage) -> Tensor:
    return torch.from_numpy(average.state_dict()["parameters"])


def test_a_stored_average_goes_on_the_same(network: TorchNetwork) -> None:
    one, other = WeightAverage(network, 5), WeightAverage(network, 5)
    network.parameters.fill_(2)
    one.update(None)
    other.load_state_dict(one.state_dict())
    network.parameters.fill_(3)
    one.update(None)
    other.update(None)
    assert np.array_equal(numbers(one.mlp), numbers(other.mlp))
