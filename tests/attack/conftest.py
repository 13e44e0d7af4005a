"""One thread for all, and short trainings for learned adversaries."""

from collections.abc import Iterator

import pytest
import torch

from support.attacks import shorten


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """On networks this small a second thread only waits for the first."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture
def brief_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learned adversaries that learn in iterations of 128 steps, after very short lessons."""
    shorten(monkeypatch, lesson_steps=16, epochs=2, num_envs=8, rollout_steps=16)


@pytest.fixture
def short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learned adversaries that learn in iterations of 384 steps, after lessons for small tasks."""
    shorten(monkeypatch, lesson_steps=60, epochs=10, num_envs=16, rollout_steps=24)
