"""Plain words say what the numbers say, and always what is not guaranteed.

Also of ``certify/analysis.py``, ``certify/claims_in_words.py`` and
``certify/deviation_picture.py``.
"""

import enum
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, replace

import numpy as np
import pytest

from support.policies import draw_policy, file_of
from surefoot.artifact import sha256_hex
from surefoot.ball import Norm
from surefoot.budget import Budget
from surefoot.certificate import Certificate, Verdict, proved_text
from surefoot.certify import CertifyConfig, Evidence, Measurement, certify_policy
from surefoot.certify.analysis import Analysis
from surefoot.certify.deviation_picture import deviation_curves, draw_deviation
from surefoot.certify.explain import explain
from surefoot.errors import InputError
from surefoot.onnx_file import ControllerFile, policy_from_onnx, policy_to_onnx
from surefoot.visited import SampledEpisodes

QUICK = CertifyConfig(search_states=16, search_steps=4, lipsdp_iterations=5, lipsdp_per_actuator=2)
EVIDENCE = Evidence(observations=np.random.default_rng(1).normal(0, 1, (80, 4)))
BUDGET = """
[[require]]
quantity = "action_deviation"
epsilon = 0.05
norm = "linf"
scope = "everywhere"
at_most = {limit}

[[require]]
quantity = "total_variation"
epsilon = 0.05
norm = "linf"
scope = "visited"
fraction = 0.9
confidence = 0.95
at_most = 1.0

[[require]]
quantity = "size_bytes"
at_most = 1000000
"""


@pytest.fixture(scope="module", name="file")
def _file() -> ControllerFile:
    return file_of(draw_policy(np.random.default_rng(0), [4, 8, 2]))


def certify(file: ControllerFile, limit: float) -> Certificate:
    return certify_policy(file, Budget.parse(BUDGET.format(limit=limit)), EVIDENCE, QUICK)


def test_every_finding_stands_under_its_heading(file: ControllerFile) -> None:
    certificate = certify(file, 1000.0)
    text = explain(certificate)
    always, rest = text.split("Guaranteed with a confidence:")
    assert certificate.onnx_sha256[:16] in always
    bound = proved_text(certificate.findings[0].certified)
    assert f"no actuator moves by more than {bound}" in always
    assert "in every state" in always
    assert "in 90% of the states" in rest
    assert "Met, as measured on this file, not proved:" in rest
    assert "Nothing is proved about the closed loop" in rest
    assert "Violated" not in text


def test_logits_are_not_called_actions() -> None:
    text = explain(
        certify(file_of(draw_policy(np.random.default_rng(0), [4, 8, 3], categorical=True)), 1e3)
    )
    assert "no logit moves by more than" in text
    assert "(logits, one for each output)" in text
    assert "action units" not in text
    assert "actuator" not in text


def test_refuted_and_unknown_requirements_are_never_under_guaranteed(file: ControllerFile) -> None:
    refuted = explain(certify(file, 1e-6))
    assert "verdict is REFUTED" in refuted
    assert "Guaranteed, always:" not in refuted
    assert "Violated, with a concrete example:" in refuted
    first = certify(file, 1000.0).findings[0]
    between = explain(certify(file, (first.certified + first.sampled) / 2))
    assert "Neither proved nor refuted:" in between
    assert "verdict is UNKNOWN" in between


EVERYTHING = """
[[require]]
quantity = "action_deviation"
epsilon = 0.05
norm = "linf"
sensors = [1.0, 0.5, 0.0, 0.25]
scope = "everywhere"
at_most = 1000.0

[[require]]
quantity = "action_deviation"
epsilon = 0.05
norm = "linf"
sensors = [1.0, 0.5, 0.0, 0.25]
scope = "visited"
fraction = 0.9
confidence = 0.95
at_most = 0.001

[[require]]
quantity = "kl"
epsilon = 0.05
norm = "l2"
scope = "visited"
fraction = 0.9
confidence = 0.95
at_most = 1000.0

[[require]]
quantity = "lipschitz"
norm = "linf"
at_most = 1000.0

[[require]]
quantity = "return_loss"
epsilon = 0.001
norm = "linf"
confidence = 0.95
at_most = 1.0

[[require]]
quantity = "success_rate"
epsilon = 0.05
norm = "linf"
confidence = 0.95
at_least = 0.5

[[require]]
quantity = "attacked_return"
epsilon = 0.05
norm = "linf"
at_least = 1000.0

[[require]]
quantity = "attacked_return"
epsilon = 0.3
norm = "linf"
at_least = 1000.0
"""


@pytest.fixture(scope="module", name="full")
def _full(file: ControllerFile) -> Certificate:
    """A certificate with every sentence that there is."""
    rng = np.random.default_rng(2)
    steps = rng.integers(0, 20, 60)
    returns = tuple(rng.uniform(5, 15, 300).tolist())
    common = {"onnx_sha256": sha256_hex(file.data), "epsilon": 0.05, "norm": Norm.LINF}
    evidence = replace(
        EVIDENCE,
        reward_range=(0.0, 1.0),
        discount=0.9,
        horizon=20,
        sampled=SampledEpisodes(
            observations=rng.normal(0, 1, (60, 4)),
            steps=steps,
            alive=steps < 15,
            returns=np.full(60, 15.0),
            horizon=20,
        ),
        measurements=(
            Measurement(quantity="success_rate", value=0.9, episodes=100, source="mad", **common),
            Measurement(
                quantity="attacked_return",
                value=float(np.mean(returns)),
                returns=returns,
                source="mad",
                **common,
            ),
        ),
    )
    # A sensor that never moved, and one that float32 hardly resolves.
    normaliser = replace(
        file.policy.normaliser,
        scale=np.float32([1.0, 1e-8, 1.0, 1.0]),
        mean=np.float32([0.0, 0.0, 5.4e6, 0.0]),
    )
    odd = policy_from_onnx(policy_to_onnx(replace(file.policy, normaliser=normaliser)))
    measured = tuple(
        replace(entry, onnx_sha256=sha256_hex(odd.data)) for entry in evidence.measurements
    )
    given = replace(
        evidence,
        measurements=measured,
        observations=EVIDENCE.observations * normaliser.scale + normaliser.mean,
    )
    certificate = certify_policy(odd, Budget.parse(EVERYTHING), given, QUICK)
    rounding = replace(certificate.claims.runtime_error, state_limit="no state exceeds 10")
    return replace(certificate, claims=replace(certificate.claims, runtime_error=rounding))


def other_values(value: object) -> Iterator[object]:
    """Yield the value with one thing changed, for each thing in it."""
    match value:
        case None | Verdict():
            pass
        case enum.Enum():
            yield next(member for member in type(value) if member is not value)
        case bool():
            yield not value
        case int():
            yield value + 1
        case float():
            yield value / 2 if value else 0.125
        case str():
            yield f"{value} perhaps"
        case tuple() if len(value) > 16:  # of many numbers a sentence tells the range
            yield tuple(next(other_values(entry)) for entry in value)
        case tuple():
            yield from (
                (*value[:number], changed, *value[number + 1 :])
                for number, entry in enumerate(value)
                for changed in other_values(entry)
            )
        case _:
            for field in fields(value):
                for changed in other_values(getattr(value, field.name)):
                    with suppress(InputError):  # what contradicts itself cannot be written
                        yield replace(value, **{field.name: changed})


def test_a_sentence_changes_with_every_field_of_its_requirement_and_finding(
    full: Certificate,
) -> None:
    said = explain(full)
    assert {finding.verdict for finding in full.findings} == set(Verdict)
    for number, finding in enumerate(full.findings):
        without = replace(finding, witness=None) if finding.witness is None else finding
        for changed in other_values(without):
            if changed.witness != finding.witness:
                continue
            findings = (*full.findings[:number], changed, *full.findings[number + 1 :])
            budget = replace(full.budget, requirements=tuple(f.requirement for f in findings))
            assert explain(replace(full, findings=findings, budget=budget)) != said, changed
            assert changed.requirement == finding.requirement or (
                changed.requirement.describe() != finding.requirement.describe()
            )


SPOKEN = ("runtime_error", "distribution", "value", "measured", "visited_radius", "sensors")
"""The claims that have sentences; the others are tables."""


@pytest.mark.parametrize("name", SPOKEN)
def test_a_sentence_changes_with_every_field_of_its_claim(full: Certificate, name: str) -> None:
    said, claim = explain(full), getattr(full.claims, name)
    count = 0
    for changed in other_values(claim):
        claims = replace(full.claims, **{name: changed})
        assert explain(replace(full, claims=claims)) != said, changed
        count += 1
    assert count > 5


def test_shares_of_the_sensors_are_part_of_what_is_guaranteed(full: Certificate) -> None:
    text = explain(full).split("Guaranteed with a confidence:")[0]
    wrong = "if each sensor is wrong by at most its share of 0.05 (linf), the shares being "
    assert wrong + "(1, 0.5, 0, 0.25), no actuator moves by more than" in text


def test_percentages_and_limits_are_not_rounded_to_what_nobody_asked_for(
    full: Certificate,
) -> None:
    need = replace(full.findings[2].requirement, fraction=0.9999, confidence=0.99999)
    finding = replace(full.findings[2], requirement=need)
    budget = replace(full.budget, requirements=(need,))
    text = explain(replace(full, findings=(finding,), budget=budget))
    assert "in 99.99% of the states" in text
    assert "with confidence 99.999%" in text


def test_sensors_on_which_epsilon_says_nothing_are_named_with_their_raw_unit(
    full: Certificate,
) -> None:
    text = explain(full)
    assert "WARNING: sensor 1: epsilon 0.05 is 5e-10 of its raw unit; its scale 1e-08" in text
    assert "WARNING: sensor 2: epsilon 0.05 is 0.05 of its raw unit; one float32 step" in text
    assert "epsilon 0.05 in raw units: 0.05, 5e-10, 0.05, 0.05" in text


def test_what_was_measured_on_another_file_is_not_said_about_this_one(full: Certificate) -> None:
    elsewhere = tuple(replace(claim, onnx_sha256="0" * 64) for claim in full.claims.measured)
    claims = replace(full.claims, measured=elsewhere)
    assert "of another file, 0000000000000000...," in explain(replace(full, claims=claims))


def test_the_explanation_says_what_the_budget_is_silent_about(full: Certificate) -> None:
    text = explain(full).split("Not asked, so not answered:")[1]
    assert "whether the robot does its task (clean_return" in text
    assert "how long one inference takes (latency_us)" in text
    assert "how far wrong sensors move the actions" not in text


def test_what_is_measured_is_met_and_never_proved(full: Certificate) -> None:
    outcomes = [finding.outcome for finding in full.findings if finding.measured]
    assert outcomes == ["MET", "REFUTED", "UNKNOWN"]
    assert all(f.outcome == f.verdict.value for f in full.findings if not f.measured)
    guaranteed = explain(full).split("Met, as measured on this file, not proved:")
    assert "episodes ended without a failure" not in guaranteed[0]
    assert "1 MET" in guaranteed[0]


def test_the_curves_are_ordered_and_the_picture_is_a_png(file: ControllerFile) -> None:
    pytest.importorskip("matplotlib")
    curves = deviation_curves(Analysis(file, EVIDENCE, QUICK), np.array([0.01, 0.05, 0.2]))
    assert (curves.sampled_visited <= curves.local).all()
    assert (curves.sampled <= curves.best_global).all()
    assert (curves.best_global <= curves.paper_surrogate * 1.1 + 1e-2).all()
    assert (np.diff(curves.best_global) > 0).all()
    assert draw_deviation(curves).startswith(b"\x89PNG")


def test_a_picture_of_no_perturbation_is_refused(file: ControllerFile) -> None:
    with pytest.raises(InputError, match="epsilons must be positive"):
        deviation_curves(Analysis(file, EVIDENCE, QUICK), np.array([0.0]))
