"""A predicate of the user's own sees whole episodes as they were, and decides nothing else."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest

from support.environments import FormulaEnv
from support.policies import file_of, linear_policy, random_policy, unit_range
from surefoot.artifact import write_file
from surefoot.attack.adversary import Adversary, NoAdversary, RandomAdversary
from surefoot.attack.attack_config import AttackConfig
from surefoot.attack.closed_loop import EvaluateConfig, Evaluation, evaluate
from surefoot.attack.deployed import DeployedController
from surefoot.attack.success import PlayedEpisode, Predicate, success_predicate
from surefoot.attack.suite import run_suite
from surefoot.ball import Ball, Norm
from surefoot.certify import Assumptions
from surefoot.envs import make_env
from surefoot.envs.vector import VectorEnv
from surefoot.errors import InputError, UserCodeError
from surefoot.onnx_file import ControllerFile
from surefoot.policy import Activation
from surefoot.runtime.load import Backend, controller_of
from surefoot.workflow.evidence_files import gather_evidence

SEEDS = (3, 11, 20)


def play(
    file: ControllerFile, env: VectorEnv, adversary: Adversary, success: Predicate | None
) -> Evaluation:
    deployed = DeployedController(controller=controller_of(file, Backend.NUMPY), policy=file.policy)
    return evaluate(deployed, env, adversary, EvaluateConfig(seeds=SEEDS, success=success))


@pytest.fixture(scope="module", name="hopper")
def _hopper() -> ControllerFile:
    policy = random_policy(np.random.default_rng(1), (11, 16, 3), Activation.TANH)
    return file_of(unit_range(policy))


def test_a_predicate_sees_the_true_episode_and_changes_none(hopper: ControllerFile) -> None:
    seen: list[PlayedEpisode] = []

    def keep(episode: PlayedEpisode) -> bool:
        seen.append(episode)
        return len(seen) == 2

    ball = Ball(norm=Norm.LINF, epsilon=0.1)
    for adversary in (NoAdversary(), RandomAdversary(ball=ball)):
        seen.clear()
        asked = play(hopper, make_env("Hopper-v5", 2), adversary, keep)
        silent = play(hopper, make_env("Hopper-v5", 2), adversary, None)
        assert asked.successes == (False, True, False)
        assert silent.successes is None
        np.testing.assert_array_equal(asked.returns, silent.returns)
        assert Evaluation.from_json(asked.to_json()).successes == asked.successes
        env = gymnasium.make("Hopper-v5")
        for number, episode in enumerate(seen):
            assert len(episode.rewards) == asked.lengths[number]
            assert episode.observations.shape == (len(episode.rewards) + 1, 11)
            assert episode.terminated == asked.terminated[number]
            assert episode.rewards.sum() == pytest.approx(asked.returns[number])
            np.testing.assert_array_equal(episode.observations[0], env.reset(seed=SEEDS[number])[0])
        env.close()


def test_an_episode_that_failed_is_no_success() -> None:
    file = file_of(linear_policy([[1.0, 0.0]]))
    env = FormulaEnv(2, 1, num_envs=3, diverges=(11,))
    evaluation = play(file, env, NoAdversary(), lambda episode: True)
    assert evaluation.successes == (True, False, True)


MODULE = """
def long_enough(episode):
    return len(episode.rewards) >= 1

def no_bool(episode):
    return 3

def leaves(episode):
    raise SystemExit(0)

class Shown:
    def __repr__(self):
        raise SystemExit(0)

def looks(episode):
    return Shown()

nothing = 3
"""


@pytest.fixture(scope="module", name="module")
def _module(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("robot") / "predicates_of_a_robot.py"
    write_file(path, MODULE.encode())
    return str(path)


def test_a_predicate_that_is_none_is_refused_in_one_line(module: str) -> None:
    for name in ("missing", "nothing"):
        with pytest.raises(InputError, match=f"must have a function '{name}', it has none"):
            success_predicate(module, name)
    episode = PlayedEpisode(observations=np.zeros((2, 1)), rewards=np.zeros(1), terminated=False)
    assert success_predicate(module, "long_enough")(episode) is True
    with pytest.raises(UserCodeError, match="must return a bool, got 3"):
        success_predicate(module, "no_bool")(episode)
    for name in ("leaves", "looks"):
        with pytest.raises(UserCodeError, match=rf"'{name}' of .* failed: SystemExit"):
            success_predicate(module, name)(episode)


def test_a_predicate_without_a_module_is_refused(hopper: ControllerFile) -> None:
    with pytest.raises(InputError, match="success must be in an env_module, got 'long_enough'"):
        run_suite(hopper, None, AttackConfig(epsilon=0.05, success="long_enough"))


def test_successes_go_from_the_predicate_to_what_a_certificate_rests_on(
    hopper: ControllerFile, module: str, tmp_path: Path
) -> None:
    config = AttackConfig(
        suite="quick",
        backend=Backend.NUMPY,
        epsilon=0.05,
        episodes=3,
        selection_episodes=1,
        env_id="Hopper-v5",
        env_module=module,
        success="long_enough",
    )
    report = run_suite(hopper, None, config)
    attack, policy = tmp_path / "attack.json", tmp_path / "policy.onnx"
    write_file(attack, report.record().to_json())
    write_file(policy, hopper.data)
    evidence = gather_evidence(policy, hopper, Assumptions(), attack=attack)
    found = [(entry.quantity, entry.epsilon) for entry in evidence.measurements]
    assert found.count(("clean_return", None)) == found.count(("task_success", None)) == 1
    assert found.count(("task_success", 0.05)) == found.count(("attacked_return", 0.05)) == 3
    assert ("attacked_return", None) not in found
    assert ("clean_return", 0.05) not in found
    clean = report.attacks["clean"].evaluation
    by_name = {entry.quantity: entry for entry in evidence.measurements if entry.epsilon is None}
    assert by_name["clean_return"].returns == tuple(clean.returns.tolist())
    assert by_name["task_success"].value == 1.0
