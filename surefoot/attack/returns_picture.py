"""A picture of ``attack.json``: one bar per attack, one dot per episode."""

from typing import TYPE_CHECKING

import numpy as np

from surefoot.picture import draw_png
from surefoot.records import AttackOutcome, AttackRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BAR, _DOT = "#9db8d1", "#1f3b57"


def draw_attacks(record: AttackRecord) -> bytes:
    """Return a PNG of the mean return of each attack and the return of each episode.

    Raises:
        MissingLibraryError: If matplotlib is not installed.
    """
    attacks = record.attacks

    def paint(figure: "Figure") -> None:
        axes = figure.add_subplot()
        rng = np.random.default_rng(0)
        for place, outcome in enumerate(attacks.values()):
            returns = np.asarray(outcome.returns)
            axes.bar(place, outcome.mean, width=0.6, color=_BAR)
            places = place + rng.uniform(-0.2, 0.2, len(returns))
            axes.scatter(places, returns, s=9, color=_DOT, alpha=0.6)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set_xticks(range(len(attacks)), labels=[_label(*item) for item in attacks.items()])
        axes.set_ylabel("return (bar: mean, dots: episodes)")
        axes.set_title(f"{record.env}, {record.norm} epsilon {record.epsilon:g}", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)

    return draw_png(1.6 + 1.3 * len(attacks), 3.6, paint)


def _label(name: str, outcome: AttackOutcome) -> str:
    return f"{name}\n({outcome.failures} failed)" if outcome.failures else name
