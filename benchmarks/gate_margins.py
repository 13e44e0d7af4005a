"""How wide a gate must be so that wrong readings of the size that is proved do not make it fire.

    python benchmarks/gate_margins.py --out docs/results/gate_margins.json

Every variant of `push` on the demo's bundle (examples/hopper), alone and behind gates of several
margins that hold the last action. A narrow gate can be made to fire, and what follows is worse than
the policy; ten episodes of the evaluation seeds each.
"""

import argparse
import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from surefoot.artifact import Json
from surefoot.attack import Ball, DeployedController, EvaluateConfig, Evaluation, evaluate
from surefoot.attack.adversary import Adversary
from surefoot.attack.behind_gate import DeployedGate
from surefoot.attack.push import push_variants
from surefoot.attack.seeds import evaluation_seeds
from surefoot.ball import Norm
from surefoot.bundle import Bundle, open_bundle
from surefoot.certify.gate_thresholds import make_gate
from surefoot.envs import make_env
from surefoot.runtime.load import Backend, controller_of
from surefoot.visited import VISITED_FILE, Visited

BUNDLE = Path(__file__).parents[1] / "examples" / "hopper"
MARGINS = (None, 0.1, 0.2, 0.3, 0.5, 1.0)
EPSILON, NUM_EPISODES = 0.075, 10


def gate_of(bundle: Bundle, margin: float) -> DeployedGate:
    """Return the gate of a bundle with another margin."""
    assert bundle.gate is not None
    policy = bundle.controller.policy
    rule = replace(bundle.gate.rule, margin=margin)
    made = make_gate(policy, Visited.from_bytes(bundle.files[VISITED_FILE]), rule)
    return DeployedGate(
        gate=made.gate, normaliser=policy.normaliser, fallback=None, fallback_name=None
    )


def played(bundle: Bundle, adversary: Adversary, gate: DeployedGate | None) -> Evaluation:
    """Play the evaluation episodes."""
    controller = bundle.controller
    assert controller.env_id is not None
    deployed = DeployedController(
        controller=controller_of(controller, Backend.NUMPY), policy=controller.policy
    )
    config = EvaluateConfig(seeds=evaluation_seeds(NUM_EPISODES), gate=gate)
    with closing(make_env(controller.env_id, NUM_EPISODES)) as env:
        return evaluate(deployed, env, adversary, config)


def row_of(evaluation: Evaluation) -> dict[str, Json]:
    """Return what is left, and when the gate fired first."""
    outcome = evaluation.gate
    return {
        "mean": float(evaluation.returns.mean()),
        "median_length": float(np.median(evaluation.lengths)),
        "fired": None if outcome is None else outcome.fired,
        "median_step": None if outcome is None else outcome.median_steps,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    bundle = open_bundle(BUNDLE, allow_uncertified=True)
    adversaries = push_variants(bundle.controller.policy, Ball(norm=Norm.LINF, epsilon=EPSILON))
    margins: dict[str, Json] = {}
    for margin in MARGINS:
        gate = None if margin is None else gate_of(bundle, margin)
        rows = {name: row_of(played(bundle, one, gate)) for name, one in adversaries.items()}
        margins["no gate" if margin is None else f"{margin:g}"] = rows
        print(margin, min(row["mean"] for row in rows.values()), flush=True)
    result = {"epsilon": EPSILON, "episodes": NUM_EPISODES, "margins": margins}
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
