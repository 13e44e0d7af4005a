"""A limit on the states is assumed: it bounds the rounding, and the certificate repeats it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from support.policies import draw_policy, file_of
from surefoot.budget import Budget
from surefoot.certificate import Certificate, Verdict
from surefoot.certify import (
    Analysis,
    CertifyConfig,
    Evidence,
    certify_policy,
    check_certificate,
    explain,
)
from surefoot.errors import InputError, IntegrityError
from surefoot.onnx_file import ControllerFile
from surefoot.policy import Squash, weights_sha256
from surefoot.unknown import Unknown

QUICK = CertifyConfig(search_states=16, search_steps=4, lipsdp_iterations=5, lipsdp_per_actuator=0)
BUDGET = Budget.parse(
    """
[[require]]
quantity = "action_deviation"
epsilon = 0.05
norm = "linf"
scope = "everywhere"
at_most = 5.0

[[require]]
quantity = "lipschitz"
norm = "l2"
at_most = 1e4
"""
)


@pytest.fixture
def free() -> ControllerFile:
    """A controller without a clip."""
    policy = draw_policy(np.random.default_rng(0), [5, 12, 12, 2], clip=np.inf, squash=Squash.TANH)
    return file_of(policy)


def certified(file: ControllerFile, **evidence: object) -> Certificate:
    return certify_policy(file, BUDGET, Evidence(**evidence), QUICK)


def test_it_proves_what_a_clip_at_the_limit_would(free: ControllerFile) -> None:
    assert certified(free).findings[0].verdict is Verdict.UNKNOWN
    assumed = certified(free, state_limit=4.0)
    clipped = replace(free.policy, normaliser=replace(free.policy.normaliser, clip=4.0))
    proved = certified(file_of(clipped))
    assert assumed.findings[0].verdict is Verdict.PROVED
    assert assumed.findings[0].certified == proved.findings[0].certified
    assert assumed.runtime_error == proved.runtime_error
    assert assumed.weights_sha256 == weights_sha256(free.policy) != proved.weights_sha256


def test_a_larger_limit_never_lowers_a_bound_and_one_beyond_the_clip_changes_nothing(
    free: ControllerFile,
) -> None:
    bounds = [certified(free, state_limit=limit).findings[0].certified for limit in (1, 4, 30)]
    assert bounds[0] < bounds[1] < bounds[2]
    own = file_of(draw_policy(np.random.default_rng(1), [5, 12, 2]))
    assert certified(own, state_limit=12.0).findings == certified(own).findings


def test_the_assumption_stands_in_the_certificate(free: ControllerFile) -> None:
    certificate = certified(free, state_limit=4.0)
    text = "states of magnitude up to 4 before they are perturbed, as assumed"
    assert text in certificate.findings[0].reason
    assert "assumed" not in certificate.findings[1].reason
    assert "no state exceeds 4 before it is perturbed" in explain(certificate)
    assert certificate.proof["evidence"]["state_limit"] == 4.0
    check_certificate(Certificate.parse(certificate.to_json()), free)


def test_a_forged_limit_is_refused(free: ControllerFile) -> None:
    certificate = certified(free, state_limit=4.0)
    for forged in (3.9, 4.1, None, -1.0):
        table = json.loads(certificate.to_json())
        table["proof"]["evidence"]["state_limit"] = forged
        proof = table["proof"]
        with pytest.raises(IntegrityError):
            check_certificate(replace(certificate, proof=proof), free)


def test_visited_states_beyond_the_limit_are_refused(free: ControllerFile) -> None:
    observations = np.random.default_rng(0).normal(0, 1, (30, 5))
    observations[3, 2] = 4.5
    with pytest.raises(
        InputError, match=r"state_limit must be at least 4\.5, as a given state is, got 4"
    ):
        certified(free, state_limit=4.0, observations=observations)
    certified(free, state_limit=4.6, observations=observations)


@pytest.mark.parametrize("evidence", ["observations", "recorded"])
def test_what_the_clip_of_the_file_cuts_off_breaks_no_limit(evidence: str) -> None:
    own = file_of(draw_policy(np.random.default_rng(1), [5, 12, 2], clip=5.0))
    observations = np.random.default_rng(0).normal(0, 1, (30, 5))
    scale, mean = own.policy.normaliser.scale, own.policy.normaliser.mean
    observations[3] = 6 * scale + mean
    for limit in (5.0, 5.1):
        given = Evidence(**{evidence: observations}, state_limit=limit)
        proofs = Analysis(own, given, QUICK).proofs
        there = proofs.visited if evidence == "observations" else proofs.recorded_states
        assert not isinstance(there, Unknown)
        assert (there.states[3] == 5).all()
        assert not proofs.assumption
    with pytest.raises(InputError, match=r"state_limit must be at least 5, .* got 4\.9"):
        _ = Analysis(
            own, Evidence(**{evidence: observations}, state_limit=4.9), QUICK
        ).proofs.recorded_states


@pytest.mark.parametrize("limit", [0.0, -1.0, np.inf, np.nan])
def test_a_limit_that_is_no_limit_is_refused(limit: float) -> None:
    with pytest.raises(InputError, match="state_limit must be positive and finite"):
        Evidence(state_limit=limit)
