"""A picture of ``bench.json``: latency by backend, deadline misses by rate."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from surefoot.picture import draw_png
from surefoot.records import BackendRecord, BenchRecord, LatencyRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DARK, _MIDDLE, _LIGHT = "#1f3b57", "#9db8d1", "#e3c9b3"
_WIDTH = 0.25
"""Width of a bar, where backends are 1 apart."""


def draw_benchmark(record: BenchRecord) -> bytes:
    """Return a PNG of the latencies and of the share of deadlines that were missed.

    Raises:
        MissingLibraryError: If matplotlib is not installed.
    """

    def paint(figure: "Figure") -> None:
        latency, missed = figure.subplots(1, 2)
        _draw_latencies(latency, record.backends)
        _draw_misses(missed, record.backends)
        for axes in (latency, missed):
            axes.spines[["top", "right"]].set_visible(False)

    return draw_png(9, 3.4, paint)


def _draw_latencies(axes: "Axes", backends: Mapping[str, BackendRecord]) -> None:
    entries = list(backends.values())
    for offset, colour, name, values in (
        (-_WIDTH, _DARK, "median", [entry.p50_us for entry in entries]),
        (0, _MIDDLE, "99 %", [entry.p99_us for entry in entries]),
        (_WIDTH, _LIGHT, "largest", [entry.max_us for entry in entries]),
    ):
        known = [(place + offset, value) for place, value in enumerate(values) if value]
        axes.bar(
            [place for place, _ in known],
            [value for _, value in known],
            _WIDTH,
            color=colour,
            label=name,
        )
    axes.set_yscale("log")
    axes.set_ylabel("one action, us")
    axes.set_xticks(range(len(entries)), labels=list(backends))
    _label(axes)


def _draw_misses(axes: "Axes", backends: Mapping[str, BackendRecord]) -> None:
    for name, entry in backends.items():
        _draw_share(axes, entry.paced, entry.misses, "-", name)
        _draw_share(axes, entry.paced_under_load, entry.misses_under_load, "--", f"{name}, busy")
    axes.set_xscale("log")
    axes.set_xlabel("control rate, Hz")
    axes.set_ylabel("deadlines missed, share")
    _label(axes)


def _label(axes: "Axes") -> None:
    """Put the legend above the axes, where it hides nothing."""
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False, fontsize=8, ncols=3)


def _draw_share(
    axes: "Axes",
    paced: Mapping[str, LatencyRecord],
    misses: Mapping[str, int],
    style: str,
    label: str,
) -> None:
    if paced:
        rates = sorted(paced, key=int)
        shares = [misses[rate] / paced[rate].n for rate in rates]
        axes.plot([int(rate) for rate in rates], shares, style, marker="o", label=label)
