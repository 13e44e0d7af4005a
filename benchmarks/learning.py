"""What each method learns, how it stands attacks, and what is proved about it: the agents.

    python benchmarks/learning.py train    --jobs 2        # hours; goes on where it was
    python benchmarks/learning.py commands                 # the same, to be typed one by one
    python benchmarks/learning_tables.py                   # tables and pictures, of what is kept

``train`` runs, for each cell (task, method, seed), ``pipeline train``, ``pipeline certify`` and
``pipeline attack`` in a folder of --out; what a folder holds already is not made again, and an
interrupted training or suite goes on. One process and one thread per job. What came of a cell is
kept in a folder of --keep: the controller that was attacked, the critic that was trained with it,
and agent.json, which says everything else. A cell that is kept with its attacks is done.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surefoot.config import load_preset
from surefoot.provenance import code_digest

PLAIN, DENSE = {"train.defence.kind": "none"}, {"train.pruning.kind": "none"}
BALL = "epsilon = 0.075, ramp_end = 0.5"
METHODS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "dense": ("dense PPO", PLAIN | DENSE),
    "sa": ("dense SA", DENSE),
    "sa50": ("SA + magnitude 50 %", {"train.pruning.sparsity": 0.5}),
    "sa70": ("SA + magnitude 70 %", {"train.pruning.sparsity": 0.7}),
    "sa90": ("SA + magnitude 90 %", {"train.pruning.sparsity": 0.9}),
    "sa90wide": (
        "SA + magnitude 90 %, actor of 256x256",
        {"train.pruning.sparsity": 0.9, "train.hidden": [256, 256]},
    ),
    "barpo70": (
        "BARPO + magnitude 70 %",
        {
            "train.defence": f'{{kind = "barpo", {BALL}}}',
            "train.pruning.sparsity": 0.7,
        },
    ),
    "atla": (
        "dense ATLA with SA",
        DENSE | {"train.defence": f'{{kind = "atla", {BALL}, kappa = 0.1, fraction = 0.25}}'},
    ),
    "atlaall": (
        "dense ATLA alone, all attacked",
        DENSE | {"train.defence": f'{{kind = "atla", {BALL}, attacked = 1.0}}'},
    ),
    "arpo": (
        "dense ARPO",
        DENSE | {"train.defence": f'{{kind = "arpo", {BALL}}}'},
    ),
    "saconvex": (
        "dense SA by bounds",
        DENSE | {"train.defence": f'{{kind = "sa_convex", {BALL}, kappa = 0.03, fraction = 0.25}}'},
    ),
    # 0.6 at epsilon 0.075, below the 0.8 of the budget of the preset
    "lipschitz": (
        "dense, Lipschitz target",
        DENSE | {"train.defence": '{kind = "lipschitz", at_most = 8.0, ramp_end = 0.5}'},
    ),
    "lipschitzabs": (
        "dense, Lipschitz target by the absolute product",
        DENSE
        | {
            "train.defence": '{kind = "lipschitz", at_most = 8.0, ramp_end = 0.5, '
            'bound = "absolute_product"}'
        },
    ),
}
"""By short name: the name in the tables, and what is set beside the preset."""

TASKS: Mapping[str, Sequence[str]] = {
    "hopper": tuple(METHODS),
    "walker2d": ("dense", "sa", "sa70"),
    "halfcheetah": ("dense", "sa", "sa70"),
    "ant": ("sa", "sa70"),
}
"""Methods by preset."""

SEEDS = {"ant": (10,)}
DEFAULT_SEEDS = (10, 11, 12)
"""The presets were chosen on seeds 0 to 3; these are held out."""

ADVERSARY_STEPS = 250_000
"""Of each training of a learned adversary: a quarter of the default, on fifty agents."""

KEPT = Path("docs/results/agents")
RECORD = "agent.json"
DECIDED = (0, 3, 4)
"""Exit codes of ``pipeline certify`` that come with a certificate."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training and what came of it."""

    preset: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        """Of its folders."""
        return f"{self.preset}-{self.method}-{self.seed}"

    def commands(self, out: Path, keep: Path) -> dict[str, list[str]]:
        """Return the commands of surefoot, by the file that each of them makes.

        The controller that is attacked is the one that is kept, byte for byte that of the run.
        """
        folder, controller = out / self.name, keep / self.name / "policy.onnx"
        train = ["train", "--preset", self.preset, "--seed", str(self.seed)]
        for key, value in METHODS[self.method][1].items():
            train += ["--set", f"{key}={value}"]
        attack = ["attack", str(controller), "--allow-uncertified", "--suite", "full"]
        for key, value in {
            "epsilon": epsilon_of(self.preset),
            "adversary_steps": ADVERSARY_STEPS,
            "num_threads": 1,
        }.items():
            attack += ["--set", f"attack.{key}={value}"]
        return {
            "train.json": [*train, "--set", "train.num_threads=1", "--out", str(folder)],
            "certificate.json": [
                "certify",
                str(folder),
                "--out",
                str(folder / "certificate.json"),
            ],
            "attack.json": [*attack, "--out", str(folder / "attack.json")],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("train", "commands"))
    parser.add_argument("names", nargs="*", help="<preset>-<method>-<seed>; all if none is given")
    parser.add_argument("--out", type=Path, default=Path("runs/learning"))
    parser.add_argument("--keep", type=Path, default=KEPT)
    parser.add_argument("--jobs", type=int, default=1, help="cells side by side, one core each")
    given = parser.parse_args()
    chosen = [cell for cell in cells() if not given.names or cell.name in given.names]
    if given.what == "commands":
        for cell in chosen:
            for command in cell.commands(given.out, given.keep).values():
                print("pipeline", shlex.join(command))
        return
    with ThreadPoolExecutor(given.jobs) as pool:
        made = [pool.submit(make, cell, given.out, given.keep) for cell in chosen]
        done, _ = wait(made, return_when=FIRST_EXCEPTION)
        pool.shutdown(cancel_futures=True)
    for future in done:
        future.result()


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


def make(cell: Cell, out: Path, keep: Path) -> None:
    """Train, certify and attack one cell, whatever of it is missing, and keep what came of it."""
    folder, commands = out / cell.name, cell.commands(out, keep)
    if "certificate" not in kept(keep, cell):
        for file, accepted in (("train.json", (0,)), ("certificate.json", DECIDED)):
            if not (folder / file).is_file():
                pipeline(commands[file], accepted)
                print(f"{cell.name}: {file}", flush=True)
        keep_trained(cell, out, keep)
    if "attack" not in kept(keep, cell):
        folder.mkdir(parents=True, exist_ok=True)
        pipeline(commands["attack.json"], (0,))
        print(f"{cell.name}: attack.json", flush=True)
        keep_attacked(cell, folder / "attack.json", keep)


def pipeline(command: list[str], accepted: tuple[int, ...]) -> None:
    """Run one command of surefoot on one thread.

    Raises:
        SystemExit: If it ended otherwise than accepted.
    """
    call = [sys.executable, "-m", "surefoot", *command]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(call, env=os.environ | threads, capture_output=True, text=True)
    if done.returncode not in accepted:
        raise SystemExit(f"pipeline {shlex.join(command)}\n{done.stdout}{done.stderr}")


def keep_trained(cell: Cell, out: Path, keep: Path) -> None:
    """Copy the controller and its critic, and write down how it was trained and what is proved."""
    folder, place = out / cell.name, keep / cell.name
    place.mkdir(parents=True, exist_ok=True)
    for file in ("policy.onnx", "critic.safetensors"):
        shutil.copyfile(folder / "policy" / file, place / file)
    commands = cell.commands(out, keep).values()
    record = {
        "preset": cell.preset,
        "method": cell.method,
        "seed": cell.seed,
        "commands": [f"pipeline {shlex.join(command)}" for command in commands],
        "train": json.loads((folder / "train.json").read_text()),
        "train_code_sha256": code_digest(),
        "curve": curve_of(folder / "policy" / "curves.json"),
        "certificate": bounds_of(folder / "certificate.json"),
    }
    write_record(place, record)


def keep_attacked(cell: Cell, attack: Path, keep: Path) -> None:
    """Write down what attacks found.

    Raises:
        SystemExit: If they were about another controller than the one that is kept.
    """
    record, found = kept(keep, cell), json.loads(attack.read_text())
    if found["onnx_sha256"] != record["train"]["onnx_sha256"]:
        raise SystemExit(f"{attack} is not about {keep / cell.name}")
    write_record(keep / cell.name, record | {"attack": found})


def write_record(place: Path, record: Mapping[str, Any]) -> None:
    (place / RECORD).write_text(json.dumps(record, separators=(",", ":")) + "\n")


def kept(keep: Path, cell: Cell) -> dict[str, Any]:
    """Return what is known about a cell; nothing if it was never trained."""
    record = keep / cell.name / RECORD
    return json.loads(record.read_text()) if record.is_file() else {}


def curve_of(curves: Path) -> dict[str, list[float]]:
    """Return steps and clean return of the evaluations during one training.

    Where an adversary learned beside the policy, the return that it left is with them.
    """
    table = json.loads(curves.read_text())
    seen = [i for i, value in enumerate(table["clean_return"]) if value is not None]
    names = ("step", "clean_return", "attacked_return")
    return {name: [table[name][i] for i in seen] for name in names if name in table}


def bounds_of(path: Path) -> dict[str, Any]:
    """Return the bounds of a certificate that the tables show."""
    certificate = json.loads(path.read_text())
    visited = next(
        finding
        for finding in certificate["requirements"]
        if finding["requirement"].get("scope") == "visited"
    )
    return {
        "onnx_sha256": certificate["onnx_sha256"],
        "verdict": certificate["verdict"],
        "lipschitz_l2": certificate["lipschitz_l2"],
        "deviation_linf": certificate["deviation_linf"],
        "visited": {
            "epsilon": visited["requirement"]["epsilon"],
            "fraction": visited["requirement"]["fraction"],
            "confidence": visited["requirement"]["confidence"],
            "certified": visited["certified"],
            "sampled": visited["sampled"],
        },
    }


if __name__ == "__main__":
    main()
