r"""One-shot compression: sparsity against the change of the actions, certified and measured.

For each policy, method and allocation: the worst change over the recorded states (certified and
measured), at states of fresh episodes that nothing was fitted to, and over the whole clipped box;
the clean return; and the largest sparsity that stays under a limit.

    pipeline train --preset hopper --seed 10 --set train.defence.kind=none \
        --set train.pruning.kind=none --out runs/hopper-dense-10
    pipeline train --preset hopper --seed 10 --set train.pruning.kind=none --out runs/hopper-sa-10
    python benchmarks/one_shot.py --policy runs/hopper-dense-10 runs/hopper-sa-10 --episodes 8 \
        --out docs/results/one_shot.json
"""

import argparse
import json
from pathlib import Path
from time import process_time

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from surefoot.certificate import proved_text
from surefoot.certify import (
    Over,
    box_control_error,
    fewest_kept,
    paper_control_error,
    visited_control_error,
)
from surefoot.certify.control_error import measured_control_error
from surefoot.compress import (
    Allocation,
    Method,
    OneShotConfig,
    WeightFormat,
    calibration_states,
    compress_policy,
    num_kept,
    num_weights,
)
from surefoot.envs import make_env
from surefoot.policy import Policy
from surefoot.train.evaluation import clean_returns
from surefoot.train.visited_recorder import record_visited
from surefoot.workflow.source import Source, read_source

SPARSITIES = (0.05, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9)
LIMITS = (0.02, 0.05, 0.2)
BALLS = 256
FRESH_SEED = 987654321


class Subject:
    """A policy with what it visits, in recorded and in fresh episodes."""

    def __init__(self, path: Path, episodes: int) -> None:
        self.source: Source = read_source(path, None, None)
        self.policy = self.source.file.policy
        seen = self.source.seen()
        assert seen is not None, f"{path} has no visited states"
        self.states = calibration_states(self.policy, seen)
        env_id = self.source.file.env_id
        fresh = record_visited(self.policy, make_env(env_id, 16), FRESH_SEED, num_states=16)
        self.fresh = self.policy.state(fresh.pool, np.float32)
        self.env = make_env(env_id, episodes) if episodes else None
        self.size = sum(layer.weight.size for layer in self.policy.layers)

    def clean_return(self, policy: Policy) -> float | None:
        if self.env is None:
            return None
        return float(clean_returns(policy, self.env, list(range(self.env.num_envs))).mean())

    def row(self, config: OneShotConfig, sparsity: float) -> dict:
        began = process_time()
        small = compress_policy(self.policy, self.states, num_kept(self.size, sparsity), config)
        seconds = process_time() - began
        visited = visited_control_error(small, self.policy, self.states)
        box = box_control_error(small, self.policy)
        in_full = config.allocation is Allocation.ERK
        ball = None
        if in_full:
            some = self.states[:: max(1, len(self.states) // BALLS)]
            ball = visited_control_error(small, self.policy, some, 0.05).to_table()
        return {
            **name_of(config),
            "sparsity": small.sparsity,
            "visited": visited.to_table(),
            "ball": ball,
            "fresh_measured": measured_control_error(small, self.policy, self.fresh),
            "box": box.to_table(),
            "paper": paper_control_error(small, self.policy, self.states)["value"],
            "clean_return": self.clean_return(small) if in_full else None,
            "compress_cpu_s": round(seconds, 3),
        }

    def sparsest(self, config: OneShotConfig, limit: float, over: Over) -> dict:
        def error(kept: int) -> float:
            small = compress_policy(self.policy, self.states, kept, config)
            if over is Over.BOX:
                return box_control_error(small, self.policy).certified
            return visited_control_error(small, self.policy, self.states).certified

        most = num_weights(self.policy)
        kept = fewest_kept(lambda count: error(count) <= limit, len(self.policy.layers), most)
        return {
            **name_of(config),
            "over": over.value,
            "limit": limit,
            "sparsity": None if kept is None else 1 - kept / self.size,
        }


def name_of(config: OneShotConfig) -> dict:
    return {
        "method": config.method.value,
        "allocation": config.allocation.value,
        "weights": config.weights.value,
    }


def measure(path: Path, episodes: int) -> dict:
    subject = Subject(path, episodes)
    rows = [
        subject.row(OneShotConfig(method=method, allocation=allocation), sparsity)
        for method in Method
        for allocation in Allocation
        for sparsity in SPARSITIES
    ]
    configs = [OneShotConfig(method=method) for method in Method]
    configs += [OneShotConfig(weights=weights) for weights in list(WeightFormat)[1:]]
    sparsest = [
        subject.sparsest(config, limit, over)
        for over in Over
        for config in configs
        for limit in LIMITS
    ]
    return {
        "policy": path.name,
        "env": subject.source.file.env_id,
        "sizes": [list(layer.weight.shape) for layer in subject.policy.layers],
        "recorded_states": len(subject.states),
        "fresh_states": len(subject.fresh),
        "clean_return": subject.clean_return(subject.policy),
        "rows": rows,
        "sparsest": sparsest,
    }


def draw(results: list[dict]) -> Figure:
    """One row per policy: recorded states, the box, and OBS under the three allocations."""
    figure = Figure(figsize=(13, 3.9 * len(results)), layout="constrained")
    grid = figure.subplots(len(results), 3, squeeze=False)
    for axes, result in zip(grid, results, strict=True):
        rows = result["rows"]
        for number, method in enumerate(Method):
            mine = [r for r in rows if r["method"] == method and r["allocation"] == "erk"]
            pairs = (("visited", "fresh_measured"), ("box", None))
            for axis, (domain, also) in zip(axes, pairs, strict=False):
                line(axis, mine, domain, f"C{number}", method.value)
                if also:
                    x, y = [r["sparsity"] for r in mine], [r[also] for r in mine]
                    axis.plot(x, y, "x", color=f"C{number}", markersize=4)
        for number, allocation in enumerate(Allocation):
            mine = [r for r in rows if r["method"] == "obs" and r["allocation"] == allocation]
            line(axes[2], mine, "visited", f"C{number + 4}", f"obs, {allocation.value}")
        titles = ("recorded states, ERK (x: fresh ones)", "whole clipped box, ERK")
        for axis, title in zip(axes, (*titles, "recorded states, OBS"), strict=True):
            axis.set(xlabel="sparsity", yscale="log", title=f"{result['policy']}: {title}")
            axis.title.set_fontsize(9)
            axis.grid(visible=True, alpha=0.3)
            axis.legend(loc="lower right", fontsize=8)
        axes[0].set_ylabel("worst change of an action (action units)")
    figure.suptitle("solid: certified, dotted: measured", fontsize=10)
    return figure


def line(axis: Axes, rows: list[dict], domain: str, colour: str, label: str) -> None:
    x = [row["sparsity"] for row in rows]
    axis.plot(x, [r[domain]["certified"] for r in rows], "-", color=colour, label=label)
    axis.plot(x, [r[domain]["measured"] for r in rows], ":", color=colour)


def markdown(results: list[dict]) -> str:
    """Tables: the change of the actions by method and sparsity, and what a limit allows."""
    lines: list[str] = []
    for result in results:
        sizes = "-".join(str(shape[1]) for shape in result["sizes"])
        lines += [
            "",
            f"## {result['policy']} ({result['env']}, {sizes}-{result['sizes'][-1][0]}, "
            f"clean return {result['clean_return']:.0f})",
            "",
            "| method, ERK | sparsity | recorded: certified / measured | balls: certified | "
            "fresh: measured | box: certified / measured | published sum | clean return |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for row in result["rows"]:
            if row["allocation"] != "erk" or round(row["sparsity"], 2) not in (0.3, 0.5, 0.7, 0.9):
                continue
            certified = {
                name: proved_text(row[name]["certified"]) for name in ("visited", "ball", "box")
            }
            lines.append(
                f"| {row['method']} | {row['sparsity']:.2f} | {certified['visited']} / "
                f"{row['visited']['measured']:.4f} | {certified['ball']} | "
                f"{row['fresh_measured']:.4f} | {certified['box']} / "
                f"{row['box']['measured']:.3f} | {row['paper']:.1f} | {row['clean_return']:.0f} |"
            )
        lines += [
            "",
            "Largest sparsity whose certified change stays under the limit:",
            "",
            "| over | method, weights | " + " | ".join(f"{limit:g}" for limit in LIMITS) + " |",
            "|---|---|" + "---|" * len(LIMITS),
        ]
        found = result["sparsest"]
        for start in range(0, len(found), len(LIMITS)):
            group = found[start : start + len(LIMITS)]
            cells = ["-" if g["sparsity"] is None else f"{g['sparsity']:.1%}" for g in group]
            lines.append(
                f"| {group[0]['over']} | {group[0]['method']}, {group[0]['weights']} | "
                + " | ".join(cells)
                + " |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policy", nargs="+", type=Path, required=True, help="runs or policies")
    parser.add_argument("--episodes", type=int, default=32, help="of each clean return; 0 for none")
    parser.add_argument("--out", type=Path, default=Path("one_shot.json"))
    given = parser.parse_args()
    results = [measure(path, given.episodes) for path in given.policy]
    given.out.write_text(json.dumps(results) + "\n")
    draw(results).savefig(given.out.with_suffix(".png"), dpi=120)
    print(markdown(results))


if __name__ == "__main__":
    main()
