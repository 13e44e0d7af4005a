"""VNN-LIB 2.0: tensors of one network are the inputs and outputs of version 1.0, in their order."""

import re

import pytest

from surefoot.errors import InputError
from surefoot.limits import MAX_SENSORS
from surefoot.vnnlib import parse_vnnlib

FIRST = """(declare-const X_0 Real) (declare-const X_1 Real) (declare-const X_2 Real)
(declare-const Y_0 Real) (declare-const Y_1 Real)
"""
SECOND = """(vnnlib-version <2.0>) ; and no constants
(declare-network f
  (declare-input near real [1, 2])
  (declare-input far float32 [])
  (declare-output Act real [2 ,1]))
"""
ASSERTIONS = """(assert (and (<= X_0 0.5) (>= X_0 -0.5) (<= X_1 1) (>= X_1 0)))
(assert (and (<= X_2 1) (<= 0 X_2)))
(assert (or (>= Y_0 (+ Y_1 0.25)) (and (<= X_2 0.5) (< (* 2 Y_1) (- X_1 X_0)))))
"""
NEW = {
    "X_0": "near[0,0]",
    "X_1": "near [0, 1]",
    "X_2": "far",
    "Y_0": "Act[0,0]",
    "Y_1": "Act[1,0]",
}


def renamed(text: str) -> str:
    return re.sub(r"[XY]_\d", lambda found: NEW[found[0]], text)


def test_both_versions_of_a_file_say_the_same() -> None:
    assert parse_vnnlib(SECOND + renamed(ASSERTIONS)) == parse_vnnlib(FIRST + ASSERTIONS)


def test_an_equation_is_two_inequalities() -> None:
    equal, both = (
        parse_vnnlib(FIRST + ASSERTIONS + f"(assert {condition})")
        for condition in ("(== Y_0 0.5)", "(and (<= Y_0 0.5) (>= Y_0 0.5))")
    )
    assert equal == both


NETWORK = "(declare-network f (declare-input X real [2]) (declare-output Y real [1]))"


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("(vnnlib-version <3.0>)", 1, "expected <2.0>, got '<3.0>'"),
        ("(declare-network)", 1, "expected one network with a name"),
        (NETWORK + "\n" + NETWORK.replace("X", "Z"), 2, "only one network is supported"),
        (FIRST + NETWORK, 3, "expected one network with a name"),
        (NETWORK + "\n(declare-const X_0 Real)", 2, "expected a constant X_i or Y_j"),
        (NETWORK.replace("(declare-o", "\n(equal-to g) (declare-o"), 2, "got 'equal-to'"),
        (NETWORK.replace("-output", "-hidden"), 1, "got 'declare-hidden'"),
        (NETWORK.replace("real", "int8"), 1, "the type must be real or float32, got 'int8'"),
        (NETWORK.replace("[2]", '[2] "obs"'), 1, "expected a name, a type and a shape"),
        (NETWORK.replace("[2]", ""), 1, "expected a name, a type and a shape"),
        (NETWORK.replace("[2]", "[0]"), 1, f"a tensor must have 1 to {MAX_SENSORS} entries"),
        (NETWORK.replace("[2]", "[99999, 99999]"), 1, "a tensor must have 1 to"),
        (NETWORK.replace("Y", "X"), 1, "X[0] is declared twice"),
        (NETWORK + "\n(assert (<= X[2] 1))", 2, "X[2] is not declared"),
        (NETWORK + "\n(assert (<= X[0,0] 1))", 2, "X[0,0] is not declared"),
        (NETWORK + "\n(assert (!= Y[0] 1))", 2, "got '!='"),
        ("(declare-network f (declare-input X real [2]))", 1, "Y_0 to Y_n must be declared"),
    ],
)
def test_what_is_not_supported_is_named_with_its_line(text: str, line: int, reason: str) -> None:
    with pytest.raises(InputError, match=f"^spec, line {line}: .*{re.escape(reason)}"):
        parse_vnnlib(text, "spec")
