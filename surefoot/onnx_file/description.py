"""What other tools say about the robot in the metadata of a file, understood where it can be.

rsl_rl and mjlab write a list for each key: commas between its entries, numbers with three decimals
(``list_to_csv_str`` of mjlab 1.6, which puts semicolons between the numbers of one entry). exploy
writes JSON: an object for each input, output or group of them, with the names of its entries and
their gains, and the rate. LEAPP writes a file beside: ``leapp``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from surefoot.artifact import Json, from_json
from surefoot.errors import IntegrityError
from surefoot.policy import Array, GaussianHead, Policy, Squash
from surefoot.robot import Robot

_THREE_DECIMALS = 0.5e-3
"""By how much a number may be off that is written with three decimals."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """The robot of a controller, as the metadata of its file say it; empty where they do not.

    Attributes:
        joint_names: Name of each joint.
        action_scale: Factor of each action, or one for all.
        default_positions: Joint positions that actions count from, rad or m.
        stiffness: Proportional gains of the joints.
        damping: Derivative gains of the joints.
        observation_names: Name of each term of the observation.
        history_lengths: Number of observations that each term holds.
        term_scales: Factor of each term, one for all of its numbers or one for each.
        term_clips: Lower and upper limit of each term.
        command_names: Name of each command.
        rate_hz: Control rate, Hz; None if it is not said.
        tensors: Names of the entries of inputs and outputs, by tensor or group of them.
        unread: Keys whose text is not what it should be.
        others: Texts of all other keys, unchanged.
    """

    joint_names: tuple[str, ...]
    action_scale: tuple[float, ...]
    default_positions: tuple[float, ...]
    stiffness: tuple[float, ...]
    damping: tuple[float, ...]
    observation_names: tuple[str, ...]
    history_lengths: tuple[float, ...]
    term_scales: tuple[str, ...]
    term_clips: tuple[str, ...]
    command_names: tuple[str, ...]
    rate_hz: float | None
    tensors: Mapping[str, tuple[str, ...]]
    unread: tuple[str, ...]
    others: Mapping[str, str]

    @classmethod
    def of(cls, properties: Mapping[str, str]) -> "Description":
        """Read the metadata of a file, text by key."""
        text = _Metadata(properties)
        tensors = text.tensors()
        targets = [names for key, names in tensors.items() if key.startswith("output")]
        histories = text.numbers(
            "observation_history_lengths", "observation_terms_history_length", "history_length"
        )
        return cls(
            joint_names=text.names("joint_names") or (targets[0] if len(targets) == 1 else ()),
            action_scale=text.numbers("action_scale"),
            default_positions=text.numbers("default_joint_pos", "default_positions"),
            stiffness=text.numbers("joint_stiffness", "stiffness"),
            damping=text.numbers("joint_damping", "damping"),
            observation_names=text.names("observation_names") or text.names("obs_term_names"),
            history_lengths=histories,
            term_scales=text.names("observation_terms_scale"),
            term_clips=text.names("observation_terms_clip"),
            command_names=text.names("command_names"),
            rate_hz=text.rate(),
            tensors=tensors,
            unread=tuple(text.unread),
            others=text.others(),  # what all the lines above have left
        )

    def entries_of(self, tensor: str) -> tuple[str, ...]:
        """Return the names of the entries of a tensor, by its own name or that of its group.

        Args:
            tensor: Name of an input or output; ``robot.joints.pos`` is of the group
                ``robot.joints``.
        """
        return self.tensors.get(tensor) or self.tensors.get(tensor.rpartition(".")[0], ())

    def contradictions(self, policy: Policy) -> tuple[str, ...]:
        """List the contradictions of metadata and graph, a sentence each.

        Numbers of the metadata may be rounded to three decimals.

        Args:
            policy: What the graph computes.
        """
        head = policy.head
        if not isinstance(head, GaussianHead):
            return ()
        applied = "limits it to a radius of" if head.squash is Squash.CLIP else "scales it by"
        pairs = (
            ("action_scale", self.action_scale, head.half_range, 1.0, applied),
            ("default position", self.default_positions, head.centre, 0.0, "centres it at"),
        )
        found = []
        for name, said, held, neutral, verb in pairs:
            place = _first_difference(said, held, neutral)
            if place is not None:
                found.append(
                    f"the metadata's {name} of output {place} is {_entry(said, place):g}, but the "
                    f"graph {verb} {held[place]:g}: one of them is wrong, or both would be applied"
                )
        return tuple(found)

    def other_words(self, robot: Robot) -> tuple[str, ...]:
        """List the contradictions of metadata and a description of the robot, a sentence each.

        Args:
            robot: The robot as its user describes it.
        """
        found = []
        for output, (said, label) in enumerate(
            zip(self.joint_names, robot.actuator_labels, strict=False)
        ):
            if said not in (label, label.partition("[")[2].removesuffix("]")):
                found.append(
                    f"the metadata call output {output} {said}, the robot calls it {label}: in "
                    "another order each actuator would be told what another is to do"
                )
                break
        period = robot.control_period_s
        if self.rate_hz and period and abs(self.rate_hz * period - 1) > _THREE_DECIMALS:
            found.append(
                f"the metadata say {self.rate_hz:g} Hz, the robot a control period of {period:g} s"
            )
        return tuple(found)

    def unread_words(self) -> tuple[str, ...]:
        """List the keys that should hold numbers and hold none, a sentence each."""
        return tuple(f"metadata {key!r} are no numbers" for key in self.unread)

    def left_to_do(self, policy: Policy) -> tuple[str, ...]:
        """List what the metadata name and the graph does not do, a sentence each."""
        return self._left_of_terms() + self._left_of_actions(policy)

    def _left_of_terms(self) -> tuple[str, ...]:
        """Say so where terms are scaled before the graph sees them, which then shows no scale."""
        scales = ";".join(self.term_scales)
        if all(factor == 1 for factor in _numbers(tuple(filter(None, scales.split(";")))) or ()):
            return ()
        return (
            "the metadata scale terms of the observation: whoever runs it applies that, and its "
            "sensors are in scaled units",
        )

    def _left_of_actions(self, policy: Policy) -> tuple[str, ...]:
        head = policy.head
        if not self.action_scale or not isinstance(head, GaussianHead):
            return ()
        if (head.half_range == 1).all():
            return (
                "the graph shows no scale of its actions: whoever runs it applies the action_scale "
                "of the metadata",
            )
        fits = len(self.action_scale) in (1, len(head.half_range))
        if not fits or self.contradictions(policy):
            return ()
        return ("the graph applies the action_scale of the metadata: nobody else may",)


@dataclass(slots=True)
class _Metadata:
    """The metadata of a file while they are read, text by key."""

    properties: Mapping[str, str]
    objects: dict[str, dict[str, Json]] = field(init=False)
    unread: list[str] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        tables = {key: _json(text) for key, text in self.properties.items()}
        self.objects = {key: table for key, table in tables.items() if isinstance(table, dict)}

    def names(self, key: str) -> tuple[str, ...]:
        """Return the entries of a list; none where there is none."""
        self.taken.add(key)
        return _entries(self.properties.get(key, ""))

    def numbers(self, *keys: str) -> tuple[float, ...]:
        """Return the finite numbers of the first of these keys that is there, or of an object's."""
        for key in keys:
            if key in self.properties:
                found = _numbers(_entries(self.properties[key]))
                if found is None:
                    self.unread.append(key)
                else:
                    self.taken.add(key)
                return found or ()
        lists = [table[key] for table in self.objects.values() for key in keys if key in table]
        entries = lists[0] if lists and isinstance(lists[0], list) else []
        return _numbers(tuple(map(str, entries))) or ()

    def tensors(self) -> dict[str, tuple[str, ...]]:
        """Return the names of the entries of inputs and outputs, by tensor or group of them."""
        return {
            tensor: tuple(map(str, names))
            for tensor, table in self.objects.items()
            if isinstance(names := table.get("names", table.get("joint_names")), list)
        }

    def rate(self) -> float | None:
        """Return the rate at which a controller chooses its actions, Hz.

        exploy names the rate of the simulation, and how many of its steps an action holds.
        """
        steps = (*self.numbers("sim_dt"), *self.numbers("decimation"))
        said = self.numbers("update_rate", "control_rate", "control_frequency")
        self.taken.difference_update(("sim_dt", "decimation", "update_rate"))
        if len(steps) == 2 and min(steps) > 0 and (period := math.prod(steps)):
            return 1 / period
        return said[0] if len(said) == 1 else None

    def others(self) -> dict[str, str]:
        """Return the texts of all keys that were not taken."""
        return {key: text for key, text in self.properties.items() if key not in self.taken}


def _entries(text: str) -> tuple[str, ...]:
    """Return the entries of a list of JSON, or of words with commas between them."""
    value = _json(text)
    if isinstance(value, list):
        return tuple(map(str, value))
    return tuple(entry.strip() for entry in text.strip("[]").split(",")) if text.strip() else ()


def _numbers(entries: tuple[str, ...]) -> tuple[float, ...] | None:
    """Return finite numbers, or None where an entry is none."""
    try:
        numbers = tuple(float(entry) for entry in entries)
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def _json(text: str) -> Json:
    """Return the value of JSON text, None for any other text."""
    try:
        return from_json(text.encode(), "it")
    except (IntegrityError, UnicodeEncodeError):
        return None


def _first_difference(said: tuple[float, ...], held: Array, neutral: float) -> int | None:
    """Return the first output of which metadata and graph say different things; None for none."""
    if len(said) not in (1, len(held)) or (held == neutral).all():
        return None
    apart = np.abs(np.asarray(said) - held) > _THREE_DECIMALS + 1e-6 * np.abs(held)
    return int(apart.argmax()) if apart.any() else None


def _entry(said: tuple[float, ...], place: int) -> float:
    return said[place] if len(said) > 1 else said[0]
