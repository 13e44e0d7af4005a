"""The limits of a gate from recorded steps, and how often they are wrong on fresh ones.

Limits are order statistics of what was recorded, and a margin. Steps of one episode depend on each
other: a rate of false alarms is bounded from trials that do not, which are whole episodes, or one
step of each. Where episodes are told apart, every second one makes the limits, and the others are
the trials. Where they are not, nothing tells how fast a sensor changes.

n = steps, d = sensors, m = actions.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surefoot.artifact import sha256_hex
from surefoot.certify.confidence_limits import success_rate_upper
from surefoot.errors import InputError
from surefoot.gate import (
    ActionLimits,
    AlarmRate,
    FalseAlarms,
    Gate,
    GateFile,
    GateRule,
    HalfSpace,
    SensorLimits,
)
from surefoot.gate.arrays import broken_steps, pair_sums
from surefoot.policy import Array, GaussianHead, Policy, Squash
from surefoot.runtime.c_source import twin_outputs
from surefoot.visited import Visited

MOST_REJECTED = 0.01
"""Share of recorded steps that a gate may reject: above it is no gate for this robot."""

_LARGEST = float(np.finfo(np.float32).max)
_MOST_SENSORS_OF_PAIRS = 512


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DataSheet:
    """What is known of sensors and actuators before anything is recorded.

    Attributes:
        names: Name of each sensor; empty where not all are known.
        low: Least readings, raw units, -infinity where unknown, (d,); None where all are.
        high: Largest readings, the same way.
        rate: Largest changes from call to call, raw units, infinite where unknown, the same way.
        least_action: Least actions, action units, -infinity where unknown, (m,); None where all
            are.
        largest_action: Largest actions, the same way.
        action_rate: Largest changes of actions from call to call, action units, the same way.
    """

    names: tuple[str, ...] = ()
    low: Array | None = None
    high: Array | None = None
    rate: Array | None = None
    least_action: Array | None = None
    largest_action: Array | None = None
    action_rate: Array | None = None

    def called(self, number: int) -> str:
        """Return a sensor as messages name it."""
        return f"sensor {number}" + (f" ({self.names[number]})" if self.names else "")


_NOTHING_KNOWN = DataSheet()


def make_gate(
    policy: Policy, visited: Visited | None, rule: GateRule, sheet: DataSheet = _NOTHING_KNOWN
) -> GateFile:
    """Return the gate of a policy, the same for the same arguments on every machine.

    Args:
        policy: Policy behind the gate; its arrays are float32 by value.
        visited: What was recorded; None where the rule declares every range.
        rule: How the limits are made.
        sheet: What is known of the sensors; ranges of the rule count in the place of its own.

    Raises:
        InputError: If the policy has a memory, nothing gives a range, what is declared and what was
            recorded contradict each other, or the gate would reject more than a hundredth of the
            recorded steps.
    """
    if policy.memory is not None:
        raise InputError("a gate is for controllers without a memory: what they read is no state")
    recorded = _Recorded.of(policy, visited)
    making = recorded.part(~recorded.fresh)
    gate = Gate(
        sensors=tuple(_sensors(policy, making, rule, sheet)),
        actions=tuple(_actions(policy, making, rule, sheet)),
        pairs=tuple(_pairs(making, rule)),
        time=rule.time,
        reaction=rule.reaction,
        recover_after=rule.recover_after,
        stop_after=rule.stop_after,
        names=sheet.names,
    )
    broken = recorded.broken(gate)
    rejected, count = int(broken.sum()), len(broken)
    if rejected > MOST_REJECTED * count:
        raise InputError(
            f"the gate must reject at most {MOST_REJECTED:.0%} of the recorded steps, would reject "
            f"{rejected} of {count}: give a larger margin, wider ranges or more episodes"
        )
    rates = tuple(_rates(recorded, broken, gate, rule.confidence))
    alarms = FalseAlarms(recorded=count, rejected=rejected, rates=rates)
    return GateFile(gate=gate, rule=rule, alarms=alarms)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Recorded:
    """Recorded steps, one episode behind the other.

    Attributes:
        obs: Observations, raw units, float32, (n, d).
        actions: Actions of the policy at them, float32, (n, m).
        steps: Number of each step in its episode; all 0 where nothing tells, (n,).
        fresh: Whether a step makes no limit, (n,).
        episodes: Number of the episode of each step; -1 where nothing tells, (n,).
    """

    obs: NDArray[np.float32]
    actions: Array
    steps: NDArray[np.int64]
    fresh: NDArray[np.bool_]
    episodes: NDArray[np.int64]

    @classmethod
    def of(cls, policy: Policy, visited: Visited | None) -> "_Recorded":
        """Return what was recorded: the pool, and behind it states of episodes of their own."""
        if visited is None:
            visited = _nothing(policy.obs_dim)
        pool, alone = _taken(visited.pool), _taken(visited.independent)
        if visited.episodes is not None:
            return cls._of_episodes(policy, pool, visited.episodes)
        if visited.in_pool is None:
            # Some may be of an episode of the pool: docs/how-to/gate.md says what follows.
            held = {row.tobytes() for row in pool}
            alone = alone[[row.tobytes() not in held for row in alone]]
        else:
            alone = alone[~visited.in_pool]
        trials = np.empty((0, policy.obs_dim)) if visited.trials is None else visited.trials
        obs = np.concatenate([pool, alone, _taken(trials)])
        unknown = np.zeros(len(obs), np.int64)
        num_making = len(pool) or len(alone)
        return cls(
            obs=obs,
            actions=twin_outputs(policy, obs),
            steps=unknown,
            fresh=np.arange(len(obs)) >= num_making,
            episodes=unknown - 1,
        )

    @classmethod
    def _of_episodes(
        cls, policy: Policy, pool: NDArray[np.float32], episodes: NDArray[np.int64]
    ) -> "_Recorded":
        order = np.argsort(episodes, kind="stable")
        obs, numbers = pool[order], episodes[order]
        _, starts = np.unique(numbers, return_index=True)
        lengths = np.diff([*starts, len(numbers)])
        return cls(
            obs=obs,
            actions=twin_outputs(policy, obs),
            steps=np.arange(len(obs)) - np.repeat(starts, lengths),
            fresh=np.repeat(np.arange(len(starts)) % 2 == 1, lengths),
            episodes=numbers,
        )

    def part(self, rows: NDArray[np.bool_]) -> "_Recorded":
        """Return some of the steps; of an episode all or none."""
        return _Recorded(
            obs=self.obs[rows],
            actions=self.actions[rows],
            steps=self.steps[rows],
            fresh=self.fresh[rows],
            episodes=self.episodes[rows],
        )

    def broken(self, gate: Gate) -> NDArray[np.bool_]:
        """Return which steps a gate rejects, (n,)."""
        return broken_steps(gate, self.obs, self.actions, self.steps)

    def changes(self, values: Array, order: int) -> Array:
        """Return differences of an order between steps of one episode, (number of them, ...)."""
        with np.errstate(over="ignore"):
            return np.diff(values, n=order, axis=0)[self.steps[order:] >= order]


def _taken(observations: Array) -> NDArray[np.float32]:
    """Return observations as a runtime takes them, with one zero."""
    with np.errstate(over="ignore"):
        taken: NDArray[np.float32] = observations.astype(np.float32) + np.float32(0)
    return taken


def _nothing(obs_dim: int) -> Visited:
    none = np.empty((0, obs_dim))
    return Visited(independent=none, steps=np.empty(0, np.int64), num_discarded=0, pool=none)


def _sensors(
    policy: Policy, making: _Recorded, rule: GateRule, sheet: DataSheet
) -> list[SensorLimits]:
    recorded = _ranges(making.obs, rule, policy.normaliser.scale)
    low, high = rule.declared(policy.obs_dim) or (sheet.low, sheet.high)
    low = recorded[0] if low is None else np.maximum(low, recorded[0])
    high = recorded[1] if high is None else np.minimum(high, recorded[1])
    unknown = np.flatnonzero((low <= -_LARGEST) | (high >= _LARGEST))
    if len(unknown):
        raise InputError(
            f"{sheet.called(int(unknown[0]))} has no range: no states are recorded, so give low "
            "and high in [gate], or its range in robot.toml"
        )
    for number in np.flatnonzero(low > high).tolist():
        raise InputError(f"{sheet.called(number)}: no recorded reading is in its declared range")
    rates = _sizes(making.changes(making.obs, 1), rule, sheet.rate)
    return [
        SensorLimits(low=_below(one), high=_above(other), rate=rate)
        for one, other, rate in zip(low, high, rates, strict=True)
    ]


def _lesser(recorded: float | None, declared: float) -> float | None:
    """Return the lesser of two largest changes, None where neither is known."""
    known = np.inf if recorded is None else recorded
    return None if known == declared == np.inf else _above(min(known, declared))


def _actions(
    policy: Policy, making: _Recorded, rule: GateRule, sheet: DataSheet
) -> list[ActionLimits]:
    head = policy.head
    low, high = _ranges(making.actions, rule, np.zeros(policy.num_outputs))
    if isinstance(head, GaussianHead) and head.squash is not Squash.IDENTITY:
        # What a squash gives anyway; beyond it only rounding goes.
        reach = head.half_range.astype(np.float64) * (1 + 2.0**-20)
        low, high = np.maximum(low, head.centre - reach), np.minimum(high, head.centre + reach)
    if sheet.least_action is not None and sheet.largest_action is not None:
        # A controller that reaches its limit may round beyond it.
        low = np.maximum(low, sheet.least_action - np.abs(sheet.least_action) * 2.0**-20)
        high = np.minimum(high, sheet.largest_action + np.abs(sheet.largest_action) * 2.0**-20)
        for number in np.flatnonzero(low > high).tolist():
            raise InputError(f"action {number}: no recorded action is in its declared range")
    rates = _sizes(making.changes(making.actions, 1), rule, sheet.action_rate)
    jerks = _sizes(making.changes(making.actions, 2), rule)
    return [
        ActionLimits(low=_below(one), high=_above(other), rate=rate, jerk=jerk)
        for one, other, rate, jerk in zip(low, high, rates, jerks, strict=True)
    ]


def _ranges(values: Array, rule: GateRule, least_width: Array) -> tuple[Array, Array]:
    """Return the order statistics of both ends and a margin, float64; all numbers without any.

    Raises:
        InputError: If every recorded step may lie beyond.
    """
    if not len(values):
        return np.full(values.shape[1], -_LARGEST), np.full(values.shape[1], _LARGEST)
    if rule.beyond * 2 >= len(values):
        raise InputError(
            f"beyond must leave a recorded step, got {rule.beyond} at each end of {len(values)}"
        )
    ranked = np.sort(values.astype(np.float64), axis=0)
    low, high = ranked[rule.beyond], ranked[-1 - rule.beyond]
    margin = rule.margin * np.maximum(high - low, least_width)
    return low - margin, high + margin


def _sizes(changes: Array, rule: GateRule, declared: Array | None = None) -> list[float | None]:
    """Return the largest changes and a margin, or what is declared where that is less.

    None where no two steps follow each other and nothing is declared.
    """
    known = np.full(changes.shape[1], np.inf) if declared is None else declared
    if len(changes) <= rule.beyond:
        return [_lesser(None, float(size)) for size in known]
    largest = np.sort(np.abs(changes.astype(np.float64)), axis=0)[-1 - rule.beyond]
    recorded = (largest * (1 + rule.margin)).tolist()
    return [_lesser(one, float(other)) for one, other in zip(recorded, known, strict=True)]


def _pairs(making: _Recorded, rule: GateRule) -> list[HalfSpace]:
    """Return two half-spaces for each of the pairs whose recorded sets are thinnest.

    Raises:
        InputError: If there are too many sensors to look at all of their pairs.
    """
    if not rule.pairs or not len(making.obs):
        return []
    width = making.obs.max(axis=0).astype(np.float64) - making.obs.min(axis=0)
    moving = np.flatnonzero(width > 0).tolist()
    if len(moving) > _MOST_SENSORS_OF_PAIRS:
        raise InputError(
            f"pairs must be 0 with more than {_MOST_SENSORS_OF_PAIRS} sensors that move, got "
            f"{rule.pairs}"
        )
    if len(moving) < 2:
        return []
    # Digits beyond the sixth may depend on the machine, and must not choose.
    correlation = np.corrcoef(making.obs[:, moving] / width[moving], rowvar=False).round(6)
    ranked = sorted(
        itertools.combinations(range(len(moving)), 2),
        key=lambda pair: (-abs(correlation[pair]), pair),
    )
    return [
        half_space
        for one, other in ranked[: rule.pairs]
        for half_space in _both_sides(
            making, (moving[one], moving[other]), float(correlation[one, other]), rule
        )
    ]


def _both_sides(
    making: _Recorded, sensors: tuple[int, int], correlation: float, rule: GateRule
) -> Iterator[HalfSpace]:
    """Yield the two half-spaces across the thin direction of a pair."""
    one, other = (making.obs[:, [number]] for number in sensors)
    # In units of what each sensor covers, that direction is (1, -1), or (1, 1) if one falls as the
    # other rises.
    widths = [float(values.max()) - float(values.min()) for values in (one, other)]
    sign = -1.0 if correlation > 0 else 1.0
    for side in (1.0, -1.0):
        factors = np.array([[side / widths[0], side * sign / widths[1]]], np.float32)
        places = np.array([[sensors[0]], [sensors[1]]])
        sums = pair_sums(making.obs, places[0], places[1], factors)
        _, high = _ranges(sums, rule, np.zeros(1))
        yield HalfSpace(
            sensors=sensors,
            factors=(float(factors[0, 0]), float(factors[0, 1])),
            at_most=_above(high[0]),
        )


def _rates(
    recorded: _Recorded, broken: NDArray[np.bool_], gate: Gate, confidence: float
) -> list[AlarmRate]:
    """Return bounds on the rate of false alarms, from independent trials on fresh steps."""
    fresh = np.flatnonzero(recorded.fresh)
    if not len(fresh):
        return []
    if (recorded.episodes < 0).all():
        unit = "one step of an episode, its ranges and pairs"
        return [_rate(unit, broken[fresh], confidence)]
    _, starts, lengths = np.unique(recorded.episodes[fresh], return_index=True, return_counts=True)
    digest = sha256_hex(np.ascontiguousarray(recorded.obs[fresh], "<f4").tobytes())
    drawn = np.random.default_rng(int(digest, 16)).integers(lengths)
    whole = np.logical_or.reduceat(broken[fresh], starts)
    return [
        _rate("one step of an episode", broken[fresh][starts + drawn], confidence),
        _rate("a whole episode", whole, confidence),
    ]


def _rate(unit: str, broken: NDArray[np.bool_], confidence: float) -> AlarmRate:
    alarms, trials = int(broken.sum()), len(broken)
    return AlarmRate(
        unit=unit,
        trials=trials,
        alarms=alarms,
        at_most=success_rate_upper(alarms, trials, 1 - confidence),
        confidence=confidence,
    )


def _below(value: float) -> float:
    """Return the largest float32 that is at most a number."""
    return -_above(-value)


def _above(value: float) -> float:
    """Return the least finite float32 that is at least a number, or the largest one."""
    if value >= _LARGEST:
        return _LARGEST
    held = np.float32(max(value, -_LARGEST))
    return float(held if float(held) >= value else np.nextafter(held, np.float32(np.inf)))
