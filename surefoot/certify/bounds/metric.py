"""How much a change of each sensor counts: the metric of a Lipschitz bound.

|f(z') - f(z)|^2 <= sum_k D_k (z'_k - z_k)^2 for all z and z'. Equal weights D_k are the square of a
Lipschitz constant in l2; others bound more tightly what the errors of a box change.
Statement and proof: docs/explanation/mathematics.md, 4.1.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surefoot.artifact import Json
from surefoot.ball import Groups, Norm
from surefoot.certify.bounds.upward import UNDERFLOW, Float, up, vector_norm_up


@dataclass(frozen=True, slots=True, eq=False)
class SensorMetric:
    """A bound on the squared change of an output, or of all of them in l2.

    Attributes:
        weights: D, what the squared change of each sensor counts, shape (obs_dim,).
    """

    weights: Float

    @classmethod
    def equal(cls, squared: float, num_inputs: int) -> "SensorMetric":
        """Return the metric of a Lipschitz constant in l2, given its square."""
        return cls(np.full(num_inputs, squared))

    @property
    def squared(self) -> float:
        """Square of the Lipschitz constant in l2 that follows."""
        return float(self.weights.max())

    @property
    def constant(self) -> float:
        """Lipschitz constant in l2 that follows, rounded up."""
        return float(up(np.sqrt(self.squared)))

    def in_units(self, unit: float) -> "SensorMetric":
        """Return the metric of the output times ``unit``, rounded up."""
        with np.errstate(over="ignore", under="ignore"):
            return SensorMetric(np.maximum(up(self.weights * unit * unit, 2), UNDERFLOW))

    def reach(
        self,
        epsilon: float,
        norm: Norm,
        sensors: Float | None = None,
        groups: Groups | None = None,
    ) -> float:
        """Bound the change for |z' - z| <= epsilon: epsilon sqrt(sum_u max_{k in u} D_k w_k^2).

        The sum is over what is measured together: all sensors in l2, each by itself in linf.

        Args:
            epsilon: Size of the perturbation, normalised units.
            norm: Its norm.
            sensors: For linf the share w of epsilon by which each sensor may move, shape
                (obs_dim,); None for all of it.
            groups: Sensors whose movements count together, in l2.
        """
        if not np.isfinite(self.weights).all():
            return math.inf
        ends = np.sqrt(self.weights)
        if sensors is not None:
            with np.errstate(under="ignore"):
                ends = np.maximum(ends * sensors, np.where(sensors > 0, UNDERFLOW, 0.0))
        longest = np.zeros(len(ends))
        np.maximum.at(longest, measured_together(len(ends), norm, groups), ends)
        return float(up(epsilon * vector_norm_up(up(longest, 2))))

    def to_table(self) -> dict[str, Json]:
        """Return JSON values; numbers as hexadecimal, so that nothing is rounded.

        Equal weights are one number, as in certificates of versions that knew no others.
        """
        if (self.weights == self.weights[0]).all():
            return {"squared": float.hex(self.squared)}
        return {"metric": self.weights.astype("<f8").tobytes().hex()}

    @classmethod
    def from_table(cls, table: Mapping[str, Json], num_inputs: int) -> "SensorMetric":
        """Read a metric back; whether it holds, and has a weight for each sensor, a proof says.

        Raises:
            KeyError: If it is missing.
            TypeError: If it is no text.
            ValueError: If it is none, or there are two.
        """
        if "metric" not in table:
            return cls.equal(float.fromhex(table["squared"]), num_inputs)
        if "squared" in table:
            raise ValueError("metric and squared exclude each other")
        return cls(np.frombuffer(bytes.fromhex(table["metric"]), dtype="<f8"))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ProvedMetric:
    """A proved metric, by the name of its proof.

    Attributes:
        name: Name of the bound.
        metric: The metric.
        output: Number of the only output that it bounds, or None for all of them in l2.
    """

    name: str
    metric: SensorMetric
    output: int | None


def measured_together(num_inputs: int, norm: Norm, groups: Groups | None) -> NDArray[np.intp]:
    """Return a number for each sensor, the same for those that are measured together."""
    if norm is Norm.L2:
        return np.zeros(num_inputs, np.intp)
    numbers = np.arange(num_inputs)
    for group in groups or ():
        numbers[list(group)] = group[0]
    return numbers
