"""Small gates, and sequences of calls that break every limit of theirs."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surefoot.gate import (
    ActionLimits,
    Gate,
    HalfSpace,
    Reaction,
    SensorLimits,
    TimeLimits,
)


def small_gate(reaction: Reaction = Reaction.HOLD) -> Gate:
    """A gate of three sensors and two actions, which limits all that a gate can limit."""
    return Gate(
        sensors=(
            SensorLimits(low=-2.0, high=2.0, rate=1.0),
            SensorLimits(low=-1.0, high=3.0),
            SensorLimits(low=0.0, high=0.5, rate=0.125),
        ),
        actions=(
            ActionLimits(low=-1.0, high=1.0, rate=0.75, jerk=1.0),
            ActionLimits(low=-4.0, high=4.0),
        ),
        pairs=(HalfSpace(sensors=(0, 1), factors=(1.0, -0.5), at_most=1.5),),
        time=TimeLimits(max_age_us=15_000, max_gap_us=30_000),
        reaction=reaction,
        recover_after=3,
        stop_after=40,
    )


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a controller.

    Attributes:
        obs: Observation, raw units.
        now_us: Time of the call.
        taken_us: Time of the observation.
    """

    obs: NDArray[np.float32]
    now_us: int
    taken_us: int


def random_calls(rng: np.random.Generator, gate: Gate, num: int) -> Iterator[Call]:
    """Calls of a loop at 100 Hz in which much goes wrong: NaN, jumps, gaps, a clock set back."""
    low, high = gate.box
    obs, now = (low + high) / 2, 2**32 - 50_000
    for _ in range(num):
        now = (now + 10_000) % 2**32
        obs = np.clip(obs + rng.normal(0, 0.02, len(low)) * (high - low), low, high)
        read, taken = obs.copy(), now
        match rng.integers(28):
            case 0:
                read[rng.integers(len(low))] = rng.choice([np.nan, np.inf, -np.inf, 3e38, -0.0])
            case 1:
                read[rng.integers(len(low))] += rng.choice([-1.0, 1.0]) * high.max()
            case 2:
                now = (now + int(rng.choice([25_000, 2**31 - 1, 2**31]))) % 2**32
            case 3:
                now = (now - int(rng.choice([1, 10_000, 20_000]))) % 2**32
            case 4:
                taken = (now - int(rng.choice([15_000, 15_001, -1]))) % 2**32
            case 5:
                obs = rng.uniform(low, high)
        yield Call(read.astype(np.float32), now, taken)
