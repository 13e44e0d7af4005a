"""Write the tables of ``docs/results/faults.md`` from the JSON files beside it.

python benchmarks/faults_docs.py
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from page_tables import replace_table, table

Json = Any
RESULTS = Path(__file__).parents[1] / "docs" / "results"
MEBIBYTE = 1 << 20
NUM_WORST = 5


def main() -> None:
    """Fill every table."""
    page = RESULTS / "faults.md"
    replace_table(page, "kills", _kills(_read("kill_anywhere")))
    replace_table(page, "hostile", _hostile(_read("hostile_bundles")))
    replace_table(page, "fuzz", _fuzz(_read("fuzz_parsers")))


def _read(name: str) -> Json:
    return json.loads((RESULTS / f"{name}.json").read_bytes())


def _kills(result: Mapping[str, Json]) -> str:
    rows = [
        (name, row["operations"], row["tried"], row["tried"] - len(row["faults"]))
        for name, row in result.items()
        if "operations" in row
    ]
    runs = result["random kills of run"]
    words = (
        f"`pipeline run`, killed at {runs['kills']} random moments: {runs['runs']} runs went on "
        f"until they ended by themselves, {runs['runs'] - len(runs['faults'])} of them with the "
        "bundle, the policy and the attacks of a run that nobody killed."
    )
    head = ("what", "operations, or torn files", "tried", "survived")
    return f"{table(head, rows)}\n\n{words}"


def _hostile(result: Mapping[str, Json]) -> str:
    answers = result["answers"]
    heaviest = sorted(answers, key=lambda row: -row["mebibytes"])[:NUM_WORST]
    rows = [
        (row["case"], f"{row['seconds']:.2f}", f"{row['mebibytes'] * MEBIBYTE / 1e6:.0f}")
        for row in [
            result["the bundle itself"],
            *(row for row in answers if row in answers[:NUM_WORST] or row in heaviest),
        ]
    ]
    mutations = [
        (
            name,
            row["count"],
            len(row["accepted"]),
            len(row["accepted, and says the same"]),
            len(row["tracebacks"]),
            f"{row['slowest seconds']:.2f}",
        )
        for name, row in result["mutations"].items()
    ]
    mutated = ("mutations", "number", "accepted", "accepted, and says the same")
    return "\n\n".join(
        (
            f"{len(answers)} answers, {len(result['accepted'])} of them accepted; the worst:",
            table(("what", "seconds", "MB"), rows),
            table((*mutated, "tracebacks", "slowest, seconds"), mutations),
        )
    )


def _fuzz(result: Mapping[str, Json]) -> str:
    rows = [
        (
            f"`{row['name']}`",
            row["executions"],
            row["accepted"],
            f"{1e3 * row['slowest_s']:.0f}",
            len(row["findings"]),
        )
        for row in result["targets"]
    ]
    total = sum(row["executions"] for row in result["targets"])
    seconds = sum(row["processor_s"] for row in result["targets"])
    head = ("parser", "executions", "accepted", "slowest, ms", "findings")
    return f"{total} executions in {seconds:.0f} s.\n\n{table(head, rows)}"


if __name__ == "__main__":
    main()
