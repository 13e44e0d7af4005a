"""Certificates whose numbers nobody proved: for tests of what is done with them."""

from dataclasses import replace

from surefoot.artifact import sha256_hex
from surefoot.budget import Budget
from surefoot.certificate import Certificate, Finding, Verdict
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
    )
    return replace(certificate, **changes)
