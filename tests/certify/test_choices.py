"""Whether a wrong state changes a choice: proved, refuted with a replay, or said to be unknown."""

from dataclasses import replace

import numpy as np
import pytest

from support.policies import file_of, random_policy
from surefoot.budget import Budget
from surefoot.certificate import Certificate, Finding, Verdict
from surefoot.certify import CertifyConfig, Evidence, certify_policy, explain
from surefoot.certify.checker import check_certificate
from surefoot.errors import IntegrityError
from surefoot.onnx_file import ControllerFile
from surefoot.policy import Policy, Squash

QUICK = CertifyConfig(
    search_states=8, search_steps=5, search_restarts=1, lipsdp_iterations=2, lipsdp_per_actuator=0
)
STATES = np.random.default_rng(5).normal(size=(40, 4))


def budget(epsilon: float, scope: str, at_most: float = 0.0) -> Budget:
    text = (
        f'[[require]]\nquantity = "choice_lead"\nepsilon = {epsilon}\nnorm = "linf"\n'
        f'scope = "{scope}"\nat_most = {at_most}\n'
    )
    return Budget.parse(text)


def chooser(squash: Squash | None = None) -> Policy:
    return random_policy(np.random.default_rng(2), [4, 8, 3], squash=squash)


def certified(epsilon: float, scope: str, file: ControllerFile | None = None) -> Certificate:
    file = file or file_of(chooser())
    evidence = Evidence(recorded=STATES) if scope == "recorded" else Evidence()
    return certify_policy(file, budget(epsilon, scope), evidence, QUICK)


def only(certificate: Certificate) -> Finding:
    (finding,) = certificate.findings
    return finding


def test_where_the_choice_is_proved_to_stay_no_corner_changes_it() -> None:
    policy, epsilon = chooser(), 1e-3
    finding = only(certified(epsilon, "recorded"))
    assert finding.verdict is Verdict.PROVED
    assert finding.certified is not None
    assert finding.sampled is not None
    assert finding.sampled <= finding.certified <= 0
    states = policy.state(STATES, np.float32)
    made = policy.outputs_at(states).argmax(axis=1)
    for number in range(2**4):
        corner = np.array([1.0 if number >> bit & 1 else -1.0 for bit in range(4)], np.float32)
        moved = policy.outputs_at((states + epsilon * corner).astype(np.float32))
        assert np.array_equal(moved.argmax(axis=1), made)


def test_a_changed_choice_is_a_witness_that_replays() -> None:
    policy = chooser()
    certificate = certified(0.5, "recorded")
    finding = only(certificate)
    assert finding.verdict is Verdict.REFUTED
    witness = finding.witness
    assert witness is not None
    state, step = np.array(witness.state, np.float32), np.array(witness.perturbation)
    assert np.abs(step).max() <= 0.5
    pair = policy.outputs_at(np.stack([state, (state + step).astype(np.float32)]))
    assert pair[0].argmax() != pair[1].argmax()
    assert "choice_lead" in explain(certificate)


def test_everywhere_nothing_is_claimed_and_it_is_said_why() -> None:
    finding = only(certified(1e-3, "everywhere"))
    assert (finding.verdict, finding.certified) == (Verdict.UNKNOWN, None)
    assert "visited or recorded states" in finding.reason


def test_without_choices_nothing_is_claimed() -> None:
    finding = only(certified(1e-3, "recorded", file_of(chooser(Squash.CLIP))))
    assert finding.verdict is Verdict.UNKNOWN
    assert "its outputs are actions" in finding.reason


@pytest.mark.parametrize("share", [1.01, 0.99])
def test_another_number_than_the_proved_one_is_found(share: float) -> None:
    file = file_of(chooser())
    certificate = certified(1e-3, "recorded", file)
    finding = only(certificate)
    assert finding.certified is not None
    wrong = replace(finding, certified=finding.certified * share)
    with pytest.raises(IntegrityError, match="choice_lead"):
        check_certificate(replace(certificate, findings=(wrong,)), file, recorded=STATES)


def test_a_witness_that_changes_no_choice_is_found() -> None:
    file = file_of(chooser())
    certificate = certified(0.5, "recorded", file)
    finding = only(certificate)
    assert finding.witness is not None
    still = replace(finding.witness, perturbation=(0.0,) * 4)
    wrong = replace(certificate, findings=(replace(finding, witness=still),))
    with pytest.raises(IntegrityError, match="the witness violates nothing"):
        check_certificate(wrong, file, recorded=STATES)
