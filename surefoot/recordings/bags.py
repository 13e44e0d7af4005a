"""Recordings of ROS 2: bags of SQLite or MCAP, a folder or a single file.

A column is ``TOPIC.FIELD``, as ``/imu.angular_velocity.x``. A field of several numbers has a column
for each: ``/joint_states.position[knee]`` where the message names them beside, ``[3]`` elsewhere.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from surefoot.errors import InputError, MissingLibraryError, did_you_mean
from surefoot.installation import how_to_install
from surefoot.recordings.fields import Field, Recording


def read_bag(path: Path, wanted: Sequence[str]) -> Recording:
    """Read fields of a bag, one row per message of the first topic.

    Of every other topic a row has the last message that came before: what a control loop that the
    first topic drives would have known. Moments at which a topic was still silent are no rows.

    Args:
        path: A folder with ``metadata.yaml``, or one ``.mcap`` or ``.db3`` file.
        wanted: Columns or fields, ``TOPIC.FIELD``; at least one.

    Raises:
        InputError: If it is no bag of ROS 2, or lacks a topic or a field.
        MissingLibraryError: If rosbags is not installed.
    """
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ModuleNotFoundError as error:
        hint = f"rosbags is not installed: {how_to_install('logs')}"
        raise MissingLibraryError(hint) from error
    if not path.exists():
        raise InputError(f"no such file: {path}")
    series = {name: _Series(str(path), name) for name in map(_without_index, wanted)}
    try:
        # SQLite bags of older distributions hold no definitions of their messages.
        store = get_typestore(Stores.ROS2_HUMBLE)
        with AnyReader([path], default_typestore=store) as reader:
            _check_topics(str(path), series.values(), sorted(reader.topics))
            topics = {one.topic for one in series.values()}
            chosen = [c for c in reader.connections if c.topic in topics]
            for connection, time, data in reader.messages(connections=chosen):
                message = reader.deserialize(data, connection.msgtype)
                for one in series.values():
                    if one.topic == connection.topic:
                        one.add(time, message)
    except InputError:
        raise
    except Exception as error:  # the library lets through whatever its parsers meet
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{path} is no bag of ROS 2: {said}") from error
    return Recording(path=str(path), fields=_held(list(series.values())))


@dataclass(slots=True)
class _Series:
    """The values of one field, message by message."""

    path: str
    name: str
    times: list[int] = field(default_factory=list)
    values: list[np.ndarray[Any, Any]] = field(default_factory=list)
    labels: tuple[str, ...] | None = None

    @property
    def topic(self) -> str:
        return self.name.partition(".")[0]

    def add(self, time: int, message: object) -> None:
        """Take the value of a message.

        Raises:
            InputError: If it has no such field, or one of another size than before.
        """
        around, value = message, message
        for part in self.name.split(".")[1:]:
            around = value
            fields = getattr(value, "__dataclass_fields__", {})
            if part not in fields:
                known = ", ".join(name for name in fields if not name.startswith("_"))
                hint = did_you_mean(part, fields)
                raise InputError(
                    f"{self.path}: {self.name!r}: no field {part!r}{hint}; there "
                    f"{f'are {known}' if known else 'is none below a number'}"
                )
            value = getattr(value, part)
        if hasattr(value, "__dataclass_fields__"):
            inner = ", ".join(n for n in value.__dataclass_fields__ if not n.startswith("_"))
            raise InputError(
                f"{self.path}: {self.name!r} must be a number or an array, name one of its {inner}"
            )
        array = np.atleast_1d(np.asarray(value))
        self._check_labels(_labels(self.name, around, np.asarray(value).shape))
        self.times.append(time)
        self.values.append(array.ravel())

    def _check_labels(self, labels: tuple[str, ...]) -> None:
        if self.labels is None:
            self.labels = labels
        if self.labels != labels:
            raise InputError(
                f"{self.path}: message {len(self.times) + 1} of {self.name!r} has other entries "
                f"than the first: {', '.join(labels[:4])}, not {', '.join(self.labels[:4])}"
            )


def _labels(name: str, around: object, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Return the names of the columns of a field: those that its message gives, or numbers."""
    if not shape:
        return (name,)
    size = math.prod(shape)
    given = getattr(around, "name", None)  # as in sensor_msgs/JointState
    named = isinstance(given, list) and len(given) == size
    return tuple(f"{name}[{label}]" for label in (given if named and given else range(size)))


def _without_index(name: str) -> str:
    return name.partition("[")[0]


def _check_topics(path: str, series: Iterable[_Series], topics: Sequence[str]) -> None:
    """Check that the bag has what is asked for.

    Raises:
        InputError: If it lacks a topic, or no field of one is named.
    """
    for one in series:
        if one.topic not in topics:
            hint = did_you_mean(one.topic, topics)
            known = ", ".join(topics) or "none"
            raise InputError(f"{path} has no topic {one.topic!r}{hint}; it has {known}")
        if one.name == one.topic:
            raise InputError(
                f"{path}: a column must name a field of its topic, as {one.topic}.data, got "
                f"{one.name!r}"
            )


def _held(series: Sequence[_Series]) -> dict[str, Field]:
    """Return all fields at the moments of the first, each holding its last value.

    Raises:
        InputError: If one was never told.
    """
    for one in series:
        if not one.times:
            raise InputError(f"{one.path}: topic {one.topic!r} must have messages, has none")
    moments = [time for time in series[0].times if all(one.times[0] <= time for one in series)]
    return {
        one.name: Field(
            values=np.array(
                [one.values[bisect_right(one.times, time) - 1] for time in moments]
            ).reshape(len(moments), len(one.labels or ())),
            names=one.labels or (),
        )
        for one in series
    }
