"""The gate in an attacked loop decides as it does on the robot."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from support.environments import FormulaEnv
from support.policies import file_of, linear_policy, random_policy, unit_range
from surefoot.attack.adversary import Adversary, Draw, NoAdversary, RandomAdversary
from surefoot.attack.attack_config import AttackConfig
from surefoot.attack.behind_gate import WITHIN, DeployedGate, WithinGate, fallback_of
from surefoot.attack.closed_loop import EvaluateConfig, Evaluation, evaluate
from surefoot.attack.constant import ConstantAdversary
from surefoot.attack.cost import Cost
from surefoot.attack.deployed import DeployedController
from surefoot.attack.suite import run_suite
from surefoot.ball import Ball, Norm, Randoms, States
from surefoot.envs import VectorEnv, make_env
from surefoot.errors import InputError, RejectedError, UserCodeError
from surefoot.gate import ActionLimits, Gate, Reaction, SensorLimits, TimeLimits
from surefoot.onnx_file import ControllerFile
from surefoot.policy import Activation
from surefoot.records import AttackRecord
from surefoot.runtime import GatedController
from surefoot.runtime.load import Backend, controller_of

SEEDS = (3, 11, 20)
WIDE = 1e6


@pytest.fixture(scope="module")
def file() -> ControllerFile:
    policy = random_policy(np.random.default_rng(1), (11, 8, 3), Activation.TANH)
    return file_of(unit_range(policy), {"env": {"id": "Hopper-v5"}})


def gate_for(file: ControllerFile, reaction: Reaction, velocity: float = 1.5) -> Gate:
    """A gate that rejects a hopper whose foot moves fast, or whose torques jump."""
    free = SensorLimits(low=-WIDE, high=WIDE)
    foot = SensorLimits(low=-velocity, high=velocity, rate=velocity)
    return Gate(
        sensors=(free,) * (file.policy.obs_dim - 1) + (foot,),
        actions=(ActionLimits(low=-WIDE, high=WIDE, rate=0.5),) * file.policy.num_outputs,
        time=TimeLimits(max_age_us=0, max_gap_us=1),
        reaction=reaction,
        recover_after=2,
    )


def deploy(file: ControllerFile) -> DeployedController:
    return DeployedController(controller=controller_of(file, Backend.NUMPY), policy=file.policy)


def play(
    file: ControllerFile,
    gate: Gate | None,
    adversary: Adversary | None = None,
    env: VectorEnv | None = None,
) -> Evaluation:
    guarded = None if gate is None else DeployedGate(gate=gate, normaliser=file.policy.normaliser)
    config = EvaluateConfig(seeds=SEEDS, gate=guarded)
    env = env or make_env("Hopper-v5", 2)
    return evaluate(deploy(file), env, adversary or NoAdversary(), config)


@dataclass
class Robot:
    """A hopper of Gymnasium that the runtime of a bundle controls."""

    controller: GatedController
    first_rejection: int | None = None
    replaced: int = 0

    def torques(self, obs: np.ndarray, step: int) -> np.ndarray:
        good = self.controller.num_events
        try:
            torques = self.controller(obs[None], now_us=0)[0]
        except RejectedError:
            torques = np.zeros(3, np.float32)
        if self.first_rejection is None and self.controller.num_events > good:
            self.first_rejection = step
        return torques


@pytest.mark.parametrize("reaction", list(Reaction))
def test_the_loop_behind_a_gate_is_the_runtime_in_gymnasium(
    file: ControllerFile, reaction: Reaction
) -> None:
    gate = gate_for(file, reaction)
    played = play(file, gate)
    env = gymnasium.make("Hopper-v5")
    rest = (lambda obs: np.zeros(3)) if reaction is Reaction.FALLBACK else None
    assert played.gate is not None
    for number, seed in enumerate(SEEDS):
        robot = Robot(GatedController(controller_of(file, Backend.NUMPY).engine, gate, rest))
        obs, _ = env.reset(seed=seed)
        total, length, over = 0.0, 0, False
        while not over:
            obs, reward, ended, late, _ = env.step(robot.torques(obs, length + 1))
            total, length, over = total + float(reward), length + 1, ended or late
        assert (played.returns[number], played.lengths[number]) == (total, length)
        assert played.gate.first_rejection[number] == robot.first_rejection
    assert played.gate.fired > 0
    assert sum(played.gate.replaced) >= sum(
        step is not None for step in played.gate.first_rejection
    )
    env.close()


def test_a_gate_that_never_fires_changes_nothing(file: ControllerFile) -> None:
    gate = replace(
        gate_for(file, Reaction.STOP, WIDE),
        actions=(ActionLimits(low=-WIDE, high=WIDE),) * 3,
    )
    adversary = RandomAdversary(ball=Ball(norm=Norm.L2, epsilon=0.3))
    bare, guarded = play(file, None, adversary), play(file, gate, adversary)
    assert np.array_equal(bare.returns, guarded.returns)
    assert np.array_equal(bare.deviations, guarded.deviations)
    assert bare.gate is None
    assert guarded.gate is not None
    assert guarded.gate.first_rejection == (None, None, None)
    assert guarded.gate.replaced == (0, 0, 0)
    assert (guarded.gate.fired, guarded.gate.median_steps) == (0.0, None)
    assert Evaluation.from_json(guarded.to_json()).gate == guarded.gate


def still(file: ControllerFile) -> FormulaEnv:
    """A robot whose true sensors never move."""
    return FormulaEnv(file.policy.obs_dim, file.policy.num_outputs, 2)


@pytest.mark.parametrize("norm", list(Norm))
def test_who_knows_the_gate_keeps_to_its_ranges_and_rates(norm: Norm) -> None:
    normal = random_policy(np.random.default_rng(2), (5, 3)).normaliser
    file = file_of(replace(linear_policy(np.eye(3, 5)), normaliser=normal))
    sensor = SensorLimits(low=-3.0, high=3.0, rate=float(np.float32(0.02)))
    gate = Gate(sensors=(sensor,) * 5, actions=(ActionLimits(low=-WIDE, high=WIDE),) * 3)
    blind = RandomAdversary(ball=Ball(norm=norm, epsilon=0.3), draw=Draw.BOUNDARY)
    caught, passed = (play(file, gate, one, still(file)) for one in (blind, WithinGate(blind)))
    assert caught.gate is not None
    assert passed.gate is not None
    assert caught.gate.fired == 1
    assert passed.gate.fired == 0
    assert passed.max_deviation > 0


@dataclass(frozen=True)
class Breaker:
    """An adversary under which the controller computes what is not finite."""

    ball: Ball
    effort: Cost = field(default_factory=Cost)

    def perturb(self, state_ND: States, randoms: Randoms) -> States:
        return self.ball.perturbed(state_ND, np.ones_like(state_ND))


def test_what_a_gate_rejects_is_no_failure_of_the_controller() -> None:
    file = file_of(linear_policy([[3e38, 3e38]]))
    gate = Gate(
        sensors=(SensorLimits(low=-9.0, high=9.0),) * 2, actions=(ActionLimits(low=-1.0, high=1.0),)
    )
    breaker = Breaker(Ball(norm=Norm.LINF, epsilon=1.0))
    bare = play(file, None, breaker, FormulaEnv(2, 1, 2, spread=2.0))
    held = play(file, gate, breaker, FormulaEnv(2, 1, 2, spread=2.0))
    assert bare.num_failures > 0
    assert held.num_failures == 0
    assert np.isfinite(held.deviations).all()


def test_a_bias_within_the_gate_is_shown_as_the_reading_that_it_is() -> None:
    file = file_of(linear_policy(np.eye(1, 2)))
    deployed = DeployedGate(
        gate=Gate(
            sensors=(SensorLimits(low=-9.0, high=9.0),) * 2,
            actions=(ActionLimits(low=-WIDE, high=WIDE),),
        ),
        normaliser=file.policy.normaliser,
    )
    obs = np.array([[0.1, 12.0]])
    state = file.policy.state(obs, np.float32)
    biased = ConstantAdversary(Ball(norm=Norm.LINF, epsilon=0.5), np.array([0.5, 0.0]))
    shown = deployed.shown(obs, state, biased.perturb(state, []))
    assert shown == pytest.approx(np.array([[0.6, 12.0]]))  # 12 is beyond the clip, and unmoved


SUITE = AttackConfig(attacks=("random",), epsilon=0.05, episodes=2, selection_episodes=1)


def test_attack_json_says_what_the_gate_did(file: ControllerFile) -> None:
    gate = gate_for(file, Reaction.FALLBACK)
    record = run_suite(file, None, SUITE, gate=gate).record()
    assert record.gate == "fallback to actuators at rest"
    assert {outcome.gate is None for outcome in record.attacks.values()} == {False}
    assert {"uniform", f"uniform{WITHIN}"} < record.attacks["random"].selection.keys()
    assert record.attacks["clean"].variant == "clean"
    assert AttackRecord.from_json(record.to_json(), "it") == record
    alone = run_suite(file, None, replace(SUITE, gate=False), gate=gate).record()
    assert alone.gate is None
    assert alone.attacks["clean"].gate is None
    assert replace(alone, more={}) == replace(run_suite(file, None, SUITE).record(), more={})


@pytest.mark.parametrize("change", [{"gate": False}, {"actions": "sampled"}, {}])
def test_a_function_to_fall_back_to_is_refused_where_nothing_does(
    file: ControllerFile, change: dict[str, str | bool]
) -> None:
    config = replace(SUITE, fallback="sit", env_module="mine.py", **change)
    with pytest.raises(InputError, match="fallback must be left out, got 'sit'"):
        run_suite(file, None, config, gate=gate_for(file, Reaction.HOLD))


def test_a_fallback_is_a_function_of_the_module_of_the_task(tmp_path: Path) -> None:
    module = tmp_path / "falling_robot.py"  # a process imports a name once
    module.write_text("def sit(obs):\n    return obs[:2] * 2\ndef fails(obs):\n    raise OSError\n")
    assert fallback_of(None, None) is None
    sit = fallback_of(str(module), "sit")
    assert sit is not None
    assert sit(np.array([1.0, 2.0, 3.0])).tolist() == [2.0, 4.0]
    fails = fallback_of(str(module), "fails")
    assert fails is not None
    with pytest.raises(UserCodeError, match=r"fallback 'fails' of .* failed: OSError"):
        fails(np.zeros(3))
    with pytest.raises(InputError, match="fallback must be in an env_module"):
        fallback_of(None, "sit")


def test_samples_pass_no_gate(file: ControllerFile) -> None:
    gate = DeployedGate(gate=gate_for(file, Reaction.HOLD), normaliser=file.policy.normaliser)
    with pytest.raises(InputError, match="gate must be None where actions are sampled"):
        EvaluateConfig(seeds=(1,), samples=True, gate=gate)
