"""Errors that are raised on purpose: their exit codes, and what they suggest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.errors import (
    CheckError,
    DivergenceError,
    InputError,
    IntegrityError,
    InterruptedRun,
    MissingLibraryError,
    SurefootError,
    UnprovedError,
    VerificationError,
    did_you_mean,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError, 2),
        (MissingLibraryError, 2),
        (IntegrityError, 2),
        (CheckError, 3),
        (DivergenceError, 3),
        (UnprovedError, 4),
        (VerificationError, 5),
        (InterruptedRun, 75),
    ],
)
def test_the_exit_code_is_the_documented_one(error: type[SurefootError], code: int) -> None:
    assert error.exit_code == code
    assert issubclass(error, SurefootError)


def test_bad_input_is_a_value_error_and_only_an_interruption_is_no_error() -> None:
    assert issubclass(InputError, ValueError)
    assert InterruptedRun.label == "interrupted"
    assert {SurefootError.label, InputError.label, CheckError.label} == {"error"}


@given(st.sampled_from(["epsilon", "horizon", "sparsity"]), st.integers(0, 6))
def test_a_letter_that_was_left_out_is_found(name: str, place: int) -> None:
    typed = name[:place] + name[place + 1 :]
    known = ("epsilon", "horizon", "sparsity")
    assert did_you_mean(typed, known) == f"; did you mean {name!r}?"


def test_nothing_is_suggested_where_nothing_is_near() -> None:
    assert did_you_mean("zzz", ("epsilon", "horizon")) == ""
    assert did_you_mean("epsilon", ()) == ""
