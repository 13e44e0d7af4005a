"""Adversaries that hold readings back, in a task whose observation is the time itself."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest

from support.attacks import target_of
from support.environments import TargetEnv
from support.policies import file_of, linear_policy
from support.randomness import random_streams
from support.robots import robot_with
from surefoot.attack import suite
from surefoot.attack.adversary import Adversary
from surefoot.attack.attack_config import AttackConfig
from surefoot.attack.closed_loop import EvaluateConfig, Evaluation, evaluate
from surefoot.attack.deployed import DeployedController
from surefoot.attack.late import DELAY, Choice, LateAdversary, late_variants
from surefoot.attack.perturbation_set import Configured, perturbation_set
from surefoot.attack.proved_deviation import certified_boxes, certified_deviation
from surefoot.attack.suite import run_suite
from surefoot.ball import Ball, Norm, Randoms, States
from surefoot.budget import Budget
from surefoot.certify import CertifyConfig, Evidence, certify_policy
from surefoot.config import build
from surefoot.envs.vector import Floats
from surefoot.errors import CheckError, InputError
from surefoot.misreading import Misreading
from surefoot.onnx_file import ControllerFile
from surefoot.policy import GaussianHead, Policy
from surefoot.records import AttackRecord
from surefoot.runtime.load import Backend, controller_of
from surefoot.unknown import Unknown

BALL = Ball(norm=Norm.LINF, epsilon=0.0, sensors=(0.0, 0.0, 0.0), delays=(0, 2, 0))
SEEDS = tuple(range(12))


@pytest.fixture(scope="module", name="file")
def _file() -> ControllerFile:
    """A controller whose action is the time that it sees."""
    return file_of(replace_range(linear_policy(np.array([[0.0, 1.0, 0.0]]))))


def replace_range(policy: Policy) -> Policy:
    """The policy with the actuators of the task."""
    ones = np.ones(1, np.float32)
    assert isinstance(policy.head, GaussianHead)
    return replace(policy, head=replace(policy.head, centre=ones, half_range=3 * ones))


def played(file: ControllerFile, adversary: Adversary) -> Evaluation:
    deployed = DeployedController(controller=controller_of(file, Backend.NUMPY), policy=file.policy)
    return evaluate(deployed, TargetEnv(4), adversary, EvaluateConfig(seeds=SEEDS))


def adversaries(file: ControllerFile) -> Iterator[tuple[str, Adversary]]:
    yield from late_variants(target_of(file.policy, BALL, TargetEnv)).adversaries.items()


def test_no_reading_is_later_than_it_may_be_nor_from_before_the_episode(
    file: ControllerFile,
) -> None:
    for name, adversary in adversaries(file):
        found = played(file, adversary)
        seen_late = found.deviations[:, 0] / 3  # half the range of the actuator
        latest = np.minimum(found.lengths - 1, 2)
        assert (seen_late <= latest + 1e-6).all()
        if name != Choice.RANDOM.value:
            np.testing.assert_allclose(seen_late, latest, atol=1e-6)
        assert seen_late.max() == pytest.approx(2)


def test_a_result_does_not_depend_on_how_many_episodes_are_played_together(
    file: ControllerFile,
) -> None:
    deployed = DeployedController(controller=controller_of(file, Backend.NUMPY), policy=file.policy)
    for _, adversary in adversaries(file):
        alone, together = (
            evaluate(deployed, TargetEnv(num), adversary, EvaluateConfig(seeds=SEEDS))
            for num in (1, 5)
        )
        assert np.array_equal(alone.deviations, together.deviations)


def test_the_greedy_choice_moves_the_action_as_far_as_every_common_delay(
    file: ControllerFile,
) -> None:
    rng = np.random.default_rng(0)
    policy = linear_policy(rng.normal(size=(2, 3)))
    ball = replace(BALL, delays=(1, 2, 0))
    greedy = LateAdversary(ball=ball, choice=Choice.GREEDY, query=policy.outputs_at)
    seen = rng.normal(size=(3, 20, 3)).astype(np.float32)
    shown = greedy.late(seen, random_streams(20))
    assert greedy.explains(seen, shown).all()

    def moved(states: States) -> Floats:
        change = policy.outputs_at(states) - policy.outputs_at(seen[0])
        return np.asarray(np.abs(change).sum(axis=1), np.float64)

    alike = [np.stack([seen[1, :, 0], seen[age, :, 1], seen[0, :, 2]], axis=1) for age in (1, 2)]
    assert (moved(shown) >= np.max([moved(states) for states in alike], axis=0) - 1e-6).all()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Inventive(LateAdversary):
    """Shows what was never read."""

    def late(self, seen_AND: States, randoms: Randoms) -> States:
        del randoms
        return np.asarray(seen_AND[-1] - np.float32(0.5))


def test_what_was_never_read_stops_the_episode(file: ControllerFile) -> None:
    adversary = _Inventive(ball=BALL, choice=Choice.CONSTANT, query=file.policy.outputs_at)
    with pytest.raises(CheckError, match="showed what was not read"):
        played(file, adversary)


def test_the_suite_plays_it_where_readings_may_be_late_and_nowhere_else(
    file: ControllerFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "make_env", lambda env_id, num, **_: TargetEnv(num))
    monkeypatch.setattr(suite, "describe_env", lambda *_: TargetEnv(1).spec)
    robot = robot_with("hip")
    config = AttackConfig(
        attacks=(DELAY,),
        perturb={"angle[1]": Misreading(delay=2)},
        episodes=3,
        selection_episodes=2,
        env_id="Target-v0",
    )
    report = run_suite(file, None, config, robot=robot)
    record = build(AttackRecord, report.to_table(), "attack.json")
    assert list(record.attacks) == ["clean", DELAY]
    assert record.ball == report.ball
    assert record.ball.delays == (0, 2, 0)
    assert record.perturbation == "angle[1] a delay of 2 steps"
    assert set(record.attacks[DELAY].selection) == {choice.value for choice in Choice}
    with pytest.raises(InputError, match="perturb has no delay"):
        run_suite(file, None, replace(config, perturb=None, epsilon=0.1))


def test_a_proof_about_errors_bounds_no_late_reading() -> None:
    file = file_of(linear_policy(np.ones((1, 3))))
    budget = Budget.parse("""
    [[require]]
    quantity = "action_deviation"
    perturb = { gyro = 0.5 }
    scope = "everywhere"
    at_most = 50.0
    """)
    robot = robot_with("hip")
    certificate = certify_policy(file, budget, Evidence(robot=robot), CertifyConfig())
    asked = Configured(
        epsilon=None, norm=Norm.LINF, perturb={"gyro": Misreading(linf=0.5, delay=1)}
    )
    ball = perturbation_set(file.policy, certificate, asked, None).ball
    assert certified_deviation(certificate, replace(ball, delays=None)) is not None
    assert certified_deviation(certificate, ball) is None
    assert isinstance(certified_boxes(certificate, ball, 1), Unknown)
