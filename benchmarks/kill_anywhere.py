"""Kill a run at random moments, and every verb at each of its file operations: both must end alike.

    python benchmarks/kill_anywhere.py --kills 100 --out kill_anywhere.json
    python benchmarks/kill_anywhere.py --points train run --folder /dev/shm/kill

A random moment is drawn uniformly from the time of a whole run; the same command is killed again
and again, each time after a moment of its own, until it ends by itself. Its bundle, its policy and
its attacks must be those of the run that nobody killed, and nothing may be left beside them. With
``--points``, which without names takes all of them, ``tests/crash/kill_points.py`` tries every file
operation instead; that takes an hour. Reports of other names in ``--out`` stay there.
"""

import argparse
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1] / "tests" / "crash"
sys.path.insert(0, str(TESTS))

import kill_points as points  # noqa: E402

Report = dict[str, Any]
POLL_S = 0.005


def main() -> None:
    """Kill, and write down how many survived."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--points", nargs="*", metavar="NAME")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="Where it works, for a fast file system.")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    place = Path(tempfile.mkdtemp(dir=given.folder))
    result = json.loads(given.out.read_bytes()) if given.out and given.out.is_file() else {}
    for report in reports_of(place, given):
        result[report.pop("name")] = report
        if given.out:
            given.out.write_text(json.dumps(result, indent=2) + "\n")
    shutil.rmtree(place)
    print(json.dumps(result, indent=2))


def reports_of(place: Path, given: argparse.Namespace) -> Iterator[Report]:
    """Yield a report for each name."""
    if given.points is None:
        yield {"name": "random kills of run", **kill_at_random(place, given.kills, given.seed)}
        return
    names = given.points or [*points.CALLS, *points.COMMANDS, *points.TORN]
    calls = [name for name in names if name in points.CALLS]
    yield from kill_at_points(place / "calls", calls)  # in a process that imports much less
    yield from kill_at_points(place / "verbs", [name for name in names if name not in calls])


def kill_at_points(place: Path, names: list[str]) -> Iterator[Report]:
    """Yield what became of every file operation of each name."""
    command = [sys.executable, str(TESTS / "kill_points.py"), str(place), "all", *names]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
            print(line, end="", file=sys.stderr)
    assert process.returncode == 0


def kill_at_random(place: Path, num_kills: int, seed: int) -> Report:
    """Kill runs until so many kills are done; return how many runs came out as they should."""
    points.import_everything()
    rng = random.Random(seed)
    whole = new_folder(place, "whole")
    began = time.monotonic()
    assert run_for(whole, math.inf) in points.VERDICTS
    whole_s = time.monotonic() - began
    wanted = points.content(whole)
    kills = runs = 0
    faults: list[str] = []
    while kills < num_kills:
        folder = new_folder(place, "killed")
        moments: list[float] = []
        while (code := run_for(folder, moment := rng.uniform(0, whole_s))) == -signal.SIGKILL:
            moments.append(moment)
        kills, runs = kills + len(moments), runs + 1
        fault = points.difference(wanted, points.content(folder))
        if code not in points.VERDICTS or fault:
            faults.append(f"killed after {moments} s: exit {code}, {fault}")
        shutil.rmtree(folder)
    return {"kills": kills, "runs": runs, "seconds of a run": whole_s, "faults": faults}


def run_for(folder: Path, seconds: float) -> int:
    """Run the command and kill it after a while, if it has not ended; return its exit code."""
    pid, told = points.start(folder, points.pipeline(points.COMMANDS["run"].arguments))
    end = time.monotonic() + seconds
    ended, status = 0, 0
    while not ended and time.monotonic() < end:
        time.sleep(POLL_S)
        ended, status = os.waitpid(pid, os.WNOHANG)
    if not ended:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    os.close(told)
    return os.waitstatus_to_exitcode(status)


def new_folder(place: Path, name: str) -> Path:
    """Return a folder with the configuration."""
    folder = place / name
    folder.mkdir()
    (folder / "config.toml").write_text(points.CONFIG)
    (folder / "other.toml").write_text(points.OTHER_BUDGET)
    return folder


if __name__ == "__main__":
    main()
