"""The store keeps whole cells, knows those of others, and notices every changed byte."""

from pathlib import Path

import pytest

from support.studies import cell_of
from surefoot.errors import InputError, IntegrityError
from surefoot.study.cell_record import Failure
from surefoot.study.store import CellStore

FILES = {"policy.onnx": b"policy", "critic.safetensors": b"critic"}


@pytest.fixture
def store(tmp_path: Path) -> CellStore:
    store = CellStore(tmp_path / "study")
    store.claim()
    return store


def test_a_cell_is_there_once_it_is_added(store: CellStore) -> None:
    record = cell_of([1.0, 2.0])
    assert not store.holds("a1")
    store.add("a1", record, FILES)
    assert store.holds("a1")
    assert store.read("a1").to_json() == record.to_json()
    assert store.others({"a1"}) == []
    assert store.others({"b2"}) == ["a1"]


def test_a_changed_byte_is_noticed(store: CellStore) -> None:
    store.add("a1", cell_of([1.0]), FILES)
    (store.path / "cells" / "a1" / "cell.json").write_bytes(cell_of([9.0]).to_json())
    with pytest.raises(IntegrityError, match=r"cell.json is not the file"):
        store.read("a1")


def test_a_failure_stands_until_the_cell_is_done(store: CellStore) -> None:
    failure = Failure(error="it diverged", attempts=2)
    store.fail("a1", failure)
    assert store.failure("a1") == failure
    store.add("a1", cell_of([1.0]), FILES)
    assert store.failure("a1") is None


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not a surefoot study folder"):
        CellStore(tmp_path).claim()


def test_a_folder_that_has_gone_away_is_said_to(store: CellStore, tmp_path: Path) -> None:
    store.check_there()
    store.path.rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="has gone away: mount it"):
        store.check_there()
