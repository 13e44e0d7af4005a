"""How long a certificate takes on one core, and which share of that its picture adds.

    python benchmarks/certify_speed.py

A controller of 512-256-128 ELU neurons with 48 sensors and 12 actuators, as legged robots have, is
certified everywhere and at 256 visited states. Times are CPU seconds of one thread in one run, so
that their ratio does not depend on the machine.
"""

# ruff: noqa: E402 - the number of threads is set before NumPy loads
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before NumPy is loaded

import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.policies import file_of, random_policy
from surefoot.budget import Budget
from surefoot.certify import (
    Analysis,
    CertifyConfig,
    Evidence,
    certify_analysis,
    deviation_curves,
    draw_deviation,
)
from surefoot.certify.exploration import EPSILONS
from surefoot.policy import Activation, Squash

NUM_STATES = 256
SIZES = [48, 512, 256, 128, 12]
BUDGET = """
[[require]]
quantity = "action_deviation"
epsilon = 0.05
norm = "linf"
scope = "everywhere"
at_most = 0.6

[[require]]
quantity = "action_deviation"
epsilon = 0.05
norm = "linf"
scope = "{scope}"
at_most = 0.3
"""
SHARE = "fraction = 0.9\nconfidence = 0.95\n"


def measured(scope: str) -> dict[str, float]:
    """Return the seconds of a certificate and of its picture."""
    rng = np.random.default_rng(0)
    policy = random_policy(rng, SIZES, Activation.ELU, Squash.CLIP)
    normaliser = policy.normaliser
    states = rng.normal(0, 1, (NUM_STATES, SIZES[0]))
    observations = normaliser.mean + normaliser.scale * states
    visited = scope == "visited"
    evidence = Evidence(**{"observations" if visited else "recorded": observations})
    analysis = Analysis(file_of(policy), evidence, CertifyConfig())
    budget = Budget.parse(BUDGET.format(scope=scope) + (SHARE if visited else ""))
    began = time.process_time()
    certificate = certify_analysis(analysis, budget)
    certified = time.process_time()
    near = certificate.deviation_linf["epsilon"]
    draw_deviation(deviation_curves(analysis, np.array(EPSILONS), near=near))
    drawn = time.process_time()
    return {
        "certificate_s": certified - began,
        "picture_s": drawn - certified,
        "picture_share": (drawn - certified) / (drawn - began),
    }


if __name__ == "__main__":
    print(json.dumps({scope: measured(scope) for scope in ("recorded", "visited")}, indent=2))
