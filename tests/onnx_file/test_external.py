"""Laws of `surefoot.onnx_file.external`: constants beside a file are read, and only from there."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from support.onnx_graphs import Graph, on_runtime
from surefoot.errors import InputError, IntegrityError
from surefoot.onnx_file import ForeignFile, read_path

DATA = "actor.onnx.data"


def saved(folder: Path, location: str = DATA) -> Path:
    """Write a controller as torch.onnx.export does by default: its weights beside it."""
    rng, graph = np.random.default_rng(0), Graph()
    hidden = graph.node("Tanh", graph.dense("obs", rng.normal(size=(8, 5)), rng.normal(size=8)))
    out = graph.dense(hidden, rng.normal(size=(2, 8)), rng.normal(size=2))
    model = graph.model({out: ("N", 2)}, {"obs": ("N", 5)})
    path = folder / "actor.onnx"
    onnx.save(model, path, save_as_external_data=True, location=location, size_threshold=0)
    return path


def read(path: Path) -> ForeignFile:
    file = read_path(path)
    assert isinstance(file, ForeignFile)
    return file


def relocated(path: Path, **changes: str) -> Path:
    """Change where the first constant of a file says that it lies."""
    model = onnx.load(path, load_external_data=False)
    entries = {entry.key: entry.value for entry in model.graph.initializer[0].external_data}
    del model.graph.initializer[0].external_data[:]
    for key, value in (entries | changes).items():
        model.graph.initializer[0].external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_beside_the_file_are_those_of_onnx_runtime(tmp_path: Path) -> None:
    file = read(saved(tmp_path))
    obs = np.random.default_rng(1).normal(size=(50, 5)).astype(np.float32)
    expected = on_runtime(file.data, {"obs": obs})
    np.testing.assert_allclose(file.policy.outputs(obs), expected, atol=1e-6)
    whole = onnx.load(tmp_path / "actor.onnx")
    np.testing.assert_array_equal(
        file.policy.layers[0].weight, onnx.numpy_helper.to_array(whole.graph.initializer[0])
    )


def test_the_digest_is_of_both_files(tmp_path: Path) -> None:
    path = saved(tmp_path)
    lines = [hashlib.sha256(p.read_bytes()).hexdigest() for p in (path, tmp_path / DATA)]
    expected = hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
    assert read(path).sha256 == expected
    changed = bytearray((tmp_path / DATA).read_bytes())
    changed[3] ^= 1
    (tmp_path / DATA).write_bytes(changed)
    assert read(path).sha256 != expected


def test_it_is_read_relative_to_the_file_and_from_folders_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights").mkdir()
    path = saved(tmp_path, "weights/actor.bin")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert read(path).policy.obs_dim == 5


def missing(path: Path) -> Path:
    (path.parent / DATA).unlink()
    return path


def truncated(path: Path) -> Path:
    data = path.parent / DATA
    data.write_bytes(data.read_bytes()[:100])
    return path


def huge(path: Path) -> Path:
    with (path.parent / DATA).open("r+b") as file:
        file.truncate(2**30 + 1)  # a file with a hole, which takes no space
    return path


def linked(path: Path) -> Path:
    data = path.parent / DATA
    secret = path.parent.with_name(f"{path.parent.name}-outside")
    data.rename(secret)
    data.symlink_to(secret)
    return path


def below_a_link(path: Path) -> Path:
    outside = path.parent.with_name(f"{path.parent.name}-folder")
    outside.mkdir()
    (path.parent / DATA).rename(outside / DATA)
    (path.parent / "sub").symlink_to(outside)
    return relocated(path, location=f"sub/{DATA}")


def looped(path: Path) -> Path:
    (path.parent / DATA).unlink()
    (path.parent / DATA).symlink_to(DATA)
    return path


def folder(path: Path) -> Path:
    (path.parent / DATA).unlink()
    (path.parent / DATA).mkdir()
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (missing, "which is not beside the file: copy it there, or export .*external_data=False"),
        (truncated, r"needs the bytes .* of 'actor.onnx.data', which has 100"),
        (huge, "more than the 1073741824 allowed"),
        (linked, "must lie in the folder of the file: 'actor.onnx.data' is a link"),
        (looped, "lies in 'actor.onnx.data', which is not beside the file"),
        (below_a_link, "must lie in the folder of the file: 'sub/actor.onnx.data' is a link"),
        (folder, "which is not beside the file"),
        (lambda path: relocated(path, location="../secret"), "must lie in the folder"),
        (lambda path: relocated(path, location="a/../../secret"), "must lie in the folder"),
        (lambda path: relocated(path, location="/etc/passwd"), "must lie in the folder"),
        (lambda path: relocated(path, location="..\\secret"), "must lie in the folder"),
        (lambda path: relocated(path, location=""), "must lie in the folder"),
        (lambda path: relocated(path, location="."), "must lie in the folder"),
        (lambda path: relocated(path, offset="-4"), "malformed"),
        (lambda path: relocated(path, offset="four"), "malformed"),
        (lambda path: relocated(path, length=str(2**62)), "needs the bytes"),
        (lambda path: relocated(path, offset=str(2**62)), "needs the bytes"),
        (lambda path: relocated(path, key="value"), "names 'key'"),
        (lambda path: relocated(path, length="4"), "cannot be read|not a valid ONNX file"),
    ],
)
def test_what_does_not_lie_there_whole_is_refused_in_one_line(
    tmp_path: Path, change: Callable[[Path], Path], message: str
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises((InputError, IntegrityError), match=message) as caught:
        read(change(saved(inside)))
    assert "\n" not in str(caught.value)
