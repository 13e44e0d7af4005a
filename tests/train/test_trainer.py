"""Whole trainings: the same seed, the same digest, whatever happens on the way.

Also of ``train/learner.py``, ``train/tensorboard_log.py`` and ``train/training_run.py``.
"""

import multiprocessing
import os
import re
import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from signal import Signals

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from support.environments import TargetEnv
from support.training import let_every_task_be
from surefoot.ball import Ball
from surefoot.config import build, parse_toml, to_table
from surefoot.envs.vector import StepResult
from surefoot.errors import DivergenceError, InputError, InterruptedRun, MissingLibraryError
from surefoot.policy import Policy, weights_sha256
from surefoot.train.checkpoint import CheckpointStore
from surefoot.train.defence_config import (
    AdversarialReturn,
    AlternatingTraining,
    BoundedAdversarialReturn,
    ConvexStateAdversarial,
    Defence,
    NoDefence,
    StateAdversarial,
)
from surefoot.train.ppo import Ppo
from surefoot.train.pruning_config import MagnitudePruning, NoPruning
from surefoot.train.result import Progress, TrainResult
from surefoot.train.train_config import WITHOUT_EFFECT, LearnedNoise, TrainConfig
from surefoot.train.trainer import pick_device, train_policy
from surefoot.train.training_run import Measure, Run

# Everything that has a state is on: defence, pruning of both networks, learned noise, normalisers.
TINY = TrainConfig(
    env_id="Hopper-v5",
    total_steps=2048,
    num_envs=4,
    rollout_steps=32,
    num_threads=1,
    device="cpu",
    hidden=(8, 8),
    critic_hidden=(8,),
    noise=LearnedNoise(initial=0.5),
    epochs=2,
    minibatch_size=32,
    defence=StateAdversarial(epsilon=0.1, kappa=0.1, inner_steps=2, fraction=0.5),
    pruning=MagnitudePruning(sparsity=0.5, target="both", interval=3),
    num_evaluations=4,
    evaluation_episodes=2,
    visited_states=2,
    averaging=0.1,
    checkpoint_steps=256,
)


def digest(config: TrainConfig, **more: Path) -> str:
    return weights_sha256(train_policy(config, **more).policy)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainResult, Path]:
    out = tmp_path_factory.mktemp("whole")
    return train_policy(TINY, out=out), out


def start_training(config: TrainConfig, out: Path) -> ForkServerProcess:
    """Start a training in a process of its own; a server that has imported all forks it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["surefoot.train"])
    process = context.Process(target=train_policy, args=(config,), kwargs={"out": out})
    process.start()
    return process


def test_killed_at_any_moment_and_started_again_it_ends_with_the_same_digest(
    tmp_path: Path, whole_run: tuple[TrainResult, Path]
) -> None:
    rng = np.random.default_rng(0)
    for number in range(4):
        before = set(tmp_path.glob("checkpoints/*"))
        process = start_training(TINY, tmp_path)
        # Wait until this process has written something, so that every start makes progress.
        while process.is_alive() and set(tmp_path.glob("checkpoints/*")) <= before:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.join()
        if process.exitcode == 0:  # a fast machine was done before
            assert number > 0
            break
        assert process.exitcode == -signal.SIGKILL
    assert digest(TINY, out=tmp_path) == weights_sha256(whole_run[0].policy)


def test_equal_seeds_give_equal_digests_and_other_seeds_others(
    whole_run: tuple[TrainResult, Path],
) -> None:
    assert digest(replace(TINY, num_threads=2)) == weights_sha256(whole_run[0].policy)
    assert digest(replace(TINY, seed=1)) != weights_sha256(whole_run[0].policy)


def test_a_finished_run_started_again_gives_the_same_result(
    whole_run: tuple[TrainResult, Path],
) -> None:
    result, out = whole_run
    again = train_policy(TINY, out=out)
    assert weights_sha256(again.policy) == weights_sha256(result.policy)
    assert again.curves == result.curves
    assert again.facts == result.facts
    assert np.array_equal(again.visited.independent, result.visited.independent)


def test_the_result_has_the_sparsity_and_counts_of_the_configuration(
    whole_run: tuple[TrainResult, Path],
) -> None:
    result, _ = whole_run
    weights = sum(layer.weight.size for layer in result.policy.layers)
    assert result.policy.sparsity == pytest.approx(0.5, abs=3 / weights)
    critic = [layer.weight for layer in result.critic]
    zeros = sum((weight == 0).sum() for weight in critic) / sum(weight.size for weight in critic)
    assert zeros == pytest.approx(0.5, abs=3 / 32)
    assert result.facts["steps"] == 2048
    assert result.facts["updates"] == TINY.num_updates
    assert len(result.curves["step"]) == TINY.num_iterations
    assert sum(value is not None for value in result.curves["clean_return"]) == 4


def test_the_run_folder_holds_the_resolved_configuration_and_scalars(
    whole_run: tuple[TrainResult, Path],
) -> None:
    _, out = whole_run
    table = parse_toml((out / "train.toml").read_text(), "train.toml")["train"]
    assert build(TrainConfig, table, "train") == TINY
    assert list((out / "tensorboard").glob("events*"))


def test_another_configuration_in_the_same_folder_is_refused_by_name(
    whole_run: tuple[TrainResult, Path],
) -> None:
    _, out = whole_run
    with pytest.raises(InputError, match=r"gamma was 0.99, is 0.9\)"):
        train_policy(replace(TINY, gamma=0.9), out=out)
    table = parse_toml((out / "train.toml").read_text(), "train.toml")["train"]
    assert build(TrainConfig, table, "train") == TINY  # as it was


def test_settings_that_no_weight_depends_on_may_change_when_a_run_goes_on(
    tmp_path: Path, whole_run: tuple[TrainResult, Path]
) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.step == 640:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRun):
        train_policy(TINY, out=tmp_path, on_progress=interrupt)
    other = replace(TINY, num_threads=2, checkpoint_steps=512, visited_states=1, gate_trials=3)
    result = train_policy(other, out=tmp_path)
    assert weights_sha256(result.policy) == weights_sha256(whole_run[0].policy)
    assert len(result.visited.independent) == 1
    assert result.visited.trials is not None
    assert len(result.visited.trials) == 3


def test_a_run_whose_episodes_are_too_short_to_be_recorded_is_not_lost(
    tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Short(TargetEnv):
        """Ends after a step or two of a horizon of a thousand."""

        def __init__(self, num_envs: int) -> None:
            super().__init__(num_envs, horizon=1000)

        def _restart(self, indices: Iterable[int]) -> None:
            super()._restart(indices)
            self.length[list(indices)] = 1 + np.array([*indices]) % 2

    let_every_task_be(monkeypatch, Short)
    says = r"visited_states must be 0 where .* horizon of 1000 steps: only \d of \d+ .*, got 4$"
    with pytest.raises(InputError, match=says):
        train_policy(replace(tiny, visited_states=4), out=tmp_path)
    assert train_policy(replace(tiny, visited_states=0), out=tmp_path).facts["steps"] == 1024


SETTINGS = {
    "noise": LearnedNoise(initial=0.4),
    "squash": "tanh",
    "activation": "relu",
    "learning_rate": 1e-3,
    "anneal_to": 0.5,
    "weight_decay": 0.1,
    "gamma": 0.9,
    "gae_lambda": 0.8,
    "clip_range": 0.05,
    "epochs": 3,
    "minibatch_size": 64,
    "entropy_coefficient": 0.1,
    "value_coefficient": 5.0,
    "value_clip": 0.05,
    "max_grad_norm": 0.01,
    "normalise_observations": False,
    "normalise_rewards": False,
    "observation_clip": 0.5,
    "reward_clip": 0.05,
    "averaging": 0.5,
    "defence": replace(TINY.defence, inner_steps=3),
    "pruning": replace(TINY.pruning, start=0.1),
}


OF_OTHER_TESTS = {
    *("env_id", "env_module", "seed", "device", "torch_threads", "select"),
    *("hidden", "critic_hidden", "num_envs", "rollout_steps", "total_steps"),
    *(
        "num_evaluations",
        "evaluation_episodes",
        "visited_states",
        "gate_trials",
        "constant_scale",
        "joint_gradient",
    ),
}
"""Settings whose effect is seen in other tests, or in shapes and counts."""


def test_every_setting_is_looked_at() -> None:
    names = {field.name for field in fields(TrainConfig)}
    assert names == SETTINGS.keys() | OF_OTHER_TESTS | set(WITHOUT_EFFECT)


# So fast that few steps reach every limit.
SHORT = replace(TINY, total_steps=512, learning_rate=3e-3, num_evaluations=1, visited_states=0)


@pytest.fixture(scope="module")
def short_digest() -> str:
    return digest(SHORT)


@pytest.mark.parametrize("name", SETTINGS)
def test_no_setting_is_without_effect(short_digest: str, name: str) -> None:
    assert digest(replace(SHORT, **{name: SETTINGS[name]})) != short_digest


@pytest.mark.usefixtures("target_task")
def test_training_and_evaluation_begin_with_other_seeds(
    tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    class Watched(TargetEnv):
        def reset(self, seeds: Sequence[int] | None = None) -> NDArray[np.float64]:
            begun.append(list(seeds))
            return super().reset(seeds)

    let_every_task_be(monkeypatch, Watched)
    train_policy(replace(tiny, num_evaluations=3, visited_states=0))
    training, first, *others = begun
    assert all(again == first for again in others)  # the same episodes at every evaluation
    assert len(others) == 2
    assert not set(training) & set(first)


def test_a_folder_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="not a surefoot run folder"):
        train_policy(TINY, out=tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_at_a_checkpoint_from_which_the_run_goes_on(
    tmp_path: Path, whole_run: tuple[TrainResult, Path], number: Signals
) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.step == 640:  # between two checkpoints
            os.kill(os.getpid(), number)

    with pytest.raises(InterruptedRun, match="checkpoint written at step 640") as stopped:
        train_policy(TINY, out=tmp_path, on_progress=interrupt)
    assert stopped.value.exit_code == 75
    assert digest(TINY, out=tmp_path) == weights_sha256(whole_run[0].policy)


def test_progress_counts_to_the_end() -> None:
    seen = []
    train_policy(replace(TINY, total_steps=512, defence=NoDefence()), on_progress=seen.append)
    assert [progress.step for progress in seen] == [128, 256, 384, 512]
    assert all(progress.total == 512 for progress in seen)
    assert all(progress.steps_per_s > 0 for progress in seen)
    assert seen[-1].seconds_left == 0
    assert seen[-1].sparsity > 0.4


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (np.nan, "observation is not finite, in the steps after 384"),
        (np.inf, "observation is not finite, in the steps after 384"),
        (-1e200, "an observation of 1e+200 is too large for a normaliser in float32, in the steps"),
        (1e42, "an observation of 1e+42 is too large for a normaliser in float32, in the steps"),
    ],
)
def test_a_simulation_that_diverges_stops_the_run_and_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float, says: str
) -> None:
    config = replace(TINY, env_id="Target-v0", num_evaluations=1)

    def make_broken(num_envs: int) -> TargetEnv:
        env = TargetEnv(num_envs)
        step, count = env.step, 0

        def broken(actions: NDArray[np.float32]) -> StepResult:
            nonlocal count
            result = step(actions)
            count += 1
            if count > 100:
                result.obs[0, 0] = value
            return result

        env.step = broken
        return env

    let_every_task_be(monkeypatch, make_broken)
    with pytest.raises(DivergenceError, match=re.escape(f"Target-v0: {says}")):
        train_policy(config, out=tmp_path)
    assert (tmp_path / "checkpoints" / "latest").read_text() == "000000000256"


@pytest.mark.parametrize("what", ["obs", "terminal_obs"])
def test_an_infinite_observation_stops_a_run_that_does_not_normalise_at_once(
    tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The clip would make a 10 of it."""

    class Broken(TargetEnv):
        def step(self, actions: NDArray[np.float32]) -> StepResult:
            result = super().step(actions)
            getattr(result, what)[:] = np.inf
            return result

    let_every_task_be(monkeypatch, Broken)
    with pytest.raises(DivergenceError, match=r"observation is not finite, in the steps after 0$"):
        train_policy(replace(tiny, normalise_observations=False))


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("reward", [1e160, -1e20])
def test_a_reward_too_large_to_learn_from_is_named(
    tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch, normalise: bool, reward: float
) -> None:
    class Generous(TargetEnv):
        def step(self, actions: NDArray[np.float32]) -> StepResult:
            result = super().step(actions)
            result.reward[0] = reward
            return result

    let_every_task_be(monkeypatch, Generous)
    says = re.escape(
        f"a reward of {abs(reward):.3g} is too large to be learned from, at most 1e+12"
    )
    with pytest.raises(DivergenceError, match=says):
        train_policy(replace(tiny, normalise_rewards=normalise))


@pytest.mark.parametrize("normalise", [False, True])
def test_the_largest_reward_that_is_let_through_can_be_learned_from(
    tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch, normalise: bool
) -> None:
    class Generous(TargetEnv):
        def step(self, actions: NDArray[np.float32]) -> StepResult:
            result = super().step(actions)
            result.reward[:] = 1e12
            return result

    let_every_task_be(monkeypatch, Generous)
    result = train_policy(replace(tiny, normalise_rewards=normalise))
    assert np.isfinite(result.curves["value_loss"]).all()
    critic = [layer.weight for layer in result.critic]
    before = train_policy(replace(tiny, learning_rate=1e-30)).critic
    assert all((after != start.weight).any() for after, start in zip(critic, before, strict=True))


@pytest.mark.parametrize("name", ["actor", "critic"])
def test_a_parameter_that_diverges_in_the_very_last_update_stops_the_run(
    tiny: TrainConfig, target_task: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    after_step = Ppo.hold_limit

    def broken(ppo: Ppo, parameters: Tensor, *more: Tensor) -> None:
        after_step(ppo, parameters, *more)
        if ppo.num_updates == ppo.config.num_updates:
            getattr(ppo.agent, name).parameters[0] = torch.nan

    monkeypatch.setattr(Ppo, "hold_limit", broken)
    with pytest.raises(DivergenceError, match="parameters became non-finite, in the steps after"):
        train_policy(tiny, out=tmp_path)
    assert (tmp_path / "checkpoints" / "latest").read_text() == "000000000768"


def test_a_loss_that_diverges_stops_the_run_with_the_step_and_keeps_no_checkpoint_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    let_every_task_be(monkeypatch, TargetEnv)
    config = replace(TINY, env_id="Target-v0", learning_rate=1e30, pruning=NoPruning())
    with pytest.raises(
        DivergenceError, match=r"Target-v0: \w+ became non-finite, in the steps after \d+$"
    ):
        train_policy(config, out=tmp_path)
    store = CheckpointStore(tmp_path / "checkpoints", to_table(config) | {"device": "cpu"})
    stored = store.load()
    parameters = [] if stored is None else stored.tree["ppo"]["parameters"].values()
    assert all(np.isfinite(entry).all() for entry in parameters)


def test_a_run_does_not_go_on_another_device_than_it_began_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(TINY, total_steps=128, device="auto")
    train_policy(config, out=tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    with pytest.raises(InputError, match=r"another configuration \(.*device"):
        train_policy(config, out=tmp_path)


def test_cuda_that_is_not_there_is_an_error_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(MissingLibraryError, match="device must be auto or cpu"):
        pick_device("cuda")
    assert pick_device("auto").type == "cpu"


def test_what_pytorch_keeps_per_process_is_put_back() -> None:
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    train_policy(replace(TINY, total_steps=128, torch_threads=before[0] + 1))
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


def test_it_learns_to_play_the_number_that_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Optimal return 0; always playing the middle of the range costs 1.3 a step."""
    let_every_task_be(monkeypatch, TargetEnv)
    config = TrainConfig(
        env_id="Target-v0",
        total_steps=16384,
        num_envs=16,
        rollout_steps=32,
        device="cpu",
        hidden=(16,),
        critic_hidden=(16,),
        noise=LearnedNoise(initial=0.3),
        learning_rate=3e-3,
        minibatch_size=128,
        gamma=0.5,
        num_evaluations=1,
        evaluation_episodes=64,
        visited_states=4,
        pruning=MagnitudePruning(sparsity=0.3),
    )
    result = train_policy(config)
    assert result.facts["evaluation"]["last"] > -0.3


def test_it_learns_discrete_actions() -> None:
    config = TrainConfig(
        env_id="CartPole-v1",
        total_steps=16384,
        num_envs=8,
        rollout_steps=128,
        device="cpu",
        hidden=(32, 32),
        critic_hidden=(32, 32),
        learning_rate=2e-3,
        minibatch_size=256,
        num_evaluations=1,
        evaluation_episodes=8,
        visited_states=4,
        defence=StateAdversarial(epsilon=0.05, kappa=0.1, inner_steps=3, fraction=0.5),
    )
    assert train_policy(config).facts["evaluation"]["last"] > 200


RAMP = {"epsilon": 0.2, "ramp_start": 0.4, "ramp_end": 0.7}
DEFENCES = [
    StateAdversarial(**RAMP, kappa=0.1),
    ConvexStateAdversarial(**RAMP, kappa=0.1),
    AdversarialReturn(**RAMP),
    BoundedAdversarialReturn(**RAMP),
    AlternatingTraining(**RAMP),
]


@pytest.mark.usefixtures("target_task")
@pytest.mark.parametrize("defence", DEFENCES, ids=lambda defence: defence.kind)
def test_the_best_policy_is_one_that_the_whole_ball_was_around(
    tiny: TrainConfig,
    monkeypatch: pytest.MonkeyPatch,
    defence: Defence,
) -> None:
    returns = iter(range(8, 0, -1))  # the first evaluated policy plays best, without a ball
    monkeypatch.setattr(
        "surefoot.train.training_run.clean_episodes",
        lambda *args: (np.full(2, float(next(returns))), np.ones(2, np.int64)),
    )
    config = replace(tiny, defence=defence, select="best", num_evaluations=8)
    best = train_policy(config).facts["evaluation"]["best"]
    assert best == {"clean_return": 3.0, "step": 6 * tiny.batch_size}


@pytest.mark.usefixtures("target_task")
@pytest.mark.parametrize(("select", "number"), [("best", 2), ("last", 3)])
def test_the_policy_that_is_deployed_is_the_very_one_that_was_evaluated(
    tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, select: str, number: int
) -> None:
    seen, returns = [], iter([1.0, 2.0, 4.0, 3.0])

    def evaluate(policy: Policy, *more: object) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        seen.append(weights_sha256(policy))
        return np.full(2, next(returns)), np.ones(2, np.int64)

    monkeypatch.setattr("surefoot.train.training_run.clean_episodes", evaluate)
    config = replace(tiny, select=select, num_evaluations=4)
    assert weights_sha256(train_policy(config, out=tmp_path).policy) == seen[number]
    assert len(set(seen)) == 4
    again = train_policy(config, out=tmp_path)  # the best one comes out of a checkpoint
    assert weights_sha256(again.policy) == seen[number]


@pytest.mark.usefixtures("target_task")
def test_the_robust_policy_is_the_one_that_the_screen_leaves_most(
    tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    left = iter([7.0, 9.0, 8.0])

    def screen(policy: Policy, ball: Ball, *more: object) -> tuple[float, int]:
        assert ball.epsilon == 0.1  # the whole ball: no policy is screened before it is around it
        return next(left), 5

    monkeypatch.setattr("surefoot.train.training_run.screened_return", screen)
    defence = StateAdversarial(epsilon=0.1, kappa=0.1, inner_steps=1, ramp_end=0.5)
    config = replace(tiny, defence=defence, select="robust", num_evaluations=4)
    result = train_policy(config, out=tmp_path)
    screened = result.curves["screened_return"]
    assert [value for value in screened if value is not None] == [7.0, 9.0, 8.0]
    best = result.facts["evaluation"]["best"]
    place = screened.index(9.0)
    assert best["screened_return"] == 9.0
    assert best["step"] == result.curves["step"][place]
    again = train_policy(config, out=tmp_path)  # it comes out of a checkpoint with its merit
    assert again.facts["evaluation"]["best"] == best
    assert weights_sha256(again.policy) == weights_sha256(result.policy)


@pytest.mark.usefixtures("target_task")
def test_what_is_deployed_is_the_average_of_the_iterations(
    tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    iterates = []

    def watch(run: Run) -> None:
        iterate(run)
        iterates.append([layer.weight for layer in run._agent.actor.mlp.to_layers()])

    iterate = Run.iterate
    monkeypatch.setattr(Run, "iterate", watch)
    layers = train_policy(replace(tiny, averaging=0.5, num_evaluations=1)).policy.layers
    start = train_policy(replace(tiny, averaging=0.5, learning_rate=1e-30)).policy.layers
    for number, layer in enumerate(layers):
        # Half of eight iterations: a share of one quarter.
        expected = start[number].weight.astype(np.float64)
        for weights in iterates[:8]:
            expected = 0.75 * expected + 0.25 * weights[number]
        assert layer.weight == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("what", ["observation", "reward"])
@pytest.mark.parametrize("out", [False, True])
def test_a_number_that_is_not_finite_in_an_evaluation_stops_the_run(
    tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str, out: bool
) -> None:
    class Broken(TargetEnv):
        def step(self, actions: NDArray[np.float32]) -> StepResult:
            result = super().step(actions)
            broken = result.obs if what == "observation" else result.reward
            broken[-1] = np.nan
            return result

    made = []

    def make_env(env_id: str, num_envs: int, **more: object) -> TargetEnv:
        made.append(num_envs)
        return (TargetEnv if len(made) == 1 else Broken)(num_envs)  # the first one trains

    monkeypatch.setattr("surefoot.train.trainer.make_env", make_env)
    config = replace(tiny, num_evaluations=8, select="best")
    with pytest.raises(DivergenceError, match=f"an? {what} of an evaluation is not finite"):
        train_policy(config, out=tmp_path / "run" if out else None)
    assert not (tmp_path / "run" / "policy").exists()


def test_what_is_measured_stands_at_evaluations_alone_and_before_it_nothing() -> None:
    """A run of before that knew no such number goes on with rows that do not have it."""

    def run(**more: Measure) -> Run:
        cpu = torch.device("cpu")
        return Run(TINY, TargetEnv(TINY.num_envs), TargetEnv(TINY.evaluation_episodes), cpu, **more)

    before = run()
    before.iterate()
    after = run(measure=lambda policy: {"width": len(policy.layers[0].bias)})
    after.load_checkpoint(before.checkpoint())
    while not after.is_finished:
        after.iterate()
    seen, measured = after.curves["clean_return"], after.curves["width"]
    assert len(measured) == TINY.num_iterations
    assert measured[1:] == [None if value is None else 8.0 for value in seen[1:]]
    assert measured[0] is None
