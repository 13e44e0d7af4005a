"""Functions in which a neuron depends on others: what they compute, and what is refused."""

import numpy as np
import pytest

from support.policies import draw_policy
from surefoot.activation import Activation, Mixed, Product, is_elementwise, normalises
from surefoot.errors import InputError


def test_a_product_multiplies_its_halves_and_passes_the_second_one_on() -> None:
    assert Product()(np.array([2.0, 3.0, 5.0, -7.0])).tolist() == [10.0, -21.0, 5.0, -7.0]


def test_neighbouring_products_keep_halves_of_their_own() -> None:
    mixed = Mixed.of([(Product(), 2), (Product(), 2)])
    assert isinstance(mixed, Mixed)
    assert mixed(np.array([2.0, 3.0, 5.0, 7.0])).tolist() == [6.0, 3.0, 35.0, 7.0]


def test_a_product_without_halves_is_refused() -> None:
    with pytest.raises(InputError, match="even number of neurons, got 3"):
        Mixed.of([(Product(), 3), (Activation.TANH, 1)])
    with pytest.raises(InputError, match="even number of neurons, got 5"):
        draw_policy(np.random.default_rng(0), [4, 5, 2], Product())


def test_a_product_is_not_elementwise_and_does_not_normalise() -> None:
    assert not is_elementwise(Product())
    assert not normalises(Product())
