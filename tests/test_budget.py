"""Laws of `surefoot.budget`: a requirement has just the fields that its quantity needs.

Also of ``requirement.py``.
"""

import hashlib
import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.ball import Norm
from surefoot.budget import QUANTITIES, Budget, Requirement, Scope
from surefoot.config import to_toml
from surefoot.errors import InputError

Table = dict[str, Any]

P: Table = {"epsilon": 0.05, "norm": "linf"}
VISITED: Table = {"scope": "visited", "fraction": 0.99, "confidence": 0.95}
EVERYWHERE: Table = {"scope": "everywhere"}
QUESTION: Table = {
    "region": {"kind": "raw", "low": [0.0], "high": [0.5]},
    "all_of": ["action[0] <= 1.0"],
}

# What each quantity needs, as the architecture's budget section tells it: written out by hand, so
# that the table in the code has something to be compared with.
NEEDS: dict[str, list[Table]] = {
    "lipschitz": [{"norm": "l2"}],
    "action_deviation": [P | EVERYWHERE, P | VISITED],
    "total_variation": [P | EVERYWHERE, P | VISITED],
    "kl": [P | EVERYWHERE, P | VISITED],
    "return_loss": [P, P | {"confidence": 0.95}],
    "choice_lead": [P | EVERYWHERE, P | VISITED],
    "compression_error": [EVERYWHERE, VISITED],
    "success_rate": [P | {"confidence": 0.95}],
    "attacked_return": [P, P | {"confidence": 0.95}],
    "unexcluded_return": [P, P | {"confidence": 0.95}],
    "clean_return": [{}, {"confidence": 0.95}],
    "task_success": [{"confidence": 0.95}, P | {"confidence": 0.95}],
    "sparsity": [{}],
    "latency_us": [{}],
    "size_bytes": [{}],
    "property": [QUESTION],
}
MAY_BE_CONFIDENT = {"return_loss", "attacked_return", "unexcluded_return", "clean_return"}
AT_LEAST = {
    "success_rate",
    "attacked_return",
    "unexcluded_return",
    "clean_return",
    "task_success",
    "sparsity",
}
VALUES = P | VISITED | {"at_most": 1.0, "at_least": 0.5}


def complete(quantity: str, fields: Table) -> Table:
    if quantity == "property":  # whose inequalities hold the limits
        return {"quantity": quantity} | fields
    limit = {"at_least": 0.5} if quantity in AT_LEAST else {"at_most": 1.0}
    return {"quantity": quantity} | fields | limit


VALID = [complete(quantity, fields) for quantity, forms in NEEDS.items() for fields in forms]


def test_every_quantity_is_covered_here() -> None:
    assert set(NEEDS) == set(QUANTITIES)


@pytest.mark.parametrize("table", VALID, ids=lambda table: table["quantity"])
def test_a_quantity_is_satisfied_by_the_fields_that_it_needs(table: Table) -> None:
    requirement = Requirement.from_table(table)
    assert requirement.to_table() == table
    assert Requirement.from_table(requirement.to_table()) == requirement


@pytest.mark.parametrize("table", VALID, ids=lambda table: table["quantity"])
def test_a_quantity_misses_every_field_that_is_taken_away(table: Table) -> None:
    optional = {"confidence"} if table["quantity"] in MAY_BE_CONFIDENT else set()
    for name in set(table) - {"quantity"} - optional:
        less = {key: value for key, value in table.items() if key != name}
        with pytest.raises(InputError, match=name if name != "scope" else "scope|fraction"):
            Requirement.from_table(less)
    with pytest.raises(InputError, match=r"missing key 'require\.quantity'"):
        Requirement.from_table({key: value for key, value in table.items() if key != "quantity"})


@pytest.mark.parametrize("table", VALID, ids=lambda table: table["quantity"])
def test_a_quantity_takes_no_field_beyond(table: Table) -> None:
    optional = {"confidence"} if table["quantity"] in MAY_BE_CONFIDENT else set()
    for name in set(VALUES) - set(table) - optional:
        with pytest.raises(InputError, match=r"takes no field|needs the field"):
            Requirement.from_table(table | {name: VALUES[name]})


def test_of_all_sets_of_fields_only_the_valid_ones_are_accepted() -> None:
    names = [*VALUES]
    accepted = 0
    for quantity in QUANTITIES:
        for size in range(len(names) + 1):
            for chosen in itertools.combinations(names, size):
                table = {"quantity": quantity} | {name: VALUES[name] for name in chosen}
                try:
                    Requirement.from_table(table)
                except InputError:
                    continue
                keys = {frozenset(valid) for valid in VALID if valid["quantity"] == quantity}
                assert frozenset(table) in keys
                accepted += 1
    # `everywhere` and a region are not among the values tried: their six forms are missing.
    assert accepted == len(VALID) - 6


DEVIATION = complete("action_deviation", P | VISITED)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quantity": "action_deviaton"}, "unknown quantity.*; did you mean 'action_deviation'"),
        ({"quantity": "zzz"}, "unknown quantity 'zzz'$"),
        ({"quantity": 3}, r"require\.quantity must be of type str, got 3"),
        ({"epsilon": -0.05}, r"epsilon must be at least 0 and finite, got -0\.05"),
        ({"epsilon": math.nan}, "epsilon must be at least 0 and finite, got nan"),
        ({"epsilon": math.inf}, "epsilon must be at least 0 and finite, got inf"),
        ({"epsilon": "0.05"}, r"require\.epsilon must be of type float, got '0\.05'"),
        ({"norm": "l1"}, r"require\.norm must be one of l2, linf, got 'l1'"),
        ({"norm": "inf"}, r"norm must be one of l2, linf, got 'inf'; did you mean 'linf'\?"),
        ({"scope": "visitd"}, r"scope must be one of .*; did you mean 'visited'\?"),
        ({"fraction": 1.0}, r"fraction must be in \(0, 1\), got 1\.0"),
        ({"fraction": 0.0}, r"fraction must be in \(0, 1\), got 0\.0"),
        ({"confidence": 95}, r"confidence must be in \(0, 1\), got 95\.0"),
        ({"confidence": math.nan}, r"confidence must be in \(0, 1\), got nan"),
        ({"at_most": math.inf}, "limit of action_deviation must be finite, got inf"),
        ({"at_most": math.nan}, "limit of action_deviation must be finite, got nan"),
        ({"at_mots": 0.3}, r"unknown key 'require\.at_mots'; did you mean 'require\.at_most'\?"),
    ],
)
def test_a_wrong_value_is_refused_by_name_in_one_line(change: Table, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Requirement.from_table(DEVIATION | change)
    assert "\n" not in str(caught.value)


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(allow_infinity=True) | st.just(math.nan),
)
def test_a_limit_holds_on_its_side_and_never_for_nan(limit: float, value: float) -> None:
    upper = Requirement.from_table({"quantity": "size_bytes", "at_most": limit})
    lower = Requirement.from_table(P | {"quantity": "attacked_return", "at_least": limit})
    assert upper.limit == lower.limit == limit
    assert upper.holds(value) is (not math.isnan(value) and not value > limit)
    assert lower.holds(value) is (not math.isnan(value) and not value < limit)
    assert upper.holds(limit)
    assert lower.holds(limit)


# --- the file --------------------------------------------------------------------------------


def test_a_budget_reads_its_requirements_in_order_and_keeps_its_text() -> None:
    text = "# a comment\n" + to_toml({"require": VALID})
    budget = Budget.parse(text)
    assert [requirement.to_table() for requirement in budget.requirements] == VALID
    assert budget.text == text
    assert budget.sha256 == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"budget must hold at least one \[\[require\]\] table"),
        ("require = []", "must hold at least one"),
        ("require = 3", "must hold at least one"),
        ('[require]\nquantity = "sparsity"', "must hold at least one"),
        ("require = [1, 2]", r"budget: require\[0\] must be a table, got 1"),
        ("[[requires]]", r"unknown key 'requires'; did you mean 'require'\?"),
        ("[[require]", "budget is not valid TOML"),
        ("[[require]]", r"missing key 'budget: require\[0\]\.quantity'"),
        (
            to_toml({"require": [*VALID, DEVIATION | {"epsilon": -1.0}]}),
            rf"budget: require\[{len(VALID)}\]: epsilon must be at least 0 and finite, got -1\.0",
        ),
        (
            to_toml({"require": [{"quantity": "kl", "at_most": 1.0}]}),
            r"require\[0\]: quantity 'kl' needs the field 'epsilon'",
        ),
    ],
)
def test_a_bad_budget_is_refused_by_place_in_one_line(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Budget.parse(text)
    assert "\n" not in str(caught.value)


@given(st.text())
def test_arbitrary_text_is_a_budget_or_refused(text: str) -> None:
    try:
        budget = Budget.parse(text)
    except InputError:
        return
    assert budget.requirements


# --- in words --------------------------------------------------------------------------------


def test_a_requirement_in_words_rounds_nothing_away() -> None:
    requirement = Requirement(
        quantity="action_deviation",
        epsilon=0.0123456789,
        norm=Norm.L2,
        scope=Scope.VISITED,
        fraction=0.99999,
        confidence=0.9999,
        at_most=1234567.5,
    )
    assert requirement.describe() == (
        "action_deviation under l2 0.0123456789 at 99.999% of visited states at most 1234567.5 "
        "with confidence 99.99%"
    )


@pytest.mark.parametrize("table", VALID, ids=lambda table: table["quantity"])
def test_a_requirement_in_words_names_every_value(table: Table) -> None:
    requirement = Requirement.from_table(table)
    words = requirement.describe()
    for name, value in table.items():
        if name in QUESTION:
            assert requirement.asked in words
        elif name in ("fraction", "confidence"):
            assert f"{100 * value:.12g}%" in words
        elif name not in ("at_most", "at_least"):
            assert str(value) in words
        else:
            assert f"{name.replace('_', ' ')} {value:g}" in words


@pytest.mark.parametrize("limit", [-0.1, 1.0, 1.5])
def test_a_sparsity_that_no_network_has_is_refused_in_one_line(limit: float) -> None:
    with pytest.raises(InputError, match=r"sparsity must be in \[0, 1\)") as caught:
        Requirement.from_table({"quantity": "sparsity", "at_least": limit})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("table", VALID, ids=lambda table: table["quantity"])
def test_two_requirements_that_differ_in_one_last_digit_read_differently(table: Table) -> None:
    for name, value in table.items():
        if isinstance(value, float):
            near = Requirement.from_table(
                table | {name: math.nextafter(value, 0 if value > 0.5 else 1)}
            )
            assert near.describe() != Requirement.from_table(table).describe(), name
