"""Planes above outputs, and the part of a box that they leave.

CROWN ends with a linear function of the state above each output. Where that is below 0 the output
is, so that only the rest of the box has to be bounded again. Statement and proof:
docs/explanation/mathematics.md, 5.16.

Reference:
    Zhou et al., NeurIPS 2025 (arXiv 2512.11087), for clipping domains by linear bounds.

Shape legend: B boxes, d sensors, r outputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surefoot.certify.bounds.upward import Float, up


@dataclass(frozen=True, slots=True, eq=False)
class Planes:
    """Output i of a box is at most largest_i - sum_k |slope_ik| t_k at a state z.

    t_k is the distance of z_k from the end of the box at which slope_ik z_k is largest.

    Attributes:
        slopes: Shape (B, r, d).
        largest: Upper bounds of the outputs on the boxes, rounding included, shape (B, r).
    """

    slopes: Float
    largest: Float

    @classmethod
    def joined(cls, parts: Sequence["Planes"]) -> "Planes":
        """Return the planes over some boxes and then over others."""
        return cls(
            np.concatenate([part.slopes for part in parts]),
            np.concatenate([part.largest for part in parts]),
        )

    def raised(self, margins: Float) -> "Planes":
        """Return the planes above outputs that may be larger by ``margins``, shape (B, r)."""
        return Planes(self.slopes, np.nextafter(self.largest + margins, np.inf))

    def above(self, boxes: NDArray[np.intp], outputs: NDArray[np.intp]) -> "Plane":
        """Return the plane above one output on each of some boxes."""
        return Plane(self.slopes[boxes, outputs], self.largest[boxes, outputs])


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """The plane above one output of each box.

    Attributes:
        slopes: Shape (B, d).
        largest: Shape (B,).
    """

    slopes: Float
    largest: Float

    def part_above(self, low: Float, high: Float, level: float) -> tuple[Float, Float]:
        """Return corners of a part of each box outside of which no output exceeds a level.

        Args:
            low: Lower corners of the boxes, shape (B, d).
            high: Upper corners, of the same shape.
            level: A number; an output that is below it in the whole box keeps it.
        """
        # Farther than this from the best end of its sensor the plane is below the level.
        height = np.nextafter(self.largest - level, np.inf)[:, None]
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            room = up(height / np.abs(self.slopes))
            least = np.nextafter(high - room, -np.inf)
            most = np.nextafter(low + room, np.inf)
        # Without a plane, or without a slope, a sensor keeps its interval.
        counts = height > 0
        least = np.where(counts & (self.slopes > 0), np.fmax(least, low), low)
        most = np.where(counts & (self.slopes < 0), np.fmin(most, high), high)
        return least, most


def share_of(inner: tuple[Float, Float], low: Float, high: Float) -> Float:
    """Return the share of each box that lies between two corners, shape (B,).

    Sensors that do not move in the box do not count.
    """
    sides = high - low
    shares = np.divide(inner[1] - inner[0], sides, out=np.ones_like(sides), where=sides > 0)
    return np.asarray(shares.prod(axis=1))
