"""Counts of work add up."""

from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from surefoot.attack.cost import Cost

COUNTS = st.fixed_dictionaries({field.name: st.integers(0, 10**12) for field in fields(Cost)})


@given(COUNTS, COUNTS)
def test_a_sum_adds_every_count_and_forgets_none(
    one: dict[str, int], other: dict[str, int]
) -> None:
    total = (Cost(**one) + Cost(**other)).to_table()
    assert total == {name: one[name] + other[name] for name in one}


@given(COUNTS, st.integers(0, 5))
def test_times_is_a_sum_of_the_same(counts: dict[str, int], number: int) -> None:
    assert Cost(**counts).times(number) == sum([Cost(**counts)] * number, Cost())
