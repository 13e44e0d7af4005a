"""What each method learns, how it stands attacks, and what is proved about it: the big table.

    python benchmarks/learning.py train  --out runs/learning --jobs 2
    python benchmarks/learning.py report --out runs/learning --results docs/results

``train`` runs, for each cell (task, method, seed), ``pipeline train``, ``pipeline attack`` and
``pipeline certify`` in a folder of its own; what a folder holds already is not made again, and an
interrupted training goes on. One process and one thread per job. ``report`` writes learning.md,
learning.json and learning.png from the folders there are; a seed that is trained and not yet
attacked stands in the column of trained returns alone.
"""

import argparse
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import trim_mean

from surefoot.config import load_preset

PLAIN, DENSE = {"train.defence.kind": "none"}, {"train.pruning.kind": "none"}
BARPO = '{kind = "barpo", epsilon = 0.075, fraction = 0.25, ramp_end = 0.5}'
SCHEDULE = "fraction = 0.25, ramp_end = 0.5"
ATLA = '{kind = "atla", epsilon = 0.075, ramp_end = 0.5}'
METHODS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "dense": ("dense PPO", PLAIN | DENSE),
    "sa": ("dense SA", DENSE),
    "sakappa03": ("dense SA, kappa 0.03", DENSE | {"train.defence.kappa": 0.03}),
    "sakappa01": ("dense SA, kappa 0.01", DENSE | {"train.defence.kappa": 0.01}),
    "sa50": ("SA + magnitude 50 %", {"train.pruning.sparsity": 0.5}),
    "sa70": ("SA + magnitude 70 %", {"train.pruning.sparsity": 0.7}),
    "sa90": ("SA + magnitude 90 %", {"train.pruning.sparsity": 0.9}),
    "barpo70": (
        "BARPO + magnitude 70 %",
        {"train.defence": BARPO, "train.pruning.sparsity": 0.7},
    ),
    "atla": ("dense ATLA", DENSE | {"train.defence": ATLA}),
    "atla70": ("ATLA + magnitude 70 %", {"train.defence": ATLA, "train.pruning.sparsity": 0.7}),
    "arpo": (
        "dense ARPO",
        DENSE | {"train.defence": f'{{kind = "arpo", epsilon = 0.075, {SCHEDULE}}}'},
    ),
    "saconvex": (
        "dense SA by bounds",
        DENSE
        | {"train.defence": f'{{kind = "sa_convex", epsilon = 0.075, kappa = 0.03, {SCHEDULE}}}'},
    ),
    # 0.6 at epsilon 0.075, below the 0.8 of the budget of the preset
    "lipschitz": (
        "dense, Lipschitz target",
        DENSE | {"train.defence": '{kind = "lipschitz", at_most = 8.0, ramp_end = 0.5}'},
    ),
}
"""By short name: the name in the table, and what is set beside the preset."""

COLOURS = ("C7", "C0", "C6", "C2", "C1", "C3", "C4", "C5", "C8", "C9", "k", "y", "m")
"""Of the curves, in the order of the methods."""

TASKS: Mapping[str, Sequence[str]] = {
    "hopper": tuple(name for name in METHODS if name not in ("sakappa03", "sakappa01")),
    "walker2d": ("dense", "sa", "sakappa03", "sa70"),
    "halfcheetah": ("dense", "sa", "sakappa01", "sa70"),
    "ant": ("sa", "sa70"),
}
"""Methods by preset."""

SEEDS = {"ant": (10,)}
DEFAULT_SEEDS = (10, 11, 12)
"""The presets were chosen on seeds 0 to 3; these are held out."""

DECIDED = (0, 3, 4)
"""Exit codes of ``pipeline certify`` that come with a certificate."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training and what came of it."""

    preset: str
    method: str
    seed: int

    def folder(self, out: Path) -> Path:
        """Return where it lies."""
        return out / f"{self.preset}-{self.method}-{self.seed}"

    def train_options(self) -> list[str]:
        """Return the options of ``pipeline train``."""
        options = ["--preset", self.preset, "--seed", str(self.seed)]
        for key, value in METHODS[self.method][1].items():
            options += ["--set", f"{key}={value}"]
        return [*options, "--set", "train.num_threads=1"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("train", "report", "commands"))
    parser.add_argument("--out", type=Path, default=Path("runs/learning"))
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    parser.add_argument("--presets", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--suite", default="quick", help="attacks of `pipeline attack`")
    parser.add_argument("--jobs", type=int, default=1, help="cells side by side, one core each")
    args = parser.parse_args()
    chosen = [cell for cell in cells() if cell.preset in args.presets]
    if args.what == "train":
        with ThreadPoolExecutor(args.jobs) as pool:
            list(pool.map(lambda cell: make(cell, args.out, args.suite), chosen))
    elif args.what == "commands":
        for cell in chosen:
            print("pipeline train", *cell.train_options())
    else:
        trained = [cell for cell in chosen if (cell.folder(args.out) / RESULTS[0]).is_file()]
        report(trained, args.out, args.results)


def cells() -> list[Cell]:
    """Return all cells, seed by seed, so that a partial table compares equals."""
    return [
        Cell(preset=preset, method=method, seed=seed)
        for preset, methods in TASKS.items()
        for seed in SEEDS.get(preset, DEFAULT_SEEDS)
        for method in methods
    ]


def epsilon_of(preset: str) -> float:
    """Return the radius at which the controllers of a preset are attacked."""
    return float(load_preset(preset)["attack"]["epsilon"])


def complete(folder: Path) -> bool:
    """Return whether training, attacks and certificate are there."""
    return all((folder / name).is_file() for name in RESULTS)


RESULTS = ("train.json", "attack.json", "certificate.json")


def make(cell: Cell, out: Path, suite: str) -> None:
    """Train, attack and certify one cell, whatever of it is missing."""
    folder = cell.folder(out)
    epsilon = f"attack.epsilon={epsilon_of(cell.preset)}"
    attacked, certified = str(folder / "attack.json"), str(folder / "certificate.json")
    attack = ["attack", str(folder / "policy"), "--out", attacked, "--allow-uncertified"]
    options = ["--suite", suite, "--set", epsilon, "--set", "attack.num_threads=1"]
    steps = {
        "train.json": (["train", "--out", str(folder), *cell.train_options()], (0,)),
        "attack.json": (attack + options, (0,)),
        "certificate.json": (["certify", str(folder), "--out", certified], DECIDED),
    }
    for file, (command, accepted) in steps.items():
        if not (folder / file).is_file():
            pipeline(command, accepted)
            print(f"{folder.name}: {file}", flush=True)


def pipeline(command: list[str], accepted: tuple[int, ...]) -> None:
    """Run one command of surefoot on one thread.

    Raises:
        SystemExit: If it ended otherwise than accepted.
    """
    call = [sys.executable, "-c", "from surefoot.cli import main; main()", *command]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(call, env=os.environ | threads, capture_output=True, text=True)
    if done.returncode not in accepted:
        raise SystemExit(f"pipeline {' '.join(command)}\n{done.stdout}{done.stderr}")


def report(done: list[Cell], out: Path, results: Path) -> None:
    """Write the table, its data and its picture."""
    rows = [
        row_of(preset, method, [c for c in done if (c.preset, c.method) == (preset, method)], out)
        for preset, methods in TASKS.items()
        for method in methods
        if any((c.preset, c.method) == (preset, method) for c in done)
    ]
    (results / "learning.json").write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    (results / "learning.md").write_text("\n".join(markdown(rows)) + "\n")
    (results / "learning.png").write_bytes(picture(done, out))


def row_of(preset: str, method: str, members: list[Cell], out: Path) -> dict[str, Any]:
    """Return what the runs of one method on one task show together."""
    folders = [cell.folder(out) for cell in members]
    agents = [agent_of(folder) for folder in folders if complete(folder)]
    clean = [agent["returns"]["clean"] for agent in agents]
    worst = [agent["returns"][agent["worst_attack"]] for agent in agents]
    return {
        "preset": preset,
        "method": METHODS[method][0],
        "epsilon": epsilon_of(preset),
        "seeds": [cell.seed for cell in members],
        "command": f"pipeline train {' '.join(members[0].train_options())}",
        "trained": [json.loads((f / RESULTS[0]).read_text())["clean_return"] for f in folders],
        "clean": summary_of(clean) if agents else None,
        "worst": summary_of(worst) if agents else None,
        "agents": agents,
    }


def agent_of(folder: Path) -> dict[str, Any]:
    """Return what is known about one trained controller."""
    train, attack, certificate = (json.loads((folder / name).read_text()) for name in RESULTS)
    visited = next(
        finding
        for finding in certificate["requirements"]
        if finding["requirement"].get("scope") == "visited"
    )
    return {
        "seed": train["seed"],
        "sparsity": train["sparsity"],
        "weights_sha256": train["weights_sha256"],
        "returns": {name: entry["returns"] for name, entry in attack["attacks"].items()},
        "worst_attack": attack["worst"]["attack"],
        "deviation_everywhere": certificate["deviation_linf"]["best"],
        "deviation_sampled": certificate["deviation_linf"]["sampled"],
        "deviation_surrogate": certificate["deviation_linf"]["paper_surrogate"],
        "epsilon_everywhere": certificate["deviation_linf"]["epsilon"],
        "deviation_visited": visited["certified"],
        "deviation_visited_sampled": visited["sampled"],
        "epsilon_visited": visited["requirement"]["epsilon"],
    }


def summary_of(returns: list[list[float]]) -> dict[str, Any]:
    """Return mean per agent, interquartile mean over all episodes, and its 95 % interval.

    The interval resamples agents, then episodes within them: episodes of one agent are alike.
    """
    rng = np.random.default_rng(0)
    table = np.array(returns)
    num_agents, num_episodes = table.shape
    agents = rng.integers(num_agents, size=(10_000, num_agents, 1))
    episodes = rng.integers(num_episodes, size=(10_000, num_agents, num_episodes))
    replicates = table[agents, episodes].reshape(10_000, -1)
    low, high = np.percentile(trim_mean(replicates, 0.25, axis=1), [2.5, 97.5])
    return {
        "per_seed": table.mean(axis=1).tolist(),
        "iqm": float(trim_mean(table.ravel(), 0.25)),
        "interval": [float(low), float(high)],
    }


def markdown(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the table as Markdown."""
    lines = [
        "| task | method | sparsity | return at the end of training, each seed (10 episodes) "
        "| clean return, IQM [95 %] | worst attacked return, IQM [95 %] | seed: mean (attack) "
        "| proved deviation everywhere | at 99 % of visited states |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        agents = row["agents"]
        worst = zip(row["worst"]["per_seed"] if agents else (), agents, strict=True)
        cells = (
            row["preset"],
            row["method"],
            f"{100 * agents[0]['sparsity']:.1f} %" if agents else "-",
            ", ".join(f"{value:.0f}" for value in row["trained"]),
            interval_text(row["clean"]),
            interval_text(row["worst"]),
            ", ".join(
                f"{agent['seed']}: {value:.0f} ({agent['worst_attack']})" for value, agent in worst
            ),
            bounds_text(agents, "everywhere"),
            bounds_text(agents, "visited"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return [
        *lines,
        "",
        "Commands, one seed of each row:",
        "",
        *(f"    {r['command']}" for r in rows),
    ]


def interval_text(summary: Mapping[str, Any] | None) -> str:
    if summary is None:
        return "-"
    low, high = summary["interval"]
    return f"{summary['iqm']:.0f} [{low:.0f}, {high:.0f}]"


def bounds_text(agents: Sequence[Mapping[str, Any]], scope: str) -> str:
    """Return the range of proved deviations over the agents, and the epsilon they are for."""
    values = sorted(agent[f"deviation_{scope}"] for agent in agents)
    if not values:
        return "-"
    most = f" to {values[-1]:.3g}" if len(values) > 1 else ""
    return f"{values[0]:.3g}{most} (epsilon {agents[0][f'epsilon_{scope}']:g})"


def picture(done: list[Cell], out: Path) -> bytes:
    """Draw the learning curves: a panel per task, a thin line per seed, a thick one their mean."""
    from matplotlib.figure import Figure

    presets = [preset for preset in TASKS if any(cell.preset == preset for cell in done)]
    figure = Figure(figsize=(5.2 * len(presets), 4.2), layout="constrained")
    colours = dict(zip(METHODS, COLOURS, strict=True))
    for panel, preset in zip(
        figure.subplots(1, len(presets), squeeze=False)[0], presets, strict=True
    ):
        for method in TASKS[preset]:
            curves = [
                curve_of(cell.folder(out))
                for cell in done
                if (cell.preset, cell.method) == (preset, method)
            ]
            for steps, returns in curves:
                panel.plot(steps, returns, color=colours[method], linewidth=0.5, alpha=0.5)
            if curves:
                mean = np.mean([returns for _, returns in curves], axis=0)
                panel.plot(
                    curves[0][0], mean, color=colours[method], linewidth=2, label=METHODS[method][0]
                )
        panel.set(title=preset, xlabel="environment steps", ylabel="clean return, deterministic")
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(loc="upper left", frameon=False, fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def curve_of(folder: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return steps and clean return of the evaluations during one training."""
    curves = json.loads((folder / "policy" / "curves.json").read_text())
    seen = [i for i, value in enumerate(curves["clean_return"]) if value is not None]
    steps, returns = np.array(curves["step"]), np.array(curves["clean_return"], dtype=object)
    return steps[seen].astype(float), returns[seen].astype(float)


if __name__ == "__main__":
    main()
