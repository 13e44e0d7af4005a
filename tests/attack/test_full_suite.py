import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from support.attacks import OF_ERRORS, target_of, tiny_full
from support.environments import GridEnv
from support.policies import file_of, linear_policy, random_policy, unit_range
from surefoot.attack import attack_config, suite, transfer
from surefoot.attack.attack_config import FULL
from surefoot.attack.critic_attacks import FITTED, critic_variants
from surefoot.attack.fitted_critic import fit_value
from surefoot.attack.suite import run_suite
from surefoot.attack.suite_report import AttackResult
from surefoot.ball import Ball, Norm
from surefoot.errors import InputError
from surefoot.onnx_file import ControllerFile, policy_to_onnx
from surefoot.policy import Activation, CategoricalHead
from surefoot.runtime.controller import CheckedController
from surefoot.runtime.load import Backend, controller_of

TINY = tiny_full(0.1)


@pytest.fixture(scope="module")
def file() -> ControllerFile:
    policy = random_policy(np.random.default_rng(1), (11, 16, 3), Activation.TANH)
    return file_of(unit_range(policy), {"env": {"id": "Hopper-v5"}})


@pytest.mark.usefixtures("brief_training")
def test_a_suite_that_was_cut_short_goes_on_and_finds_the_same(
    file: ControllerFile, tmp_path: Path
) -> None:
    work, kept = tmp_path / "work", tmp_path / "kept"
    learned = []

    def copy(done: int, remark: str) -> None:
        if remark.startswith("sa-rl, ") and remark not in learned:
            learned.append(remark)
            if len(learned) == 3:  # two trainings are in the store, the third has its checkpoint
                shutil.copytree(work, kept)

    whole = run_suite(file, None, TINY, on_progress=copy, work=work).to_table()
    assert list(whole["attacks"]) == OF_ERRORS
    assert whole["attacks"]["sa-rl"]["effort"]["updates"] > 0
    assert whole["attacks"]["corners"]["effort"]["queries"] > 0
    # Also an attack of one variant is tried: it may be what an adversary is taught by.
    assert [name for name, one in whole["attacks"].items() if not one["selection"]] == ["clean"]

    assert list(kept.glob("*.unfinished"))
    pieces = {
        path: path.stat().st_mtime_ns
        for path in kept.iterdir()
        if path.name[0] != "." and path.is_file()
    }
    assert 10 < len(pieces) < len(list(work.iterdir()))
    assert run_suite(file, None, TINY, work=kept).to_table() == whole
    assert {path: path.stat().st_mtime_ns for path in pieces} == pieces


def test_a_suite_that_is_stopped_keeps_what_is_finished(
    file: ControllerFile, tmp_path: Path
) -> None:
    def stop(done: int, remark: str) -> None:
        if remark.startswith("mad, "):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_suite(file, None, TINY, on_progress=stop, work=tmp_path / "work")
    names = {path.name.split("-")[0] for path in (tmp_path / "work").iterdir() if path.is_file()}
    assert "evaluation" in names


def test_epsilon_zero_is_the_clean_loop_in_every_attack(file: ControllerFile) -> None:
    report = run_suite(file, None, replace(TINY, epsilon=0.0))
    assert list(report.attacks) == OF_ERRORS
    clean = report.attacks["clean"].evaluation
    for result in report.attacks.values():
        assert np.array_equal(result.evaluation.returns, clean.returns)
        assert np.array_equal(result.evaluation.lengths, clean.lengths)


class Counted:
    """A controller that counts the states that it is asked about."""

    def __init__(self, controller: CheckedController) -> None:
        self.name, self.obs_dim = controller.name, controller.obs_dim
        self.num_outputs, self._controller = controller.num_outputs, controller
        self.num_states = 0

    def __call__(self, obs: NDArray[np.float64]) -> NDArray[np.float32]:
        return self._controller(obs)

    def from_state(self, state: NDArray[np.float32]) -> NDArray[np.float32]:
        self.num_states += len(state)
        return self._controller.from_state(state)


@pytest.mark.parametrize("name", ["corners", "square", "spsa"])
def test_a_search_asks_the_deployed_controller_as_often_as_it_says(
    file: ControllerFile, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    deployed = []

    def deploy(*given: ControllerFile | Backend) -> Counted:
        deployed.append(Counted(controller_of(*given)))
        return deployed[0]

    monkeypatch.setattr(suite, "controller_of", deploy)
    monkeypatch.setitem(
        attack_config.SUITES, "quick", {each: FULL[each] for each in ("clean", name)}
    )
    effort = run_suite(file, None, replace(TINY, suite="quick")).attacks[name].effort
    # Of every step that is played, the state and the perturbed one.
    assert effort.queries > 100
    assert deployed[0].num_states == effort.queries + 2 * effort.env_steps


def test_other_controllers_are_tried_on_this_one_by_their_paths(
    file: ControllerFile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(transfer, "_NUM_STEPS", 20)
    monkeypatch.setitem(
        attack_config.SUITES, "quick", {each: FULL[each] for each in ("clean", "transfer")}
    )
    dense, wide = tmp_path / "dense.onnx", tmp_path / "wide.onnx"
    for path, obs_dim in ((dense, 11), (wide, 12)):
        policy = random_policy(np.random.default_rng(2), (obs_dim, 8, 3))
        path.write_bytes(policy_to_onnx(unit_range(policy)))

    def transferred(path: Path) -> AttackResult | None:
        config = replace(TINY, suite="quick", transfer_from=(str(path),))
        return run_suite(file, None, config).attacks["transfer"]

    assert set(transferred(dense).selection) == {transfer.IMITATION, str(dense)}
    with pytest.raises(InputError, match=r"wide.onnx must have .* \(11, 3\), got \(12, 3\)"):
        transferred(wide)


def test_an_attack_that_needs_a_critic_and_may_not_fit_one_says_so(file: ControllerFile) -> None:
    with pytest.raises(InputError, match="critic_steps must be positive"):
        run_suite(file, None, replace(TINY, critic_steps=0))


def test_every_critic_is_tried_and_one_of_other_sizes_is_refused() -> None:
    right = linear_policy([[-0.1, 0.0], [0.6, 0.0]])
    right = replace(
        right,
        head=CategoricalHead(num_actions=2),
        layers=(replace(right.layers[0], bias=np.array([0.0, 2.0], np.float32)),),
    )
    target = target_of(right, Ball(norm=Norm.LINF, epsilon=0.0), GridEnv)
    fitted = fit_value(target, 3200)
    assert fitted.facts["steps"] == 3200
    shipped = {"shipped": fitted.layers}
    both = critic_variants(replace(target, critics=shipped), 3200)
    assert {name.split(",")[0] for name in both.adversaries} == {"shipped", FITTED}
    plain = [both.adversaries[name] for name in ("shipped", FITTED)]
    longer = [both.adversaries[f"{name}, restarts"] for name in ("shipped", FITTED)]
    for once, often in zip(plain, longer, strict=True):
        assert once.effort.gradients < often.effort.gradients
    wrong = {"shipped": random_policy(np.random.default_rng(0), (3, 4, 1)).layers}
    with pytest.raises(InputError, match="must map 2 observations to one value"):
        critic_variants(replace(target, critics=wrong), 0)
