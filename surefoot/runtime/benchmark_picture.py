"""A picture of ``bench.json``: latency by backend, deadline misses by rate."""

import io
from collections.abc import Mapping

from surefoot.artifact import Json

_PERCENTILES = {"p50_us": "#1f3b57", "p99_us": "#9db8d1", "max_us": "#e3c9b3"}


def draw_benchmark(table: Mapping[str, Json]) -> bytes:
    """Return a PNG of the latencies and of the share of deadlines that were missed.

    Args:
        table: The content of ``bench.json``.
    """
    # Half a second of imports, which only a picture needs; no display and no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    backends = table["backends"]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    latency, missed = figure.subplots(1, 2)
    for number, (key, colour) in enumerate(_PERCENTILES.items()):
        known = [(place, entry[key]) for place, entry in enumerate(backends.values()) if entry[key]]
        places = [place + 0.25 * (number - 1) for place, _ in known]
        latency.bar(places, [value for _, value in known], 0.25, color=colour, label=key)
    latency.set_yscale("log")
    latency.set_ylabel("one action, us")
    latency.set_xticks(range(len(backends)), labels=list(backends))
    latency.legend(loc="upper left", frameon=False, fontsize=8)
    for name, entry in backends.items():
        for kind, style in (("", "-"), ("_under_load", "--")):
            paced, misses = entry["paced" + kind], entry["misses" + kind]
            if paced:
                shares = [misses[rate] / paced[rate]["n"] for rate in paced]
                rates = [int(rate) for rate in paced]
                missed.plot(
                    rates, shares, style, marker="o", label=f"{name}{kind.replace('_', ' ')}"
                )
    missed.set_xscale("log")
    missed.set_xlabel("control rate, Hz")
    missed.set_ylabel("deadlines missed, share")
    missed.legend(loc="upper left", frameon=False, fontsize=8)
    for axes in (latency, missed):
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()
