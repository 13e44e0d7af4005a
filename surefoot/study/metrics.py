"""What is compared between arms: for each cell, one or more samples of a quantity."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surefoot.attack.attack_config import FULL
from surefoot.errors import InputError, did_you_mean
from surefoot.records import CLEAN
from surefoot.study.cell_record import CellRecord

Sample = NDArray[np.float64]
"""Values of one agent, shape (n,): one for each episode or visited state, or a single one."""

Parts = tuple[Sample, ...]
"""The parts of a metric for one agent: a metric of several parts is the mean of their ratios."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A quantity of a cell.

    Attributes:
        words: Name of the quantity in tables.
        of: Its parts for one cell; None where the cell does not have it.
    """

    words: str
    of: Callable[[CellRecord], Parts | None]


def _clean(cell: CellRecord) -> Parts | None:
    if cell.attack is not None:
        return (np.array(cell.attack.attacks[CLEAN].returns),)
    return None if cell.train.clean_return is None else (np.array([cell.train.clean_return]),)


def _attacked(cell: CellRecord) -> Parts | None:
    """Return the mean over the attacks in each episode, which all attacks share."""
    if cell.attack is None or not cell.attack.attacked:
        return None
    return (np.mean([entry.returns for entry in cell.attack.attacked.values()], axis=0),)


def _published(cell: CellRecord) -> Parts | None:
    """Return the two parts of the paper's score: clean, and the mean over the attacks."""
    clean, attacked = _clean(cell), _attacked(cell)
    return None if clean is None or attacked is None else clean + attacked


def _worst(cell: CellRecord) -> Parts | None:
    if cell.attack is None:
        return None
    return (np.array(cell.attack.attacks[cell.attack.worst.attack].returns),)


def _under(name: str) -> Callable[[CellRecord], Parts | None]:
    def returns(cell: CellRecord) -> Parts | None:
        found = None if cell.attack is None else cell.attack.attacks.get(name)
        return None if found is None else (np.array(found.returns),)

    return returns


def _bound(name: str) -> Callable[[CellRecord], Parts | None]:
    def bound(cell: CellRecord) -> Parts | None:
        found = None if cell.certificate is None else cell.certificate.deviation_linf.get(name)
        return None if found is None else (np.array([found]),)

    return bound


def _visited_certified(cell: CellRecord) -> Parts | None:
    if cell.certificate is None or not cell.certificate.visited_certified:
        return None
    bounds = cell.certificate.visited_certified
    return None if None in bounds else (np.array(bounds, dtype=float),)


def _visited_sampled(cell: CellRecord) -> Parts | None:
    if cell.certificate is None or not cell.certificate.visited_sampled:
        return None
    return (np.array(cell.certificate.visited_sampled),)


def _surrogate_growth(cell: CellRecord) -> Parts | None:
    """Return the surrogate at the last evaluation of the training, over that at the first one."""
    seen = [value for value in cell.curve.get("paper_surrogate", ()) if value is not None]
    return (np.array([seen[-1] / seen[0]]),) if len(seen) >= 2 and seen[0] > 0 else None


METRICS: Mapping[str, Metric] = {
    "published": Metric("score of the paper", _published),
    "clean": Metric("clean return", _clean),
    "attacked": Metric("return, mean over the attacks", _attacked),
    "worst": Metric("return under the worst attack", _worst),
    **{name: Metric(f"return under {name}", _under(name)) for name in FULL if name != CLEAN},
    "visited_certified": Metric("certified deviation at visited states", _visited_certified),
    "visited_sampled": Metric("deviation found at visited states", _visited_sampled),
    "paper_surrogate": Metric("surrogate", _bound("paper_surrogate")),
    "absolute_product": Metric("product of absolute weights", _bound("absolute_product")),
    "spectral": Metric("product of spectral norms", _bound("spectral")),
    "surrogate_growth": Metric("growth of the surrogate while training", _surrogate_growth),
    "best_bound": Metric("best global bound", _bound("best")),
    "size_bytes": Metric("bytes", lambda cell: (np.array([float(cell.size_bytes)]),)),
}
"""By name, as claims have it. The deviations and bounds are those of the certificate, linf."""


def check_metric(name: str) -> None:
    """Check the name of a metric.

    Raises:
        InputError: If there is none of this name.
    """
    if name not in METRICS:
        hint = did_you_mean(name, METRICS)
        raise InputError(f"metric must be one of {', '.join(METRICS)}, got {name!r}{hint}")


def mean_of(metric: str, cell: CellRecord) -> float | None:
    """Return the mean of a metric of one part for one cell; None where the cell lacks it."""
    parts = METRICS[metric].of(cell)
    return None if parts is None else float(parts[0].mean())
