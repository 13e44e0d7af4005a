"""What an attack is given, and how its learned adversaries are made to learn briefly."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import pytest

from surefoot.attack import imitation, learned_attacks
from surefoot.attack.ascent import AscentConfig, GradientAdversary, Objective
from surefoot.attack.attack_config import FULL, AttackConfig
from surefoot.attack.bias import BIAS
from surefoot.attack.late import DELAY
from surefoot.attack.learned import LearnedConfig
from surefoot.attack.sarsa import SarsaSettings
from surefoot.attack.store import Store
from surefoot.attack.target import AttackTarget
from surefoot.ball import Ball
from surefoot.envs.vector import VectorEnv
from surefoot.policy import Layer, Policy

OF_ERRORS = [name for name in FULL if name not in (DELAY, BIAS)]
"""What is played where no reading is late and no error stays the same for an episode."""


def target_of(
    policy: Policy, ball: Ball, make_env: Callable[[int], VectorEnv], **changes: object
) -> AttackTarget:
    """What an attack sees of a controller that is its own runtime."""
    target = AttackTarget(
        policy=policy,
        ball=ball,
        make_env=make_env,
        store=Store(),
        key="a test",
        tell=lambda share, remark: None,
        query=lambda state: policy.outputs_at(state),
    )
    return replace(target, **changes)


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


def search_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every search of an attack two steps and at most two starts, for tests of what is around.

    Steps and starts are constants of the attacks, whose strength ``tests/attack`` holds.
    """
    made = GradientAdversary.__init__

    def brief(
        self: GradientAdversary,
        layers: Sequence[Layer],
        ball: Ball,
        objective: Objective,
        settings: AscentConfig,
    ) -> None:
        few = replace(settings, steps=2, restarts=min(settings.restarts, 2))
        made(self, layers, ball, objective, few)

    monkeypatch.setattr(GradientAdversary, "__init__", brief)


def tiny_full(epsilon: float) -> AttackConfig:
    """A full suite of seconds."""
    return AttackConfig(
        suite="full",
        epsilon=epsilon,
        episodes=2,
        selection_episodes=1,
        critic_steps=256,
        sarsa=SarsaSettings(records=480, epochs=1),
        adversary_steps=256,
        num_threads=1,
    )
