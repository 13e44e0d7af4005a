"""What a normalised unit is on each sensor, and which sensors are too fine or too coarse for it.

A perturbation counts in normalised units. On a sensor that never moved in training, the unit is the
floor of the scale, so that epsilon is next to nothing of its raw unit; on one that float32 cannot
resolve, epsilon is less than a single step. Whatever is proved about either says little.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from surefoot.policy import Array, Normaliser

SCALE_FLOOR = 1e-8
"""What a normaliser adds to the standard deviation of a sensor, raw units."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SensorScales:
    """The sensors of a controller, numbered from 0.

    Attributes:
        scale: Raw units per normalised unit, shape (obs_dim,).
        float32_step: Distance of two float32 numbers about the mean reading, normalised units,
            shape (obs_dim,).
    """

    scale: Array
    float32_step: Array

    @classmethod
    def of(cls, normaliser: Normaliser) -> "SensorScales":
        """Return the scales of a normaliser."""
        scale = normaliser.scale.astype(np.float64)
        reading = np.abs(normaliser.mean.astype(np.float64)) + scale
        with np.errstate(over="ignore", invalid="ignore"):  # nothing resolves what overflows
            step = np.spacing(reading.astype(np.float32)).astype(np.float64)
        return cls(scale=scale, float32_step=step / scale)

    @property
    def degenerate(self) -> tuple[int, ...]:
        """Sensors whose standard deviation is below the floor of the scale: they never moved."""
        return tuple(np.flatnonzero(self.scale < 2 * SCALE_FLOOR).tolist())

    def unresolved(self, epsilon: float) -> tuple[int, ...]:
        """Return the sensors on which one float32 step is more than ``epsilon``."""
        return tuple(np.flatnonzero(~(self.float32_step <= epsilon)).tolist())

    def warnings(self, epsilon: float) -> tuple[str, ...]:
        """Return one line for each sensor on which ``epsilon`` says little.

        Args:
            epsilon: Size of a perturbation, normalised units.
        """
        return warnings_of(
            epsilon, self.scale, self.float32_step, self.degenerate, self.unresolved(epsilon)
        )


def warnings_of(
    epsilon: float,
    scale: Sequence[float] | Array,
    float32_step: Sequence[float | None] | Array,
    degenerate: Collection[int],
    unresolved: Collection[int],
    labels: Sequence[str] = (),
) -> tuple[str, ...]:
    """Return one line for each sensor on which ``epsilon`` says little.

    Args:
        epsilon: Size of a perturbation, normalised units.
        scale: Raw units per normalised unit, shape (obs_dim,).
        float32_step: Distance of two float32 readings, normalised units, shape (obs_dim,).
        degenerate: Numbers of the sensors that never moved.
        unresolved: Numbers of the sensors on which one step is more than epsilon.
        labels: Names of the first sensors; the others have their numbers.
    """
    lines = []
    for sensor in sorted({*degenerate, *unresolved}):
        unit, step = scale[sensor], float32_step[sensor]
        name = labels[sensor] if sensor < len(labels) else f"sensor {sensor}"
        words = [f"{name}: epsilon {epsilon:g} is {epsilon * unit:.3g} of its raw unit"]
        if sensor in degenerate:
            words.append(f"its scale {unit:.3g} is at the floor: it never moved in training")
        if sensor in unresolved:
            size = "unknown" if step is None else f"{step:.3g}"
            words.append(f"one float32 step is {size} normalised units, more than epsilon")
        lines.append("; ".join(words))
    return tuple(lines)
