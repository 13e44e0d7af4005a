"""What neurons have of each other goes through rows as their lines say."""

import numpy as np

from surefoot.activation import Activation, Mixed, Product, RmsNorm
from surefoot.certify.bounds.relaxation import relax

MIXED = Mixed.of([(RmsNorm(0.25), 3), (Product(), 4), (Activation.TANH, 1), (Product(), 2)])


def test_rows_over_a_normalisation_and_products_enclose_what_they_compute() -> None:
    rng = np.random.default_rng(0)
    middle, radius = rng.normal(size=(20, MIXED.width)), rng.uniform(0, 0.5, (20, MIXED.width))
    lines = relax(MIXED, middle - radius, middle + radius)
    assert lines.coupling is not None
    rows = rng.normal(size=(20, 5, MIXED.width))
    added, (least, most) = lines.coupling.through(rows)
    above = np.where(rows > 0, lines.slope_high[:, None], lines.slope_low[:, None])
    below = np.where(rows > 0, lines.slope_low[:, None], lines.slope_high[:, None])
    cut_above = np.where(rows > 0, lines.cut_high[:, None], lines.cut_low[:, None])
    cut_below = np.where(rows > 0, lines.cut_low[:, None], lines.cut_high[:, None])
    for _ in range(200):
        x = middle + radius * rng.uniform(-1, 1, radius.shape)
        value = (rows * MIXED(x)[:, None]).sum(axis=-1)
        upper = ((rows * above + added) * x[:, None] + rows * cut_above).sum(axis=-1) + most
        lower = ((rows * below + added) * x[:, None] + rows * cut_below).sum(axis=-1) + least
        assert (value <= upper + 1e-12).all()
        assert (value >= lower - 1e-12).all()


def test_nothing_that_is_added_exceeds_its_reach() -> None:
    rng = np.random.default_rng(1)
    middle = rng.normal(size=(20, MIXED.width))
    coupling = relax(MIXED, middle - 0.3, middle + 0.3).coupling
    assert coupling is not None
    sizes = np.abs(middle) + 0.3
    reach = coupling.reach(sizes)
    each = np.broadcast_to(np.eye(MIXED.width), (20, MIXED.width, MIXED.width))
    added, (least, most) = coupling.through(each)
    largest = np.abs(added) @ sizes[:, :, None]
    assert (largest[..., 0] <= reach * (1 + 1e-12)).all()
    assert (np.maximum(np.abs(least), np.abs(most)) <= reach * (1 + 1e-12)).all()
