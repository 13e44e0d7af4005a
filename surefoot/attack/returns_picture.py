"""A picture of ``attack.json``: one bar per attack, one dot per episode."""

import io
from collections.abc import Mapping

import numpy as np

from surefoot.artifact import Json

_BAR, _DOT = "#9db8d1", "#1f3b57"


def draw_attacks(table: Mapping[str, Json]) -> bytes:
    """Return a PNG of the mean return of each attack and the return of each episode.

    Args:
        table: The content of ``attack.json``.
    """
    # Half a second of imports, which only a picture needs; no display and no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    attacks = table["attacks"]
    figure = Figure(figsize=(1.6 + 1.3 * len(attacks), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    rng = np.random.default_rng(0)
    for place, entry in enumerate(attacks.values()):
        returns = np.asarray(entry["returns"])
        axes.bar(place, entry["mean"], width=0.6, color=_BAR)
        axes.scatter(
            place + rng.uniform(-0.2, 0.2, len(returns)), returns, s=9, color=_DOT, alpha=0.6
        )
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(attacks)), labels=[_label(*item) for item in attacks.items()])
    axes.set_ylabel("return (bar: mean, dots: episodes)")
    axes.set_title(f"{table['env']}, {table['norm']} epsilon {table['epsilon']:g}", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def _label(name: str, entry: Mapping[str, Json]) -> str:
    failures = entry["failures"]
    return f"{name}\n({failures} failed)" if failures else name
