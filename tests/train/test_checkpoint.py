import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from surefoot.artifact import Json, read_artifact, to_json, write_artifact
from surefoot.errors import InputError
from surefoot.train.checkpoint import Checkpoint, CheckpointStore

CONFIG = {"seed": 0, "noise": {"kind": "fixed", "sigma": 0.1}}


def checkpoint(step: int) -> Checkpoint:
    rng = np.random.default_rng(step)
    return Checkpoint(
        step=step,
        tree={
            "count": 2**127 + step,  # the state of a PCG64 generator has 128 bits
            "name": "ü",
            "nothing": None,
            "deep": {"single": rng.normal(size=(3, 2)).astype(np.float32).T, "flag": True},
            "arrays": {
                str(number): array
                for number, array in enumerate(
                    (
                        rng.normal(size=4),
                        np.array([True, False]),
                        np.arange(3, dtype=np.uint8),
                        np.array(7.25, np.float32),
                        np.empty((0, 2)),
                        np.array([np.nan, np.inf, -0.0]),
                    )
                )
            },
        },
        files={"best.onnx": b"onnx"},
    )


def same(
    one: Json,
    other: Json,
) -> bool:
    if isinstance(one, np.ndarray):
        return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one == other


def test_what_is_saved_is_loaded_bit_for_bit(tmp_path: Path) -> None:
    CheckpointStore(tmp_path, CONFIG).save(checkpoint(100))
    loaded = CheckpointStore(tmp_path, CONFIG).load()
    assert loaded.step == 100
    assert same(loaded.tree, checkpoint(100).tree)
    assert loaded.files["best.onnx"] == b"onnx"


def test_the_newest_is_loaded_and_two_are_kept(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, CONFIG)
    assert store.load() is None
    for step in (100, 2000, 30000):
        store.save(checkpoint(step))
    assert store.load().step == 30000
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "000000002000",
        "000000030000",
        "latest",
    ]


@pytest.mark.parametrize("name", ["state.json", "arrays.safetensors", "best.onnx", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "delete"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    tmp_path: Path, name: str, damage: str
) -> None:
    store = CheckpointStore(tmp_path, CONFIG)
    store.save(checkpoint(100))
    store.save(checkpoint(200))

    def spoil(folder: str) -> None:
        path = tmp_path / folder / name
        data = path.read_bytes()
        if damage == "delete":
            path.unlink()
        elif damage == "cut":
            path.write_bytes(data[:-3])
        else:
            path.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])

    spoil("000000000200")
    assert store.load().step == 100
    spoil("000000000100")
    with pytest.warns(UserWarning, match=r"every checkpoint in .* begins again: .*000000000100"):
        assert store.load() is None
    store.save(checkpoint(100))  # in the place of the damaged one
    assert store.load().step == 100
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["000000000100", "latest"]


@pytest.mark.parametrize(
    "state",
    [{"step": 200}, [], {"step": 200, "tree": {"a": {"$array": "b"}}}, {"tree": {"$array": []}}],
)
def test_a_state_that_is_none_is_passed_over_though_its_digests_hold(
    tmp_path: Path, state: Json
) -> None:
    store = CheckpointStore(tmp_path, CONFIG)
    for step in (100, 200):
        store.save(checkpoint(step))
    folder = tmp_path / "000000000200"
    kept = read_artifact(folder, "checkpoint")
    files = {**kept.files, "state.json": to_json(state)}
    write_artifact(folder, replace(kept, files=files))
    assert store.load().step == 100


@pytest.mark.parametrize("later", [150, 200, 300])
def test_after_a_damaged_checkpoint_the_one_before_stays_until_it_is_too_old(
    tmp_path: Path, later: int
) -> None:
    store = CheckpointStore(tmp_path, CONFIG)
    for step in (100, 200):
        store.save(checkpoint(step))
    (tmp_path / "000000000200" / "state.json").write_text("{")
    assert store.load().step == 100
    for step, left in ((later, [100, later]), (later + 200, [later, later + 200])):
        store.save(checkpoint(step))
        folders = [entry.name for entry in tmp_path.iterdir() if entry.is_dir()]
        assert sorted(int(name) for name in folders) == left


def test_checkpoints_of_another_configuration_are_refused_by_the_keys_that_differ(
    tmp_path: Path,
) -> None:
    CheckpointStore(tmp_path, CONFIG).save(checkpoint(100))
    other = {"seed": 1, "noise": {"kind": "learned", "initial": 0.5}}
    with pytest.raises(InputError) as refusal:
        CheckpointStore(tmp_path, other).load()
    for part in ("seed was 0, is 1", "noise.kind was fixed, is learned", "noise.sigma was 0.1"):
        assert part in str(refusal.value)


def test_keys_that_are_free_may_differ_and_no_others(tmp_path: Path) -> None:
    CheckpointStore(tmp_path, CONFIG | {"threads": 1}).save(checkpoint(100))
    free = CheckpointStore(tmp_path, CONFIG | {"threads": 2}, free=["threads"])
    assert free.load().step == 100
    with pytest.raises(InputError, match=r"configuration \(seed was 0, is 1\)"):
        CheckpointStore(tmp_path, CONFIG | {"seed": 1}, free=["threads"]).load()


def test_a_run_that_other_versions_began_goes_on_with_a_warning_that_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr("surefoot.train.checkpoint.version", lambda name: "0.0")
        CheckpointStore(tmp_path, CONFIG).save(checkpoint(100))
    with pytest.warns(UserWarning, match=r"other versions \(.*torch was 0.0, is 2") as said:
        assert CheckpointStore(tmp_path, CONFIG).load().step == 100
    assert "\n" not in str(said[0].message)


def test_a_checkpoint_that_was_being_written_is_cleaned_away(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, CONFIG)
    store.save(checkpoint(100))
    (tmp_path / ".000000000200.surefoot-tmp").mkdir()
    (tmp_path / ".000000000200.surefoot-tmp" / "state.json").write_text("{")
    (tmp_path / ".latest.surefoot-tmp").write_text("x")
    assert CheckpointStore(tmp_path, CONFIG).load().step == 100
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["000000000100", "latest"]


def test_killed_between_folder_and_pointer_the_pointer_still_leads_to_a_whole_one(
    tmp_path: Path,
) -> None:
    store = CheckpointStore(tmp_path, CONFIG)
    store.save(checkpoint(100))
    store.save(checkpoint(200))
    (tmp_path / "latest").write_bytes(b"000000000100")
    assert store.load().step == 100
    (tmp_path / "latest").unlink()
    assert store.load().step == 200


def test_killed_before_the_oldest_was_dropped_it_is_dropped_when_the_run_goes_on(
    tmp_path: Path,
) -> None:
    store = CheckpointStore(tmp_path, CONFIG)
    for step in (100, 200):
        store.save(checkpoint(step))
    shutil.copytree(tmp_path / "000000000100", tmp_path / "000000000050")
    assert CheckpointStore(tmp_path, CONFIG).load().step == 200
    assert not (tmp_path / "000000000050").exists()


def test_what_is_newer_than_the_checkpoint_that_a_run_goes_on_from_is_not_counted_on(
    tmp_path: Path,
) -> None:
    store = CheckpointStore(tmp_path, CONFIG)
    for step in (100, 200):
        store.save(checkpoint(step))
    (tmp_path / "latest").write_bytes(b"000000000100")
    (tmp_path / "000000000200" / "state.json").write_text("{")  # torn, and never read
    assert store.load().step == 100
    store.save(checkpoint(150))
    folders = [entry.name for entry in tmp_path.iterdir() if entry.is_dir()]
    assert sorted(int(name) for name in folders) == [100, 150]


def test_a_folder_that_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        CheckpointStore(tmp_path / "file" / "checkpoints", CONFIG)
