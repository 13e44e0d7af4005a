"""Run the demo with other seeds, and write down what each comes to.

    python benchmarks/demo_seeds.py                      # ten seeds, six minutes of one core each
    python benchmarks/demo_seeds.py --seeds 0 1 --out runs/demo-seeds

Finished runs are kept. The table goes into ``docs/results/demo_seeds.json`` and between the marks
of ``docs/results/demo.md``.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from surefoot.records import RunSummary
from surefoot.run_folder import RunFolder

RESULTS = Path(__file__).parents[1] / "docs" / "results"
BEGIN, END = "<!-- seeds:begin -->\n", "<!-- seeds:end -->"
SETTINGS = ("train.num_threads=1", "attack.num_threads=1", "bench.num_calls=1000")
SCOPES = ("everywhere", "of visited states")
"""How the requirements of the columns of bounds call where they hold."""

HEAD = ("seed", "clean", "random", "MAD", "push", "proved everywhere", "proved at 99 %", "verdict")


def run(seed: int, out: Path) -> RunSummary:
    """Run the demo with a seed, unless it was; it may miss its budget.

    Raises:
        SystemExit: If it fails otherwise.
    """
    folder = RunFolder(out / f"demo-{seed}")
    call = [sys.executable, "-m", "surefoot", "run", "--preset", "demo", "--seed", str(seed)]
    call += [part for setting in SETTINGS for part in ("--set", setting)]
    done = subprocess.run([*call, "--out", folder.path], capture_output=True, text=True)
    if done.returncode not in (0, 3, 4) or not folder.summary.is_file():
        raise SystemExit(done.stderr)
    return RunSummary.read(folder.summary)


def row_of(seed: int, summary: RunSummary) -> tuple[str, ...]:
    """Return the entries of a seed, in the order of `HEAD`."""
    returns = [
        summary.clean_return,
        *(summary.attacked_return[n] for n in ("random", "mad", "push")),
    ]
    bounds = [
        next(entry.certified for entry in summary.requirements if scope in entry.requirement)
        for scope in SCOPES
    ]
    return (
        str(seed),
        *(f"{value:.0f}" for value in returns),
        *("-" if bound is None else f"{bound:.3f}" for bound in bounds),
        str(summary.verdict),
    )


def table_of(summaries: dict[int, RunSummary]) -> str:
    """Return the Markdown table."""
    rows = [HEAD, ("---",) * len(HEAD), *(row_of(*entry) for entry in summaries.items())]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def main() -> None:
    """Run the seeds that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=range(10))
    parser.add_argument("--out", type=Path, default=Path("runs/demo-seeds"))
    given = parser.parse_args()
    summaries = {seed: run(seed, given.out) for seed in given.seeds}
    tables = {seed: summary.to_table() for seed, summary in summaries.items()}
    (RESULTS / "demo_seeds.json").write_text(json.dumps(tables, indent=1) + "\n")
    page = RESULTS / "demo.md"
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    page.write_text(before + BEGIN + table_of(summaries) + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
