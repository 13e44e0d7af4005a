"""The adversary that learns beside the policy."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from support.environments import TargetEnv
from support.policies import bare_states
from support.training import CPU, linf
from surefoot.errors import DivergenceError, InputError
from surefoot.policy import (
    Activation,
    GaussianHead,
    Layer,
    Policy,
    Squash,
    weights_sha256,
)
from surefoot.train.atla import LearningAdversary, _adversary_config
from surefoot.train.defence_config import AlternatingTraining, NoDefence
from surefoot.train.learner import Learner
from surefoot.train.pruning_config import MagnitudePruning, NoPruning
from surefoot.train.train_config import FixedNoise, LearnedNoise, TrainConfig
from surefoot.train.trainer import train_policy
from surefoot.train.training_run import Run

EPSILON = 0.3
TINY = TrainConfig(
    env_id="Target-v0",
    total_steps=512,
    num_envs=4,
    rollout_steps=32,
    device="cpu",
    hidden=(8, 12),
    critic_hidden=(10,),
    noise=FixedNoise(sigma=0.3),
    learning_rate=3e-3,
    epochs=4,
    minibatch_size=32,
    num_evaluations=2,
    evaluation_episodes=2,
    visited_states=2,
    defence=AlternatingTraining(epsilon=EPSILON, ramp_end=0.5),
    pruning=MagnitudePruning(sparsity=0.5, interval=3),
)


@pytest.fixture(params=["pa_ad", "sa_rl"])
def alternating(request: pytest.FixtureRequest) -> TrainConfig:
    defence = replace(TINY.defence, adversary=request.param, attacked=0.25)
    return replace(TINY, defence=defence)


def overshooting() -> Policy:
    """Return a controller that plays the target plus a half, wherever it sees it."""
    return Policy(
        normaliser=bare_states(3),
        layers=(
            Layer(
                weight=np.array([[0.1, 0, 0]], np.float32),
                bias=np.array([0.05], np.float32),
                activation=Activation.IDENTITY,
            ),
        ),
        head=GaussianHead(
            std=np.ones(1), squash=Squash.CLIP, centre=np.zeros(1), half_range=np.full(1, 10.0)
        ),
    )


def test_it_finds_the_worst_perturbation_where_that_is_known(alternating: TrainConfig) -> None:
    # The loss is (z + delta + 1/2 - z)^2: the worst delta is +epsilon at every state.
    everywhere = replace(alternating.defence, attacked=1.0)
    length = {"total_steps": 16_384, "rollout_steps": 128, "epochs": 10, "minibatch_size": 64}
    config = replace(alternating, defence=everywhere, **length)
    rival = LearningAdversary(config, TargetEnv(4), overshooting(), CPU)
    for _ in range(config.num_iterations):
        rival.iterate(overshooting(), linf(EPSILON))
    states = np.random.default_rng(0).uniform(-1, 1, (50, 3)).astype(np.float32)
    states[:, 1:] = [2, 1]
    seen = rival.disturbance(overshooting(), linf(EPSILON)).see(states, np.zeros(50, np.int64))
    moved = seen[:, 0] - states[:, 0]
    assert (moved > 0.9 * EPSILON).all()
    assert rival.step == config.num_iterations * config.batch_size


def test_every_state_that_is_seen_lies_in_the_ball_of_the_true_one(
    alternating: TrainConfig,
) -> None:
    run = Run(alternating, TargetEnv(4), TargetEnv(2), CPU, TargetEnv(4))
    for _ in range(3):
        run.iterate()
    epsilon = run.curves["epsilon"][-1]
    assert 0 < epsilon <= EPSILON
    states = np.random.default_rng(0).uniform(-10, 10, (300, 3)).astype(np.float32)
    env = np.random.default_rng(1).integers(4, size=300)
    seen = run._adversary.disturbance(run.policy(), linf(epsilon)).see(states, env)
    assert ((seen != states).any(axis=1) == (env == 0)).all(), "a quarter of four is the first"
    far = [
        abs(Fraction(a) - Fraction(b))
        for a, b in zip(seen.ravel().tolist(), states.ravel().tolist(), strict=True)
    ]
    assert 0 < max(far) <= Fraction(epsilon)


@pytest.mark.parametrize(
    ("attacked", "num_attacked"), [(0.01, 1), (0.25, 1), (0.7, 3), (0.9, 4), (1.0, 4)]
)
def test_its_share_of_the_environments_is_rounded_to_whole_ones(
    attacked: float, num_attacked: int
) -> None:
    config = replace(TINY, defence=replace(TINY.defence, attacked=attacked))
    rival = LearningAdversary(config, TargetEnv(4), overshooting(), CPU)
    states = np.random.default_rng(0).uniform(-1, 1, (4, 3)).astype(np.float32)
    seen = rival.disturbance(overshooting(), linf(EPSILON)).see(states, np.arange(4))
    assert (seen != states).any(axis=1).tolist() == [env < num_attacked for env in range(4)]


def test_it_learns_by_the_settings_of_the_policy_but_dense_and_undefended() -> None:
    config = replace(TINY, gamma=0.9, gae_lambda=0.8, hidden=(5,), critic_hidden=(7, 9))
    own = _adversary_config(config)
    assert own == replace(
        config,
        seed=own.seed,
        hidden=(7, 9),
        noise=LearnedNoise(initial=0.6),
        squash=Squash.CLIP,
        defence=NoDefence(),
        pruning=NoPruning(),
        normalise_observations=False,
    )
    assert own.seed != config.seed


def test_statistics_are_of_true_observations_and_the_policy_learns_from_disturbed_ones() -> None:
    learner = Learner(TINY, TargetEnv(4), CPU)
    before = learner.policy()

    class Disturbed:
        def see(self, state: NDArray[np.float32], env: NDArray[np.int64]) -> NDArray[np.float32]:
            return state + np.float32(100) * (env + 1)[:, None].astype(np.float32)

        def stepped(self, returns: NDArray[np.float64], done: NDArray[np.bool_]) -> None:
            pass

    rollout = learner.play(Disturbed())
    moved = 100 * np.arange(1, 5, dtype=np.float32)[:, None]
    assert np.array_equal(rollout.states[:-1], before.state(rollout.obs, np.float32) + moved)
    # Where episodes are cut, too, an environment sees what its own adversary makes of the state.
    env = np.nonzero(rollout.truncated)[1]
    assert set(env.tolist()) == {0, 1, 2, 3}
    assert (np.abs(rollout.cut_states - 100 * (env + 1)[:, None]) < 50).all()
    learner.learn(rollout)
    mean = rollout.obs.reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(learner.policy().normaliser.mean, mean, rtol=1e-5)


def test_in_a_ball_of_radius_zero_it_is_no_defence_bit_for_bit(target_task: None) -> None:
    none = train_policy(replace(TINY, defence=NoDefence()))
    point = train_policy(replace(TINY, defence=AlternatingTraining(epsilon=0, kappa=1.0)))
    assert weights_sha256(point.policy) == weights_sha256(none.policy)
    assert point.facts["adversary_steps"] == 0


def test_its_steps_are_told_and_the_sparsity_is_exact(
    target_task: None, alternating: TrainConfig
) -> None:
    result = train_policy(alternating)
    # In the first iteration the ball is still a point when the policy plays, not when it does.
    assert result.facts["adversary_steps"] == result.facts["steps"] == 512
    assert result.curves["adversary_steps"] == result.curves["step"]
    zeros = sum((layer.weight == 0).sum() for layer in result.policy.layers)
    weights = sum(layer.weight.size for layer in result.policy.layers)
    assert zeros / weights == pytest.approx(0.5, abs=0.01)
    assert result.policy.sparsity == pytest.approx(zeros / weights)
    assert result.config.defence.adversary == alternating.defence.adversary
    plain = train_policy(replace(TINY, defence=NoDefence()))
    assert "adversary_steps" not in plain.facts
    assert weights_sha256(plain.policy) != weights_sha256(result.policy)


def test_a_stored_run_goes_on_with_the_same_adversary(alternating: TrainConfig) -> None:
    def new_run() -> Run:
        return Run(alternating, TargetEnv(4), TargetEnv(2), CPU, TargetEnv(4))

    whole, resumed = new_run(), new_run()
    whole.iterate()
    whole.iterate()
    resumed.load_checkpoint(whole.checkpoint())
    for run in (whole, resumed):
        run.iterate()
        run.iterate()
    assert weights_sha256(resumed.policy()) == weights_sha256(whole.policy())
    assert resumed.curves == whole.curves
    states = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    one, other = (
        run._adversary.disturbance(run._learner.policy(), linf(0.1)).see(
            states, np.zeros(20, np.int64)
        )
        for run in (whole, resumed)
    )
    assert np.array_equal(one, other)


def test_an_adversary_that_diverges_is_told_from_the_policy_with_the_step(
    target_task: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    initialise = LearningAdversary.__init__

    def spoiled(self: LearningAdversary, *given: object) -> None:
        initialise(self, *given)
        update = self._learner.ppo.update
        self._learner.ppo.update = lambda samples: update(samples) | {"surrogate": float("nan")}

    monkeypatch.setattr(LearningAdversary, "__init__", spoiled)
    said = "the adversary: Target-v0: surrogate became non-finite, in the steps after 0"
    with pytest.raises(DivergenceError, match=f"^{said}$"):
        train_policy(TINY)


def test_a_run_without_environments_for_it_is_refused() -> None:
    with pytest.raises(InputError, match="rival_env"):
        Run(TINY, TargetEnv(4), TargetEnv(2), CPU)
