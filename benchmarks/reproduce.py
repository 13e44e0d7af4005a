"""Train 20,000 steps of each preset, and compare what comes out with other processors.

    make reproduce                               # fails if a digest differs
    python benchmarks/reproduce.py --record      # takes up in the table what came out here

Each policy is compressed, certified and attacked as well. ``docs/results/reproduce.json`` holds the
digests of each preset and the processors on which they were seen. Digests of other versions of the
libraries are not comparable.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from surefoot.artifact import sha256_hex, to_json
from surefoot.certificate import Certificate
from surefoot.config import build, preset_names, to_table
from surefoot.onnx_file import load_policy
from surefoot.policy import weights_sha256
from surefoot.provenance import MadeOn, installed_versions, made_on
from surefoot.records import AttackRecord, TrainingRecord
from surefoot.run_folder import RunFolder
from surefoot.visited import VISITED_FILE

TABLE = Path(__file__).parents[1] / "docs" / "results" / "reproduce.json"
LIBRARIES = ("gymnasium", "mujoco", "numpy", "scipy", "torch")
TRAINING = ("train.total_steps=20_000", "train.visited_states=64", "train.num_evaluations=2")
ATTACK = ("attack.epsilon=0.05", "attack.episodes=2", "attack.selection_episodes=1")
DECIDED = (0, 3, 4)
"""Exit codes of a certificate: proved, refuted, not proved."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What came out of a preset.

    Attributes:
        digests: SHA-256 of each result, by its name.
        seen_on: Processors on which it came out.
    """

    digests: Mapping[str, str]
    seen_on: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """What ``docs/results/reproduce.json`` says.

    Attributes:
        versions: Versions of the libraries.
        presets: What came out, by preset.
    """

    versions: Mapping[str, str]
    presets: Mapping[str, Seen] = field(default_factory=dict)


def pipeline(*command: str | Path, settings: tuple[str, ...] = ()) -> None:
    """Run one command of surefoot in a process of its own.

    Raises:
        SystemExit: If it fails.
    """
    call = [sys.executable, "-m", "surefoot", *command]
    call += [part for setting in settings for part in ("--set", setting)]
    done = subprocess.run(call, capture_output=True, text=True)
    if done.returncode not in (DECIDED if command[0] == "certify" else (0,)):
        raise SystemExit(done.stderr)


def results_of(preset: str) -> tuple[dict[str, str], MadeOn]:
    """Return the digest of each result of a preset, and what computed it."""
    with tempfile.TemporaryDirectory() as folder:
        run, small = RunFolder(Path(folder) / "run"), Path(folder) / "small"
        pipeline("train", "--preset", preset, "--out", run.path, settings=TRAINING)
        pipeline("compress", run.path, "--sparsity", "0.7", "--visited-states", "0", "--out", small)
        pipeline("certify", run.path, "--out", run.certificate)
        attacked = ("--allow-uncertified", "--out", run.attack)
        pipeline("attack", run.path, *attacked, settings=ATTACK)
        training, attack = TrainingRecord.read(run.training), AttackRecord.read(run.attack)
        certificate = Certificate.parse(run.certificate.read_bytes())
        digests = {
            "policy": training.weights_sha256,
            "visited": sha256_hex((run.policy / VISITED_FILE).read_bytes()),
            "compressed": weights_sha256(load_policy(small)[0].policy),
            "certificate": sha256_hex(certificate.to_json()),
            "attacks": sha256_hex(to_json(attack.to_table()["attacks"])),
        }
        assert training.made_on is not None
        return digests, training.made_on


def compared(preset: str, known: Seen | None) -> tuple[bool, Seen | None]:
    """Compare what comes out of a preset with what is known.

    Returns:
        Whether it is the same, and what is known now; None where the kernels are not pinned.
    """
    digests, machine = results_of(preset)
    others = [name for name in digests if known and known.digests.get(name) != digests[name]]
    if known is None:
        print(f"{preset:12} is new in the table", flush=True)
    elif others:
        print(f"{preset:12} differs from {known.seen_on} in {', '.join(others)}", flush=True)
    else:
        print(f"{preset:12} as on {known.seen_on}", flush=True)
    if machine.unpinned is not None:
        print(f"{'':12} not pinned: {machine.unpinned}")
        return not others, known
    before = () if known is None or others else known.seen_on
    return not others, Seen(digests=digests, seen_on=tuple(sorted({*before, machine.processor})))


def table_here() -> Table:
    """Return the table for these libraries: an empty one if the file is of others."""
    versions = installed_versions(*LIBRARIES)
    if not TABLE.is_file():
        return Table(versions=versions)
    table = build(Table, json.loads(TABLE.read_bytes()), str(TABLE))
    if table.versions != versions:
        print(f"the table is of {table.versions}, here are {versions}: nothing to compare with")
        return Table(versions=versions)
    return table


def main() -> None:
    """Compare the presets that are asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="take up what came out in the table")
    parser.add_argument("presets", nargs="*", default=preset_names())
    given = parser.parse_args()
    print(f"on {made_on().processor}")
    table, same = table_here(), True
    for preset in given.presets:
        alike, seen = compared(preset, table.presets.get(preset))
        same = same and alike
        if given.record and seen is not None:
            table = replace(table, presets={**table.presets, preset: seen})
            TABLE.write_bytes(to_json(to_table(table)))
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
