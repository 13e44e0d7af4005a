"""Give ``pipeline verify`` what an attacker may put into a bundle: seconds, memory, answers.

    python benchmarks/hostile_bundles.py --out docs/results/hostile_bundles.json
    python benchmarks/hostile_bundles.py --mutations 200 --folder /dev/shm

Files: each is put into a signed bundle behind a manifest that fits, as somebody without the key
may, and given to a process of its own, with ``--key`` and without. The seconds are those of the
processor, so that other load does not count, and without the start of a process. Mutations: bytes
of one file or the files themselves are changed at random, half of them behind a manifest that fits.
Without a key the digests alone are asked, so that a change of what nothing rests on may well be
accepted there; with the key nothing may be.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.hostile import FILES, FOLDERS, forge, mutate
from support.small_bundle import SmallBundle, small_bundle
from surefoot.errors import SurefootError
from surefoot.signing import SIGNATURES_FILE, TrustPolicy
from surefoot.workflow.verifying import verify_bundle

REFUSED = (2, 5)
Json = dict[str, Any]
Server = subprocess.Popen[str]
SERVER = """
import json, os, sys
import surefoot.workflow.verifying
from surefoot.cli import main

def verify(arguments, out):
    descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.argv = ["pipeline", "verify", *arguments]
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        verify(**json.loads(line))
    _, status, usage = os.wait4(pid, 0)
    code, seconds = os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime
    measured = {"code": code, "seconds": seconds, "mebibytes": usage.ru_maxrss / 1024}
    print(json.dumps(measured), flush=True)
"""
"""A process that has imported what ``verify`` needs; each answer is given by a child of it.

So it is measured without the start of a process, but with all memory of one.
"""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What ``pipeline verify`` said.

    Attributes:
        case: What it was given.
        code: Exit code.
        seconds: Of the processor, without the start of the process.
        mebibytes: Most memory.
        words: The last line that it wrote.
    """

    case: str
    code: int
    seconds: float
    mebibytes: float
    words: str


def main() -> None:
    """Measure and write down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--unsigned", type=int, default=2_000, help="Mutations without a key.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="Where it works, for a fast file system.")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    place = Path(tempfile.mkdtemp(dir=given.folder))
    bundle = small_bundle(place)
    result = files(bundle, place)
    result["mutations"] = {
        "with the key": mutations(bundle, bundle.trust, given.mutations, given.seed),
        "without a key": mutations(bundle, None, given.unsigned, given.seed + 1),
    }
    shutil.rmtree(place)
    text = json.dumps(result, indent=2)
    if given.out:
        given.out.write_text(text + "\n")
    print(text)


def mutations(bundle: SmallBundle, trust: TrustPolicy | None, count: int, seed: int) -> Json:
    """Verify mutated bundles in this process; return how often they were refused, and how fast."""
    rng = np.random.default_rng(seed)
    refused: Counter[str] = Counter()
    accepted: list[str] = []
    same: list[str] = []
    tracebacks: list[str] = []
    slowest_s, folder = 0.0, bundle.folder.with_name("mutated")
    for _ in range(count):
        what = mutate(bundle.folder, rng, folder)
        began = time.process_time()
        try:
            verify_bundle(folder, trust=trust)
            (same if bundle.says_the_same(folder) else accepted).append(what)
        except SurefootError as error:
            refused[what.split(":")[0]] += 1
            if "\n" in str(error):
                tracebacks.append(f"{what}: {error}")
        except Exception:
            tracebacks.append(f"{what}: {traceback.format_exc()}")
        slowest_s = max(slowest_s, time.process_time() - began)
    return {
        "count": count,
        "refused": refused,
        "accepted": accepted,
        "accepted, and says the same": same,
        "tracebacks": tracebacks,
        "slowest seconds": slowest_s,
        "mebibytes of the process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def files(bundle: SmallBundle, place: Path) -> Json:
    """Return the answers to every hostile file and folder, the slowest first."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    sound = ask(server, "the bundle itself", bundle.folder, bundle.key_file)
    answers = [
        ask(server, f"{name}, {words}", folder, key)
        for name, folder in hostile_folders(bundle, place)
        for words, key in (("with the key", bundle.key_file), ("without a key", None))
        if key is not None or SIGNATURES_FILE not in name
    ]
    server.communicate()
    answers.sort(key=lambda answer: -answer.seconds)
    return {
        "the bundle itself": asdict(sound),
        "accepted": [answer.case for answer in answers if answer.code not in REFUSED],
        "most seconds": answers[0].seconds,
        "most mebibytes": max(answer.mebibytes for answer in answers),
        "answers": [asdict(answer) for answer in answers],
    }


def hostile_folders(bundle: SmallBundle, place: Path) -> Iterator[tuple[str, Path]]:
    """Yield bundles with one hostile file each, and folders that are hostile themselves."""
    for (name, case), data in FILES.items():
        folder = place / "forged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(bundle.folder, folder)
        forge(folder, {name: data()})
        yield f"{name}: {case}", folder
    for case, spoil in FOLDERS.items():
        folder = place / "spoilt"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(bundle.folder, folder)
        spoil(folder)
        yield case, folder


def ask(server: Server, case: str, folder: Path, key: Path | None) -> Answer:
    """Return what ``pipeline verify`` says to a folder, and what it took."""
    assert server.stdin is not None
    assert server.stdout is not None
    arguments = [str(folder), *([] if key is None else ["--key", str(key)])]
    with tempfile.NamedTemporaryFile("r") as written:
        server.stdin.write(json.dumps({"arguments": arguments, "out": written.name}) + "\n")
        server.stdin.flush()
        measured = json.loads(server.stdout.readline())
        # Where the bundle lay for the trial is nobody's concern.
        words = written.read().replace(f"{folder.parent}/", "").strip().splitlines()
    return Answer(case=case, words=words[-1][:300] if words else "", **measured)


if __name__ == "__main__":
    main()
