"""Certificates of one step of controllers that remember."""

from functools import cache

import numpy as np
import pytest

from support.recurrent import SENSORS, Actor
from surefoot.attack.closed_loop import check_fit
from surefoot.budget import Budget
from surefoot.certificate import Certificate, Verdict
from surefoot.certify import CertifyConfig, Evidence, certify_policy, check_certificate, explain
from surefoot.envs import describe_env
from surefoot.errors import InputError
from surefoot.onnx_file import ControllerFile, policy_from_onnx, policy_to_onnx, read_onnx
from surefoot.runtime.tensorrt_controller import TensorRtEngine

BUDGET = Budget.parse(
    """
[[require]]
quantity = "action_deviation"
epsilon = 0.01
norm = "linf"
scope = "recorded"
at_most = 0.1

[[require]]
quantity = "action_deviation"
epsilon = 0.01
norm = "linf"
scope = "recorded"
at_most = 1e-5

[[require]]
quantity = "action_deviation"
epsilon = 0.01
norm = "l2"
scope = "recorded"
at_most = 0.1

[[require]]
quantity = "action_deviation"
epsilon = 0.01
norm = "linf"
scope = "everywhere"
at_most = 100
"""
)
QUICK = CertifyConfig(search_states=8, search_steps=3, search_restarts=0)


@cache
def controller() -> ControllerFile:
    return policy_from_onnx(policy_to_onnx(read_onnx(Actor("LSTM").file(), "actor.onnx").policy))


@cache
def evidence() -> Evidence:
    rows = np.random.default_rng(1).uniform(-1, 1, (12, controller().policy.obs_dim))
    return Evidence(recorded=rows, state_limit=2.0)


@cache
def certificate() -> Certificate:
    return certify_policy(controller(), BUDGET, evidence(), QUICK)


def test_one_step_is_proved_at_recorded_memories_and_checked_again() -> None:
    verdicts = [finding.verdict for finding in certificate().findings]
    assert verdicts == [Verdict.PROVED, Verdict.REFUTED, Verdict.PROVED, Verdict.UNKNOWN]
    assert "multiplies two values" in certificate().findings[3].reason
    report = check_certificate(certificate(), controller(), recorded=evidence().recorded)
    assert report.proved == (0, 1, 2, 3)


def test_a_witness_of_linf_leaves_the_memory_alone() -> None:
    witness = certificate().findings[1].witness
    assert witness is not None
    step = np.array(witness.perturbation)
    assert step[:SENSORS].any()
    assert not step[SENSORS:].any()


def test_an_explanation_says_what_is_remembered_and_that_one_step_is_meant() -> None:
    words = explain(certificate())
    assert "The last 10 sensors are its memory. Every claim is about one step" in words


def test_no_closed_loop_and_no_engine_runs_without_the_memory() -> None:
    with pytest.raises(InputError, match="has a memory, which no closed loop here carries"):
        check_fit(controller().policy, describe_env("Pendulum-v1"))
    with pytest.raises(InputError, match="tensorrt gives actions alone"):
        TensorRtEngine(controller())
