"""How much of a certified deviation around a state is the rounding of the runtime, 2 e_rt.

    python benchmarks/rounding_share.py wide_elu.onnx go1_policy.onnx --states 256

States are those of standard normal observations. The share is that of the action that may move
most at a state, linf.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from surefoot.artifact import Json
from surefoot.ball import Norm
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.bounds.local_bounds import local_bounds, local_region
from surefoot.certify.bounds.rounding import rounding_of_change
from surefoot.policy import Array, Policy
from surefoot.runtime.controller_file import load_controller_file
from surefoot.unknown import Unknown

EPSILONS = (0.05, 0.02, 0.01)


def shares(policy: Policy, states: Array, epsilon: float) -> tuple[Array, float]:
    """Return the share at each state, and the seconds of processor time for all rounding."""
    region = local_region(states, epsilon, Norm.LINF)
    local = local_bounds(policy, region)
    started = time.process_time()
    added = rounding_of_change(policy, region, local.before, ARITHMETICS["float32"])
    seconds = time.process_time() - started
    assert not isinstance(added, Unknown), added.reason
    total = local.action + added.action
    rows, worst = np.arange(len(total)), total.argmax(axis=1)
    return added.action[rows, worst] / total[rows, worst], seconds


def measure(policy: Policy, num_states: int, seed: int) -> dict[str, Json]:
    """Return the shares of all epsilons."""
    rng = np.random.default_rng(seed)
    observations = rng.normal(size=(num_states, policy.obs_dim)).astype(np.float32)
    states = policy.state(observations, np.float32)
    found: dict[str, Json] = {}
    for epsilon in EPSILONS:
        share, seconds = shares(policy, states, epsilon)
        row = {"median": float(np.median(share)), "most": float(share.max()), "seconds": seconds}
        found[f"epsilon {epsilon:g}"] = row
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+", help="controllers")
    parser.add_argument("--states", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    result: dict[str, Json] = {"states": arguments.states, "seed": arguments.seed}
    for path in arguments.files:
        policy = load_controller_file(path, None).policy
        result[path.name] = measure(policy, arguments.states, arguments.seed)
        print(path.name, result[path.name], file=sys.stderr, flush=True)
    text = json.dumps(result, indent=2) + "\n"
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
