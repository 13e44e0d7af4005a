"""What weighing the sensors gains: LipSDP with a constant and with a metric, on kept agents.

    python benchmarks/sensor_metric.py --out docs/results/sensor_metric.json

The deviation is that of the action that moves most, in every state, for |d|_inf <= 0.05, in real
arithmetic: the least of all bounds that hold everywhere, each proved. Times are CPU seconds of one
thread for all semidefinite bounds of an agent.
"""

# ruff: noqa: E402 - the number of threads is set before NumPy loads
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before NumPy is loaded

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from surefoot.artifact import Json
from surefoot.ball import Ball, Norm
from surefoot.certify import CertifyConfig
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.bounds.chain import action_chain
from surefoot.certify.bounds.global_bounds import least_rows
from surefoot.certify.bounds.lipsdp import semidefinite_bounds
from surefoot.certify.everywhere import Everywhere
from surefoot.policy import Policy
from surefoot.runtime.controller_file import load_controller_file

AGENTS = Path(__file__).parents[1] / "docs" / "results" / "agents"
BALL = Ball(norm=Norm.LINF, epsilon=0.05)


def deviation(policy: Policy, balls: Sequence[Ball]) -> tuple[float, float]:
    """Return the largest proved deviation with sensors weighed for some balls, and the seconds."""
    config, start = CertifyConfig(), time.process_time()
    found = semidefinite_bounds(
        action_chain(policy),
        iterations=config.lipsdp_iterations,
        row_iterations=config.lipsdp_per_actuator,
        balls=balls,
    )
    seconds = time.process_time() - start
    proofs = (found.whole, *found.rows, *found.weighed)
    named = [("lipsdp", proof) for proof in proofs if proof is not None]
    everywhere = Everywhere(policy, ARITHMETICS[config.arithmetic], named)
    return float(least_rows(everywhere.action.deviations(BALL.epsilon, BALL.norm)).max()), seconds


def row_of(path: Path) -> dict[str, Json]:
    """Return both bounds of one agent."""
    policy = load_controller_file(path).policy
    constant, without = deviation(policy, ())
    metric, seconds = deviation(policy, (BALL,))
    return {
        "constant": constant,
        "metric": metric,
        "ratio": metric / constant,
        "seconds_constant": without,
        "seconds_both": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agents", type=Path, default=AGENTS)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    agents = {
        path.parent.name: row_of(path) for path in sorted(arguments.agents.glob("*/policy.onnx"))
    }
    tasks: dict[str, list[float]] = {}
    for name, row in agents.items():
        tasks.setdefault(name.split("-")[0], []).append(row["ratio"])
    summary: dict[str, Json] = {
        task: {
            "agents": len(ratios),
            "median_ratio": statistics.median(ratios),
            "least_ratio": min(ratios),
            "largest_ratio": max(ratios),
        }
        for task, ratios in tasks.items()
    }
    text = json.dumps({"epsilon": BALL.epsilon, "tasks": summary, "agents": agents}, indent=2)
    if arguments.out:
        arguments.out.write_text(f"{text}\n", encoding="utf-8")
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
