"""Pieces of an interrupted attack are kept whole, or are not there.

Also of ``attack/target.py``.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from surefoot.attack.cost import Cost
from surefoot.attack.store import Store
from surefoot.attack.target import pack, unpack
from surefoot.errors import InputError


@pytest.fixture(params=["folder", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "work" if request.param == "folder" else None


def test_what_was_put_is_found_by_its_kind_and_its_whole_key(place: Path | None) -> None:
    store = Store(place)
    store.put("adversary", {"seed": 1, "eps": 0.1}, b"one\n\0two")
    assert store.get("adversary", {"eps": 0.1, "seed": 1}) == b"one\n\0two"
    assert store.get("adversary", {"eps": 0.1, "seed": 2}) is None
    assert store.get("evaluation", {"eps": 0.1, "seed": 1}) is None


def test_another_process_finds_what_was_put(tmp_path: Path) -> None:
    Store(tmp_path / "work").put("adversary", 7, b"piece")
    assert Store(tmp_path / "work").get("adversary", 7) == b"piece"


@pytest.mark.parametrize("spoil", [lambda d: d[:-1], lambda d: d + b"x", lambda d: b"", None])
def test_a_damaged_piece_is_not_there(
    tmp_path: Path, spoil: Callable[[bytes], bytes] | None
) -> None:
    store = Store(tmp_path / "work")
    store.put("adversary", 7, b"piece")
    (file,) = (tmp_path / "work").glob("adversary-*")
    data = file.read_bytes()
    for spoilt in [spoil(data)] if spoil else [bytes([data[i] ^ 1]) for i in range(3)]:
        file.write_bytes(spoilt if spoil else spoilt + data[1:])
        if file.read_bytes() != data:
            assert store.get("adversary", 7) is None


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("text")
    with pytest.raises(InputError, match="not a surefoot attack-work folder"):
        Store(tmp_path)


def test_checkpoints_are_dropped_with_their_training(tmp_path: Path) -> None:
    store = Store(tmp_path / "work")
    scratch = store.scratch("adversary", 7)
    scratch.mkdir()
    store.discard("adversary", 8)
    assert scratch.is_dir()
    store.discard("adversary", 7)
    assert not scratch.exists()
    assert Store().scratch("adversary", 7) is None


def test_a_piece_carries_its_effort_and_its_facts() -> None:
    effort = Cost(env_steps=3, gradients=4, queries=5, updates=6)
    facts = {"returns": [0.1, -2.0], "diverged": None}
    assert unpack(pack(effort, facts, b"\n{}\n\0")) == (effort, facts, b"\n{}\n\0")


def test_efforts_add_up() -> None:
    one, two = Cost(env_steps=1, gradients=2), Cost(gradients=5, queries=7, updates=1)
    assert one + two == Cost(env_steps=1, gradients=7, queries=7, updates=1)
    assert one.times(3) == one + one + one
