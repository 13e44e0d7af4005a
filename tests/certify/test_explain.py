"""Plain words say what the numbers say, and always what is not guaranteed."""

from collections.abc import Callable

import numpy as np
import pytest

from surefoot.budget import Budget
from surefoot.certificate import Certificate
from surefoot.certify import CertifyConfig, Evidence, certify_policy
from surefoot.certify.analysis import Analysis
from surefoot.certify.deviation_picture import deviation_curves, draw_deviation
from surefoot.certify.explain import explain
from surefoot.errors import InputError
from surefoot.onnx_file import ControllerFile
from surefoot.policy import Policy

Build = Callable[..., Policy]
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
def _file(draw_policy: Build, controller: Callable[[Policy], ControllerFile]) -> ControllerFile:
    return controller(draw_policy(np.random.default_rng(0), [4, 8, 2]))


def certify(file: ControllerFile, limit: float) -> Certificate:
    return certify_policy(file, Budget.parse(BUDGET.format(limit=limit)), EVIDENCE, QUICK)


def test_every_finding_stands_under_its_heading(file: ControllerFile) -> None:
    certificate = certify(file, 1000.0)
    text = explain(certificate)
    always, rest = text.split("Guaranteed with a confidence:")
    assert certificate.onnx_sha256[:16] in always
    assert f"no actuator moves by more than {certificate.findings[0].certified:.4g}" in always
    assert "in every state" in always
    assert "in 90.0% of the states" in rest
    assert "Measured on this file, not proved:" in rest
    assert "Nothing is proved about the closed loop" in rest
    assert "Violated" not in text


def test_logits_are_not_called_actions(
    draw_policy: Build, controller: Callable[[Policy], ControllerFile]
) -> None:
    text = explain(
        certify(controller(draw_policy(np.random.default_rng(0), [4, 8, 3], categorical=True)), 1e3)
    )
    assert "no logit moves by more than" in text
    assert "per logit" in text
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
