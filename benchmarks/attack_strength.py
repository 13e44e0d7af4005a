"""Every defence against every attack: the table, from the policies of many training runs.

    python benchmarks/learning.py train --out runs/learning --jobs 2
    python benchmarks/attack_strength.py --runs runs/learning --out runs/strength \\
        --set attack.adversary_steps=500000 --results docs/results

The runs are those of ``learning.py`` that are there, or those that are named
(<task>-<method>-<seed>). The suite of one run is the command ``pipeline attack``, whose finished
pieces stay in --out: the same call goes on after an interruption, and what is done is not attacked
again. With --results it writes attacks.md, attacks.json and attacks.png.
"""

import argparse
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from learning import METHODS, cells, epsilon_of

from surefoot.attack.method import MethodSummary, summarise_method
from surefoot.attack.suite import FULL

ATTACKS = tuple(name for name in FULL if name != "clean")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="<task>-<method>-<seed>, folders of --runs")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of what is finished")
    parser.add_argument("--results", type=Path, help="write attacks.{md,json,png} here")
    parser.add_argument("--only-finished", action="store_true", help="attack nothing more")
    parser.add_argument("--set", dest="options", action="append", default=[])
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    agents: dict[tuple[str, str], list[Path]] = {}
    for cell in cells():
        run = cell.folder(given.runs)
        report = given.out / f"{run.name}.json"
        if (given.names and run.name not in given.names) or not (run / "train.json").is_file():
            continue
        if not given.only_finished:
            print(run.name, file=sys.stderr, flush=True)
            attack(run, report, epsilon_of(cell.preset), given.options)
        if report.is_file():
            agents.setdefault((cell.preset, cell.method), []).append(report)
    rows = [row_of(task, method, reports) for (task, method), reports in agents.items()]
    if given.results:
        settings = " ".join(f"--set {option}" for option in given.options)
        (given.results / "attacks.md").write_text(markdown(rows, settings))
        (given.results / "attacks.json").write_text(json.dumps({"rows": rows}, indent=1) + "\n")
        (given.results / "attacks.png").write_bytes(picture(rows))
    else:
        print(markdown(rows, ""))


def attack(run: Path, report: Path, epsilon: float, options: Sequence[str]) -> None:
    """Attack a run with the full suite, or go on with that, unless it is done."""
    if report.is_file():
        return
    command = [sys.executable, "-c", "from surefoot.cli import main; main()", "attack", str(run)]
    command += ["--allow-uncertified", "--suite", "full", "--out", str(report)]
    for setting in (f"attack.epsilon={epsilon}", *options):
        command += ["--set", setting]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | threads)


def row_of(task: str, method: str, reports: Sequence[Path]) -> dict[str, Any]:
    """Return what the full suite left of the agents of one method."""
    agents = [json.loads(report.read_text()) for report in reports]
    summary = summarise_method(agents)
    return {
        "task": task,
        "method": METHODS[method][0],
        "epsilon": epsilon_of(task),
        "seeds": [int(report.stem.rpartition("-")[2]) for report in reports],
        "clean": list(summary.clean),
        "attacked": {name: list(summary.attacked[name]) for name in ATTACKS},
        "variants": {name: [a["attacks"][name]["variant"] for a in agents] for name in ATTACKS},
        "worst": list(summary.worst),
        "worst_attack": [agent["worst"]["attack"] for agent in agents],
        "median_agent": summary.median_agent,
        "clean_iqm": summary.clean_iqm,
        "worst_iqm": summary.worst_iqm,
        "worst_interval": [summary.worst_interval.low, summary.worst_interval.high],
        "learned_excess": learned_excess(summary),
        "gradient_masking": [agent["gradient_masking"] for agent in agents],
        "failures": sum(one["failures"] for a in agents for one in a["attacks"].values()),
        "env_steps": {
            name: int(np.median([a["attacks"][name]["effort"]["env_steps"] for a in agents]))
            for name in ATTACKS
        },
    }


def learned_excess(summary: MethodSummary) -> list[float]:
    """Return by how much of the clean return SA-RL leaves each agent more than the worst does."""
    return [
        (learned - worst) / max(abs(clean), 1.0)
        for learned, worst, clean in zip(
            summary.attacked["sa-rl"], summary.worst, summary.clean, strict=True
        )
    ]


def markdown(rows: Sequence[Mapping[str, Any]], settings: str) -> str:
    """Return the page."""
    lines = [
        "# Every defence against every attack",
        "",
        "Mean returns on 50 evaluation episodes that neither training nor the attacks' own tuning",
        "saw, of the median agent (the seed whose worst is the median); then the worst attack on",
        "every seed, and the interquartile mean over all their episodes. A percentage is the worst",
        "return of a seed divided by its clean return.",
        "",
        "    python benchmarks/attack_strength.py --runs runs/learning --out runs/strength"
        f" {settings} --results docs/results",
        "",
        "![picture](attacks.png)",
    ]
    for task in dict.fromkeys(row["task"] for row in rows):
        members = [row for row in rows if row["task"] == task]
        head = ["defence", "clean", *ATTACKS, "worst of each seed", "worst, IQM [95 %]"]
        lines += ["", f"## {task}, linf epsilon {members[0]['epsilon']:g}", ""]
        lines += ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
        lines += ["| " + " | ".join(cells_of(row)) + " |" for row in members]
    return "\n".join(lines) + "\n"


def cells_of(row: Mapping[str, Any]) -> list[str]:
    """Return one line of the table; the strongest attack on the median agent is bold."""
    agent, attacked = row["median_agent"], row["attacked"]
    strongest = min(ATTACKS, key=lambda name: attacked[name][agent])
    returns = [f"{attacked[name][agent]:.0f}" for name in ATTACKS]
    returns[ATTACKS.index(strongest)] = f"**{attacked[strongest][agent]:.0f}**"
    each = ", ".join(
        f"{seed}: {worst:.0f} ({name}, {worst / clean:.0%})"
        for seed, worst, name, clean in zip(
            row["seeds"], row["worst"], row["worst_attack"], row["clean"], strict=True
        )
    )
    low, high = row["worst_interval"]
    return [
        row["method"],
        f"{row['clean'][agent]:.0f}",
        *returns,
        each,
        f"{row['worst_iqm']:.0f} [{low:.0f}, {high:.0f}]",
    ]


def picture(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Draw every seed as a line from its clean return to its worst, with all attacks on it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tasks = list(dict.fromkeys(row["task"] for row in rows))
    heights = [sum(len(row["seeds"]) + 1 for row in rows if row["task"] == task) for task in tasks]
    figure = Figure(figsize=(9, 0.16 * sum(heights) + 0.9 * len(tasks)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(tasks), 1, squeeze=False, height_ratios=heights)[:, 0]
    learned = {"sa-rl": ("C3", "v"), "pa-ad": ("C1", "^")}
    for panel, task in zip(panels, tasks, strict=True):
        place, ticks = 0, {}
        for row in (row for row in rows if row["task"] == task):
            ticks[place + (len(row["seeds"]) - 1) / 2] = row["method"]
            for agent, (clean, worst) in enumerate(zip(row["clean"], row["worst"], strict=True)):
                panel.plot([worst, clean], [place, place], color="0.8", linewidth=1, zorder=1)
                panel.scatter(clean, place, color="C0", s=24, zorder=3)
                for name in ATTACKS:
                    colour, marker = learned.get(name, ("0.45", "o"))
                    size = 22 if name in learned else 7
                    value = row["attacked"][name][agent]
                    panel.scatter(value, place, color=colour, marker=marker, s=size, zorder=2)
                place += 1
            place += 1
        panel.set_yticks(list(ticks), labels=list(ticks.values()), fontsize=8)
        panel.invert_yaxis()
        panel.set_title(f"{task}, one line per seed", fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel(
        "return: blue clean, red SA-RL, orange PA-AD, grey the other attacks of the full suite"
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
