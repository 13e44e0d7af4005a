"""A number outside its range is refused by name, rule and value."""

import math
import re
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from surefoot.errors import InputError
from surefoot.ranges import (
    require_at_least,
    require_fraction,
    require_order,
    require_positive,
)

Check = Callable[[object], None]


def positive(config: object) -> None:
    require_positive(config, "x")


def at_least_two(config: object) -> None:
    require_at_least(config, 2, "x")


def at_least_two_and_most_nine(config: object) -> None:
    require_at_least(config, 2, "x", most=9)


def fraction(config: object) -> None:
    require_fraction(config, "x")


@pytest.mark.parametrize(
    ("check", "inside", "outside"),
    [
        (positive, [1e-300, 1, 1e38], [0, -1e-300, 1e39, 1e300, math.inf, math.nan]),
        (at_least_two, [2, 2.5, 1e38, 10**12], [1.999, 1e39, 10**12 + 1, -math.inf, math.inf]),
        (at_least_two_and_most_nine, [2, 9], [1, 10, 1e300, math.inf, math.nan]),
        (fraction, [1e-300, 0.5, 1], [0, -0.5, 1 + 1e-12, math.inf, math.nan]),
    ],
)
def test_a_range_holds_its_inside_and_nothing_else(
    check: Check, inside: list[float], outside: list[float]
) -> None:
    for value in inside:
        check(SimpleNamespace(x=value))
    for value in outside:
        with pytest.raises(InputError, match=rf"^x must be .*, got {re.escape(str(value))}$"):
            check(SimpleNamespace(x=value))


def test_every_field_that_is_named_is_checked() -> None:
    with pytest.raises(InputError, match=r"^y must be positive and finite, got 0$"):
        require_positive(SimpleNamespace(x=1, y=0), "x", "y")


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.5), (0.7, 0.5), (0, 1.1), (math.nan, 1)])
def test_a_start_that_is_not_before_its_end_is_refused(start: float, end: float) -> None:
    require_order(SimpleNamespace(start=0.5, end=1.0), "start", "end")
    with pytest.raises(InputError, match=r"^end must be in \(start, 1\], got start .*, end "):
        require_order(SimpleNamespace(start=start, end=end), "start", "end")
