"""How often gates of three widths reject what is right on the robot of the demo, by fresh episodes.

    python benchmarks/gate_false_alarms.py --out docs/results/gate_false_alarms.json

A trial is the state of a fresh episode at a step that was drawn beforehand; 29,956 of them without
an alarm bound the rate of false alarms per step by 1e-4 with confidence 95 %. So many are played,
in chunks of 3,072 with seeds that nothing else has; finished ones stay in --work. The gates are
made of the states in the demo's bundle, as its own is.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from surefoot.artifact import Json
from surefoot.bundle import Bundle, open_bundle
from surefoot.certify.gate_thresholds import make_gate
from surefoot.config import to_table
from surefoot.envs import make_env
from surefoot.gate import GateFile
from surefoot.policy import Array, Policy
from surefoot.train.visited_recorder import record_visited
from surefoot.visited import VISITED_FILE, Visited

BUNDLE = Path(__file__).parents[1] / "examples" / "hopper"
MARGINS = (0.2, 0.3, 0.5)
NUM_TRIALS, CHUNK, NUM_ENVS, FIRST_SEED = 29_956, 3072, 128, 8_000_000
CONFIDENCE = 0.95
JOINT_CONFIDENCE = 1 - (1 - CONFIDENCE) / len(MARGINS)
"""Bonferroni: the limits of all margins hold together with the confidence of one alone."""


def trials_of(policy: Policy, env_id: str, chunk: int, work: Path) -> Array:
    """Return the trials of a chunk, and keep them."""
    kept = work / f"{chunk}.npz"
    if kept.is_file():
        return np.load(kept)["trials"]
    start, env = time.process_time(), make_env(env_id, NUM_ENVS, num_threads=1)
    left, seed = NUM_TRIALS - chunk * CHUNK, FIRST_SEED + chunk
    visited = record_visited(policy, env, seed, num_states=min(CHUNK, left), num_pool=1)
    seconds = time.process_time() - start
    np.savez(kept, trials=visited.independent, discarded=visited.num_discarded, seconds=seconds)
    print(f"{chunk}: {visited.num_discarded} ended early, {seconds:.0f} s", flush=True)
    return visited.independent


def gate_of(bundle: Bundle, trials: Array, margin: float, confidence: float) -> GateFile:
    """Return the gate of a margin, tried on the trials alone."""
    assert bundle.gate is not None
    visited = Visited.from_bytes(bundle.files[VISITED_FILE])
    # The states that the policy folder keeps aside are no fresh ones here.
    fresh = replace(visited, trials=trials, in_pool=np.ones(len(visited.independent), np.bool_))
    rule = replace(bundle.gate.rule, margin=margin, confidence=confidence)
    return make_gate(bundle.controller.policy, fresh, rule)


def rates_of(bundle: Bundle, trials: Array) -> dict[str, Json]:
    """Return the false alarms at each margin, and their bounds, each alone and all together."""
    found: dict[str, Json] = {}
    for margin in MARGINS:
        alone = gate_of(bundle, trials, margin, CONFIDENCE)
        joint = gate_of(bundle, trials, margin, JOINT_CONFIDENCE)
        (rate,), (joint_rate,) = alone.alarms.rates, joint.alarms.rates
        found[f"{margin:g}"] = {**to_table(rate), "all_margins_at_most": joint_rate.at_most}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("gate_false_alarms.work"))
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    bundle = open_bundle(BUNDLE)
    policy, env_id = bundle.controller.policy, bundle.controller.env_id
    assert env_id is not None
    chunks = range(-(-NUM_TRIALS // CHUNK))
    trials = np.concatenate([trials_of(policy, env_id, one, arguments.work) for one in chunks])
    kept = [np.load(arguments.work / f"{one}.npz") for one in chunks]
    result = {
        "margins": rates_of(bundle, trials),
        "ended_early": sum(int(one["discarded"]) for one in kept),
        "processor_seconds": round(sum(float(one["seconds"]) for one in kept)),
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
