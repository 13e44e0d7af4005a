"""ECLipsE-Fast and LipSDP-Neuron: the search for multipliers with a small Lipschitz constant.

L-BFGS on the layer recursion of ``lipsdp_recursion``. Nothing here is trusted: what comes out is
proved by ``lipsdp_proof``. Derivation: docs/explanation/mathematics.md, 4.6 and 4.7.

Reference:
    arXiv 2404.04375 (ECLipsE-Fast), arXiv 1906.04893, Theorem 2 (LipSDP-Neuron).
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from surefoot.certify.bounds.chain import Chain
from surefoot.certify.bounds.lipsdp_proof import Multipliers, from_zero, prove
from surefoot.certify.bounds.lipsdp_recursion import (
    log_squared_bound,
    squared_bound,
    start_parameters,
)
from surefoot.certify.bounds.upward import Float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SemidefiniteBounds:
    """Proved multipliers; None where the proof did not pass.

    Attributes:
        fast: Multipliers of ECLipsE-Fast for all outputs together.
        whole: Multipliers of LipSDP for all outputs together.
        rows: Multipliers of LipSDP for each output alone.
    """

    fast: Multipliers | None
    whole: Multipliers | None
    rows: tuple[Multipliers | None, ...]


def semidefinite_bounds(
    chain: Chain, *, iterations: int, row_iterations: int
) -> SemidefiniteBounds:
    """Return the semidefinite bounds of a chain, each with its proof.

    Args:
        chain: The chain to bound; no bounds exist for a single layer, a zero matrix or an identity
            between two layers.
        iterations: Iterations of L-BFGS for all outputs together; 0 for ECLipsE-Fast alone.
        row_iterations: Iterations for each output, started at the solution for all; 0 for none.
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
    best = _minimise(chain, start, iterations)
    whole = _proved(chain, best) if iterations else None
    for output in range(chain.num_outputs if row_iterations else 0):
        # The optimum for all outputs is feasible for one of them, and mostly near its own.
        row = chain.with_last(chain.matrices[-1].rows(slice(output, output + 1)))
        if row.matrices[-1].centre.any():
            rows[output] = _proved(row, _minimise(row, best, row_iterations), output)
    return SemidefiniteBounds(fast=fast, whole=whole, rows=tuple(rows))


def _minimise(chain: Chain, start: Float, iterations: int) -> Float:
    if not iterations:
        return start
    result = minimize(
        lambda parameters: log_squared_bound(chain, parameters),
        start,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": iterations},
    )
    # A line search may stop above its start when a factorisation failed on the way.
    return np.asarray(result.x) if result.fun <= log_squared_bound(chain, start)[0] else start


def _proved(chain: Chain, parameters: Float, output: int | None = None) -> Multipliers | None:
    found = squared_bound(chain, parameters)
    if found is None:
        return None
    squared, _, steps = found
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        # T came from the input weight I; the block matrix has L^2 I, which scales the multipliers.
        values = tuple(
            squared / (slope.radius**2 * step.diagonal)
            for slope, step in zip(chain.slopes, steps, strict=True)
        )
    return prove(chain, squared, values, output)
