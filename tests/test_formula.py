"""The text of an inequality: names and units are read as they stand, and kept apart."""

from fractions import Fraction

import pytest

from surefoot.formula import Entry, Formula


@pytest.mark.parametrize(
    ("text", "terms", "limit", "unit"),
    [
        ("action[hip] <= 0.3 N m", {("action", "hip"): 1}, "0.3", "N m"),
        ("0.3 N m >= action[left-hip]", {("action", "left-hip"): 1}, "0.3", "N m"),
        ("sensor[leg[2nd]] < 1e-3 1/s", {("sensor", "leg[2nd]"): 1}, "1e-3", "1/s"),
        ("action[ hip ] - 2 * sensor[0] <= 1", {("action", "hip"): 1, ("sensor", 0): -2}, "1", ""),
        ('action["0"] <= -.5 %', {("action", "0"): 1}, "-0.5", "%"),
        ("2 * action[1] <= 4", {("action", 1): 2}, "4", ""),
    ],
)
def test_names_and_the_unit_are_those_of_the_text(
    text: str, terms: dict[Entry, int], limit: str, unit: str
) -> None:
    formula = Formula.parse(text)
    assert formula.terms == {entry: Fraction(factor) for entry, factor in terms.items()}
    assert (formula.limit, formula.unit) == (Fraction(float(limit)), unit)
    assert formula.names_robot is (bool(unit) or any(isinstance(one, str) for _, one in terms))


@pytest.mark.parametrize("text", ["action[a b] <= 1", "action[hip] + 0.1 N m <= 1", "hip <= 1"])
def test_what_is_neither_a_name_nor_a_unit_is_refused(text: str) -> None:
    with pytest.raises((ValueError, SyntaxError)):
        Formula.parse(text)
