"""A recording as observations of one controller, and one state of each episode drawn."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surefoot.artifact import sha256_hex
from surefoot.errors import InputError
from surefoot.limits import MAX_RECORDED
from surefoot.recordings.fields import Column, Recording, listed, numbers
from surefoot.recordings.files import read_recording
from surefoot.visited import Visited

_NO_EPISODE = frozenset({"", "None", "nan", "NaT"})
"""What a missing name is called by the libraries that read recordings."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sensors:
    """What a controller is known to read.

    Attributes:
        count: Number of its sensors.
        names: Name of each sensor; None where they have none.
        parts: Names of its inputs, of which each holds some of them, in their order.
    """

    count: int
    names: tuple[str, ...] | None = None
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class StatesFile:
    """A file of recorded states, and which of its columns count.

    Attributes:
        path: The file, or the folder of a bag.
        columns: The sensors in their order, by column or by field; empty where the names of the
            sensors, or their number, tell.
        episode_column: Tells the episodes apart; None where nothing does.
    """

    path: Path
    columns: tuple[str, ...] = ()
    episode_column: str | None = None

    def read(self, sensors: Sensors, remark: Callable[[str], None] = lambda text: None) -> Visited:
        """Read the states of one controller.

        With an episode column one state of each episode is drawn, any of its steps as likely as
        another. The generator is seeded by the states, so that nobody chooses among draws.

        Args:
            sensors: What the controller reads.
            remark: Is told which column was taken for which sensor where no name says so, and if
                no episode has a second row.

        Raises:
            InputError: If the file is not what its name says, lacks a column, holds anything but
                finite numbers in one, no row, too many, a single episode, or one twice; or a
                column is named twice.
        """
        recording = read_recording(self.path, self._wanted(sensors))
        columns = self._sensor_columns(recording, sensors)
        states = numbers(recording.path, columns)
        if not len(states):
            raise InputError(f"{self.path} must hold a row per state, holds none")
        if states.size > MAX_RECORDED:
            most = MAX_RECORDED // sensors.count
            raise InputError(
                f"{self.path} must hold at most {most} rows of {sensors.count} sensors, holds "
                f"{len(states)}: keep one row in {-(-len(states) // most)}"
            )
        drawn = steps = np.zeros(0, np.int64)
        numbered: NDArray[np.int64] | None = None
        if self.episode_column is not None:
            episodes = self._episodes(recording, len(states))
            self._refuse_copies(episodes, states)
            drawn, steps = _one_of_each(episodes, states)
            numbered = _numbered(episodes, len(states))
            if len(episodes) == len(states):
                remark(
                    f"{self.path}: each row is an episode of its own by column "
                    f"{self.episode_column!r}"
                )
        if recording.is_named and not self._names(recording, sensors):
            taken = [f"sensor {number} = {column.name}" for number, column in enumerate(columns)]
            remark(f"{self.path}: no names tell, taken in their order: {listed(taken)}")
        return Visited(
            independent=states[drawn].reshape(len(drawn), sensors.count),
            steps=steps,
            num_discarded=0,
            pool=states,
            episodes=numbered,
        )

    def _wanted(self, sensors: Sensors) -> tuple[str, ...]:
        named = self.columns or sensors.names or ()
        return named if self.episode_column is None or not named else (*named, self.episode_column)

    def _sensor_columns(self, recording: Recording, sensors: Sensors) -> list[Column]:
        """Return the columns of the sensors, in their order.

        Raises:
            InputError: If they are not as many as the sensors, one has no column, or two the same.
        """
        names = self._names(recording, sensors)
        if names:
            found = recording.chosen(names)
            self._check_distinct(recording, found)
        else:
            apart = {self.episode_column, ""} if recording.is_named else set()  # "": an index
            found = [c for c in recording.columns if c.name not in apart]
        if len(found) != sensors.count:
            listed = f": {recording.listed}" if recording.is_named else ""
            choose = "" if self.columns or not recording.is_named else "; choose with --columns"
            raise InputError(
                f"{self.path} must have {sensors.count} columns, one per sensor, has "
                f"{len(found)}{listed}{choose}"
            )
        return found

    def _check_distinct(self, recording: Recording, found: Sequence[Column]) -> None:
        """Refuse two sensors of one column, and one of the column that tells the episodes.

        Raises:
            InputError: If there are any.
        """
        name, count = Counter(column.name for column in found).most_common(1)[0]
        if count > 1:
            raise InputError(f"{self.path}: columns must differ, {name!r} is named {count} times")
        if self.episode_column is None:
            return
        episodes = recording.chosen([self.episode_column])[0].name
        if any(column.name == episodes for column in found):
            raise InputError(f"{self.path}: episode column {episodes!r} must be no sensor as well")

    def _names(self, recording: Recording, sensors: Sensors) -> tuple[str, ...]:
        """Return what the columns of the sensors are called; nothing where no name tells."""
        if self.columns or not recording.is_named:
            return self.columns
        if sensors.parts and set(sensors.parts) <= set(recording.fields):
            return sensors.parts
        return sensors.names or ()

    def _episodes(self, recording: Recording, count: int) -> dict[str, NDArray[np.intp]]:
        """Return the rows of each episode, ascending, by its name.

        Raises:
            InputError: If it is not told of every row, or there is but one episode.
        """
        column = recording.chosen([self.episode_column or ""])[0]
        if len(column.values) != count:
            raise InputError(
                f"{self.path}: episode column {column.name!r} must have {count} rows as the "
                f"states, has {len(column.values)}"
            )
        called = _episode_names(column.values)
        for row, name in enumerate(called):
            if name in _NO_EPISODE:
                raise InputError(
                    f"{self.path}: row {row + 1} of episode column {column.name!r} must name an "
                    f"episode, got {name!r}"
                )
        names, episodes = np.unique(called, return_inverse=True)
        if len(names) == 1:
            raise InputError(
                f"{self.path}: episode column {column.name!r} must tell at least 2 episodes apart, "
                "got 1: nothing follows from a single one"
            )
        ends = np.bincount(episodes).cumsum()
        rows = np.split(np.argsort(episodes, kind="stable"), ends[:-1])
        return dict(zip(names.tolist(), rows, strict=True))

    def _refuse_copies(
        self, episodes: Mapping[str, NDArray[np.intp]], states: NDArray[np.float64]
    ) -> None:
        """Refuse episodes that a controller cannot tell apart: copies are no evidence.

        Raises:
            InputError: If there are two.
        """
        seen: dict[str, str] = {}
        # States enter as float32; + 0 makes -0 the same as 0.
        entered = states.astype(np.float32) + np.float32(0)
        for name, rows in episodes.items():
            first = seen.setdefault(sha256_hex(entered[rows].tobytes()), name)
            if first != name:
                raise InputError(
                    f"{self.path}: episodes must differ, {first!r} and {name!r} of column "
                    f"{self.episode_column!r} hold the same rows: copies are no evidence"
                )


def _episode_names(values: NDArray[Any]) -> list[str]:
    """Return what the episode of each row is called, the same however it is written.

    Blanks around a name and the sign of zero tell no episodes apart: one that counted as two would
    be evidence that is none.
    """
    same = values + 0 if values.dtype.kind == "f" else values
    return [str(entry).strip() for entry in same]


def _numbered(episodes: Mapping[str, NDArray[np.intp]], count: int) -> NDArray[np.int64]:
    """Return the number of the episode of each row, in the order of the names, shape (count,)."""
    numbers = np.empty(count, np.int64)
    for number, rows in enumerate(episodes.values()):
        numbers[rows] = number
    return numbers


def _one_of_each(
    episodes: Mapping[str, NDArray[np.intp]], states: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw one row of each episode; return the rows, and their steps within their episodes."""
    digest = sha256_hex(np.ascontiguousarray(states, "<f8").tobytes())
    rng = np.random.default_rng(int(digest, 16))
    rows, steps = [], []
    for own in episodes.values():
        step = int(rng.integers(len(own)))
        rows.append(int(own[step]))
        steps.append(step)
    return np.array(rows, np.int64), np.array(steps, np.int64)
