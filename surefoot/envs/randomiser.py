"""Draws what a `Randomisation` says, writes it into the simulations, and stores it with them.

N = all simulations, n = some of them, k = objects of one kind, O = observation length.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mujoco.batch import Batch
from numpy.typing import NDArray

from surefoot.envs.names import Names
from surefoot.envs.randomisation import Push, Randomisation, Range, require_matching_errors
from surefoot.envs.vector import Floats, State
from surefoot.errors import InputError

_Index = tuple[NDArray[np.intp] | int | slice, ...]
_Streams = Sequence[np.random.Generator]

# Where the drawn numbers of each kind go: the kind of object, and the fields of the model with the
# columns that are scaled. A position servo has its stiffness in gain and bias, its damping in bias.
_FACTORS: dict[str, tuple[str, dict[str, _Index]]] = {
    "mass": ("body", {"body_mass": (), "body_inertia": (slice(None),)}),
    "friction": ("geom", {"geom_friction": (0,)}),
    "damping": ("dof", {"dof_damping": ()}),
    "gain": ("actuator", {"actuator_gainprm": (0,), "actuator_biasprm": (slice(None),)}),
}
_TIMES = {
    "actuator_delay_s": ("actuator", "actuator_delay"),
    "sensor_delay_s": ("sensor", "sensor_delay"),
}


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Numbers to draw, one for each of k objects, and where they go.

    Attributes:
        objects: Numbers of the objects, (k,).
        low: Smallest values, (k,).
        high: Largest values, (k,).
        fields: Fields of the batch, (N, ...), each with the columns that are written and the
            numbers that are scaled, (k, ...); without numbers the field is the drawn value.
    """

    objects: NDArray[np.intp]
    low: Floats
    high: Floats
    fields: tuple[tuple[Floats, _Index, Floats | None], ...]

    def draw(self, ids: NDArray[np.int32], streams: _Streams) -> None:
        """Write new numbers into simulations."""
        values = np.array([stream.uniform(self.low, self.high) for stream in streams])
        for array, columns, nominal in self.fields:
            where = (ids[:, None], self.objects, *columns)
            if nominal is None:
                array[where] = values
            else:
                array[where] = values.reshape(*values.shape, *[1] * (nominal.ndim - 1)) * nominal


class Randomiser:
    """The draws of a task's simulations."""

    def __init__(self, randomisation: Randomisation, batch: Batch, names: Names) -> None:
        """Find what is to be drawn.

        Raises:
            InputError: If a pattern matches nothing.
        """
        self._randomisation = randomisation
        self._batch = batch
        self._streams: list[np.random.Generator] = []
        self._drawn = [
            *(self._factors(name, names) for name in _FACTORS if getattr(randomisation, name)),
            *(self._times(name, names) for name in _TIMES if getattr(randomisation, name)),
        ]
        self._has_bias = bool(np.any(randomisation.obs_bias))
        self._has_noise = bool(np.any(randomisation.obs_noise))
        self._bias = np.zeros((batch.nsim, 0))
        self._pushes = None
        if (push := randomisation.push) is not None:
            self._pushes = _Pushes(push, batch, names.body(push.body))

    def begin(self, ids: NDArray[np.int32], streams: _Streams) -> None:
        """Draw the physics of new episodes, everywhere at first.

        Args:
            ids: The simulations, (n,).
            streams: The random stream of each of them, from which its episode goes on drawing.
        """
        self._streams = self._streams or list(streams)
        for i, stream in zip(ids.tolist(), streams, strict=True):
            self._streams[i] = stream
        for drawn in self._drawn:
            drawn.draw(ids, streams)
        if self._randomisation.mass:
            self._batch.set_const(ids)
        if self._pushes is not None:
            self._pushes.begin(ids, streams)

    def push(self) -> None:
        """Begin and end the pushes that are due."""
        if self._pushes is not None:
            self._pushes.advance(self._streams)

    def begin_errors(self, obs: Floats, ids: NDArray[np.integer[Any]]) -> None:
        """Draw the constant errors of new episodes for observations like these, (n, O).

        Raises:
            InputError: If the errors do not fit the observations.
        """
        if self._bias.shape[1] != obs.shape[1]:
            require_matching_errors(self._randomisation, obs)
            self._bias = np.zeros((self._batch.nsim, obs.shape[1]))
        if self._has_bias:
            draws = [self._streams[i].uniform(-1.0, 1.0, obs.shape[1]) for i in ids]
            self._bias[ids] = np.array(draws) * self._randomisation.obs_bias

    def disturb(self, obs: Floats, ids: NDArray[np.integer[Any]]) -> None:
        """Add the errors of the sensors to observations, (n, O), in place."""
        if self._has_bias:
            obs += self._bias[ids]
        if self._has_noise:
            draws = [self._streams[i].standard_normal(obs.shape[1]) for i in ids]
            obs += np.array(draws) * self._randomisation.obs_noise

    def state_dict(self) -> State:
        """Return what was drawn, as copies."""
        state: State = {"bias": self._bias.copy()}
        state.update({f"field_{i}": array.copy() for i, array in enumerate(self._fields())})
        if self._pushes is not None:
            state.update(self._pushes.state_dict())
        return state

    def load_state_dict(self, state: Mapping[str, Any], streams: _Streams) -> None:
        """Go back to what was drawn; go on drawing from these streams, one for each simulation."""
        self._streams = list(streams)
        self._bias = state["bias"].copy()
        for i, array in enumerate(self._fields()):
            array[:] = state[f"field_{i}"]
        if self._randomisation.mass:
            self._batch.set_const()
        if self._pushes is not None:
            self._pushes.load_state_dict(state)

    def _fields(self) -> list[Floats]:
        return [array for drawn in self._drawn for array, _, _ in drawn.fields]

    def _factors(self, name: str, names: Names) -> _Drawn:
        kind, fields = _FACTORS[name]
        objects, low, high = self._matched(name, kind, names)
        places = []
        for field, columns in fields.items():
            nominal = getattr(self._batch.model, field)[(objects, *columns)].copy()
            places.append((self._batch.expand(field), columns, nominal))
        return _Drawn(objects, low, high, tuple(places))

    def _times(self, name: str, names: Names) -> _Drawn:
        kind, field = _TIMES[name]
        objects, low, high = self._matched(name, kind, names)
        return _Drawn(objects, low, high, ((self._batch.expand(field), (), None),))

    def _matched(
        self, name: str, kind: str, names: Names
    ) -> tuple[NDArray[np.intp], Floats, Floats]:
        ranges: Mapping[str, Range] = getattr(self._randomisation, name)
        matched: dict[int, Range] = {}  # a later pattern replaces an earlier one
        for pattern, bounds in ranges.items():
            try:
                matched.update(dict.fromkeys(names.matching(kind, pattern), bounds))
            except InputError as error:
                raise InputError(f"randomisation.{name}: {error}") from None
        low, high = np.array(list(matched.values()), np.float64).T
        return np.array(list(matched), np.intp), low, high


class _Pushes:
    """When each simulation is pushed next, and until when, (N,), in s of its episode."""

    def __init__(self, push: Push, batch: Batch, body: int) -> None:
        self._push = push
        self._time_s = batch.bind("time")
        self._force = batch.bind("xfrc_applied")[:, body, :2]
        self._half_substep_s = batch.model.opt.timestep / 2
        self._begins_s = np.full(batch.nsim, np.inf)
        self._ends_s = np.full(batch.nsim, np.inf)

    def begin(self, ids: NDArray[np.int32], streams: _Streams) -> None:
        self._begins_s[ids] = [stream.uniform(*self._push.every_s) for stream in streams]
        self._ends_s[ids] = np.inf

    def advance(self, streams: _Streams) -> None:
        now_s = self._time_s + self._half_substep_s  # sums of timesteps are a little off
        for i in np.flatnonzero(self._ends_s <= now_s).tolist():
            self._force[i] = 0.0
            self._begins_s[i] = self._ends_s[i] + streams[i].uniform(*self._push.every_s)
            self._ends_s[i] = np.inf
        for i in np.flatnonzero(self._begins_s <= now_s).tolist():
            angle = streams[i].uniform(0.0, 2.0 * np.pi)
            force = streams[i].uniform(*self._push.force_N)
            self._force[i] = force * np.cos(angle), force * np.sin(angle)
            self._begins_s[i] = np.inf
            self._ends_s[i] = self._time_s[i] + self._push.lasts_s

    def state_dict(self) -> State:
        return {"push_begins_s": self._begins_s.copy(), "push_ends_s": self._ends_s.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._begins_s[:] = state["push_begins_s"]
        self._ends_s[:] = state["push_ends_s"]
