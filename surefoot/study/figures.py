"""The figures of a report, drawn from the results of a run; each is returned as SVG text."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from surefoot.picture import draw_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _GREEN, _RED, _GREY = "#2563a6", "#2f7d4f", "#c2491d", "#8a8f98"
_SIZE = (6.4, 3.4)


def learning_curve(curves: Mapping[str, Sequence[float | None]]) -> str:
    """Draw training return and sparsity against environment steps.

    Args:
        curves: Columns of ``curves.json`` by name: step, return, clean_return, sparsity.
    """
    steps, training, clean, sparsity = (
        _numbers(curves[name]) for name in ("step", "return", "clean_return", "sparsity")
    )
    seen = np.isfinite(clean)

    def paint(figure: "Figure") -> None:
        axes = _axes(figure, "environment steps", "return")
        axes.plot(steps, training, color=_GREY, label="training, last 100 episodes")
        axes.plot(steps[seen], clean[seen], "o-", color=_BLUE, label="evaluation, deterministic")
        axes.set_ylim(bottom=min(0.0, float(np.nanmin(clean, initial=0.0))))
        other = axes.twinx()
        other.plot(steps, 100 * sparsity, ":", color=_GREEN, label="sparsity")
        other.set_ylabel("sparsity, %")
        other.set_ylim(0, 100)
        other.spines["top"].set_visible(False)
        handles = [*axes.get_legend_handles_labels()[0], *other.get_legend_handles_labels()[0]]
        figure.legend(
            handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=8
        )

    return draw_svg(*_SIZE, paint)


def robustness_front(curves: Mapping[str, Sequence[float | None]]) -> str:
    """Draw clean against screened return of every policy that was screened while training.

    Args:
        curves: Columns of ``curves.json`` by name: step, clean_return, screened_return.
    """
    steps, clean, screened = (
        _numbers(curves[name]) for name in ("step", "clean_return", "screened_return")
    )
    seen = np.isfinite(screened)

    def paint(figure: "Figure") -> None:
        axes = _axes(figure, "clean return", "return under the worst of the screen")
        dots = axes.scatter(clean[seen], screened[seen], c=steps[seen], cmap="viridis")
        best = np.nanargmax(screened)
        axes.scatter(clean[best], screened[best], s=140, facecolors="none", edgecolors=_RED)
        figure.colorbar(dots, label="environment steps")

    return draw_svg(*_SIZE, paint)


def deviation_histogram(
    certified: Sequence[float], sampled: Sequence[float], limit: float | None
) -> str:
    """Draw proved and found action deviations at the visited states, and the limit if any.

    Args:
        certified: Bound of each visited state, action units.
        sampled: Worst that a search found at each, action units.
        limit: The least limit of the budget on them, action units.
    """
    top = max([*certified, *sampled, limit or 0.0]) * 1.05
    bins = np.linspace(0, top, 41).tolist()

    def paint(figure: "Figure") -> None:
        axes = _axes(figure, "largest action deviation at a visited state, action units", "states")
        axes.hist(sampled, bins, color=_RED, alpha=0.75, label="found by search")
        axes.hist(certified, bins, color=_GREEN, alpha=0.6, label="certified")
        if limit is not None:
            axes.axvline(
                limit, color="black", linestyle="--", linewidth=1, label=f"limit {limit:g}"
            )
        # Outside of the axes, where it hides neither a bar nor the limit.
        figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)

    return draw_svg(*_SIZE, paint)


def _axes(figure: "Figure", x: str, y: str) -> "Axes":
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _numbers(column: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in column], dtype=float)
