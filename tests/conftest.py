"""Builders of ``support`` as fixtures, for tests that do not import them yet."""

from collections.abc import Callable

import pytest

from support import certificates, policies
from surefoot.certificate import Certificate
from surefoot.policy import Policy


@pytest.fixture(scope="session")
def random_policy() -> Callable[..., Policy]:
    return policies.random_policy


@pytest.fixture(scope="session")
def linear_policy() -> Callable[..., Policy]:
    return policies.linear_policy


@pytest.fixture(scope="session")
def certificate_of() -> Callable[..., Certificate]:
    return certificates.certificate_of


@pytest.fixture(scope="session")
def unit_range() -> Callable[[Policy], Policy]:
    return policies.unit_range
