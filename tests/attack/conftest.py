"""One thread for all, and short trainings for learned adversaries."""

from collections.abc import Iterator
from functools import partial

import pytest
import torch

from surefoot.attack import imitation, learned_attacks
from surefoot.attack.learned import LearnedConfig


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """On networks this small a second thread only waits for the first."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


def shorten(
    monkeypatch: pytest.MonkeyPatch,
    *,
    lesson_steps: int,
    epochs: int,
    num_envs: int,
    rollout_steps: int,
) -> None:
    """Make lessons and iterations of learned adversaries short."""
    monkeypatch.setattr(imitation, "_NUM_STEPS", lesson_steps)
    monkeypatch.setattr(imitation, "_EPOCHS", epochs)
    brief = partial(LearnedConfig, num_envs=num_envs, rollout_steps=rollout_steps)
    monkeypatch.setattr(learned_attacks, "LearnedConfig", brief)


@pytest.fixture
def brief_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learned adversaries that learn in iterations of 128 steps, after very short lessons."""
    shorten(monkeypatch, lesson_steps=16, epochs=2, num_envs=8, rollout_steps=16)


@pytest.fixture
def short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learned adversaries that learn in iterations of 384 steps, after lessons for small tasks."""
    shorten(monkeypatch, lesson_steps=60, epochs=10, num_envs=16, rollout_steps=24)
