"""Certificates whose numbers nobody proved: for tests of what is done with them."""

from dataclasses import replace

from surefoot.artifact import sha256_hex
from surefoot.ball import Norm
from surefoot.budget import Budget
from surefoot.certificate import Certificate, Finding, Verdict
from surefoot.claims import (
    Claims,
    DistributionClaim,
    PaperClaim,
    PerActuatorClaim,
    PerSensorClaim,
    RuntimeErrorClaim,
    Theorem3,
    Theorems,
)
from surefoot.onnx_file import ControllerFile
from surefoot.policy import weights_sha256
from surefoot.quantities.base.witness import Witness

BUDGET = """[[require]]
quantity = "action_deviation"
epsilon = 0.05
norm = "linf"
scope = "everywhere"
at_most = 0.5
"""


CLAIMS = Claims(
    runtime_error=RuntimeErrorClaim(
        units="action units", domain="everywhere", arithmetic="float32", values=(0.01,)
    ),
    per_actuator=PerActuatorClaim(
        norm=Norm.LINF,
        epsilon=0.05,
        units="action units",
        domain="everywhere",
        arithmetic="real",
        bounds={"spectral": (0.2,)},
    ),
    per_sensor=PerSensorClaim(
        norm="each", units="action units", domain="everywhere", arithmetic="real", bounds=()
    ),
    distribution=DistributionClaim(
        norm=Norm.LINF,
        epsilon=0.05,
        domain="everywhere",
        law="the policy that samples its actions",
        total_variation=None,
        kl=None,
        reason="made up by a test",
    ),
    value=None,
    paper=PaperClaim(
        surrogate=2.0,
        surrogate_times_epsilon=0.1,
        flaw="made up by a test",
        sound=None,
        units="network output",
        table="none",
        total_variation_as_printed={},
        theorems=Theorems(theorem_3=Theorem3(as_printed=None, reason="made up by a test")),
    ),
    measured=(),
)


def certificate_of(
    file: ControllerFile, verdict: Verdict = Verdict.PROVED, **changes: object
) -> Certificate:
    """A certificate about a controller file, with this verdict on one requirement."""
    budget = Budget.parse(BUDGET)
    finding = Finding(
        requirement=budget.requirements[0],
        certified=0.25 if verdict is Verdict.PROVED else None,
        sampled=0.125,
        method="test",
        verdict=verdict,
        reason="made up by a test",
        witness=Witness(state=(0.0,)) if verdict is Verdict.REFUTED else None,
    )
    certificate = Certificate(
        weights_sha256=weights_sha256(file.policy),
        onnx_sha256=sha256_hex(file.data),
        budget=budget,
        arithmetic="float32",
        runtime_error=(0.01,) * file.policy.num_outputs,
        lipschitz_l2={"best": 1.0, "sampled": 0.5},
        deviation_linf={"epsilon": 0.05, "best": 0.25, "sampled": 0.125},
        findings=(finding,),
        claims=CLAIMS,
    )
    return replace(certificate, **changes)
