"""Certificates of controllers that normalise over their neurons."""

from dataclasses import replace

import numpy as np
import pytest

from support.policies import draw_policy, file_of
from surefoot.activation import RmsNorm
from surefoot.budget import Budget
from surefoot.certificate import Certificate, Verdict
from surefoot.certify import CertifyConfig, Evidence, certify_policy, check_certificate
from surefoot.compress.weights import WeightFormat, store_weights
from surefoot.errors import IntegrityError
from surefoot.onnx_file import ControllerFile
from surefoot.policy import NO_SLOPES, Squash

BUDGET = Budget.parse(
    """
[[require]]
quantity = "action_deviation"
epsilon = 0.01
norm = "linf"
scope = "visited"
fraction = 0.9
confidence = 0.95
at_most = 0.5

[[require]]
quantity = "action_deviation"
epsilon = 0.01
norm = "linf"
scope = "everywhere"
at_most = 1000

[[require]]
quantity = "lipschitz"
norm = "l2"
at_most = 1e6

[[require]]
quantity = "kl"
epsilon = 0.01
norm = "linf"
scope = "everywhere"
at_most = 1e6
"""
)
QUICK = CertifyConfig(search_states=20, search_steps=3, search_restarts=0)


def controller(squash: Squash = Squash.IDENTITY) -> ControllerFile:
    rng = np.random.default_rng(0)
    return file_of(draw_policy(rng, [5, 24, 24, 2], RmsNorm(2.0**-17), squash=squash))


def certificate_of(file: ControllerFile) -> tuple[Certificate, Evidence]:
    observations = np.random.default_rng(1).normal(0, 2, (60, 5))
    evidence = Evidence(observations=observations)
    return certify_policy(file, BUDGET, evidence, QUICK), evidence


def test_claims_around_states_are_proved_and_those_about_all_say_why_not() -> None:
    certificate, _ = certificate_of(controller())
    around, *everywhere = certificate.findings
    assert around.verdict is Verdict.PROVED
    for finding in everywhere:
        assert finding.certified is None
        assert finding.verdict is Verdict.UNKNOWN
        assert NO_SLOPES in finding.reason


def test_choices_are_bounded_around_states_as_well() -> None:
    rng = np.random.default_rng(0)
    file = file_of(draw_policy(rng, [5, 24, 24, 3], RmsNorm(2.0**-17), categorical=True))
    lines = [
        f"[[require]]\nquantity = '{quantity}'\nepsilon = 0.001\nnorm = 'l2'\nscope = 'visited'\n"
        f"fraction = 0.5\nconfidence = 0.95\nat_most = {limit}\n"
        for quantity, limit in (("total_variation", 0.2), ("kl", 0.2), ("choice_lead", 1.0))
    ]
    evidence = Evidence(observations=np.random.default_rng(1).normal(0, 2, (60, 5)))
    certificate = certify_policy(file, Budget.parse("".join(lines)), evidence, QUICK)
    assert [finding.verdict for finding in certificate.findings] == [Verdict.PROVED] * 3


def test_a_squash_still_ends_what_an_action_can_change_by() -> None:
    certificate, _ = certificate_of(controller(Squash.TANH))
    finding = certificate.findings[1]
    assert finding.verdict is Verdict.PROVED
    assert finding.method == "action_range"
    assert finding.certified == pytest.approx(2.0, rel=1e-4)


def test_multipliers_of_another_network_are_no_proof() -> None:
    file = controller()
    certificate, evidence = certificate_of(file)
    multipliers = [{"name": "lipsdp", "squared": 1.0, "values": [[1.0]], "output": None}]
    forged = replace(certificate, proof={**certificate.proof, "multipliers": multipliers})
    with pytest.raises(IntegrityError, match="layer that normalises"):
        check_certificate(forged, file, observations=evidence.observations)


def test_rounded_weights_are_certified_as_well_and_compared_with_nothing() -> None:
    dense = controller()
    rounded = store_weights(dense.policy, WeightFormat.INT8)
    observations = np.random.default_rng(1).normal(0, 2, (60, 5))
    evidence = Evidence(observations=observations, dense_policy=dense.policy)
    budget = Budget.parse(
        "[[require]]\nquantity = 'compression_error'\nscope = 'everywhere'\nat_most = 100\n"
    )
    certificate = certify_policy(file_of(rounded), budget, evidence, QUICK)
    assert "not compared" in certificate.findings[0].reason
