"""How steady a push on one actuator a controller stands: why a small deviation may be enough.

    python benchmarks/bias_margin.py --out docs/results/bias_margin.json

An attack on the sensors acts through the actions. This leaves the sensors alone and adds a constant
to one actuator at every step, up or down, for whole episodes: the mean return in the worst of these
directions, over the size of the constant, says which deviation of the actions matters to a gait.
Beside it stands the deviation that is proved, and the one that attacks reached. The agents are
those that ``learning.py`` keeps.
"""

import argparse
import io
import json
import shlex
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from learning import KEPT, METHODS, Cell, cells, kept

from surefoot.attack.restarting_env import SteadyEnv
from surefoot.attack.seeds import evaluation_seeds
from surefoot.envs import make_env
from surefoot.policy import Policy
from surefoot.runtime.controller_file import load_controller_file

SIZES = (0.0, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
"""In units of half of an actuator's range."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agents", type=Path, default=KEPT)
    parser.add_argument("--presets", nargs="+", default=["hopper", "walker2d", "halfcheetah"])
    parser.add_argument("--methods", nargs="+", default=["dense", "sa", "sa70", "atla"])
    parser.add_argument("--episodes", type=int, default=10, help="of each size and direction")
    parser.add_argument("--out", type=Path, default=Path("bias_margin.json"))
    given = parser.parse_args()
    chosen = [
        cell
        for cell in cells()
        if cell.preset in given.presets
        and cell.method in given.methods
        and kept(given.agents, cell)
    ]
    rows = [row_of(cell, given.agents, given.episodes) for cell in chosen]
    found = {
        "command": shlex.join(["python", "benchmarks/bias_margin.py", *sys.argv[1:]]),
        "episodes": given.episodes,
        "sizes": SIZES,
        "rows": rows,
    }
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    given.out.with_suffix(".png").write_bytes(picture(rows, given.presets))


def row_of(cell: Cell, agents: Path, episodes: int) -> dict[str, Any]:
    """Return what is known about one agent: returns by size, and the deviations beside them."""
    record, file = kept(agents, cell), load_controller_file(agents / cell.name / "policy.onnx")
    env_id = file.env_id
    returns = [worst_return(file.policy, env_id, size, episodes) for size in SIZES]
    limit = 0.5 * returns[0]
    row: dict[str, Any] = {
        "agent": cell.name,
        "preset": cell.preset,
        "method": METHODS[cell.method][0],
        "worst_return": [round(value, 1) for value in returns],
        # The least size at which half of the clean return is lost; null if none of them does it.
        "margin": next((s for s, r in zip(SIZES, returns, strict=True) if r < limit), None),
    }
    if "certificate" in record:
        row["proved_visited"] = record["certificate"]["visited"]["certified"]
    if "attack" in record:
        attacks = record["attack"]["attacks"]
        worst = record["attack"]["worst"]["attack"]
        row["strongest"] = {"attack": worst, "max_deviation": attacks[worst]["max_deviation"]}
        row["largest_reached"] = max(entry["max_deviation"] for entry in attacks.values())
    return row


def worst_return(policy: Policy, env_id: str, size: float, episodes: int) -> float:
    """Return the mean return under the worst steady push of this size on one actuator."""
    head = policy.head
    pushes = size * np.concatenate([np.eye(policy.num_outputs), -np.eye(policy.num_outputs)])
    pushes = pushes[: 1 if size == 0 else None] * head.half_range
    seeds = list(evaluation_seeds(episodes)) * len(pushes)
    bias = np.repeat(pushes, episodes, axis=0)
    low, high = head.centre - head.half_range, head.centre + head.half_range
    with closing(SteadyEnv(make_env(env_id, len(seeds), num_threads=1))) as env:
        obs, total, alive = env.reset(seeds), np.zeros(len(seeds)), np.ones(len(seeds), np.bool_)
        for _ in range(env.spec.max_episode_steps or 1000):
            action = np.clip(policy.outputs(obs, np.float32) + bias, low, high)
            result = env.step(action.astype(np.float32))
            total += np.where(alive, result.reward, 0.0)
            alive &= ~(result.terminated | result.truncated)
            obs = result.obs
            if not alive.any():
                break
    return float(total.reshape(len(pushes), episodes).mean(axis=1).min())


def picture(rows: list[dict[str, Any]], presets: list[str]) -> bytes:
    """Draw the return over the size of the push: a panel per task, a line per agent."""
    from matplotlib.figure import Figure

    presets = [preset for preset in presets if any(row["preset"] == preset for row in rows)]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    figure = Figure(figsize=(4.8 * len(presets), 4), layout="constrained")
    panels = figure.subplots(1, len(presets), squeeze=False)[0]
    for panel, preset in zip(panels, presets, strict=True):
        named: set[str] = set()
        for row in (row for row in rows if row["preset"] == preset):
            colour = f"C{methods.index(row['method'])}"
            label = None if row["method"] in named else row["method"]
            named.add(row["method"])
            panel.plot(SIZES, row["worst_return"], color=colour, marker=".", label=label)
            if "proved_visited" in row:
                panel.axvline(row["proved_visited"], color=colour, linewidth=0.7, linestyle=":")
        panel.set(
            title=preset,
            xlim=(0, SIZES[-1]),
            xlabel="steady push on one actuator\n(dotted: deviation proved at 99 % of states)",
            ylabel="mean return, worst direction",
        )
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(loc="upper right", frameon=False, fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
