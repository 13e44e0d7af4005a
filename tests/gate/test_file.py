"""``gate.json`` is read back byte for byte, or refused."""

from contextlib import suppress

import pytest

from support.gates import small_gate
from surefoot.artifact import from_json, to_json
from surefoot.errors import IntegrityError
from surefoot.gate import AlarmRate, FalseAlarms, GateFile, GateRule

RATE = AlarmRate(unit="a whole episode", trials=20, alarms=1, at_most=0.25, confidence=0.95)
FILE = GateFile(
    gate=small_gate(),
    rule=GateRule(margin=0.25),
    alarms=FalseAlarms(recorded=1000, rejected=3, rates=(RATE,)),
)


def test_what_was_written_is_read_back() -> None:
    assert GateFile.parse(FILE.to_bytes(), "gate.json") == FILE


def test_every_byte_that_changes_what_it_says_is_refused() -> None:
    data = FILE.to_bytes()
    for place in range(0, len(data), 7):
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with suppress(IntegrityError):
            assert GateFile.parse(changed, "gate.json") != FILE


def test_another_document_is_refused() -> None:
    table = from_json(FILE.to_bytes(), "it")
    for changed in (b"[]", to_json(table | {"schema": "x"}), to_json(table | {"more": 1})):
        with pytest.raises(IntegrityError, match=r"gate\.json"):
            GateFile.parse(changed, "gate.json")
