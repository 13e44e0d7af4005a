"""How far the states of late readings are from those of the newest ones.

A reading that is up to k steps late is one of the last k + 1 that were recorded in its episode, or
lies between two of them, sensor by sensor; before its first step an episode has no reading. The
state rises with its reading in the deployed arithmetic, too, so that what lies between readings
lies between their states: the interval around the newest state that reaches the farthest of them
holds every state that may be seen.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surefoot.certify.bounds.upward import Float, up
from surefoot.policy import Array
from surefoot.unknown import Unknown

NO_ORDER = (
    "a delay needs states in the order of their episodes: certify with --states FILE and "
    "--episode-column NAME"
)

_MOST_AGES = 8
"""Numbers of steps by which all sensors are late together in a search."""

_NUM_DRAWS = 4
"""Delays of all sensors that are drawn, for each sensor by itself."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Reach:
    """How far the states of late readings are from the newest ones, at the farthest, rounded up.

    Attributes:
        below: To lower values, normalised units, shape (n, d).
        above: To higher values, normalised units, shape (n, d).
    """

    below: Float
    above: Float

    def left(self, rows: NDArray[np.intp], step: Float) -> Float:
        """Return what of a perturbation no late reading explains at some states, shape (k, d).

        Args:
            rows: Numbers of the states, shape (k,).
            step: The perturbation, normalised units, shape (d,).
        """
        return np.asarray(step - np.clip(step, -self.below[rows], self.above[rows]))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SeenLate:
    """What may be seen of late readings in the place of some states, float32, normalised units.

    Attributes:
        drawn: All sensors late by the same number of steps, and some each by its own; (n, d) each.
        low: Least of each sensor, shape (n, d).
        high: Largest of each sensor, shape (n, d).
    """

    drawn: tuple[Array, ...]
    low: Array
    high: Array


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Lateness:
    """The recorded states before each of some states.

    Attributes:
        recorded: States of a recording in deployed arithmetic, float32, shape (m, d).
        before: Row one step before each row in its episode, that of itself at the first, (m,).
        rows: For each of the states the first and each further row at which it was recorded, n.
        most: Steps before each of the states that are recorded; None for its whole episode.
    """

    recorded: Array
    before: NDArray[np.intp]
    rows: tuple[NDArray[np.intp], ...]
    most: int | None = None

    @classmethod
    def after(cls, states: Array, earlier: Array) -> "Lateness":
        """Take what was recorded before each of some states.

        Args:
            states: States, float32, shape (n, d).
            earlier: Those of the steps before, the latest first, float32, shape (n, k, d).
        """
        together = np.concatenate([states[:, None], earlier], axis=1)
        num_rows, each = together.shape[0] * together.shape[1], together.shape[1]
        before = np.arange(1, num_rows + 1)
        before[each - 1 :: each] -= 1  # nothing is known from there on
        firsts = np.arange(0, num_rows, each)
        return cls(
            recorded=together.reshape(num_rows, -1),
            before=before,
            rows=tuple(firsts[:, None]),
            most=each - 1,
        )

    @classmethod
    def of(
        cls, states: Array, recorded: Array | None, episodes: NDArray[np.int64] | None
    ) -> "Lateness | Unknown":
        """Find states in a recording, all of whose steps are there.

        Args:
            states: States, float32, shape (n, d).
            recorded: States of every step of some episodes, in the order of time; None for none.
            episodes: Number of the episode of each of these, shape (m,); None where nothing tells.
        """
        if recorded is None or episodes is None:
            return Unknown(NO_ORDER)
        places: dict[bytes, list[int]] = {}
        for row, state in enumerate(recorded):
            places.setdefault(state.tobytes(), []).append(row)
        found = [places.get(state.tobytes()) for state in states]
        rows = tuple(np.array(known, np.intp) for known in found if known)
        if len(rows) < len(found):
            return Unknown(NO_ORDER)
        return cls(recorded=recorded, before=rows_before(episodes), rows=rows)

    def reach(self, delays: tuple[int, ...]) -> Reach | Unknown:
        """Return how far the states of late readings may be, or why that is unknown.

        Of a state that was recorded several times the farthest counts.

        Args:
            delays: Steps by which the reading of each sensor may be late, d.
        """
        if self.most is not None and max(delays) > self.most:
            steps = f"{self.most} {'step' if self.most == 1 else 'steps'}"
            return Unknown(f"delays of at most {steps} are known of these states")
        states = self.recorded.astype(np.float64)
        below, above = np.zeros_like(states), np.zeros_like(states)
        for ages, earlier in self._earlier(delays):
            step = np.where(ages, states[earlier] - states, 0.0)
            below, above = np.maximum(below, -step), np.maximum(above, step)
        return Reach(
            below=up(np.stack([below[rows].max(axis=0) for rows in self.rows])),
            above=up(np.stack([above[rows].max(axis=0) for rows in self.rows])),
        )

    def _earlier(
        self, delays: tuple[int, ...]
    ) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.intp]]]:
        """Yield which sensors may be as late as a number of steps, and the rows of that time."""
        steps, rows = np.array(delays), np.arange(len(self.recorded))
        for age in range(1, int(steps.max(initial=0)) + 1):
            rows = self.before[rows]
            yield steps >= age, rows

    def seen(self, delays: tuple[int, ...], seed: int) -> SeenLate:
        """Return what a search tries in the place of the states, at which each may be seen first.

        Args:
            delays: Steps by which the reading of each sensor may be late, d.
            seed: Seed of the draws.
        """
        newest = np.array([rows[0] for rows in self.rows], np.intp)
        here = low = high = self.recorded[newest]
        history, kept = [here], np.linspace(1, max(delays), min(max(delays), _MOST_AGES)).round()
        for age, (ages, earlier) in enumerate(self._earlier(delays), start=1):
            here = np.where(ages, self.recorded[earlier[newest]], here)
            low, high = np.minimum(low, here), np.maximum(high, here)
            if age in kept:
                history.append(here)
        stacked, rng = np.stack(history), np.random.default_rng(seed)
        places = rng.integers(0, len(history), (_NUM_DRAWS, *history[0].shape))
        drawn = np.take_along_axis(stacked, places, axis=0)
        return SeenLate(drawn=(*history[1:], *drawn), low=low, high=high)


def rows_before(episodes: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the row one step before each row in its episode, that of itself at the first, (m,)."""
    order = np.argsort(episodes, kind="stable")
    before = np.arange(len(episodes))
    same = episodes[order][1:] == episodes[order][:-1]
    before[order[1:][same]] = order[:-1][same]
    return before
