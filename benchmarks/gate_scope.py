"""What a gate lets through, what it catches, and what is proved behind it, on kept agents.

    python benchmarks/gate_scope.py --out docs/results/gate_scope.json

A hundred clean episodes of each agent are played; every second one makes the limits. Deviations
are of the action that moves most, for |d|_inf <= 0.05: in every state, behind the gate, and at 200
states of the fresh episodes (their largest and their median). Caught are fresh episodes whose
recorded sensors are disturbed from step 100 on, without the robot answering: no closed loop is
measured here.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from surefoot.artifact import Json
from surefoot.ball import Ball, Norm
from surefoot.certify import Analysis, CertifyConfig, Evidence
from surefoot.certify.at_states import AtStates, Effort
from surefoot.certify.behind_gate import BehindGate
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.everywhere import Everywhere
from surefoot.certify.gate_thresholds import make_gate
from surefoot.envs import make_env
from surefoot.gate import Gate, GateRule
from surefoot.gate.arrays import broken_steps
from surefoot.policy import Array, Policy
from surefoot.runtime.c_source import twin_outputs
from surefoot.runtime.controller_file import load_controller_file
from surefoot.train.evaluation import horizon_of, play
from surefoot.unknown import Unknown
from surefoot.visited import Visited

AGENTS = Path(__file__).parents[1] / "docs" / "results" / "agents"
CELLS = ("hopper-sa-10", "walker2d-sa-10", "halfcheetah-sa-10")
NUM_EPISODES, START, NUM_STATES = 100, 100, 200
BALL = Ball(norm=Norm.LINF, epsilon=0.05)
ARITHMETIC = ARITHMETICS["float32"]


def episodes_of(policy: Policy, env_id: str) -> Visited:
    """Play clean episodes and keep every step of each."""
    env = make_env(env_id, NUM_EPISODES)
    obs, alive = env.reset(list(range(9000, 9000 + NUM_EPISODES))), np.ones(NUM_EPISODES, bool)
    rows, numbers = [], []
    for _ in range(horizon_of(env)):
        rows.append(obs[alive])
        numbers.append(np.flatnonzero(alive))
        result = env.step(play(policy, obs))
        alive = alive & ~(result.terminated | result.truncated)
        obs = result.obs
        if not alive.any():
            break
    return Visited(
        independent=np.empty((0, policy.obs_dim)),
        steps=np.empty(0, np.int64),
        num_discarded=0,
        pool=np.concatenate(rows),
        episodes=np.concatenate(numbers),
    )


def fresh_episodes(visited: Visited) -> list[NDArray[np.float32]]:
    """Return the episodes that make no limit."""
    numbers = np.unique(visited.episodes)[1::2]
    return [visited.pool[visited.episodes == one].astype(np.float32) for one in numbers]


def caught(policy: Policy, gate: Gate, episodes: list[Array], kind: str) -> dict[str, Json]:
    """Disturb recorded sensors; return the share of episodes caught, and the median delay."""
    rng, delays = np.random.default_rng(1), []
    long = [episode for episode in episodes if len(episode) > 2 * START]
    for episode in long:
        disturbed = episode.copy()
        disturb(disturbed[START:], policy.normaliser.scale * BALL.epsilon, kind, rng)
        steps = np.arange(len(episode))
        fires = broken_steps(gate, disturbed, twin_outputs(policy, disturbed), steps)
        found = np.flatnonzero(fires[START:])
        delays.append(float(found[0]) if len(found) else np.inf)
    share = float(np.isfinite(delays).mean()) if delays else None
    median = float(np.median(delays)) if delays else np.inf
    return {"share": share, "median_delay_steps": median if np.isfinite(median) else None}


def disturb(rows: Array, size: Array, kind: str, rng: np.random.Generator) -> None:
    """Disturb rows in place, each sensor by up to its share of ``size``."""
    if kind == "new signs each step":
        rows += size * rng.choice([-1.0, 1.0], rows.shape)
    elif kind == "the same signs all along":
        rows += size * rng.choice([-1.0, 1.0], rows.shape[1])
    elif kind == "one sensor stuck":
        sensor = int(rng.integers(rows.shape[1]))
        rows[:, sensor] = rows[0, sensor]
    else:
        rows[:, int(rng.integers(rows.shape[1]))] *= 10


KINDS = (
    "new signs each step",
    "the same signs all along",
    "one sensor stuck",
    "one sensor times 10",
)


def largest(bounds: Everywhere) -> float | None:
    found = bounds.deployed_deviation(BALL)
    return None if isinstance(found, Unknown) else float(found.rows.max())


def row_of(cell: str) -> dict[str, Json]:
    file = load_controller_file(AGENTS / cell / "policy.onnx")
    policy = file.policy
    visited = episodes_of(policy, file.env_id)
    made = make_gate(policy, visited, GateRule())
    proofs = Analysis(file, Evidence(), CertifyConfig()).multipliers
    everywhere = Everywhere(policy, ARITHMETIC, proofs)
    behind = BehindGate(policy, made.gate, ARITHMETIC, proofs)
    tight = make_gate(policy, visited, GateRule(margin=0.0, beyond=2)).gate
    episodes = fresh_episodes(visited)
    seen = np.concatenate(episodes)
    states = policy.state(seen[np.random.default_rng(0).choice(len(seen), NUM_STATES)], np.float32)
    local = AtStates(everywhere, states, Effort(), Unknown("none")).deviation(BALL, 0.0)
    nearby = None if isinstance(local, Unknown) else local.values
    free = replace(policy, normaliser=replace(policy.normaliser, clip=np.inf))
    return {
        "steps": len(visited.pool),
        "rejected": made.alarms.rejected,
        "false_alarms": [dict(rate) for rate in made.to_table()["alarms"]["rates"]],
        "deviation": {
            "everywhere": largest(everywhere),
            "gate": largest(behind),
            "gate_without_margin": largest(BehindGate(policy, tight, ARITHMETIC, proofs)),
            "visited_largest": None if nearby is None else float(nearby.max()),
            "visited_median": None if nearby is None else float(np.median(nearby)),
        },
        "without_a_clip": {
            "everywhere": largest(Everywhere(free, ARITHMETIC, proofs)),
            "gate": largest(BehindGate(free, made.gate, ARITHMETIC, proofs)),
        },
        "caught": {kind: caught(policy, made.gate, episodes, kind) for kind in KINDS},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--cells", nargs="+", default=CELLS)
    arguments = parser.parse_args()
    text = json.dumps({cell: row_of(cell) for cell in arguments.cells}, indent=2) + "\n"
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
