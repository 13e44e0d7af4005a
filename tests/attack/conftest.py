"""Short trainings for learned adversaries."""

import pytest

from support.attacks import shorten


@pytest.fixture
def brief_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learned adversaries that learn in iterations of 128 steps, after very short lessons."""
    shorten(monkeypatch, lesson_steps=16, epochs=2, num_envs=8, rollout_steps=16)


@pytest.fixture
def short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learned adversaries that learn in iterations of 384 steps, after lessons for small tasks."""
    shorten(monkeypatch, lesson_steps=60, epochs=10, num_envs=16, rollout_steps=24)
