"""What lines around neurons have of other neurons: those of a normalisation, or of a product.

Statements and proofs: docs/explanation/mathematics.md, 5.15 and 5.17.

Shape legend: B regions, n neurons of a layer, r rows of coefficients.
"""

from dataclasses import dataclass

import numpy as np

from surefoot.certify.bounds.upward import Float
from surefoot.coupled_activation import halves


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Coupling:
    """What both lines of a neuron have besides its own input.

    To those of neuron i of a group is added ``along``_i t, for some t between
    sum_j ``gradient``_j c_j + ``low`` and the same + ``high``, one for the whole group. To those
    of a neuron in the first half of a product is added ``gradient`` times its partner's input,
    ``gradient`` being that of the partner.

    Attributes:
        groups: The neurons of each group.
        products: The neurons of each product.
        along: Shape (B, n), zero for neurons of no group.
        gradient: Shape (B, n).
        low: Shape (B, n), the same for all neurons of a group.
        high: Shape (B, n).
    """

    groups: tuple[slice, ...] = ()
    products: tuple[slice, ...] = ()
    along: Float
    gradient: Float
    low: Float
    high: Float

    def through(self, rows: Float) -> tuple[Float, tuple[Float, Float]]:
        """Return what is added to coefficients, and to constants of linear bounds.

        Args:
            rows: Coefficients of h, shape (B, r, n).

        Returns:
            Coefficients of c, shape (B, r, n); least and largest constant, shape (B, r).
        """
        added = np.zeros((len(self.along), *rows.shape[1:]))
        least, most = np.zeros(added.shape[:2]), np.zeros(added.shape[:2])
        for group in self.groups:
            amount = (rows[..., group] @ self.along[:, group, None])[..., 0]
            added[..., group] = amount[..., None] * self.gradient[:, None, group]
            ends = amount * self.low[:, group][:, :1], amount * self.high[:, group][:, :1]
            least, most = least + np.minimum(*ends), most + np.maximum(*ends)
        for product in self.products:
            first, _ = halves(rows[..., product])
            _, partner = halves(self.gradient[:, None, product])
            halves(added[..., product])[1][:] = first * partner
        return added, (least, most)

    def reach(self, inputs: Float) -> Float:
        """Return the size of what is added to each neuron for |c| <= ``inputs``, shape (B, n)."""
        size = np.zeros_like(inputs)
        ends = np.maximum(np.abs(self.low), np.abs(self.high))
        for group in self.groups:
            total = (np.abs(self.gradient[:, group]) * inputs[:, group]).sum(axis=1, keepdims=True)
            size[:, group] = np.abs(self.along[:, group]) * (total + ends[:, group])
        for product in self.products:
            _, partner = halves(np.abs(self.gradient[:, product]) * inputs[:, product])
            halves(size[:, product])[0][:] = partner
        return size
