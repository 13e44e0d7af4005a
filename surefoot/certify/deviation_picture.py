"""The picture of a certificate: deviation against the size of the perturbation."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from surefoot.ball import Ball, Norm
from surefoot.certify.analysis import Analysis
from surefoot.certify.bounds.upward import Float
from surefoot.errors import InputError
from surefoot.picture import draw_png
from surefoot.quantities.base.scope import Scope
from surefoot.unknown import Unknown

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DeviationCurves:
    """Largest change of one actuator, action units, for each epsilon; linf, shape (n,).

    Attributes:
        epsilons: Normalised units.
        paper_surrogate: The paper's constant in the right norm, everywhere.
        best_global: The least bound everywhere, rounding included.
        local: The worst visited state, rounding included; NaN without visited states.
        sampled: The worst that a search found anywhere.
        sampled_visited: The worst that a search found at visited states; NaN without them.
    """

    epsilons: Float
    paper_surrogate: Float
    best_global: Float
    local: Float
    sampled: Float
    sampled_visited: Float


def deviation_curves(analysis: Analysis, epsilons: Float) -> DeviationCurves:
    """Compute the curves of the picture.

    Args:
        analysis: Proofs and searches about the controller; that of a certificate saves most of the
            time.
        epsilons: Normalised units, positive, shape (n,).

    Raises:
        InputError: If an epsilon is not positive and finite.
    """
    if not (np.isfinite(epsilons) & (epsilons > 0)).all() or not epsilons.size:
        raise InputError(f"epsilons must be positive and finite, got {epsilons}")
    rows = [_at(analysis, Ball(norm=Norm.LINF, epsilon=float(epsilon))) for epsilon in epsilons]
    columns = np.array(rows).T
    return DeviationCurves(
        epsilons=epsilons,
        paper_surrogate=columns[0],
        best_global=columns[1],
        local=columns[2],
        sampled=columns[3],
        sampled_visited=columns[4],
    )


def _at(analysis: Analysis, ball: Ball) -> tuple[float, ...]:
    """Return the values of the curves at one size of the perturbation, in their order."""
    proofs, searches = analysis.proofs, analysis.searches
    surrogate = proofs.everywhere.deviations(ball)["paper_surrogate"]
    best, local, sampled = proofs.deviation(ball), np.nan, np.nan
    if not isinstance(proofs.visited, Unknown):
        bounds = proofs.visited.whole_deviation(ball)
        local = np.nan if isinstance(bounds, Unknown) else float(bounds.values.max())
        sampled = float(searches.worst_at(Scope.VISITED, ball).values["deviation"].max())
    return (
        float(surrogate.max()),
        np.nan if isinstance(best, Unknown) else best.value,
        local,
        float(searches.worst_anywhere(ball).values["deviation"].max()),
        sampled,
    )


def draw_deviation(curves: DeviationCurves) -> bytes:
    """Return the picture as a PNG file.

    Raises:
        MissingLibraryError: If matplotlib is not installed.
    """
    return draw_png(6.4, 4.8, lambda figure: _paint(figure, curves))


def _paint(figure: "Figure", curves: DeviationCurves) -> None:
    axes = figure.add_subplot()
    lines = (
        ("paper's surrogate, everywhere", curves.paper_surrogate, "C7", "--"),
        ("best proved bound, everywhere", curves.best_global, "C0", "-"),
        ("worst found, everywhere", curves.sampled, "C0", ":"),
        ("proved at visited states", curves.local, "C2", "-"),
        ("worst found at visited states", curves.sampled_visited, "C2", ":"),
    )
    for label, values, colour, style in lines:
        if np.isfinite(values).any():
            axes.plot(curves.epsilons, values, style, color=colour, label=label, marker=".")
    axes.set(
        xlabel="perturbation epsilon (linf, normalised units)",
        ylabel="largest change of one actuator (action units)",
        yscale="log",
        xscale="log",
    )
    axes.grid(visible=True, alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2)
