"""How often the gate of the demo's bundle rejects what is right, from fresh episodes alone.

    python benchmarks/gate_false_alarms.py --out docs/results/gate_false_alarms.json

A trial is the state of a fresh episode at a step that was drawn beforehand; 29,956 of them without
an alarm bound the rate of false alarms per step by 1e-4 with confidence 95 %. That many are fifteen
times 2,048 episodes, with seeds that nothing else has; --times says how many of these are played.
Finished ones stay in --work.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from surefoot.bundle import open_bundle
from surefoot.certify.gate_thresholds import make_gate
from surefoot.config import to_table
from surefoot.envs import make_env
from surefoot.policy import Array, Policy
from surefoot.train.visited_recorder import record_visited
from surefoot.visited import VISITED_FILE, Visited

BUNDLE = Path(__file__).parents[1] / "examples" / "hopper"
NUM_ENVS, NUM_STATES, FIRST_SEED = 128, 2048, 7_000_000


def trials_of(policy: Policy, env_id: str, chunk: int, work: Path) -> Array:
    """Return the trials of a chunk, and keep them."""
    kept = work / f"{chunk}.npz"
    if kept.is_file():
        return np.load(kept)["trials"]
    start, env = time.process_time(), make_env(env_id, NUM_ENVS, num_threads=1)
    seed = FIRST_SEED + chunk
    visited = record_visited(policy, env, seed, num_states=NUM_STATES, num_pool=1)
    seconds = time.process_time() - start
    np.savez(kept, trials=visited.independent, discarded=visited.num_discarded, seconds=seconds)
    print(f"{chunk}: {visited.num_discarded} ended early, {seconds:.0f} s", flush=True)
    return visited.independent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("gate_false_alarms.work"))
    parser.add_argument("--times", type=int, default=15)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    bundle = open_bundle(BUNDLE)
    policy, env_id = bundle.controller.policy, bundle.controller.env_id
    assert env_id is not None
    assert bundle.gate is not None
    chunks = range(arguments.times)
    trials = np.concatenate([trials_of(policy, env_id, one, arguments.work) for one in chunks])
    visited = Visited.from_bytes(bundle.files[VISITED_FILE])
    # The old bundle does not mark the states that share an episode with its pool: none is a trial.
    fresh = replace(visited, trials=trials, in_pool=np.ones(len(visited.independent), np.bool_))
    made = make_gate(policy, fresh, bundle.gate.rule)
    assert made.gate == bundle.gate.gate
    kept = [np.load(arguments.work / f"{one}.npz") for one in chunks]
    result = {
        "rates": [to_table(rate) for rate in made.alarms.rates],
        "ended_early": sum(int(one["discarded"]) for one in kept),
        "processor_seconds": round(sum(float(one["seconds"]) for one in kept)),
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
