"""Every defence against every attack: the table, from the policies of many training runs.

    python benchmarks/attack_strength.py --runs runs --out strength --results docs/results \\
        hopper-dense-10 hopper-dense-11 hopper-sa-10 walker2d-dense-10

Each name is <task>-<method>-<seed>, a folder of --runs. The suite of one run is the command
``pipeline attack``, whose finished pieces stay in --out: the same call goes on after an
interruption, and runs that are done are not attacked again.
"""

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from surefoot.attack.method import summarise_method

EPSILON = {"hopper": 0.075, "walker2d": 0.05, "halfcheetah": 0.15, "ant": 0.15}


def attack(run: Path, out: Path, options: list[str]) -> dict:
    """Return the attack.json of a run, making it if it is not there."""
    if not out.exists():
        task = run.name.split("-")[0]
        settings = [f"attack.epsilon={EPSILON[task]}", *options]
        command = [sys.executable, "-c", "from surefoot.cli.main import main; main()"]
        command += ["attack", str(run), "--allow-uncertified", "--suite", "full", "--out", str(out)]
        for setting in settings:
            command += ["--set", setting]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads(out.read_text())


def table_of(tables: dict[tuple[str, str], list[dict]]) -> tuple[str, list[dict]]:
    """Return the Markdown table and its numbers."""
    lines, rows = [], []
    for (task, method), agents in sorted(tables.items()):
        summary = summarise_method(agents)
        attacks = list(summary.attacked)
        if not lines or rows[-1]["task"] != task:
            lines += ["", f"## {task}, linf epsilon {EPSILON[task]:g}", ""]
            head = ["defence", "seeds", "clean", *attacks, "worst, IQM [95 %]", "worst / clean"]
            lines += ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
        low, high = summary.worst_interval.low, summary.worst_interval.high
        median = summary.median_agent
        row = {
            "task": task,
            "method": method,
            "seeds": len(agents),
            "clean_iqm": summary.clean_iqm,
            "attacked_of_median_agent": {name: summary.attacked[name][median] for name in attacks},
            "worst_of_each_agent": summary.worst,
            "worst_iqm": summary.worst_iqm,
            "worst_interval": [low, high],
            "masking": [agent["gradient_masking"] for agent in agents],
        }
        rows.append(row)
        cells = [method, str(len(agents)), f"{summary.clean_iqm:.0f}"]
        cells += [f"{value:.0f}" for value in row["attacked_of_median_agent"].values()]
        cells += [f"{summary.worst_iqm:.0f} [{low:.0f}, {high:.0f}]"]
        cells += [f"{summary.worst_iqm / summary.clean_iqm:.0%}" if summary.clean_iqm > 0 else "-"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n", rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", help="<task>-<method>-<seed>, folders of --runs")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of what is finished")
    parser.add_argument("--results", type=Path, help="write attacks.md and attacks.json here")
    parser.add_argument("--set", dest="options", action="append", default=[])
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    tables: dict[tuple[str, str], list[dict]] = defaultdict(list)
    for name in given.names:
        task, method, _ = name.split("-")
        print(name, file=sys.stderr, flush=True)
        result = attack(given.runs / name, given.out / f"{name}.json", given.options)
        tables[task, method].append(result)
    text, rows = table_of(tables)
    head = (
        "# Every defence against every attack\n\n"
        "Mean returns on 50 evaluation episodes that neither training nor the attacks' own tuning "
        "saw; per attack of the median agent, worst over all agents.\n\n"
        f"    python benchmarks/attack_strength.py --runs RUNS --out OUT {' '.join(given.names)}\n"
    )
    if given.results:
        (given.results / "attacks.md").write_text(head + text)
        (given.results / "attacks.json").write_text(json.dumps(rows, indent=2) + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
