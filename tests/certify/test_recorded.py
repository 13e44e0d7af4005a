"""Claims at every recorded state: what they say, and that no forgery of one is believed.

Of the scope ``recorded`` through ``quantities``, ``certify`` and its checker.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from support.policies import file_of, linear_policy, random_policy
from surefoot.artifact import sha256_hex, to_json
from surefoot.budget import Budget
from surefoot.certificate import Certificate, Verdict
from surefoot.certify import CertifyConfig, Evidence, certify_policy, check_certificate, explain
from surefoot.config import to_toml
from surefoot.errors import InputError, IntegrityError
from surefoot.onnx_file import ControllerFile
from surefoot.policy import Activation

RECORDED = np.random.default_rng(0).normal(0, 1, (40, 4))
QUICK = CertifyConfig(search_states=8, search_steps=3, lipsdp_iterations=5, lipsdp_per_actuator=0)
CLOSE, TOO_CLOSE, LAW = 0, 1, 2
Table = dict[str, Any]


def deviation(at_most: float, scope: str = "recorded", epsilon: float = 0.05) -> Table:
    fields = {"quantity": "action_deviation", "epsilon": epsilon, "norm": "linf"}
    return fields | {"scope": scope, "at_most": at_most}


def budget(*tables: Table) -> Budget:
    return Budget.parse(to_toml({"require": list(tables)}))


BUDGET = budget(
    deviation(5.0),
    deviation(1e-3),
    deviation(0.9, epsilon=0.001) | {"quantity": "total_variation", "norm": "l2"},
)


@pytest.fixture(scope="module", name="file")
def _file() -> ControllerFile:
    return file_of(random_policy(np.random.default_rng(1), [4, 12, 12, 2]))


@pytest.fixture(scope="module", name="certificate")
def _certificate(file: ControllerFile) -> Certificate:
    return certify_policy(file, BUDGET, Evidence(recorded=RECORDED), QUICK)


def forge(certificate: Certificate, change: Callable[[Table], None]) -> Certificate:
    table: Table = json.loads(certificate.to_json())
    change(table)
    return Certificate.parse(to_json(table))


def require(table: Table, number: int, **fields: object) -> None:
    """Change a requirement in every place where a certificate tells it."""
    table["requirements"][number]["requirement"] |= fields
    kept = [entry["requirement"] for entry in table["requirements"]]
    table["budget_toml"] = to_toml({"require": kept})
    table["budget_sha256"] = sha256_hex(table["budget_toml"].encode())


def test_a_recorded_claim_is_as_large_as_the_worst_recorded_state() -> None:
    """Of a = tanh(z) the worst change is known: away from the origin it is the step towards it."""
    identity = linear_policy([[1.0]])
    tanh = replace(identity.layers[0], activation=Activation.TANH)
    file = file_of(replace(identity, layers=(tanh, *identity.layers)))
    states = np.array([[3.0], [-2.0], [2.5]])
    worst = np.tanh(2.0) - np.tanh(1.95)  # at -2, the one nearest to the origin
    limits = deviation(1.01 * worst), deviation(0.99 * worst), deviation(4 * worst, "everywhere")
    known = certify_policy(file, budget(*limits), Evidence(recorded=states), QUICK)
    at_most, too_little, everywhere = known.findings
    assert at_most.verdict is Verdict.PROVED
    assert at_most.certified == pytest.approx(worst, rel=1e-2)
    assert at_most.sampled == pytest.approx(worst, rel=1e-5)
    assert too_little.verdict is everywhere.verdict is Verdict.REFUTED
    assert too_little.witness is not None
    assert too_little.witness.state == (-2.0,)


def test_one_bad_state_among_many_refutes_what_a_share_would_pass(file: ControllerFile) -> None:
    """No state is left out: the claim is as large as the largest of claims about single states."""
    each = [
        certify_policy(file, budget(deviation(5.0)), Evidence(recorded=state[None]), QUICK)
        for state in RECORDED[:6]
    ]
    alone = [one.findings[0].certified for one in each]
    of_all = certify_policy(file, budget(deviation(5.0)), Evidence(recorded=RECORDED[:6]), QUICK)
    assert of_all.findings[0].certified == pytest.approx(max(filter(None, alone)), rel=1e-9)


def test_recorded_states_may_repeat_for_no_statistics_are_made(file: ControllerFile) -> None:
    twice = Evidence(recorded=np.concatenate([RECORDED, RECORDED]))
    finding = certify_policy(file, budget(deviation(5.0)), twice, QUICK).findings[0]
    assert finding.verdict is Verdict.PROVED
    assert not finding.statistical


def test_without_recorded_states_nothing_is_proved_of_them(file: ControllerFile) -> None:
    visited_only = Evidence(observations=RECORDED)
    for evidence in (Evidence(), visited_only):
        finding = certify_policy(file, budget(deviation(5.0)), evidence, QUICK).findings[0]
        assert finding.verdict is Verdict.UNKNOWN
        assert finding.reason == "no recorded observations are given"


@pytest.mark.parametrize("field", [{"fraction": 0.9}, {"confidence": 0.9}])
def test_a_recorded_claim_takes_no_share_and_no_confidence(field: Table) -> None:
    with pytest.raises(InputError, match=f"takes no field '{next(iter(field))}'"):
        budget(deviation(5.0) | field)


def test_recorded_states_of_another_controller_are_refused(file: ControllerFile) -> None:
    with pytest.raises(InputError, match="must have 4 columns, got 3"):
        certify_policy(file, BUDGET, Evidence(recorded=RECORDED[:, :3]), QUICK)


def test_the_words_tell_where_it_holds_and_where_not(certificate: Certificate) -> None:
    words = explain(certificate)
    assert "in every recorded state" in words
    assert "at each of 40 recorded states, of which none is left out" in words
    assert "says nothing about a state between two of them" in words
    assert BUDGET.requirements[CLOSE].describe() == (
        "action_deviation under linf 0.05 at every recorded state at most 5"
    )


def test_what_is_proved_at_recorded_states_is_proved_again(
    file: ControllerFile, certificate: Certificate
) -> None:
    assert [finding.verdict for finding in certificate.findings] == [
        Verdict.PROVED,
        Verdict.REFUTED,
        Verdict.PROVED,
    ]
    read = Certificate.parse(certificate.to_json())
    assert check_certificate(read, file, recorded=RECORDED).proved == (CLOSE, TOO_CLOSE, LAW)


def test_recorded_claims_stay_unchecked_where_the_states_are_withheld(
    file: ControllerFile, certificate: Certificate
) -> None:
    report = check_certificate(certificate, file)
    assert report.unchecked == (CLOSE, TOO_CLOSE, LAW)
    assert report.proved == ()


def names_no_recording(table: Table) -> None:
    table["proof"]["evidence"] |= {"recorded_sha256": None, "num_recorded": 0}


def forgets_the_recording(table: Table) -> None:
    """As certificates were written before there were recordings."""
    del table["proof"]["evidence"]["recorded_sha256"]


def refutes_elsewhere(table: Table) -> None:
    """A violation in a state that was never recorded."""
    table["requirements"][TOO_CLOSE]["witness"]["state"] = [0.5, 0.5, 0.5, 0.5]


def widens_to_everywhere(table: Table) -> None:
    require(table, CLOSE, scope="everywhere")


FORGERIES: dict[str, Callable[[Table], None]] = {
    "a smaller number": lambda t: t["requirements"][CLOSE].update(certified=1e-3, sampled=None),
    "a smaller distance": lambda t: t["requirements"][LAW].update(certified=1e-9, sampled=None),
    "a larger epsilon": lambda t: require(t, CLOSE, epsilon=0.1),
    "the scope": widens_to_everywhere,
    "the digest": lambda t: t["proof"]["evidence"].update(recorded_sha256="0"),
    "no digest": names_no_recording,
    "a certificate of before": forgets_the_recording,
    "a witness elsewhere": refutes_elsewhere,
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_claim_about_recorded_states_is_refused(
    file: ControllerFile, certificate: Certificate, name: str
) -> None:
    forged = forge(certificate, FORGERIES[name])
    with pytest.raises(IntegrityError):
        check_certificate(forged, file, recorded=RECORDED)


@pytest.mark.parametrize("change", [names_no_recording, forgets_the_recording])
def test_a_recorded_claim_that_names_no_recording_is_refused_without_it_too(
    file: ControllerFile, certificate: Certificate, change: Callable[[Table], None]
) -> None:
    with pytest.raises(IntegrityError, match="at every recorded state"):
        check_certificate(forge(certificate, change), file)


@pytest.mark.parametrize(
    "others", [RECORDED[:-1], RECORDED[::-1].copy(), np.zeros((40, 4))], ids=["fewer", "order", "0"]
)
def test_other_recorded_states_than_those_of_the_certificate_are_refused(
    file: ControllerFile, certificate: Certificate, others: np.ndarray
) -> None:
    with pytest.raises(IntegrityError, match="other recorded observations"):
        check_certificate(certificate, file, recorded=others)


def test_a_certificate_of_before_there_were_recordings_is_still_accepted(
    file: ControllerFile,
) -> None:
    made = certify_policy(file, budget(deviation(9.0, "everywhere")), Evidence(), QUICK)
    older = forge(made, forgets_the_recording)
    assert check_certificate(older, file, recorded=RECORDED).proved == (0,)
