"""Biases of the sensors that stay for an episode, and the search for the worst of them."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from support.environments import TargetEnv
from support.policies import linear_policy
from support.training import let_every_task_be, linf
from surefoot.errors import InputError
from surefoot.policy import weights_sha256
from surefoot.train.biases import BiasSearch, EpisodeBiases
from surefoot.train.defence_config import NoDefence, SensorBiases
from surefoot.train.pruning_config import MagnitudePruning
from surefoot.train.train_config import FixedNoise, TrainConfig
from surefoot.train.trainer import train_policy
from surefoot.train.training_run import Run

CPU = torch.device("cpu")
EPSILON = 0.3
DIM = 3
DEFENCE = SensorBiases(epsilon=EPSILON, ramp_end=0.5, kappa=0.1, inner_steps=2)
TINY = TrainConfig(
    env_id="Target-v0",
    total_steps=512,
    num_envs=8,
    rollout_steps=16,
    device="cpu",
    hidden=(8,),
    critic_hidden=(8,),
    noise=FixedNoise(sigma=0.3),
    minibatch_size=32,
    num_evaluations=2,
    evaluation_episodes=2,
    visited_states=2,
    defence=DEFENCE,
    pruning=MagnitudePruning(sparsity=0.5, interval=3),
)


POLICY = linear_policy(np.ones((1, DIM)))


def biases(config: TrainConfig = TINY, epsilon: float = EPSILON) -> EpisodeBiases:
    found = EpisodeBiases(config, DIM).disturbance(POLICY, linf(epsilon))
    assert found is not None
    return found


def seen_by_all(disturbed: EpisodeBiases) -> np.ndarray:
    states = np.zeros((TINY.num_envs, DIM), np.float32)
    return disturbed.see(states, np.arange(TINY.num_envs))


def step(disturbed: EpisodeBiases, done: list[int]) -> None:
    ended = np.isin(np.arange(TINY.num_envs), done)
    disturbed.stepped(np.zeros(TINY.num_envs), ended)


def test_the_search_finds_the_corner_of_least_return() -> None:
    random, worst = np.random.default_rng(0), np.array([1.0, -1.0, 1.0, 1.0, -1.0])
    search = BiasSearch(len(worst))
    for _ in range(24 * 20):
        draw = search.draw(random)
        search.tell(draw, -float(worst @ np.sign(draw)) + random.normal())
    drawn = np.stack([np.sign(search.draw(random)) for _ in range(200)])
    assert (drawn == worst).mean(axis=0).min() > 0.9


def test_the_search_follows_a_policy_that_changes() -> None:
    random, search = np.random.default_rng(0), BiasSearch(2)
    for sign in (1.0, -1.0):
        for _ in range(24 * 40):
            draw = search.draw(random)
            search.tell(draw, -sign * float(np.sign(draw).sum()))
        drawn = np.stack([np.sign(search.draw(random)) for _ in range(200)])
        assert (drawn == sign).mean() > 0.9


def test_biases_are_corners_of_the_ball_in_their_share_of_the_environments() -> None:
    disturbed, epsilon = biases(), Fraction(EPSILON)
    states = np.random.default_rng(0).uniform(-10, 10, (400, DIM)).astype(np.float32)
    env = np.random.default_rng(1).integers(TINY.num_envs, size=400)
    seen = disturbed.see(states, env)
    moved = [
        abs(Fraction(a) - Fraction(b))
        for a, b in zip(seen.ravel().tolist(), states.ravel().tolist(), strict=True)
    ]
    assert max(moved) <= epsilon
    assert ((seen != states).all(axis=1) == (env >= 2)).all(), "a quarter of eight has none"
    assert min(size for size in moved if size) > epsilon * Fraction(99_999, 100_000)


def test_a_bias_stays_for_its_episode_and_another_one_begins_with_the_next() -> None:
    disturbed = biases()
    before = seen_by_all(disturbed)
    step(disturbed, [])
    assert np.array_equal(seen_by_all(disturbed), before)
    changed = np.zeros(TINY.num_envs, np.bool_)
    for _ in range(8):  # one of the eight corners is drawn again now and then
        step(disturbed, [3, 7])
        changed |= (seen_by_all(disturbed) != before).any(axis=1)
    assert np.flatnonzero(changed).tolist() == [3, 7]


def test_random_biases_switch_within_an_episode_when_asked_and_searched_ones_do_not() -> None:
    disturbed = biases(replace(TINY, defence=replace(DEFENCE, hold_steps=2)))
    before, changed = seen_by_all(disturbed), np.zeros(TINY.num_envs, np.bool_)
    step(disturbed, [])
    assert np.array_equal(seen_by_all(disturbed), before)
    for _ in range(16):
        step(disturbed, [])
        changed |= (seen_by_all(disturbed) != before).any(axis=1)
    assert np.flatnonzero(changed).tolist() == [2, 3, 4], "3 of 8 are searched"


def test_in_a_ball_of_radius_zero_it_is_no_defence_bit_for_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    let_every_task_be(monkeypatch, TargetEnv)
    none = train_policy(replace(TINY, defence=NoDefence()))
    point = train_policy(replace(TINY, defence=replace(DEFENCE, epsilon=0.0)))
    assert weights_sha256(point.policy) == weights_sha256(none.policy)


def test_a_stored_run_goes_on_with_the_same_biases() -> None:
    def new() -> Run:
        return Run(TINY, TargetEnv(8), TargetEnv(2), CPU)

    whole, first = new(), new()
    for _ in range(3):
        whole.iterate()
        first.iterate()
    second = new()
    second.load_checkpoint(first.checkpoint())
    assert whole.curves["biased_return"][-1] is not None
    for _ in range(3):
        whole.iterate()
        second.iterate()
    assert weights_sha256(second.policy()) == weights_sha256(whole.policy())
    assert second.curves == whole.curves


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"unbiased": 0.7, "searched": 0.5}, r"unbiased \+ searched must be at most 1, got 0.7"),
        ({"unbiased": -0.1}, "unbiased must be at least 0, got -0.1"),
        ({"hold_steps": 0}, "hold_steps must be at least 1, got 0"),
    ],
)
def test_shares_and_times_out_of_range_are_refused(changes: dict[str, float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        replace(DEFENCE, **changes)
