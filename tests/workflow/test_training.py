"""A training is done once, goes on where it stopped, and tells how far it is.

Also of ``workflow/listener.py``.
"""

import json
import shutil
from pathlib import Path

import pytest

from support.heard import Heard
from surefoot.config import merge_tables
from surefoot.errors import InputError
from surefoot.kernels import CHOICE_VARIABLE
from surefoot.onnx_file import load_policy
from surefoot.records import TrainingRecord, read_stages
from surefoot.robot import ROBOT_FILE, Robot
from surefoot.run_folder import RunFolder
from surefoot.train import TrainResult, save_trained
from surefoot.workflow.configuration import Configuration
from surefoot.workflow.training import lipschitz_bounds, train_run


def test_the_record_says_what_the_folder_holds(trained: Path, configuration: Configuration) -> None:
    run = RunFolder(trained)
    record = TrainingRecord.read(run.training)
    file, artifact = load_policy(run.policy)
    assert record.onnx_sha256 == file.sha256
    assert record.sparsity == file.policy.sparsity == 0.0
    assert (record.env, record.seed) == ("CartPole-v1", 0)
    assert record.steps == configuration.training().total_steps
    curves = json.loads(artifact.files["curves.json"])
    last = {
        name: [value for value in column if value is not None][-1:]
        for name, column in curves.items()
    }
    assert [record.clean_return] == last["clean_return"]
    for name, bound in lipschitz_bounds(file.policy).items():
        assert last[name] == [bound]


def test_a_training_has_its_record_before_its_policy_says_that_it_is_done(
    configuration: Configuration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between both, a process may be killed."""
    run = RunFolder(tmp_path / "run")

    def saved(folder: Path, result: TrainResult, robot: Robot | None) -> bytes:
        assert robot is None
        assert not folder.exists()
        assert set(read_stages(run.stages)) == {"train"}
        return save_trained(folder, result)

    monkeypatch.setattr("surefoot.workflow.training.save_trained", saved)
    monkeypatch.setenv(CHOICE_VARIABLE, "native")
    heard = Heard()
    record = train_run(run.path, configuration, listener=heard)
    assert heard.remarks == [
        f"another processor may train another policy from this seed: {CHOICE_VARIABLE} is native"
    ]
    assert read_stages(run.stages)["train"].files == {"policy.onnx": record.onnx_sha256}


def test_a_finished_training_is_kept_and_told_of_no_more(
    trained: Path, configuration: Configuration, tmp_path: Path
) -> None:
    out, heard = tmp_path / "run", Heard()
    shutil.copytree(trained, out)
    before = (RunFolder(out).policy / "manifest.json").read_bytes()
    record = train_run(out, configuration, listener=heard)
    assert record == TrainingRecord.read(RunFolder(trained).training)
    assert (RunFolder(out).policy / "manifest.json").read_bytes() == before
    assert not heard.totals


@pytest.mark.parametrize(
    "torn", [b"", b'{"train": {"in', bytes(40), b"[]"], ids=["empty", "half", "zeros", "a list"]
)
def test_a_torn_list_of_stages_is_said_and_the_training_keeps_its_seconds(
    trained: Path, configuration: Configuration, tmp_path: Path, torn: bytes
) -> None:
    out = tmp_path / "run"
    shutil.copytree(trained, out)
    run = RunFolder(out)
    run.stages.write_bytes(torn)
    with pytest.warns(UserWarning, match=r"stages\.json is damaged, so that no stage"):
        train_run(out, configuration)
    assert read_stages(run.stages) == read_stages(RunFolder(trained).stages)


def test_a_file_that_cannot_be_replaced_is_found_before_a_longer_training(
    trained: Path, configuration: Configuration, tmp_path: Path
) -> None:
    out, heard = tmp_path / "run", Heard()
    shutil.copytree(trained, out)
    RunFolder(out).training.unlink()
    RunFolder(out).training.mkdir()
    longer = Configuration({"train": {"total_steps": 2048}}).over(configuration)
    with pytest.raises(InputError, match=r"cannot write .*train\.json"):
        train_run(out, longer, listener=heard)
    assert not heard.totals


def test_seconds_that_no_checkpoint_tells_are_said_to_be_lost(
    trained: Path, configuration: Configuration, tmp_path: Path
) -> None:
    out, heard = tmp_path / "run", Heard()
    shutil.copytree(trained, out)
    run = RunFolder(out)
    run.stages.unlink()
    shutil.rmtree(run.checkpoints)
    train_run(out, configuration, listener=heard)
    assert read_stages(run.stages) == {}
    assert any("how long the training took is lost" in words for words in heard.remarks)


def test_progress_reaches_the_total(configuration: Configuration, tmp_path: Path) -> None:
    heard = Heard()
    train_run(tmp_path / "run", configuration, listener=heard)
    (steps,), (total,) = heard.steps.values(), heard.totals.values()
    assert steps == sorted(steps)
    assert steps[-1] == total == configuration.training().total_steps


def test_layers_that_blocks_do_not_divide_are_told_of(
    configuration: Configuration, tmp_path: Path
) -> None:
    pruning = {"kind": "blocks", "rows": 4, "sparsity": 0.3, "target": "actor"}
    blocks = Configuration({"train": {"hidden": [8], "pruning": pruning}}).over(configuration)
    heard = Heard()
    record = train_run(tmp_path / "run", blocks, listener=heard)
    assert record.sparsity >= 0.3
    told = "blocks of 4 rows do not divide layer 2 (2 rows): no weight of it is removed"
    assert told in heard.remarks


def test_another_training_is_refused_in_the_same_folder(
    trained: Path, configuration: Configuration, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(trained, out)
    other = Configuration({"train": {"seed": 5}}).over(configuration)
    with pytest.raises(InputError, match=r"another configuration \(seed was 0, is 5\)"):
        train_run(out, other)


def test_the_whole_configuration_is_kept(trained: Path, configuration: Configuration) -> None:
    kept = Configuration.beside(trained)
    assert kept.training() == configuration.training()
    for name in ("certify", "attack", "bench", "require"):
        assert kept.tables[name] == configuration.tables[name]
    assert merge_tables(configuration.tables, kept.tables) == kept.tables


CART = """
[[sensor]]
name = "state"
count = 4
unit = "1"

[[actuator]]
name = "push"
unit = "1"
entries = ["left", "right"]
"""


def test_a_description_is_kept_beside_the_policy_and_may_be_corrected_later(
    trained: Path, configuration: Configuration, tmp_path: Path
) -> None:
    out, described = tmp_path / "run", tmp_path / "robot.toml"
    shutil.copytree(trained, out)
    with_robot = Configuration({"train": {"robot": str(described)}}).over(configuration)
    before = load_policy(RunFolder(out).policy)[0]
    for text in (CART, CART.replace("left", "west")):
        described.write_text(text)
        train_run(out, with_robot)
        file, artifact = load_policy(RunFolder(out).policy)
        assert artifact.files[ROBOT_FILE] == text.encode()
        assert file.data == before.data


def test_a_description_that_changes_what_was_trained_against_is_refused(
    trained: Path, configuration: Configuration, tmp_path: Path
) -> None:
    out, described = tmp_path / "run", tmp_path / "robot.toml"
    defence = {"kind": "barpo", "perturb": {"state[3]": 0.01}}
    with_robot = Configuration({"train": {"robot": str(described), "defence": defence}}).over(
        configuration
    )
    described.write_text(CART)
    train_run(out, with_robot)
    described.write_text(CART.replace("count = 4", 'entries = ["3", "2", "1", "0"]'))
    with pytest.raises(InputError, match=r"must say the errors of train\.defence\.perturb"):
        train_run(out, with_robot)
    assert load_policy(RunFolder(out).policy)[1].files[ROBOT_FILE] == CART.encode()


def test_a_robot_with_other_sensors_than_the_task_writes_nothing(
    configuration: Configuration, tmp_path: Path
) -> None:
    described = tmp_path / "robot.toml"
    described.write_text(CART.replace("count = 4", "count = 5"))
    with_robot = Configuration({"train": {"robot": str(described)}}).over(configuration)
    with pytest.raises(InputError, match="sensors must have the 4 entries"):
        train_run(tmp_path / "run", with_robot)
    assert not (tmp_path / "run").exists()
