"""A picture of ``attack.json``: the mean of each attack, and one dot per episode."""

from typing import TYPE_CHECKING

import numpy as np

from surefoot.picture import draw_png
from surefoot.records import AttackOutcome, AttackRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MEAN, _DOT = "#c2491d", "#1f3b57"
_HALF_WIDTH = 0.3
"""Length of the line of a mean, where attacks are 1 apart."""


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
            places = place + rng.uniform(-0.2, 0.2, len(returns))
            axes.scatter(places, returns, s=9, color=_DOT, alpha=0.6)
            # Lines, no bars: a bar must begin at 0, where attacks of nearly equal returns look one.
            ends = place - _HALF_WIDTH, place + _HALF_WIDTH
            axes.plot(ends, (outcome.mean, outcome.mean), color=_MEAN, linewidth=2)
        axes.set_xticks(range(len(attacks)), labels=[_label(*item) for item in attacks.items()])
        axes.ticklabel_format(axis="y", useOffset=False)  # returns in full, however close they are
        axes.set_ylabel("return (line: mean, dots: episodes)")
        title = f"{record.env}, sensors wrong by {record.perturbation}"
        title += "" if record.gate is None else f", {record.played}"
        axes.set_title(title, fontsize=10, parse_math=False)  # a name is no formula
        axes.spines[["top", "right"]].set_visible(False)

    return draw_png(1.6 + 1.3 * len(attacks), 3.6, paint)


def _label(name: str, outcome: AttackOutcome) -> str:
    return f"{name}\n({outcome.failures} failed)" if outcome.failures else name
