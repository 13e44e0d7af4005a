"""Bounds on how far another choice may come before the one at a state.

For logits l, a state z and its choice c, the lead is max over k != c and d of l_k(z+d) - l_c(z+d).
Where rounding leaves open which choice the deployed arithmetic makes at z, every one counts.
Statement and proof: docs/explanation/mathematics.md, 5.14.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surefoot.certify.bounds.local_bounds import (
    bounds_before,
    coarse,
    mean_value_deviation,
    values_at,
)
from surefoot.certify.bounds.region import Bounds, Region, logit_differences_of
from surefoot.certify.bounds.upward import Float, up
from surefoot.policy import Policy


@dataclass(frozen=True, slots=True, eq=False)
class PairBounds:
    """Upper bounds on the differences of every two logits.

    Attributes:
        rows: Bounds on l_k - l_c, shape (B, m, m), first k and then c; -infinity where k = c.
    """

    rows: Float

    @classmethod
    def of(cls, differences: Bounds, num_choices: int) -> "PairBounds":
        """Return the bounds on both signs of each difference.

        Args:
            differences: l_i - l_j for i < j, in the order of ``numpy.triu_indices``, (B, p).
            num_choices: Number of logits m.
        """
        first, second = np.triu_indices(num_choices, k=1)
        rows = np.full((len(differences.upper), num_choices, num_choices), -np.inf)
        rows[:, first, second] = differences.upper
        rows[:, second, first] = -differences.lower
        return cls(rows)

    def with_rounding(self, rounding: Float) -> Float:
        """Return the bounds in the deployed arithmetic, none of which is attained, (B, m, m).

        Args:
            rounding: Bound on |runtime - real arithmetic| of each logit, shape (B, m).
        """
        extra = up(rounding[:, :, None] + rounding[:, None, :])
        with np.errstate(invalid="ignore"):
            total = np.nextafter(self.rows + extra, np.inf)  # the sum is rounded by half a step
        return np.where(np.isnan(total), np.inf, total)


def choice_leads(policy: Policy, region: Region, rounding: Float, alpha_steps: int) -> Float:
    """Bound the lead of another choice around each state in the deployed arithmetic, shape (B,).

    Args:
        policy: Its head chooses.
        region: States and sizes of the perturbation.
        rounding: Bound on |runtime - real arithmetic| of each logit there, shape (B, m).
        alpha_steps: Gradient steps that choose the lines of CROWN; 0 for fixed lines.
    """
    network, num_choices = logit_differences_of(policy), policy.num_outputs
    before = bounds_before(network, region, alpha_steps)
    here = values_at(network, region)
    spread = mean_value_deviation(network, region, before[:-1])
    if alpha_steps:
        spread = coarse(spread)
        before[-1] = Bounds(-coarse(-before[-1].lower), coarse(before[-1].upper))
    around = Bounds(
        np.maximum(before[-1].lower, np.nextafter(here.lower - spread, -np.inf)),
        np.minimum(before[-1].upper, np.nextafter(here.upper + spread, np.inf)),
    )
    leads = PairBounds.of(around, num_choices).with_rounding(rounding)
    made = may_be_made(PairBounds.of(here, num_choices).with_rounding(rounding))
    return np.asarray(np.where(made[:, None, :], leads, -np.inf).max(axis=(1, 2)))


def may_be_made(leads: Float) -> NDArray[np.bool_]:
    """Return which choices the deployed arithmetic may make, shape (B, m).

    Args:
        leads: Bounds on l_k - l_c at the states themselves, shape (B, m, m), first k and then c.
    """
    itself = np.eye(leads.shape[1], dtype=np.bool_)
    behind = (leads < 0) & ~itself  # l_k - l_c < 0: whatever is chosen, k is not
    return np.asarray(~behind.any(axis=2))
