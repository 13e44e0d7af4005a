"""Lipschitz bounds that hold between any two states, by name.

Every function takes a :class:`Chain` and gives proved upper bounds in float64. For a perturbation
ball in linf, an l2 constant counts with the factor sqrt(d); the product of absolute matrices needs
no such factor. A row of the last matrix is one actuator.

Proofs: docs/explanation/mathematics.md, 4.1 to 4.5.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from surefoot.ball import Groups, Norm
from surefoot.certify.bounds.chain import Chain
from surefoot.certify.bounds.metric import ProvedMetric, SensorMetric
from surefoot.certify.bounds.region import spread_of_sides
from surefoot.certify.bounds.upward import (
    UNDERFLOW,
    Float,
    IntervalMatrix,
    crude_norm,
    matmul_up,
    up,
    vector_norm_up,
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LipschitzBounds:
    """Bounds of one chain by name.

    Attributes:
        whole: Bounds on |f(z') - f(z)|_2 / |z' - z|_2 by name.
        rows: Bounds on |f_j(z') - f_j(z)| / |z' - z|_2 for each output j, shape (m,), by name.
        absolute: |W_L| S |W_{L-1}| ... S |W_1|, entry (j, k): output j per unit of sensor k.
        metrics: Metrics whose constants are among ``whole`` and ``rows``, but whose reach may be
            less than these say.
    """

    whole: Mapping[str, float]
    rows: Mapping[str, Float]
    absolute: Float
    metrics: Sequence[ProvedMetric] = ()

    def with_metrics(self, metrics: Sequence[ProvedMetric]) -> "LipschitzBounds":
        """Return the bounds with proved metrics and the constants that follow from them."""
        whole = dict(self.whole)
        rows = {name: values.copy() for name, values in self.rows.items()}
        for proved in metrics:
            constant, name = proved.metric.constant, proved.name
            if proved.output is None:
                whole[name] = min(whole.get(name, math.inf), constant)
            else:
                least_so_far = rows.setdefault(name, np.full(self.absolute.shape[0], np.inf))
                least_so_far[proved.output] = min(least_so_far[proved.output], constant)
        return replace(self, whole=whole, rows=rows, metrics=(*self.metrics, *metrics))

    def lipschitz(self, norm: Norm) -> dict[str, float]:
        """Bound |f(z') - f(z)|_2 / |z' - z| in ``norm``, by name of the bound."""
        if norm is Norm.L2:
            return dict(self.whole)
        # |d|_2 <= sqrt(d) |d|_inf; |f|_2 of the entrywise bounds M 1 needs no such factor.
        bounds = self._together(1.0, norm)
        reach = matmul_up(self.absolute, np.ones(self.absolute.shape[1]))
        bounds["absolute_product"] = vector_norm_up(reach)
        return bounds

    def deviations(
        self,
        epsilon: float,
        norm: Norm,
        sensors: Float | None = None,
        groups: Groups | None = None,
    ) -> dict[str, Float]:
        """Bound |f_j(z') - f_j(z)| for |z' - z| <= epsilon, by name of the bound, shape (m,).

        Args:
            epsilon: Size of the perturbation, normalised units.
            norm: Its norm.
            sensors: For linf the share of epsilon by which each sensor may move, shape (obs_dim,).
            groups: Sensors whose movements count together, in l2.
        """
        factor = self._length(epsilon, norm, sensors, groups)
        slopes = self._slopes()
        bounds = {name: up(rows * factor, 2) for name, rows in slopes.items()}
        for proved in self.metrics:
            meant = slice(None) if proved.output is None else proved.output
            reach = proved.metric.reach(epsilon, norm, sensors, groups)
            bounds[proved.name][meant] = np.minimum(bounds[proved.name][meant], reach)
        if norm is Norm.LINF:
            sizes = np.full(self.absolute.shape[1], epsilon)
            sizes = sizes if sensors is None else up(sizes * sensors)
            bounds["absolute_product"] = matmul_up(self.absolute, sizes)
            if groups:
                bounds["absolute_product"] = self._by_group(least_rows(slopes), sizes, groups)
        return bounds

    def _slopes(self) -> dict[str, Float]:
        """Bound |f_j(z') - f_j(z)| / |z' - z|_2 by name of the bound, shape (m,)."""
        none = np.full(self.absolute.shape[0], np.inf)
        # The change of one output is at most that of all of them together.
        return {
            name: np.minimum(self.rows.get(name, none), self.whole.get(name, math.inf))
            for name in {**self.whole, **self.rows}
        }

    def _by_group(self, slopes: Float, sizes: Float, groups: Groups) -> Float:
        """Bound |f_j(z') - f_j(z)| by moving one group after the other, and then the rest.

        Of each such step the l2 constants and the absolute product are bounds, whichever is less.

        Args:
            slopes: Bounds on |f_j(z') - f_j(z)| / |z' - z|_2, shape (m,).
            sizes: Largest movement of each sensor, shape (obs_dim,).
            groups: Sensors whose movements count together, in l2.
        """
        total = np.zeros(len(slopes))
        together = {sensor for group in groups for sensor in group}
        alone = [(sensor,) for sensor in range(len(sizes)) if sensor not in together]
        for group in map(list, (*groups, *alone)):
            if not sizes[group].any():
                continue
            whole = (tuple(range(len(group))),)
            absolute = spread_of_sides(self.absolute[:, group], sizes[None, group], whole)
            total = total + np.minimum(absolute, up(slopes * sizes[group].max()))
        return up(total, len(groups) + len(alone))

    def _length(
        self,
        epsilon: float,
        norm: Norm,
        sensors: Float | None = None,
        groups: Groups | None = None,
    ) -> float:
        """Return the largest l2 norm of a perturbation."""
        unit = SensorMetric.equal(1.0, self.absolute.shape[1])
        return unit.reach(epsilon, norm, sensors, groups)

    def _together(
        self,
        epsilon: float,
        norm: Norm,
        sensors: Float | None = None,
        groups: Groups | None = None,
    ) -> dict[str, float]:
        """Bound |f(z') - f(z)|_2 for |z' - z| <= epsilon by what bounds all outputs, by name."""
        length = self._length(epsilon, norm, sensors, groups)
        bounds = {name: float(up(value * length)) for name, value in self.whole.items()}
        for proved in self.metrics:
            if proved.output is None:
                reach = proved.metric.reach(epsilon, norm, sensors, groups)
                bounds[proved.name] = min(bounds[proved.name], reach)
        return bounds

    def vector_deviation(
        self,
        epsilon: float,
        norm: Norm,
        sensors: Float | None = None,
        groups: Groups | None = None,
    ) -> tuple[float, str]:
        """Return the least bound on |f(z') - f(z)|_2 for |z' - z| <= epsilon, and its name."""
        bounds = self._together(epsilon, norm, sensors, groups)
        # Bounds on each output bound the vector as well, without any constant of the whole.
        for name, rows in self.deviations(epsilon, norm, sensors, groups).items():
            bounds[name] = min(bounds.get(name, math.inf), vector_norm_up(rows))
        return least(bounds)


def no_bounds(num_outputs: int, num_inputs: int) -> LipschitzBounds:
    """Return what says nothing, under the names of the closed forms."""
    nothing = np.full(num_outputs, math.inf)
    names = ("paper_surrogate", "absolute_product", "spectral", "combettes_pesquet")
    return LipschitzBounds(
        whole=dict.fromkeys(names, math.inf),
        rows=dict.fromkeys(names, nothing),
        absolute=np.full((num_outputs, num_inputs), math.inf),
    )


def least(bounds: Mapping[str, float]) -> tuple[float, str]:
    """Return the least bound and its name."""
    name = min(bounds, key=lambda key: bounds[key])
    return bounds[name], name


def least_rows(bounds: Mapping[str, Float]) -> Float:
    """Return the elementwise least of bounds per output."""
    return np.asarray(np.minimum.reduce(list(bounds.values())))


def closed_form_bounds(chain: Chain) -> LipschitzBounds:
    """Return the surrogate, absolute, spectral and Combettes-Pesquet bounds of a chain."""
    absolute = absolute_matrix(chain)
    tops = _top_products(chain)
    below = _segment_norms(chain)
    whole = {
        "paper_surrogate": paper_surrogate(chain),
        "absolute_product": IntervalMatrix.exact(absolute).norm(),
        "spectral": _spectral(chain, below, np.array([tops[-1].norm()]))[0],
        "combettes_pesquet": _combettes_pesquet(
            chain, below, [np.array([top.norm()]) for top in tops]
        )[0],
    }
    row_norms = [top.row_norms() for top in tops]
    rows = {
        "paper_surrogate": _surrogate_rows(chain),
        "absolute_product": IntervalMatrix.exact(absolute).row_norms(),
        "spectral": _spectral(chain, below, row_norms[-1]),
        "combettes_pesquet": _combettes_pesquet(chain, below, row_norms),
    }
    return LipschitzBounds(
        whole={name: float(_no_nan(value)) for name, value in whole.items()},
        rows={name: _no_nan(value) for name, value in rows.items()},
        absolute=absolute,
    )


def paper_surrogate(chain: Chain) -> float:
    """Return prod_l L_phi prod_i min{|W_i|_F, sqrt(|W_i|_1 |W_i|_inf)}, an l2 constant.

    Reference:
        arXiv 2510.12939, section 3.2. The paper multiplies it by an linf epsilon, which is not
        sound: an linf ball needs the factor sqrt(d).
    """
    factors = [crude_norm(matrix.magnitude) for matrix in chain.matrices]
    return float(_product([*factors, *(slope.largest for slope in chain.slopes)]))


def absolute_matrix(chain: Chain) -> Float:
    """Return |W_L| S ... S |W_1|, S the largest slopes; shape (outputs, sensors).

    |f_j(z') - f_j(z)| <= sum_k M_jk |z'_k - z_k|. It never rises when weights are zeroed.
    """
    product = chain.matrices[-1].magnitude
    # |W D| <= |W| S for every diagonal D of slopes, from the outputs back to the sensors.
    for matrix, slope in zip(chain.matrices[-2::-1], chain.slopes[::-1], strict=True):
        product = matmul_up(product, up(matrix.magnitude * slope.largest))
    return product


def _surrogate_rows(chain: Chain) -> Float:
    # One output: the row's own norm in the place of the surrogate of W_L.
    below = [crude_norm(matrix.magnitude) for matrix in chain.matrices[:-1]]
    factor = _product([*below, *(slope.largest for slope in chain.slopes)])
    return up(chain.matrices[-1].row_norms() * factor)


def _spectral(chain: Chain, below: dict[tuple[int, int], float], top: Float) -> Float:
    """Return the product of spectral norms; ``top`` holds norms of the last matrix or its rows."""
    factors = [below[i, i] for i in range(len(chain.matrices) - 1)]
    return up(top * _product([*factors, *(slope.largest for slope in chain.slopes)]))


def _combettes_pesquet(
    chain: Chain, below: dict[tuple[int, int], float], tops: list[Float]
) -> Float:
    """Return the sum over all cuts of the chain of the products of the pieces' norms.

    With D = m I + r E, |E| <= 1, expand every activation: weight |m| where the chain is not cut,
    r where it is. ``reach[i]`` sums over the cuts of layers before i.

    Reference:
        Combettes and Pesquet, arXiv 1903.01014.
    """
    last = len(chain.matrices) - 1
    reach = [1.0]
    total = np.zeros_like(tops[0])
    with np.errstate(over="ignore", invalid="ignore"):
        for end in range(1, last + 1):
            # The last cut is behind layer end - 1, the one before it anywhere below.
            terms = [
                reach[start] * below[start, end - 1] * _uncut(chain, start, end - 1)
                for start in range(end)
            ]
            reach.append(float(up(sum(terms), 4 * len(terms)) * chain.slopes[end - 1].radius))
        # The last piece ends at the outputs, where nothing is cut.
        for start in range(last + 1):
            total = total + tops[start] * (reach[start] * _uncut(chain, start, last))
    return up(total, 4 * (last + 2))


def _uncut(chain: Chain, start: int, end: int) -> float:
    """Return the product of |m| over the activations inside the piece W_end ... W_start."""
    return float(_product([abs(slope.middle) for slope in chain.slopes[start:end]]))


def _segment_norms(chain: Chain) -> dict[tuple[int, int], float]:
    """Return |W_k ... W_i| for all i <= k below the last matrix."""
    norms = {}
    for start in range(len(chain.matrices) - 1):
        product = chain.matrices[start]
        norms[start, start] = product.norm()
        for end in range(start + 1, len(chain.matrices) - 1):
            # Signs and all: what cancels between the layers of a piece makes its norm small.
            product = chain.matrices[end] @ product
            norms[start, end] = product.norm()
    return norms


def _top_products(chain: Chain) -> list[IntervalMatrix]:
    """Return W_L ... W_i for each i, the shortest last."""
    products = [chain.matrices[-1]]
    for matrix in chain.matrices[-2::-1]:
        products.append(products[-1] @ matrix)
    return products[::-1]


def _product(factors: list[float]) -> Float:
    if 0 in factors:
        return np.asarray(0.0)
    # Mantissas and exponents apart: tiny factors may come before the large ones that undo them.
    mantissas, exponents = np.frexp(factors)
    with np.errstate(over="ignore", under="ignore"):
        product = np.ldexp(np.prod(mantissas), int(exponents.sum()))
        return up(np.maximum(product, UNDERFLOW), len(factors))


def _no_nan(value: Float | float) -> Float:
    """Return ``value`` with infinity, which proves nothing, where overflow left no number."""
    return np.where(np.isnan(value), np.inf, value)
