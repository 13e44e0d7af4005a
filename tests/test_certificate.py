"""Laws of `surefoot.certificate`: it says what was found about one file, and cannot be bent.

Also of ``claims.py``.
"""

import dataclasses
import enum
import json
import math
import types
import typing
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.certificates import certificate_of
from support.policies import file_of, random_policy
from surefoot.artifact import Json, sha256_hex
from surefoot.budget import Budget, Requirement
from surefoot.certificate import Certificate, Finding, Verdict, proved_text
from surefoot.claims import Claims, VisitedDeviationClaim
from surefoot.errors import InputError, IntegrityError
from surefoot.onnx_file import ControllerFile
from surefoot.policy import weights_sha256
from surefoot.quantities.base.witness import Witness

DEVIATION = {"quantity": "action_deviation", "epsilon": 0.05, "norm": "linf", "at_most": 0.5}
EVERYWHERE = Requirement.from_table(DEVIATION | {"scope": "everywhere"})
VISITED = Requirement.from_table(
    DEVIATION | {"scope": "visited", "fraction": 0.99, "confidence": 0.95}
)
SPARSITY = Requirement.from_table({"quantity": "sparsity", "at_least": 0.5})
REQUIREMENTS = [EVERYWHERE, VISITED, SPARSITY]


@pytest.fixture(scope="module")
def file() -> ControllerFile:
    return file_of(random_policy(np.random.default_rng(1), (4, 6, 2)))


def finding(
    requirement: Requirement = EVERYWHERE, **changes: bool | float | Verdict | None
) -> Finding | None:
    fields = {
        "certified": 0.25,
        "sampled": 0.125,
        "method": "spectral",
        "verdict": Verdict.PROVED,
        "reason": "the bound holds the limit",
    }
    return Finding(requirement=requirement, **fields | changes)


# --- verdicts --------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(Verdict)))
def test_the_worst_verdict_is_refuted_before_unknown_before_proved(verdicts: list[Verdict]) -> None:
    worst = Verdict.worst(verdicts)
    assert (worst is Verdict.REFUTED) == (Verdict.REFUTED in verdicts)
    assert (worst is Verdict.PROVED) == (bool(verdicts) and set(verdicts) == {Verdict.PROVED})
    assert Verdict.worst(reversed(verdicts)) is worst


def test_exit_codes_are_those_of_the_command_line() -> None:
    assert [verdict.exit_code for verdict in Verdict] == [0, 3, 4]
    assert [verdict.value for verdict in Verdict] == ["PROVED", "REFUTED", "UNKNOWN"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"certified": None}, "PROVED needs a value within the limit, got None"),
        ({"certified": 0.6}, r"PROVED needs a value within the limit, got 0\.6"),
        ({"certified": math.nan}, "PROVED needs a value within the limit, got nan"),
        ({"sampled": 0.51}, r"PROVED contradicts the value that was found, 0\.51"),
        ({"verdict": Verdict.REFUTED}, "REFUTED needs a witness"),
        ({"measured": True}, "measured must be False for action_deviation, got True"),
        ({"statistical": True}, "statistical must be False without a confidence"),
        ({"requirement": SPARSITY}, "measured must be True for sparsity, got False"),
        (
            {"requirement": SPARSITY, "measured": True, "certified": 0.9, "sampled": None},
            "PROVED needs a value within the limit, got None",
        ),
        (
            {"requirement": SPARSITY, "measured": True, "certified": 0.9, "sampled": 0.4},
            r"PROVED needs a value within the limit, got 0\.4",
        ),
    ],
)
def test_a_verdict_that_its_numbers_do_not_carry_is_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        finding(**changes)
    assert "\n" not in str(caught.value)


def test_a_share_of_the_visited_states_may_exceed_a_statistical_bound() -> None:
    assert finding(VISITED, sampled=0.7, statistical=True).verdict is Verdict.PROVED


# --- the file --------------------------------------------------------------------------------

finite = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(text, json_values, max_size=3)


def values_of(hint: object) -> st.SearchStrategy[object]:
    """Draw whatever a field of this type may hold."""
    args = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(map(values_of, args))
    if origin is tuple:
        return st.lists(values_of(args[0]), max_size=2).map(tuple)
    if origin is Mapping:
        return st.dictionaries(text, values_of(args[1]), max_size=2)
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        drawn = {field.name: values_of(hints[field.name]) for field in dataclasses.fields(hint)}
        return st.builds(hint, **drawn | SIZES.get(hint, {}))
    if issubclass(hint, enum.Enum):
        return st.sampled_from(hint)
    return {float: finite, int: st.integers(), bool: st.booleans(), str: text}.get(hint, st.none())


SIZES = {VisitedDeviationClaim: {"epsilon": st.floats(0, 1e9)}}


Change = Callable[[dict[str, Json]], object]
"""What a forger does to the table of a certificate."""


@st.composite
def findings(draw: st.DrawFn, requirement: Requirement) -> Finding:
    """Draw numbers first and then a verdict that they carry."""
    measured = requirement is SPARSITY
    statistical = requirement is VISITED and draw(st.booleans())
    certified, sampled = draw(st.none() | finite), draw(st.none() | finite)
    value = sampled if measured else certified
    holds = value is not None and requirement.holds(value)
    contradicted = sampled is not None and not statistical and not requirement.holds(sampled)
    verdicts = [Verdict.UNKNOWN, Verdict.REFUTED]
    if holds and not contradicted:
        verdicts.append(Verdict.PROVED)
    return Finding(
        requirement=requirement,
        certified=certified,
        sampled=sampled,
        method=draw(text),
        verdict=draw(st.sampled_from(verdicts)),
        reason=draw(text),
        witness=draw(values_of(Witness)),
        statistical=statistical,
        measured=measured,
    )


@st.composite
def certificates(draw: st.DrawFn) -> Certificate:
    chosen = draw(st.lists(st.sampled_from(REQUIREMENTS), min_size=1, max_size=4))
    budget = Budget(requirements=tuple(chosen), text=budget_text(chosen))
    return Certificate(
        weights_sha256="1" * 64,
        onnx_sha256="2" * 64,
        budget=budget,
        arithmetic=draw(text),
        runtime_error=tuple(draw(st.lists(finite, max_size=3))),
        lipschitz_l2=draw(st.dictionaries(text, st.none() | finite, max_size=3)),
        deviation_linf=draw(st.dictionaries(text, st.none() | finite, max_size=3)),
        findings=tuple(draw(findings(requirement)) for requirement in chosen),
        claims=draw(values_of(Claims)),
        proof=draw(objects),
    )


def budget_text(requirements: list[Requirement]) -> str:
    lines = []
    for requirement in requirements:
        lines.append("[[require]]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in requirement.to_table().items()]
    return "\n".join(lines)


@settings(max_examples=30)  # to draw one takes fifty times as long as to parse it
@given(certificates())
def test_parsing_is_the_inverse_of_writing(certificate: Certificate) -> None:
    data = certificate.to_json()
    read = Certificate.parse(data)
    assert read == certificate
    assert read.to_json() == data


def test_the_json_has_the_keys_that_are_promised(file: ControllerFile) -> None:
    table = json.loads(certificate_of(file).to_json())
    assert set(table) >= {
        "weights_sha256",
        "onnx_sha256",
        "arithmetic",
        "runtime_error",
        "lipschitz_l2",
        "deviation_linf",
        "requirements",
        "verdict",
        "proof",
    }
    assert set(table["requirements"][0]) >= {
        "requirement",
        "certified",
        "sampled",
        "method",
        "verdict",
        "reason",
        "witness",
    }


def rewritten(certificate: Certificate, change: Change) -> bytes:
    """Return the certificate's JSON with one thing changed, in the form in which it is written."""
    table = json.loads(certificate.to_json())
    change(table)
    text = json.dumps(table, indent=2, sort_keys=True, ensure_ascii=False)
    return (text + "\n").encode()


def test_rewriting_without_a_change_is_accepted(file: ControllerFile) -> None:
    certificate = certificate_of(file)
    assert rewritten(certificate, lambda table: None) == certificate.to_json()


def put(value: Json, *path: int | str) -> Change:
    def change(table: dict[str, Json]) -> None:
        for key in path[:-1]:
            table = table[key]
        table[path[-1]] = value

    return change


FIRST = ("requirements", 0)


@pytest.mark.parametrize("verdict", [Verdict.UNKNOWN, Verdict.REFUTED])
def test_a_forged_verdict_is_refused(file: ControllerFile, verdict: Verdict) -> None:
    certificate = certificate_of(file, verdict)
    with pytest.raises(IntegrityError, match="its verdict is not that of its requirements"):
        Certificate.parse(rewritten(certificate, put("PROVED", "verdict")))

    def everywhere(
        table: dict[
            str, str | list[dict[str, bool | dict | float | str | None] | float] | dict[str, float]
        ],
    ) -> None:
        put("PROVED", "verdict")(table)
        put("PROVED", *FIRST, "verdict")(table)

    with pytest.raises(IntegrityError, match="PROVED needs a value within the limit"):
        Certificate.parse(rewritten(certificate, everywhere))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("surefoot/certificate/2", "schema"), "is not a surefoot/certificate/1 document"),
        (lambda table: table.pop("verdict"), "its verdict is not that"),
        (lambda table: table.pop("budget_sha256"), "its budget is not the one"),
        (lambda table: table.pop("claims"), "is malformed: 'claims'"),
        (put("0" * 64, "budget_sha256"), "its budget is not the one that it names"),
        (put([], "requirements"), "must answer the requirements of the budget"),
        (put(0.9, *FIRST, "requirement", "at_most"), "must answer the requirements"),
        (put("x", *FIRST, "requirement", "quantity"), "unknown quantity 'x'"),
        (put(3, *FIRST, "requirement"), "require must be a table, got 3"),
        (put(0.75, *FIRST, "certified"), r"PROVED needs a value within the limit, got 0\.75"),
        (put("0.1", *FIRST, "certified"), "certified and sampled must be numbers or null"),
        (put(True, *FIRST, "sampled"), "certified and sampled must be numbers or null, got True"),
        (put(True, *FIRST, "measured"), "measured must be False"),
        (put("yes", *FIRST, "measured"), "measured must be of type bool, got 'yes'"),
        (put(None, *FIRST, "reason"), "reason must be of type str, got None"),
        (put("SURE", *FIRST, "verdict"), "'SURE' is not a valid Verdict"),
        (put(1, *FIRST, "trust"), "is malformed"),
        (put([["a", 1]], *FIRST, "witness"), "witness must be a table"),
        (put({"a": 1}, *FIRST, "witness"), "unknown key 'witness.a'"),
        (put({"state": ["x"]}, *FIRST, "witness"), r"witness\.state\[0\] must be of type float"),
        (put("0.1", "runtime_error"), "runtime_error must be numbers or null, got '0'"),
        (put({"best": "1"}, "lipschitz_l2"), "lipschitz_l2 must be numbers or null, got '1'"),
        (put([], "deviation_linf"), "is malformed"),
        (put([["a", 1]], "claims"), "claims must be a table"),
        (put({}, "claims", "closed_loop"), "unknown key 'claims.closed_loop'"),
        (put("0.1", "claims", "per_actuator", "epsilon"), "epsilon must be of type float"),
        (put(1, "claims", "per_actuator", "epsilon"), "was changed after it was written"),
        (put(None, "claims", "measured"), "claims.measured must be a list"),
        (put({"w2": 1.0}, "claims", "distribution", "transport"), "unknown key 'transport'"),
        (lambda table: table["claims"].pop("paper"), "missing key 'claims.paper'"),
        (put("trust me", "signature"), "was changed after it was written"),
    ],
)
def test_an_edited_certificate_is_refused_in_one_line(
    file: ControllerFile, change: Change, message: str
) -> None:
    with pytest.raises(IntegrityError, match=message) as caught:
        Certificate.parse(rewritten(certificate_of(file), change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b"\xff", b'{"schema": NaN}'])
def test_what_is_no_certificate_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"certificate\.json is not"):
        Certificate.parse(data)


def test_numbers_beyond_a_double_and_nesting_beyond_the_stack_are_refused(
    file: ControllerFile,
) -> None:
    data = certificate_of(file).to_json()
    for old, new in (
        (b'"proof": {}', b'"proof": ' + b"[" * 900 + b"]" * 900),
        (b'"proof": {}', b'"proof": {"x": 1e999}'),
    ):
        assert old in data
        with pytest.raises(IntegrityError, match=r"is malformed|is not valid JSON"):
            Certificate.parse(data.replace(old, new))


def test_a_flipped_bit_anywhere_says_another_thing_or_is_refused(file: ControllerFile) -> None:
    """A certificate is not signed, so an edit that keeps its form is another certificate."""
    certificate = certificate_of(file)
    data = certificate.to_json()
    for at in range(len(data)):
        damaged = data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]
        try:
            read = Certificate.parse(damaged)
        except IntegrityError as error:
            message = str(error)
            assert_one_line(message)
        else:
            assert read != certificate
            assert read.to_json() == damaged


def assert_one_line(message: str) -> None:
    assert message
    assert "\n" not in message


# --- about which file ------------------------------------------------------------------------


def test_a_certificate_is_about_its_own_file_and_budget(file: ControllerFile) -> None:
    certificate = certificate_of(file)
    certificate.check_is_about(
        weights_sha256=weights_sha256(file.policy),
        onnx_sha256=sha256_hex(file.data),
        budget=certificate.budget,
    )


def test_a_certificate_about_another_file_or_budget_is_refused(file: ControllerFile) -> None:
    certificate = certificate_of(file)
    own = {
        "weights_sha256": certificate.weights_sha256,
        "onnx_sha256": certificate.onnx_sha256,
        "budget": certificate.budget,
    }
    for name in ("weights_sha256", "onnx_sha256"):
        with pytest.raises(IntegrityError, match=f"is about {name} {own[name]}, this has 0000"):
            certificate.check_is_about(**own | {name: "0" * 64})
    # The same requirements in another file are another budget.
    for text in (certificate.budget.text + "\n", certificate.budget.text.replace("0.5", "0.6")):
        with pytest.raises(IntegrityError, match="is about another budget"):
            certificate.check_is_about(**own | {"budget": Budget.parse(text)})


def test_findings_answer_the_requirements_one_each_in_order(file: ControllerFile) -> None:
    certificate = certificate_of(file)
    other = Requirement.from_table(DEVIATION | {"scope": "everywhere", "at_most": 0.75})
    for answers in ((), certificate.findings * 2, (finding(other),)):
        with pytest.raises(InputError, match="must answer the requirements of the budget"):
            dataclasses.replace(certificate, findings=answers)


@pytest.mark.parametrize(
    ("value", "above", "below"),
    [
        (0.627141, "0.6272", "0.6271"),
        (0.25, "0.25", "0.25"),
        (2.0, "2", "2"),
        (12345.6, "12350", "12340"),
        (1.23456e22, "1.235e+22", "1.234e+22"),
        (1e-9, "1e-09", "1e-09"),
        (-0.12345, "-0.1234", "-0.1235"),
        (np.inf, "inf", "inf"),
    ],
)
def test_what_is_proved_is_said_rounded_to_the_side_on_which_it_holds(
    value: float, above: str, below: str
) -> None:
    assert proved_text(value) == above
    assert proved_text(value, at_most=False) == below


@pytest.mark.parametrize("digits", [2, 3, 4])
def test_the_text_of_a_bound_holds_and_gives_little_away(digits: int) -> None:
    for value in np.random.default_rng(0).lognormal(0, 10, 200):
        assert value <= float(proved_text(value, digits=digits)) <= (1 + 10 ** (1 - digits)) * value
        assert float(proved_text(value, at_most=False, digits=digits)) <= value
