"""How long a certificate takes on one core, and which share of that its picture adds.

    python benchmarks/certify_speed.py --out docs/results/certify_speed.json

Two controllers with random weights and 48 sensors and 12 actuators, one of 512-256-128 ELU neurons,
as legged robots have, and one of 64-64, are certified everywhere and at 256 recorded or visited
states. Times are CPU seconds of one thread in one run, so that their ratio does not depend on the
machine.
"""

# ruff: noqa: E402 - the number of threads is set before NumPy loads
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before NumPy is loaded

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.policies import file_of, random_policy
from surefoot.artifact import Json
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
from surefoot.runtime.machine import machine_facts

NUM_STATES = 256
NETWORKS = {"512-256-128": [48, 512, 256, 128, 12], "64-64": [48, 64, 64, 12]}
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


def measured(sizes: list[int], scope: str) -> dict[str, Json]:
    """Return the seconds of a certificate and of its picture."""
    rng = np.random.default_rng(0)
    policy = random_policy(rng, sizes, Activation.ELU, Squash.CLIP)
    normaliser = policy.normaliser
    states = rng.normal(0, 1, (NUM_STATES, sizes[0]))
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
        "certificate_s": round(certified - began, 3),
        "picture_s": round(drawn - certified, 3),
        "picture_share": round((drawn - certified) / (drawn - began), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    result: dict[str, Json] = {
        name: {scope: measured(sizes, scope) for scope in ("recorded", "visited")}
        for name, sizes in NETWORKS.items()
    }
    text = json.dumps({"networks": result, "machine": machine_facts()}, indent=2) + "\n"
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
