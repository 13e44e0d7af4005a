"""The picture of a certificate: deviation against the size of the perturbation."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from surefoot.ball import Ball, Norm
from surefoot.certify.analysis import Analysis
from surefoot.certify.at_states import AtStates
from surefoot.certify.bounds.upward import Float
from surefoot.errors import InputError
from surefoot.picture import draw_png
from surefoot.policy import Array
from surefoot.quantities.base.scope import Scope
from surefoot.unknown import Unknown

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DeviationCurves:
    """Largest change of one actuator, action units, for each epsilon; linf, shape (n,).

    Attributes:
        epsilons: Normalised units.
        paper_surrogate: The paper's constant in the right norm, everywhere.
        best_global: The least bound everywhere, rounding included.
        local: The worst of a few visited states, rounding included; NaN without visited states.
        sampled: The worst that a search found anywhere.
        sampled_visited: The worst that a search found at the same visited states; NaN without them.
        num_visited: Number of these states, those that move most.
    """

    epsilons: Float
    paper_surrogate: Float
    best_global: Float
    local: Float
    sampled: Float
    sampled_visited: Float
    num_visited: int


_FEW = 8
"""States that the curves follow, so that a picture costs little beside its certificate."""


def deviation_curves(
    analysis: Analysis,
    epsilons: Float,
    *,
    near: float | None = None,
    near_visited: float | None = None,
) -> DeviationCurves:
    """Compute the curves of the picture, at the states that move most at one size.

    Args:
        analysis: Proofs and searches about the controller; that of a certificate saves most of the
            time.
        epsilons: Normalised units, positive, shape (n,).
        near: That size, linf, normalised units: the one of the certificate's tables is at hand;
            that of the configuration if it is not given.
        near_visited: The same for visited states; ``near`` if it is not given.

    Raises:
        InputError: If an epsilon is not positive and finite.
    """
    if not (np.isfinite(epsilons) & (epsilons > 0)).all() or not epsilons.size:
        raise InputError(f"epsilons must be positive and finite, got {epsilons}")
    near = analysis.config.epsilon if near is None else near
    focus = _Focus.of(analysis, near, near if near_visited is None else near_visited)
    rows = [_at(analysis, focus, Ball(norm=Norm.LINF, epsilon=float(size))) for size in epsilons]
    columns = np.array(rows).T
    return DeviationCurves(
        epsilons=epsilons,
        paper_surrogate=columns[0],
        best_global=columns[1],
        local=columns[2],
        sampled=columns[3],
        sampled_visited=columns[4],
        num_visited=0 if focus.visited is None else len(focus.visited.states),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Focus:
    """The states that the curves follow.

    Attributes:
        found: States that a search found to move most, float32, shape (k, obs_dim).
        visited: Bounds around the visited states that move most; None without visited states.
    """

    found: Array
    visited: AtStates | None

    @classmethod
    def of(cls, analysis: Analysis, epsilon: float, visited_epsilon: float) -> Self:
        """Return the states that move most under perturbations of these sizes."""
        searches, visited = analysis.searches, analysis.proofs.visited
        anywhere = searches.worst_anywhere(Ball(norm=Norm.LINF, epsilon=epsilon))
        found = anywhere.states[_most(anywhere.values["deviation"])]
        if isinstance(visited, Unknown):
            return cls(found, None)
        there = searches.worst_at(Scope.VISITED, Ball(norm=Norm.LINF, epsilon=visited_epsilon))
        return cls(found, visited.only(_most(there.values["deviation"])))


def _most(values: Float) -> NDArray[np.intp]:
    return np.argsort(-values, kind="stable")[:_FEW]


def _at(analysis: Analysis, focus: _Focus, ball: Ball) -> tuple[float, ...]:
    """Return the values of the curves at one size of the perturbation, in their order."""
    proofs = analysis.proofs
    surrogate = proofs.everywhere.deviations(ball)["paper_surrogate"]
    best, local = proofs.deviation(ball), np.nan
    states = focus.found
    if focus.visited is not None:
        states = np.concatenate([states, focus.visited.states])
        bounds = focus.visited.whole_deviation(ball)
        local = np.nan if isinstance(bounds, Unknown) else float(bounds.values.max())
    moved = analysis.searches.worst_around(states, ball).values["deviation"]
    there = moved[len(focus.found) :]
    return (
        float(surrogate.max()),
        np.nan if isinstance(best, Unknown) else best.value,
        local,
        float(moved.max()),
        float(there.max()) if len(there) else np.nan,
    )


def draw_deviation(curves: DeviationCurves) -> bytes:
    """Return the picture as a PNG file.

    Raises:
        MissingLibraryError: If matplotlib is not installed.
    """
    return draw_png(6.4, 4.8, lambda figure: _paint(figure, curves))


def _label_plainly(axis: "Axis") -> None:
    """Label 1, 2 and 5 times each power of ten, as numbers: formulas cost most of a drawing."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))


def _paint(figure: "Figure", curves: DeviationCurves) -> None:
    figure.set_layout_engine("none")  # a fixed place needs no second drawing to find it
    axes = figure.add_axes((0.13, 0.11, 0.85, 0.69))
    there = f"the {curves.num_visited} visited states that move most"
    lines = (
        ("paper's surrogate, everywhere", curves.paper_surrogate, "C7", "--"),
        ("best proved bound, everywhere", curves.best_global, "C0", "-"),
        ("worst found, everywhere", curves.sampled, "C0", ":"),
        (f"proved at {there}", curves.local, "C2", "-"),
        (f"worst found at {there}", curves.sampled_visited, "C2", ":"),
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
    for axis in (axes.xaxis, axes.yaxis):
        _label_plainly(axis)
    axes.grid(visible=True, alpha=0.3)
    figure.legend(loc="upper center", ncols=2)
