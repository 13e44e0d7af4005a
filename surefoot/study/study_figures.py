"""The pictures of a study, a function of its results."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from surefoot.picture import draw_png
from surefoot.study.grid import Purpose
from surefoot.study.metrics import METRICS
from surefoot.study.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BOUNDS = ("paper_surrogate", "absolute_product", "best_bound", "visited_certified")
_BOUNDS_FOUND = ("visited_sampled",)
_PANEL = (3.2, 2.8)
"""Inches."""

_MARKERS = "x+^sDv"
_STYLES = ("-", "--", "-.", ":")
"""Of the arms of one colour, in the order of the grid."""


def study_figures(results: Results) -> dict[str, bytes]:
    """Return the pictures of what is there, as PNG files by name."""
    purpose = results.grid.judged_on
    if not any(results.of(purpose, arm) for arm in results.grid.arms):
        purpose = "select"
    drawn: dict[str, bytes] = {}
    if _has(results, purpose, "worst"):
        drawn["figures/frontier.png"] = draw_frontier(results, purpose)
        drawn["figures/profiles.png"] = draw_profiles(results, purpose)
    if results.grid.families:
        drawn |= _by_sparsity(results)
    return drawn


def _by_sparsity(results: Results) -> dict[str, bytes]:
    """Return the pictures of levels, on the seeds on which every level was trained."""
    drawn: dict[str, bytes] = {}
    if attacks := _attacks(results):
        metrics = ["clean", *attacks]
        drawn["figures/attacks.png"] = draw_levels(results, metrics, relative=False)
    if bounds := [name for name in (*_BOUNDS, *_BOUNDS_FOUND) if _has(results, "select", name)]:
        drawn["figures/bounds.png"] = draw_levels(results, bounds, relative=True)
    return drawn


def draw_frontier(results: Results, purpose: Purpose) -> bytes:
    """Draw attacked against clean return, a dot for each agent, a mark for each arm."""

    def paint(figure: "Figure") -> None:
        axes = figure.subplots(1, 2, sharex=True)
        for panel, metric in zip(axes, ("attacked", "worst"), strict=True):
            for arm, (colour, place) in _looks(results).items():
                clean, attacked = (_agents(results, purpose, arm, m) for m in ("clean", metric))
                if clean:
                    panel.scatter(clean, attacked, s=9, color=colour, alpha=0.5)
                    mean = np.mean(clean), np.mean(attacked)
                    marker = _MARKERS[place % len(_MARKERS)]
                    panel.scatter(*mean, marker=marker, color=colour, label=_entry(arm))
            _name(panel, METRICS["clean"].words, METRICS[metric].words)
        _legend(figure, axes[0])

    return draw_png(8, 4.5, paint)


def draw_profiles(results: Results, purpose: Purpose) -> bytes:
    """Draw the share of episodes above a return under the worst attack, for each arm.

    Reference:
        Agarwal et al., NeurIPS 2021 (arXiv 2108.13264), section 4.2: score distributions.
    """

    def paint(figure: "Figure") -> None:
        axes = figure.subplots()
        for arm, (colour, place) in _looks(results).items():
            sample = results.sample(purpose, arm, "worst")
            if sample:
                returns = np.sort(np.concatenate([parts[0] for parts in sample]))
                shares = 1 - np.arange(len(returns)) / len(returns)
                style = _STYLES[place % len(_STYLES)]
                axes.step(returns, shares, style, where="post", color=colour, label=_entry(arm))
        _name(axes, METRICS["worst"].words, "share of episodes above it")
        _legend(figure, axes)

    return draw_png(6.4, 4.5, paint)


def draw_levels(results: Results, metrics: Sequence[str], *, relative: bool) -> bytes:
    """Draw metrics against sparsity, a line for each family and a dot for each agent.

    Args:
        results: The cells.
        metrics: One panel each.
        relative: In multiples of the baseline's mean, or absolute.
    """

    def paint(figure: "Figure") -> None:
        panels = figure.subplots(1, len(metrics), squeeze=False)[0]
        for panel, metric in zip(panels, metrics, strict=True):
            scale = _mean(results, results.grid.file.baseline, metric) if relative else 1.0
            for number, (family, arms) in enumerate(results.grid.families.items()):
                _draw_family(panel, _points(results, arms, metric), scale, f"C{number}", family)
            words = METRICS[metric].words
            _name(panel, "sparsity", f"{words} / baseline" if relative else words)
        _legend(figure, panels[0])

    return draw_png(_PANEL[0] * len(metrics), _PANEL[1] + 0.6, paint)


def _draw_family(
    panel: "Axes",
    points: Mapping[float, Sequence[float]],
    scale: float | None,
    colour: str,
    family: str,
) -> None:
    if not points or not scale:
        return
    levels = sorted(points)
    means = [float(np.mean(points[level])) / scale for level in levels]
    panel.plot(levels, means, color=colour, label=_entry(family))
    for level in levels:
        values = np.array(points[level]) / scale
        panel.scatter([level] * len(values), values, color=colour, s=9, alpha=0.5)


def _points(results: Results, arms: Sequence[str], metric: str) -> dict[float, list[float]]:
    """Return the agents' means by sparsity, those of the baseline with them."""
    found: dict[float, list[float]] = {}
    for arm in (results.grid.file.baseline, *arms):
        values = _agents(results, "select", arm, metric)
        if values:
            sparsity = float(np.mean([cell.train.sparsity for cell in results.of("select", arm)]))
            found.setdefault(sparsity, []).extend(values)
    return found


def _agents(results: Results, purpose: Purpose, arm: str, metric: str) -> list[float]:
    return [float(parts[0].mean()) for parts in results.sample(purpose, arm, metric)]


def _mean(results: Results, arm: str, metric: str) -> float | None:
    return results.mean("select", arm, metric)


def _has(results: Results, purpose: Purpose, metric: str) -> bool:
    return any(results.sample(purpose, arm, metric) for arm in results.grid.arms)


def _attacks(results: Results) -> list[str]:
    """Return the attacks that every attacked cell of the selection seeds was under."""
    records = [
        cell.attack
        for arm in results.grid.arms
        for cell in results.of("select", arm)
        if cell.attack is not None
    ]
    return list(records[0].attacked) if records else []


def _looks(results: Results) -> dict[str, tuple[str, int]]:
    """Return the colour of each arm, one for a family, and its place among those of that colour."""
    families = {arm: name for name, arms in results.grid.families.items() for arm in arms}
    own = {arm: families.get(arm, arm) for arm in results.grid.arms}
    colours = {name: f"C{number % 10}" for number, name in enumerate(dict.fromkeys(own.values()))}
    named = list(own.values())
    return {
        arm: (colours[name], named[:number].count(name))
        for number, (arm, name) in enumerate(own.items())
    }


def _name(panel: "Axes", x: str, y: str) -> None:
    panel.set_xlabel(x)
    panel.set_ylabel(y)
    panel.spines[["top", "right"]].set_visible(False)


def _entry(name: str) -> str:
    """Return a name as an entry of a legend, where Matplotlib leaves out what begins with `_`."""
    return f" {name}" if name.startswith("_") else name


def _legend(figure: "Figure", panel: "Axes") -> None:
    handles, labels = panel.get_legend_handles_labels()
    if handles:
        legend = figure.legend(
            handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=7
        )
        for text in legend.get_texts():
            text.set_parse_math(False)  # a name is no formula
