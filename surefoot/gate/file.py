"""The file ``gate.json``: a gate, how it was made, and how often it is wrong."""

from dataclasses import dataclass

from surefoot.artifact import Json, from_untrusted_json, to_json
from surefoot.config import build, to_table
from surefoot.errors import InputError, IntegrityError
from surefoot.gate.limits import Gate
from surefoot.gate.rule import GateRule

SCHEMA = "surefoot/gate/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class AlarmRate:
    """How often a gate rejects what is right, from independent trials.

    Attributes:
        unit: What a trial is.
        trials: Number of trials.
        alarms: Trials that the gate rejects.
        at_most: Upper bound of the rate, by Clopper and Pearson.
        confidence: Confidence of the bound.
    """

    unit: str
    trials: int
    alarms: int
    at_most: float
    confidence: float


@dataclass(frozen=True, kw_only=True, slots=True)
class FalseAlarms:
    """How often a gate rejects what was recorded.

    Attributes:
        recorded: Recorded steps, those from which the limits were made among them.
        rejected: Recorded steps that the gate rejects.
        rates: Bounds from steps that made no limit; empty where there are none.
    """

    recorded: int
    rejected: int
    rates: tuple[AlarmRate, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class GateFile:
    """A gate, how it was made, and how often it is wrong.

    Attributes:
        gate: The gate.
        rule: How its limits were made.
        alarms: How often it rejects what was recorded.
    """

    gate: Gate
    rule: GateRule
    alarms: FalseAlarms

    def to_table(self) -> dict[str, Json]:
        """Return it as JSON values."""
        table: dict[str, Json] = to_table(self)
        return table

    def to_bytes(self) -> bytes:
        """Return the content of ``gate.json``."""
        return to_json({"schema": SCHEMA, **self.to_table()})

    @classmethod
    def from_table(cls, table: Json, where: str) -> "GateFile":
        """Read it back.

        Raises:
            IntegrityError: If it is none; the message names the key.
        """
        try:
            return build(cls, table, where)
        except InputError as error:
            raise IntegrityError(str(error)) from error

    @classmethod
    def parse(cls, data: bytes, what: str) -> "GateFile":
        """Read ``gate.json`` back.

        Raises:
            IntegrityError: If it is no such file, or not byte for byte what :meth:`to_bytes`
                writes.
        """
        table = from_untrusted_json(data, what)
        if not isinstance(table, dict) or table.pop("schema", None) != SCHEMA:
            raise IntegrityError(f"{what} is not a {SCHEMA} document")
        read = cls.from_table(table, what)
        if read.to_bytes() != data:
            raise IntegrityError(f"{what} was changed after it was written")
        return read
