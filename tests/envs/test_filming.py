"""A task on film is the same task, bit for bit."""

import numpy as np
import pytest

from support.drawing import needs_gl
from surefoot.envs import make_env
from surefoot.envs.filming import Shot, filmed_env
from surefoot.errors import InputError


@needs_gl
def test_a_filmed_episode_has_the_numbers_of_the_fast_one() -> None:
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (40, 1, 3)).astype(np.float32)
    fast = make_env("Hopper-v5", 1)
    with filmed_env("Hopper-v5", Shot(every=4, width=32, height=32)) as (env, reel):
        assert np.array_equal(env.reset([7]), fast.reset([7]))
        steps = 0
        for action in actions:
            filmed, played = env.step(action), fast.step(action)
            steps += 1
            assert np.array_equal(filmed.terminal_obs, played.terminal_obs)
            assert np.array_equal(filmed.reward, played.reward)
            if filmed.terminated[0]:
                break
        assert len(reel.actions) == steps
        # One at the beginning, one after every fourth step, and one at the end.
        assert len(reel.pictures) == 1 + steps // 4 + (steps % 4 > 0)
        assert np.array_equal(np.array(reel.actions), actions[:steps, 0])
        env.step(actions[0])  # of the next episode, which nobody films
        assert len(reel.actions) == steps
        env.reset([7])
        assert (len(reel.actions), len(reel.pictures)) == (0, 1)


def test_a_task_that_draws_itself_is_filmed_without_a_gl_library() -> None:
    pytest.importorskip("pygame")
    with filmed_env("CartPole-v1", Shot(most_pictures=2)) as (env, reel):
        env.reset([0])
        for _ in range(3):
            env.step(np.array([1]))
        assert len(reel.pictures) == 2
        assert reel.pictures[0].shape[2] == 3


@pytest.mark.parametrize("wrong", [{"every": 0}, {"width": 8}, {"most_pictures": 0}])
def test_a_shot_has_steps_and_a_size(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(wrong))} must be at least"):
        Shot(**wrong)
