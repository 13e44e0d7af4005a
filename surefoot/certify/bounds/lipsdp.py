"""ECLipsE-Fast and LipSDP-Neuron: the search for multipliers with a small bound.

L-BFGS on the layer recursion of ``lipsdp_recursion``, for a Lipschitz constant in l2 or for a
metric that weighs the sensors. Nothing here is trusted: what comes out is proved by
``lipsdp_proof``. Derivation: docs/explanation/mathematics.md, 4.6 and 4.7.

Reference:
    arXiv 2404.04375 (ECLipsE-Fast), arXiv 1906.04893, Theorem 2 (LipSDP-Neuron).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.optimize import minimize

from surefoot.ball import Ball
from surefoot.certify.bounds.chain import Chain
from surefoot.certify.bounds.lipsdp_proof import Multipliers, from_zero, prove
from surefoot.certify.bounds.lipsdp_recursion import (
    log_squared_bound,
    squared_bound,
    start_parameters,
)
from surefoot.certify.bounds.metric import SensorMetric
from surefoot.certify.bounds.sensor_weights import SensorWeights, with_sensors_scaled
from surefoot.certify.bounds.upward import Float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SemidefiniteBounds:
    """Proved multipliers; None where the proof did not pass.

    Attributes:
        fast: Multipliers of ECLipsE-Fast for all outputs together.
        whole: Multipliers of LipSDP for all outputs together.
        rows: Multipliers of LipSDP for each output alone.
        weighed: Multipliers of LipSDP with sensors weighed for one ball each, for all outputs
            together and for each alone, as far as they are proved.
    """

    fast: Multipliers | None
    whole: Multipliers | None
    rows: tuple[Multipliers | None, ...]
    weighed: tuple[Multipliers, ...] = ()


def semidefinite_bounds(
    chain: Chain, *, iterations: int, row_iterations: int, balls: Sequence[Ball] = ()
) -> SemidefiniteBounds:
    """Return the semidefinite bounds of a chain, each with its proof.

    Args:
        chain: The chain to bound; no bounds exist for a single layer, a zero matrix or an identity
            between two layers.
        iterations: Iterations of L-BFGS for all outputs together; 0 for ECLipsE-Fast alone.
        row_iterations: Iterations for each output, started at the solution for all, and for each
            metric, started at the solution in l2; 0 for neither.
        balls: Perturbations for which sensors are weighed; their sizes do not matter.
    """
    rows: list[Multipliers | None] = [None] * chain.num_outputs
    # r = 0 leaves no cone of slopes; G = 0 has no logarithm.
    exact_slopes = any(slope.radius == 0 for slope in chain.slopes)
    empty = not all(matrix.centre.any() for matrix in chain.matrices)
    if len(chain.matrices) < 2 or exact_slopes or empty:
        return SemidefiniteBounds(fast=None, whole=None, rows=tuple(rows))
    chain = from_zero(chain)
    start = start_parameters(chain)
    fast = _proved(chain, start)
    best = _minimise(partial(log_squared_bound, chain), start, iterations)
    whole = _proved(chain, best) if iterations else None
    weighed = _weighed(chain, best, row_iterations, balls)
    for output in range(chain.num_outputs if row_iterations else 0):
        # The optimum for all outputs is feasible for one of them, and mostly near its own.
        row = chain.with_last(chain.matrices[-1].rows(slice(output, output + 1)))
        if row.matrices[-1].centre.any():
            own = _minimise(partial(log_squared_bound, row), best, row_iterations)
            rows[output] = _proved(row, own, output)
            weighed += _weighed(row, own, row_iterations, balls, output)
    return SemidefiniteBounds(fast=fast, whole=whole, rows=tuple(rows), weighed=tuple(weighed))


def _weighed(
    chain: Chain, start: Float, iterations: int, balls: Sequence[Ball], output: int | None = None
) -> list[Multipliers]:
    """Return proved multipliers with sensors weighed for each of some balls."""
    found = []
    for ball in balls if iterations else ():
        weights = SensorWeights.of(ball, chain)
        parameters = np.concatenate([weights.start, start])
        best = _minimise(weights.log_squared_reach, parameters, iterations)
        ratios, layers = weights.split(best)
        proof = _proved(chain, layers, output, ratios)
        found += [] if proof is None else [proof]
    return found


def _minimise(
    bound: Callable[[Float], tuple[float, Float]], start: Float, iterations: int
) -> Float:
    if not iterations:
        return start
    result = minimize(bound, start, jac=True, method="L-BFGS-B", options={"maxiter": iterations})
    # A line search may stop above its start when a factorisation failed on the way.
    return np.asarray(result.x) if result.fun <= bound(start)[0] else start


def _proved(
    chain: Chain, parameters: Float, output: int | None = None, ratios: Float | None = None
) -> Multipliers | None:
    """Return what parameters prove: D = L^2 diag(ratios), or L^2 I without ratios."""
    ratios = np.ones(chain.num_inputs) if ratios is None else ratios
    found = squared_bound(with_sensors_scaled(chain, ratios), parameters)
    if found is None:
        return None
    squared, _, steps = found
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        # T came from the input weight D / L^2; the block matrix has D, which scales multipliers.
        values = tuple(
            squared / (slope.radius**2 * step.diagonal)
            for slope, step in zip(chain.slopes, steps, strict=True)
        )
        metric = SensorMetric(squared * ratios)
    return prove(chain, metric, values, output)
