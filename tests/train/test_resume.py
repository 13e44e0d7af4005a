"""A training goes on: given more steps, begun by another version, under the same configuration."""

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from surefoot.artifact import Artifact, Json, read_artifact, write_artifact
from surefoot.config import to_table
from surefoot.errors import InputError
from surefoot.policy import weights_sha256
from surefoot.train import TrainConfig, train_policy
from surefoot.train.checkpoint import Checkpoint, CheckpointStore
from surefoot.train.defence_config import StateAdversarial
from surefoot.train.pruning_config import MagnitudePruning
from surefoot.train.result import TrainResult
from surefoot.train.resume import Begun

CONSTANT = TrainConfig(
    env_id="Hopper-v5",
    total_steps=512,
    num_envs=4,
    rollout_steps=32,
    num_threads=1,
    device="cpu",
    hidden=(8, 8),
    critic_hidden=(8,),
    anneal_to=1.0,
    epochs=2,
    minibatch_size=32,
    num_evaluations=2,
    evaluation_episodes=2,
    visited_states=2,
    checkpoint_steps=256,
)
"""No schedule depends on the number of steps."""

SCHEDULED = replace(
    CONSTANT,
    anneal_to=0.0,
    averaging=0.1,
    defence=StateAdversarial(epsilon=0.1, kappa=0.1, inner_steps=2, ramp_end=0.5),
    pruning=MagnitudePruning(sparsity=0.5, interval=3, end=0.6),
)


def extended(config: TrainConfig, *totals: int, out: Path) -> TrainResult:
    """Train to the first number of steps and then, in turn, to the others."""
    result = train_policy(replace(config, total_steps=totals[0]), out=out)
    for total in totals[1:]:
        with pytest.warns(UserWarning, match="is continued from step"):
            result = train_policy(replace(config, total_steps=total), out=out)
    return result


@pytest.mark.parametrize("totals", [(512, 1024), (256, 512, 1024)])
def test_without_schedules_an_extended_training_is_one_that_was_that_long(
    tmp_path: Path, totals: tuple[int, ...]
) -> None:
    result = extended(CONSTANT, *totals, out=tmp_path)
    whole = train_policy(replace(CONSTANT, total_steps=1024))
    assert weights_sha256(result.policy) == weights_sha256(whole.policy)
    assert result.facts["steps"] == 1024
    assert result.facts["extensions"] == [
        {"step": total, "total_steps": total} for total in totals[:-1]
    ]
    assert whole.facts["extensions"] == []


def test_what_rises_never_falls_in_an_extension_and_the_learning_rate_begins_again(
    tmp_path: Path,
) -> None:
    result = extended(SCHEDULED, 512, 1024, out=tmp_path)
    for name, full in (("sparsity", 0.5), ("epsilon", 0.1)):
        curve = np.array(result.curves[name])
        assert (np.diff(curve) >= -1e-9).all()
        assert curve[3:] == pytest.approx(full, abs=0.01)
    assert result.policy.sparsity >= 0.49
    first = train_policy(replace(SCHEDULED, total_steps=512))
    assert weights_sha256(result.policy) != weights_sha256(first.policy)  # it learned on


def test_an_extension_names_what_follows_the_longer_training_and_what_does_not(
    tmp_path: Path,
) -> None:
    train_policy(SCHEDULED, out=tmp_path)
    with pytest.warns(UserWarning, match="is continued") as said:
        train_policy(replace(SCHEDULED, total_steps=640), out=tmp_path)
    text = str(said[0].message)
    for words in (
        "a training of 512 steps is continued from step 512",
        "the learning rate, the averaging and the grid of evaluations are from here on those of"
        " 640 steps",
        "the sparsity and the ramp of the defence those of 512",
        "the result is not that of a training that was this long from its start",
    ):
        assert words in text
    assert "\n" not in text


def test_an_extended_training_that_is_started_again_says_nothing_new(tmp_path: Path) -> None:
    extended(CONSTANT, 512, 640, out=tmp_path)
    result = train_policy(replace(CONSTANT, total_steps=640), out=tmp_path)
    assert len(result.facts["extensions"]) == 1


def test_a_training_is_not_shortened(tmp_path: Path) -> None:
    train_policy(CONSTANT, out=tmp_path)
    with pytest.raises(InputError, match=r"another configuration \(total_steps was 512, is 256\)"):
        train_policy(replace(CONSTANT, total_steps=256), out=tmp_path)


def test_more_steps_do_not_let_another_key_differ(tmp_path: Path) -> None:
    train_policy(CONSTANT, out=tmp_path)
    other = replace(CONSTANT, total_steps=1024, gamma=0.5)
    with pytest.raises(InputError, match=r"another configuration \(gamma was 0.99, is 0.5\)"):
        train_policy(other, out=tmp_path)


def changed_by(out: Path, change: Callable[[dict[str, Json]], None]) -> None:
    """Let the checkpoints of a run have been written by a version with other settings."""
    for folder in (out / "checkpoints").glob("0*"):
        artifact = read_artifact(folder, "checkpoint")
        facts = json.loads(json.dumps(artifact.facts))
        change(facts["config"])
        stored = Artifact(
            kind="checkpoint", files=artifact.files, facts=facts, code_version="0.0.7"
        )
        write_artifact(folder, stored)


def test_a_run_of_a_version_that_knew_fewer_settings_goes_on(tmp_path: Path) -> None:
    train_policy(CONSTANT, out=tmp_path)

    def forget(config: dict[str, Json]) -> None:
        del config["resume"], config["value_coefficient"], config["noise"]["sigma"]

    changed_by(tmp_path, forget)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = train_policy(CONSTANT, out=tmp_path)
    assert weights_sha256(again.policy) == weights_sha256(train_policy(CONSTANT).policy)
    with pytest.raises(InputError, match=r"value_coefficient was 0\.5, is 0\.25"):
        train_policy(replace(CONSTANT, value_coefficient=0.25), out=tmp_path)


@pytest.mark.parametrize("path", [("momentum",), ("noise", "colour")])
def test_a_run_of_a_version_that_knew_more_says_what_to_do(
    tmp_path: Path, path: tuple[str, ...]
) -> None:
    train_policy(CONSTANT, out=tmp_path)

    def add(config: dict[str, Json]) -> None:
        *tables, key = path
        for name in tables:
            config = config[name]
        config[key] = 0.5

    changed_by(tmp_path, add)
    with pytest.raises(InputError) as caught:
        train_policy(CONSTANT, out=tmp_path)
    said = str(caught.value)
    assert "holds a training of surefoot 0.0.7, this is " in said
    assert f"unknown key 'train.{'.'.join(path)}'" in said
    assert said.endswith("; resume with that version, or use another output folder")


@pytest.mark.parametrize("part", ["average", "collector"])
def test_a_state_that_other_code_of_the_same_version_wrote_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    train_policy(replace(CONSTANT, total_steps=256), out=tmp_path)
    load = CheckpointStore.load

    def load_less(store: CheckpointStore) -> Checkpoint | None:
        checkpoint = load(store)
        assert checkpoint is not None
        tree = {name: value for name, value in checkpoint.tree.items() if name != part}
        return replace(checkpoint, tree=tree)

    monkeypatch.setattr(CheckpointStore, "load", load_less)
    with pytest.raises(InputError, match=rf"does not understand .*KeyError\('{part}'\)") as caught:
        train_policy(CONSTANT, out=tmp_path)
    assert str(caught.value).endswith("with the code that wrote them, or use another output folder")


def test_a_begun_training_is_asked_once_for_all_of_its_differences() -> None:
    table = to_table(CONSTANT)
    begun = Begun(table | {"gamma": 0.5, "seed": 3}, "0.1", "runs/old")
    with pytest.raises(InputError, match=r"runs/old .*\(gamma was 0.5, is 0.99, seed was 3, is 0"):
        begun.check_same(table)
