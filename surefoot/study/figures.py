"""The figures of a report, drawn from the JSON files of a run; each is returned as SVG text."""

import io
from collections.abc import Sequence

import numpy as np

from surefoot.artifact import Json

CLEAN, CERTIFIED, SAMPLED, QUIET = "#2563a6", "#2f7d4f", "#c2491d", "#8a8f98"
_SIZE = (6.4, 3.4)


def learning_curve(curves: dict[str, list[float | None]]) -> str:
    """Draw training return and sparsity against environment steps."""
    figure, axes = _axes("environment steps", "return")
    steps = np.array(curves["step"], dtype=float)
    axes.plot(steps, _numbers(curves["return"]), color=QUIET, label="training, last 100 episodes")
    clean = _numbers(curves["clean_return"])
    seen = np.isfinite(clean)
    axes.plot(steps[seen], clean[seen], "o-", color=CLEAN, label="evaluation, deterministic")
    axes.set_ylim(bottom=min(0.0, float(np.nanmin(clean, initial=0.0))))
    other = axes.twinx()
    other.plot(steps, 100 * _numbers(curves["sparsity"]), ":", color=CERTIFIED, label="sparsity")
    other.set_ylabel("sparsity, %")
    other.set_ylim(0, 100)
    other.spines["top"].set_visible(False)
    handles = [*axes.get_legend_handles_labels()[0], *other.get_legend_handles_labels()[0]]
    axes.legend(handles=handles, frameon=False, fontsize=8, loc="lower right")
    return _svg(figure)


def deviation_histogram(
    certified: Sequence[float], sampled: Sequence[float], limit: float | None
) -> str:
    """Draw proved and found action deviations at the visited states, and the limit if any."""
    figure, axes = _axes("largest action deviation at a visited state, action units", "states")
    top = max([*certified, *sampled, limit or 0.0]) * 1.05
    bins = np.linspace(0, top, 41)
    axes.hist(sampled, bins, color=SAMPLED, alpha=0.75, label="found by search")
    axes.hist(certified, bins, color=CERTIFIED, alpha=0.6, label="certified")
    if limit is not None:
        axes.axvline(limit, color="black", linestyle="--", linewidth=1, label=f"limit {limit:g}")
    axes.legend(loc="upper right", frameon=False, fontsize=8)
    return _svg(figure)


def _axes(x: str, y: str) -> tuple[Json, Json]:
    # The object interface, not pyplot: no global state, no display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _numbers(column: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in column], dtype=float)


def _svg(figure: Json) -> str:
    import matplotlib

    buffer = io.StringIO()
    # A fixed salt and no date: equal results give equal pages.
    with matplotlib.rc_context({"svg.hashsalt": "surefoot", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
