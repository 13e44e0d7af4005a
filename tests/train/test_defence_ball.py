"""A defence in raw units trains against the very set that a budget with its words is about."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from support.environments import TargetEnv
from support.training import CPU, let_every_task_be, linf, seeded
from surefoot.config import build, to_table
from surefoot.errors import InputError, InterruptedRun
from surefoot.misreading import Misreading, Perturbation
from surefoot.policy import weights_sha256
from surefoot.raw_units import ball_of
from surefoot.robot import Robot
from surefoot.train.defence_ball import full_ball, grown, perturbation_of
from surefoot.train.defence_config import (
    AdversarialReturn,
    AlternatingTraining,
    BoundedAdversarialReturn,
    ConvexStateAdversarial,
    Defence,
    SensorBiases,
    StateAdversarial,
)
from surefoot.train.defences import perturbed_states
from surefoot.train.result import Progress
from surefoot.train.train_config import TrainConfig
from surefoot.train.trainer import train_policy
from surefoot.train.training_run import Run

SHEET = """
[[sensor]]
name = "place"
unit = "m"
noise = {noise}

[[sensor]]
name = "still"
count = 2
unit = "rad"

[[actuator]]
name = "motor"
unit = "N"
"""
ROBOT = Robot.parse(SHEET.format(noise=0.05))
PERTURB: dict[str, float | str] = {"place": "0.05 m", "still[1]": 0.02}
TOGETHER: Perturbation = {"place": 0.05, "still": Misreading(l2="0.02 rad")}
DEFENCES: list[Defence] = [
    StateAdversarial(perturb=PERTURB, kappa=0.5, inner_steps=2),
    StateAdversarial(perturb=PERTURB, kappa=0.5, inner_steps=2, collect_attacked=True),
    ConvexStateAdversarial(perturb=PERTURB, kappa=0.5),
    AdversarialReturn(perturb=PERTURB, inner_steps=2),
    BoundedAdversarialReturn(perturb="noise", inner_steps=2),
    AlternatingTraining(perturb=PERTURB, kappa=0.5),
    SensorBiases(perturb=PERTURB, kappa=0.5),
    StateAdversarial(perturb=TOGETHER, kappa=0.5, inner_steps=2),
    ConvexStateAdversarial(perturb=TOGETHER, kappa=0.5),
    AlternatingTraining(perturb=TOGETHER, kappa=0.5),
]
TINY = TrainConfig(
    env_id="Target-v0",
    total_steps=256,
    num_envs=4,
    rollout_steps=16,
    minibatch_size=32,
    epochs=2,
    hidden=(8,),
    critic_hidden=(8,),
    num_evaluations=1,
    evaluation_episodes=2,
    visited_states=0,
    checkpoint_steps=64,
    defence=DEFENCES[0],
)


@pytest.fixture
def target_task(monkeypatch: pytest.MonkeyPatch) -> None:
    let_every_task_be(monkeypatch, TargetEnv)


def name_of(defence: Defence) -> str:
    return type(defence).__name__


def run_of(config: TrainConfig) -> Run:
    return Run(config, TargetEnv(4), TargetEnv(2), CPU, TargetEnv(4), robot=ROBOT)


@pytest.mark.parametrize("defence", DEFENCES, ids=name_of)
def test_at_the_end_the_ball_is_that_of_a_budget_with_the_same_words(defence: Defence) -> None:
    config = replace(TINY, defence=defence)
    assert build(TrainConfig, to_table(config), "train") == config
    run = run_of(config)
    while not run.is_finished:
        run.iterate()
    perturb = perturbation_of(defence)
    assert perturb is not None
    assert run._ppo.ball() == ball_of(perturb, ROBOT, run.policy().normaliser)
    assert run.curves["epsilon"][-1] == run._ppo.ball().epsilon


def test_the_radii_follow_the_scales_and_stand_still_where_these_do() -> None:
    moving, frozen = run_of(TINY), run_of(replace(TINY, normalise_observations=False))
    seen = []
    for run in (moving, frozen):
        before = run._ppo._full_ball
        run.iterate()
        seen.append(run._ppo._full_ball != before)
    assert seen == [True, False]
    scale = moving._learner.policy().normaliser.scale.astype(float)
    raw = np.array([0.05, 0.0, 0.02])
    assert moving._ppo._full_ball.sides == pytest.approx(raw / scale, abs=1e-5)  # and a rounding


@pytest.mark.parametrize("defence", DEFENCES[:5], ids=name_of)
def test_no_search_leaves_the_side_of_a_sensor(defence: Defence) -> None:
    run = run_of(replace(TINY, defence=defence))
    ball = linf(0.3, (1.0, 0.0, 0.25))
    samples = run._learner._samples(run._learner.play())
    found = perturbed_states(
        run._agent, defence, ball, samples.with_normalised_advantages(), seeded(0)
    )
    moved = (found.double() - samples.states[: len(found)].double()).abs().numpy()
    if isinstance(defence, ConvexStateAdversarial):
        assert len(found) == 0
    else:
        assert (moved <= np.array([0.3, 0.0, 0.075]) + 1e-6).all()
        assert (moved.max(axis=0) > [0.2, -1.0, 0.05]).all()


@pytest.mark.parametrize("kind", ["sa", "atla", "bias"])
def test_a_disturbed_rollout_leaves_the_side_of_no_sensor(kind: str) -> None:
    number = {"sa": 1, "atla": 5, "bias": 6}[kind]
    run = run_of(replace(TINY, defence=DEFENCES[number]))
    ball = linf(0.3, (1.0, 0.0, 0.25))
    assert run._adversary is not None
    disturbance = run._adversary.disturbance(run._learner.policy(), ball)
    assert disturbance is not None
    states = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    seen = disturbance.see(states, np.arange(4))
    assert ball.contains(states, seen).all()
    assert (seen[:, 0] != states[:, 0]).any()


def test_a_stopped_training_resumes_bit_for_bit(tmp_path: Path, target_task: None) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.step >= 128:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRun):
        train_policy(TINY, out=tmp_path, on_progress=interrupt, robot=ROBOT)
    # The second entry of the array changes places with the first.
    other = Robot.parse(ROBOT.text.replace("count = 2", 'entries = ["1", "0"]'))
    with pytest.raises(InputError, match=r"robot\.toml must say the errors of train\.defence"):
        train_policy(TINY, out=tmp_path, robot=other)
    resumed = train_policy(TINY, out=tmp_path, robot=ROBOT)
    whole = train_policy(TINY, robot=ROBOT)
    assert weights_sha256(resumed.policy) == weights_sha256(whole.policy)
    assert resumed.facts["errors"] == [0.05, 0.0, 0.02]


@pytest.mark.parametrize(
    ("robot", "message"),
    [
        (None, "train.defence.perturb is in words of a robot: give train.robot"),
        (Robot.parse(ROBOT.text.replace("place", "plaice")), "unknown sensor 'place'"),
        (Robot.parse(ROBOT.text.replace('"m"', '"mm"')), "perturb.place must be in mm"),
    ],
)
def test_words_that_no_robot_has_write_nothing(
    robot: Robot | None, message: str, tmp_path: Path, target_task: None
) -> None:
    with pytest.raises(InputError, match=message):
        train_policy(TINY, out=tmp_path / "run", robot=robot)
    assert not (tmp_path / "run").exists()


def test_a_sensor_that_never_moved_errs_by_what_is_deployed() -> None:
    still = run_of(TINY)._learner.policy().normaliser
    still = replace(still, scale=np.array([1.0, 1.0, 1e-8], np.float32))
    ball = full_ball(replace(TINY, constant_scale=0.5), ROBOT, still)
    assert ball.sides == pytest.approx([0.05, 0.0, 0.04], rel=1e-4)


def test_half_of_a_ball_has_half_its_sides() -> None:
    half = grown(linf(0.4, (1.0, 0.5)), 0.5)
    assert half.sides == pytest.approx([0.2, 0.1])
