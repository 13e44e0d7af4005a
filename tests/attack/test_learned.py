"""Learned adversaries: they find the least reward, are taught, stopped and taken up again.

Also of ``attack/imitation.py``.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from support.environments import OneStepEnv
from support.policies import linear_policy
from surefoot.attack import imitation
from surefoot.attack.ascent import RESTARTS
from surefoot.attack.cost import Cost
from surefoot.attack.imitation import record_moves
from surefoot.attack.learned import (
    Learned,
    LearnedAdversary,
    LearnedConfig,
    LearnedStart,
    learn_adversary,
    learn_start,
)
from surefoot.attack.mad import mad_adversary
from surefoot.ball import Ball, Norm, Randoms
from surefoot.envs.vector import StepResult, VectorEnv
from surefoot.onnx_file import policy_from_onnx
from surefoot.policy import Array, Policy
from surefoot.train.game import Direct
from surefoot.train.pa_ad import Director

MATRIX = np.array([[2.0, -1.0, 0.5], [-1.0, 0.5, 2.0]])
GAIN = np.array([1.0, -0.5])
# The reward is GAIN' MATRIX (z + delta): its gradient by the perturbation.
SLOPE = MATRIX.T @ GAIN
SHORT = LearnedConfig(
    total_steps=16_000, learning_rate=5e-3, sigma=0.5, num_envs=16, rollout_steps=32
)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return linear_policy(MATRIX)


def learn(
    policy: Policy,
    craft: Direct | Director,
    make_env: Callable[[int], VectorEnv],
    settings: LearnedConfig = SHORT,
    **more: Path | LearnedStart,
) -> tuple[Learned, LearnedAdversary]:
    learned = learn_adversary(policy, craft, settings, make_env, **more)
    return learned, LearnedAdversary(policy_from_onnx(learned.actor).policy, craft)


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("kind", ["sa-rl", "pa-ad"])
def test_on_one_step_the_adversary_finds_the_least_reward(
    policy: Policy, kind: str, norm: Norm
) -> None:
    ball = Ball(norm=norm, epsilon=0.5)
    craft = Direct(ball, 3) if kind == "sa-rl" else Director(policy, ball)
    _, adversary = learn(policy, craft, lambda num: OneStepEnv(num, 3, GAIN))
    state = np.random.default_rng(5).normal(size=(200, 3)).astype(np.float32)
    change = (adversary.perturb(state, [None] * 200).astype(np.float64) - state) @ SLOPE
    worst = -0.5 * (np.abs(SLOPE).sum() if norm is Norm.LINF else np.linalg.norm(SLOPE))
    assert (change >= worst * (1 + 1e-5)).all()
    assert change.mean() <= (0.95 if kind == "sa-rl" else 0.8) * worst


def test_an_imitation_begins_where_its_teacher_is(policy: Policy) -> None:
    ball = Ball(norm=Norm.LINF, epsilon=0.5)
    craft, teacher = Direct(ball, 3), _Corner(ball)

    def make_env(num: int) -> OneStepEnv:
        return OneStepEnv(num, 3, GAIN)

    states, moves = record_moves(teacher, policy, craft, make_env, 0)
    np.testing.assert_allclose(moves, np.broadcast_to(teacher.signs, moves.shape), atol=1e-5)
    assert len(states) == len(moves)
    brief = LearnedConfig(
        total_steps=512, learning_rate=1e-9, lessons=1, num_envs=16, rollout_steps=32
    )
    start = learn_start(policy, craft, brief, make_env, teacher)
    learned, taught = learn(policy, craft, make_env, brief, start=start)
    unlearned, untaught = learn(policy, craft, make_env, brief)
    assert learned.facts["start"] <= min(learned.facts["returns"]) + 1e-3
    assert "start" not in unlearned.facts
    found, other = ((one.perturb(states, []) - states) / 0.5 for one in (taught, untaught))
    assert np.abs(found - teacher.signs).mean() < 0.1 < np.abs(other - teacher.signs).mean()


def test_what_was_taught_stays_until_its_critic_has_learned(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    craft = Direct(Ball(norm=Norm.LINF, epsilon=0.5), 3)
    settings = LearnedConfig(total_steps=20 * 256, lessons=1, num_envs=8, rollout_steps=32)

    def make_env(num: int) -> OneStepEnv:
        return OneStepEnv(num, 3, GAIN)

    start = learn_start(policy, craft, settings, make_env, _Corner(craft.ball))
    saved = []
    monkeypatch.setattr(
        "surefoot.attack.learned.CheckpointStore.save",
        lambda store, checkpoint: saved.append(checkpoint.tree["ppo"]["parameters"]),
    )
    learn(policy, craft, make_env, settings, start=start, checkpoints=Path("unused"))
    warm, after = saved[0], saved[1]  # of iterations 2, the last of the first tenth, and 4
    assert np.array_equal(warm["actor"], start.actor)
    assert not np.array_equal(after["actor"], start.actor)
    assert not np.array_equal(warm["critic"], after["critic"])


class _Corner:
    """Always the same corner."""

    effort = Cost(queries=2)
    signs = np.array([1.0, -1.0, 1.0])

    def __init__(self, ball: Ball) -> None:
        self.ball = ball

    def perturb(self, state: NDArray[np.float32], randoms: Randoms) -> NDArray[np.float32]:
        return self.ball.perturbed(state, np.tile(self.ball.epsilon * self.signs, (len(state), 1)))


def same(first: Learned, second: Learned) -> bool:
    return (first.actor, first.effort, first.facts) == (second.actor, second.effort, second.facts)


@pytest.mark.parametrize("taught", [False, True], ids=["untaught", "taught"])
@pytest.mark.parametrize("kind", ["sa-rl", "pa-ad"])
def test_a_stopped_training_goes_on_to_the_same_adversary(
    policy: Policy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, taught: bool
) -> None:
    monkeypatch.setattr(imitation, "_NUM_STEPS", 16)
    ball = Ball(norm=Norm.LINF, epsilon=0.5)
    craft = Direct(ball, 3) if kind == "sa-rl" else Director(policy, ball)
    brief = LearnedConfig(total_steps=2560, lessons=2 * taught, num_envs=8, rollout_steps=32)

    def make_env(num: int) -> OneStepEnv:
        return OneStepEnv(num, 3, GAIN)

    def train(**more: Callable[[float], object] | Path) -> Learned:
        teacher = mad_adversary(policy, ball)
        start = learn_start(policy, craft, brief, make_env, teacher) if taught else None
        return learn_adversary(policy, craft, brief, make_env, start=start, **more)

    def stop(share: float) -> None:
        if share > 0.55:
            raise KeyboardInterrupt

    whole = train()
    assert ("start" in whole.facts) == taught
    assert same(train(), whole)
    kept = tmp_path / "checkpoints"
    with pytest.raises(KeyboardInterrupt):
        train(checkpoints=kept, on_share=stop)
    shares = []
    assert same(train(checkpoints=kept, on_share=shares.append), whole)
    assert min(shares) > 0.5
    assert max(shares) == 1


def test_mad_is_learned_as_directions_too(policy: Policy) -> None:
    ball = Ball(norm=Norm.LINF, epsilon=0.5)
    director = Director(policy, ball)
    teacher = mad_adversary(policy, ball, RESTARTS)
    _, moves = record_moves(teacher, policy, director, lambda num: OneStepEnv(num, 3, GAIN), 0)
    assert moves.shape[1] == 2
    assert moves.dtype == np.float32
    np.testing.assert_allclose(np.abs(moves).max(axis=1), 1, rtol=1e-5)


def test_in_a_later_lesson_the_imitation_plays_and_the_teacher_tells(policy: Policy) -> None:
    ball = Ball(norm=Norm.LINF, epsilon=0.5)
    craft, teacher = Direct(ball, 3), _Corner(ball)
    shown = []

    def play(state: NDArray[np.float32]) -> NDArray[np.float32]:
        shown.append(state)
        return craft(state, np.full(state.shape, 0.5, np.float32))

    env = _Recorded()
    states, moves = record_moves(teacher, policy, craft, lambda num: env, 0, play=play)
    np.testing.assert_array_equal(states, np.concatenate(shown))
    np.testing.assert_allclose(moves, np.broadcast_to(teacher.signs, moves.shape), atol=1e-5)
    expected = policy.outputs_at(states + np.float32(0.25))
    np.testing.assert_allclose(np.concatenate(env.actions), expected, rtol=1e-5, atol=1e-5)


class _Recorded:
    """Environments that remember what was done to them; their state is the time."""

    def __init__(self) -> None:
        self.actions: list[Array] = []

    def reset(self, seeds: list[int]) -> NDArray[np.float64]:
        return np.zeros((len(seeds), 3))

    def step(self, actions: NDArray[np.float32]) -> StepResult:
        self.actions.append(actions)
        obs = np.full((len(actions), 3), len(self.actions) / 100)
        done = np.zeros(len(actions), np.bool_)
        return StepResult(obs, np.zeros(len(actions)), done, done, obs)

    def close(self) -> None:
        pass
