"""A recording as observations of one controller, and one state of each episode drawn."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surefoot.artifact import sha256_hex
from surefoot.errors import InputError
from surefoot.limits import MAX_RECORDED
from surefoot.recordings.fields import Column, Recording, numbers
from surefoot.recordings.files import read_recording
from surefoot.visited import Visited


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

    def read(self, sensors: Sensors) -> Visited:
        """Read the states of one controller.

        With an episode column one state of each episode is drawn, any of its steps as likely as
        another. The generator is seeded by the states, so that nobody chooses among draws.

        Raises:
            InputError: If the file is not what its name says, lacks a column, holds anything but
                finite numbers in one, no row, too many, or a single episode.
        """
        recording = read_recording(self.path, self._wanted(sensors))
        states = numbers(recording.path, self._sensor_columns(recording, sensors))
        if not len(states):
            raise InputError(f"{self.path} must hold a row per state, holds none")
        if states.size > MAX_RECORDED:
            most = MAX_RECORDED // sensors.count
            raise InputError(
                f"{self.path} must hold at most {most} rows of {sensors.count} sensors, holds "
                f"{len(states)}: keep one row in {-(-len(states) // most)}"
            )
        drawn = steps = np.zeros(0, np.int64)
        if self.episode_column is not None:
            drawn, steps = _one_of_each(self._episodes(recording, len(states)), states)
        return Visited(
            independent=states[drawn].reshape(len(drawn), sensors.count),
            steps=steps,
            num_discarded=0,
            pool=states,
        )

    def _wanted(self, sensors: Sensors) -> tuple[str, ...]:
        named = self.columns or sensors.names or ()
        return named if self.episode_column is None or not named else (*named, self.episode_column)

    def _sensor_columns(self, recording: Recording, sensors: Sensors) -> list[Column]:
        """Return the columns of the sensors, in their order.

        Raises:
            InputError: If they are not as many as the sensors, or one has no column.
        """
        names = self.columns or self._known(recording, sensors)
        if names:
            found = recording.chosen(names)
        else:
            found = [c for c in recording.columns if c.name != self.episode_column]
        if len(found) != sensors.count:
            listed = f": {recording.listed}" if recording.is_named else ""
            choose = "" if self.columns or not recording.is_named else "; choose with --columns"
            raise InputError(
                f"{self.path} must have {sensors.count} columns, one per sensor, has "
                f"{len(found)}{listed}{choose}"
            )
        return found

    def _known(self, recording: Recording, sensors: Sensors) -> tuple[str, ...]:
        """Return the names of the sensors in the recording, as far as it has any."""
        if not recording.is_named:
            return ()
        if sensors.parts and set(sensors.parts) <= set(recording.fields):
            return sensors.parts
        return sensors.names or ()

    def _episodes(self, recording: Recording, count: int) -> NDArray[Any]:
        """Return the episode of each row, shape (n,).

        Raises:
            InputError: If it is not told of every row, or there is but one episode.
        """
        column = recording.chosen([self.episode_column or ""])[0]
        if len(column.values) != count:
            raise InputError(
                f"{self.path}: episode column {column.name!r} must have {count} rows as the "
                f"states, has {len(column.values)}"
            )
        unknown = [k for k, entry in enumerate(column.values.tolist()) if entry in (None, "")]
        unknown += np.flatnonzero(column.values != column.values).tolist()
        if unknown:
            raise InputError(
                f"{self.path}: row {min(unknown) + 1} of episode column {column.name!r} must name "
                f"an episode, got {column.values[min(unknown)]!r}"
            )
        episodes = np.unique(column.values.astype(str), return_inverse=True)[1]
        if not episodes.any():
            raise InputError(
                f"{self.path}: episode column {column.name!r} must tell at least 2 episodes apart, "
                "got 1: nothing follows from a single one"
            )
        return np.asarray(episodes)


def _one_of_each(
    episodes: NDArray[Any], states: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw one row of each episode; return the rows, and their steps within their episodes."""
    digest = sha256_hex(np.ascontiguousarray(states, "<f8").tobytes())
    rng = np.random.default_rng(int(digest, 16))
    rows, steps = [], []
    for episode in range(int(episodes.max()) + 1):
        own = np.flatnonzero(episodes == episode)
        step = int(rng.integers(len(own)))
        rows.append(int(own[step]))
        steps.append(step)
    return np.array(rows, np.int64), np.array(steps, np.int64)
