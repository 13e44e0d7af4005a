"""VNN-LIB: a file means what it says point by point, and an error names its line."""

import re
from pathlib import Path

import numpy as np
import pytest

from surefoot.errors import InputError
from surefoot.question import Question
from surefoot.vnnlib import Specification, parse_vnnlib, read_vnnlib

DECLARED = """(declare-const X_0 Real)
(declare-const X_1 Real)
(declare-const Y_0 Real)
(declare-const Y_1 Real)
"""
BOX = """(assert (>= X_0 -0.5)) (assert (<= X_0 0.5))
(assert (and (<= -1 X_1) (<= X_1 2.5e-1)))
"""


def breaks(question: Question, inputs: np.ndarray, outputs: np.ndarray) -> bool:
    return bool(question.box.holds(inputs)) and question.condition.is_violated(outputs, inputs)


def unsafe(specification: Specification, inputs: np.ndarray, outputs: np.ndarray) -> bool:
    return any(breaks(question, inputs, outputs) for question in specification.questions)


@pytest.mark.parametrize(
    ("assertions", "truth"),
    [
        ("(assert (>= Y_0 Y_1))", lambda x, y: y[0] >= y[1]),
        ("(assert (and (<= Y_0 0.25) (< Y_1 Y_0)))", lambda x, y: y[0] <= 0.25 and y[1] < y[0]),
        ("(assert (or (<= Y_0 0.25) (>= Y_1 0.5)))", lambda x, y: y[0] <= 0.25 or y[1] >= 0.5),
        (
            "(assert (<= (+ Y_0 (* 2 Y_1)) (- 0.5 Y_1)))",
            lambda x, y: y[0] + 2 * y[1] <= 0.5 - y[1],
        ),
        (
            "(assert (or (and (<= X_0 0) (>= Y_0 0)) (and (>= X_0 0.25) (<= Y_1 (- 0.5)))))",
            lambda x, y: (x[0] <= 0 and y[0] >= 0) or (x[0] >= 0.25 and y[1] <= -0.5),
        ),
        (
            "(assert (and (<= (- Y_0 X_1) 0.25) (> (+ X_0 X_1) -0.5)))",
            lambda x, y: y[0] - x[1] <= 0.25 and x[0] + x[1] > -0.5,
        ),
        ("(assert (<= (+ X_0 X_1) 0.25))", lambda x, y: x[0] + x[1] <= 0.25),
        ("(assert (and (< X_0 0.25) (> X_1 -0.5)))", lambda x, y: x[0] < 0.25 and x[1] > -0.5),
        ("(assert (and (<= (* 3 X_0) 1) (> Y_0 0)))", lambda x, y: 3 * x[0] <= 1 and y[0] > 0),
    ],
)
def test_a_point_is_unsafe_exactly_where_the_assertions_hold(
    assertions: str, truth: object
) -> None:
    assert callable(truth)
    specification = parse_vnnlib(DECLARED + BOX + assertions)
    rng = np.random.default_rng(0)
    for _ in range(300):
        inputs, outputs = rng.integers(-4, 5, (2, 2)) / 4  # ties are frequent
        in_box = abs(inputs[0]) <= 0.5 and -1 <= inputs[1] <= 0.25
        assert unsafe(specification, inputs, outputs) == (in_box and truth(inputs, outputs))


def test_declarations_in_the_older_form_and_comments_are_read() -> None:
    text = DECLARED.replace("declare-const", "declare-fun").replace(" Real", " () Real")
    both = (parse_vnnlib(head + BOX + "(assert (<= Y_0 0)) ; no") for head in (DECLARED, text))
    first, second = both
    assert first == second
    assert (first.num_inputs, first.num_outputs) == (2, 2)


SAFE = "(assert (<= Y_0 0))"


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("(declare-const X_0 Int)", 1, "expected a constant X_i or Y_j of sort Real"),
        ("(declare-const Z_0 Real)", 1, "expected a constant X_i or Y_j of sort Real"),
        (DECLARED + "(declare-const X_0 Real)", 5, "X_0 is declared twice"),
        (DECLARED + "(check-sat)", 5, "expected a declaration or an assertion, got 'check-sat'"),
        (DECLARED + "\n(assert (=> (<= X_0 0) (<= Y_0 0)))", 6, "got '=>'"),
        (DECLARED + "(assert (<= (* X_0 X_0) 1))", 5, "linear sum, got '*'"),
        (DECLARED + "(assert (<= (sin X_0) 1))", 5, "linear sum, got 'sin'"),
        (DECLARED + "(assert (<= X_2 1))", 5, "X_2 is not declared"),
        (DECLARED + "(assert (<= 1 2))", 5, "no input and no output"),
        (DECLARED + "(assert (<= Y_0 1e999))", 5, "linear sum, got '1e999'"),
        (DECLARED + "(assert (<= Y_0 nan))", 5, "linear sum, got 'nan'"),
        (DECLARED + BOX + "(assert (<= (+ (* 0.1 Y_0) (* 0.2 Y_0)) 1))", 7, "is rounded"),
        (DECLARED + BOX + "\n(assert (<= Y_0 0)", 8, "'(' without ')'"),
        (DECLARED + ")", 5, "')' without '('"),
        (DECLARED + "(" * 70, 5, "more than 64 nested parentheses"),
        (DECLARED + SAFE, 5, "X_0 has no lower bound"),
        (DECLARED + BOX, 6, "a conjunction says nothing of the outputs"),
        (DECLARED + BOX + "(assert (>= X_0 0.75))\n" + SAFE, 8, "the region is empty"),
        ("(declare-const X_1 Real)\n" + SAFE.replace("Y", "X"), 2, "not declared"),
        ("(declare-const X_1 Real)", 1, "X_0 to X_n must be declared"),
        (DECLARED + "\n" + "(assert (or (<= Y_0 0) (<= Y_0 1)))\n" * 13, 18, "4096 disjuncts"),
        ("words", 1, "expected a declaration or an assertion, got 'words'"),
    ],
)
def test_what_is_not_supported_is_named_with_its_line(text: str, line: int, reason: str) -> None:
    with pytest.raises(InputError, match=f"^spec, line {line}: .*{re.escape(reason)}"):
        parse_vnnlib(text, "spec")


def test_numbers_that_multiply_beyond_every_double_are_refused() -> None:
    product = "(* 1e300 (* 1e300 Y_0))"
    with pytest.raises(InputError, match="larger than any double"):
        parse_vnnlib(DECLARED + BOX + f"(assert (<= {product} 0))")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "spec.vnnlib"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is no VNN-LIB file"):
        read_vnnlib(path)
