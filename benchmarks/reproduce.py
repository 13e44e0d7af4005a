"""Train 20,000 steps of each preset, and compare what comes out with other processors.

    make reproduce                               # fails if a digest differs
    python benchmarks/reproduce.py --record      # takes up in the table what came out here

The table, ``docs/results/reproduce.json``, holds for each preset the digest of the policy and the
processors on which it was seen. Digests of other versions of the libraries are not comparable.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from surefoot.config import preset_names
from surefoot.provenance import made_on

TABLE = Path(__file__).parents[1] / "docs" / "results" / "reproduce.json"
STEPS = 20_000
LIBRARIES = ("gymnasium", "mujoco", "numpy", "torch")


def train(preset: str) -> tuple[str, dict[str, Any]]:
    """Train a preset in a process of its own; return the digest, and what computed it."""
    with tempfile.TemporaryDirectory() as folder:
        settings = [f"train.total_steps={STEPS}", "train.visited_states=0"]
        subprocess.run(
            [sys.executable, "-m", "surefoot", "train", "--preset", preset, "--out", folder]
            + [part for setting in settings for part in ("--set", setting)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        record = json.loads((Path(folder) / "train.json").read_bytes())
        facts = json.loads((Path(folder) / "policy" / "manifest.json").read_bytes())["facts"]
        return record["weights_sha256"], facts["made_on"]


def compared(preset: str, table: dict[str, Any], *, record: bool) -> bool:
    """Train a preset and return whether its digest is that of the table; take it up if wanted."""
    digest, machine = train(preset)
    known = table["digests"].get(preset)
    same = known is None or known["weights_sha256"] == digest
    print(f"{preset:12} {digest[:16]} {'as seen before' if known and same else 'new'}", flush=True)
    if not same:
        print(f"{'':12} {known['weights_sha256'][:16]} was seen on {known['seen_on']}")
    if machine["unpinned"] is not None:
        print(f"{'':12} kernels are not pinned: {machine['unpinned']}")
    elif record:
        seen = set(known["seen_on"]) if known and same else set()
        processors = sorted(seen | {machine["processor"]})
        table["digests"][preset] = {"weights_sha256": digest, "seen_on": processors}
    return same


def main() -> None:
    """Compare the presets that are asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write the table anew")
    parser.add_argument("presets", nargs="*", default=preset_names())
    given = parser.parse_args()
    table = json.loads(TABLE.read_bytes()) if TABLE.is_file() else {"versions": {}, "digests": {}}
    versions = {name: version(name) for name in LIBRARIES}
    if table["versions"] != versions:
        print(f"the table is of {table['versions']}, here are {versions}: nothing to compare with")
        table = {"steps": STEPS, "versions": versions, "digests": {}}
    print(f"on {made_on().processor}")
    results = [compared(preset, table, record=given.record) for preset in given.presets]
    if given.record:
        TABLE.write_text(json.dumps(table, indent=2, sort_keys=True) + "\n")
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
