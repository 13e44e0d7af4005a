"""Kill a command at its k-th file operation, run it again, and look at what is there.

    python tests/crash/kill_points.py FOLDER SAMPLE NAME ...

A file operation is an fsync, rename, unlink, mkdir, rmdir, link, truncation or opening to write.
Every command runs in a forked child of this process, which has imported everything before; the
operations of a study are those of the process that shares out the cells. SAMPLE
is how many of the operations are tried, spread evenly, or ``all``. What comes out is one line of
JSON for each NAME, which is of

    COMMANDS  verbs of the pipeline
    CALLS     the functions that all writing goes through: of them every operation is tried, and
              SAMPLE are the operations of the second attempt
    TORN      verbs, of which each file that they left is torn instead, as a loss of power may
"""

import contextlib
import gc
import hashlib
import importlib
import io
import itertools
import json
import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from surefoot.artifact import (
    Artifact,
    check_artifact_place,
    check_place,
    claim_folder,
    read_artifact,
    read_file,
    write_artifact,
    write_file,
)
from surefoot.errors import InputError
from surefoot.keys import public_pem, read_private_key, write_key_pair
from surefoot.ownership import hold_folder

CONFIG = """
[train]
env_id = "InvertedPendulum-v5"
total_steps = 192
num_envs = 2
rollout_steps = 32
minibatch_size = 32
hidden = [4]
critic_hidden = [4]
epochs = 1
num_threads = 1
num_evaluations = 1
evaluation_episodes = 1
visited_states = 2
checkpoint_steps = 64

[certify]
search_states = 2
search_steps = 1
lipsdp_iterations = 1
lipsdp_per_actuator = 0

[attack]
attacks = ["random"]
epsilon = 0.05
episodes = 1
selection_episodes = 1
num_threads = 1

[bench]
num_calls = 20
warm_up = 1
rates_hz = [1000]
paced_s = 0.002
batches = [2]
under_load = false
backends = ["numpy"]

[export]
num_random = 10

[[require]]
quantity = "action_deviation"
epsilon = 0.05
norm = "linf"
scope = "everywhere"
at_most = 5.9
"""
OTHER_BUDGET = """[[require]]
quantity = "sparsity"
at_least = 0.99
"""
GRID = """
preset = "hopper"
baseline = "dense"
stages = ["train"]

[seeds]
select = [0]

[train]
env_id = "CartPole-v1"
total_steps = 64
num_envs = 2
rollout_steps = 32
minibatch_size = 32
hidden = [4]
critic_hidden = [4]
epochs = 1
num_threads = 1
averaging = 0.0
num_evaluations = 1
evaluation_episodes = 1
visited_states = 2
defence.kind = "none"

[[arm]]
name = "dense"
train.pruning.kind = "none"

[[arm]]
name = "random"
train.pruning = { kind = "random", sparsity = 0.5, interval = 1 }
"""
"""A grid of two cells."""


@dataclass(frozen=True)
class Command:
    """A command of the pipeline under test.

    Attributes:
        arguments: As typed; paths are relative to a folder of its own.
        before: Commands that prepare that folder.
        finished: Exit code of the same command once it is done; as the first time if None.
    """

    arguments: str
    before: tuple[str, ...] = ()
    finished: int | None = None


_TRAIN = "train --config config.toml --out run"
_CERTIFY = "certify run --out run/certificate.json"
_EXPORT = "export run --certificate run/certificate.json --out bundle"
_SMALL = "compress run --weights int8 --out small"
_KEYS = "keygen --out key"
_ADOPT = "adopt bundle/policy.onnx --out adopted --env InvertedPendulum-v5 --visited-states 2"
_RUN = "run --config config.toml --out run"
COMMANDS = {
    "train": Command(_TRAIN),
    "compress": Command(_SMALL, (_TRAIN,)),
    "compress again": Command(_SMALL, (_TRAIN, "compress run --sparsity 0.5 --out small")),
    "quantise": Command("quantise run --out small", (_TRAIN,)),
    "certify": Command(_CERTIFY, (_TRAIN,)),
    "certify again": Command(_CERTIFY, (_TRAIN, f"{_CERTIFY} --set certify.seed=1")),
    "export": Command(_EXPORT, (_TRAIN, _CERTIFY)),
    "sign": Command(f"{_EXPORT} --sign key", (_TRAIN, _CERTIFY, _KEYS)),
    "sign again": Command(f"{_EXPORT} --sign key", (_TRAIN, _CERTIFY, _KEYS, _EXPORT)),
    "keygen": Command(_KEYS, finished=2),
    "attack": Command("attack bundle --config config.toml", (_TRAIN, _CERTIFY, _EXPORT)),
    "bench": Command("bench bundle --config config.toml", (_TRAIN, _CERTIFY, _EXPORT)),
    "run": Command(_RUN),
    "run again": Command(f"{_RUN} --budget other.toml", (_RUN,)),
    "report": Command("report run", (_RUN,)),
    "adopt": Command(_ADOPT, (_TRAIN, _CERTIFY, _EXPORT)),
    "study": Command("study grid.toml --out study"),
}


@dataclass(frozen=True)
class Call:
    """A call of the file layer under test, in a folder of its own.

    Attributes:
        work: What is done, and done again after it was killed.
        before: What is there before.
        holds: Whether a reader finds something whole at any time.
    """

    work: Callable[[], object]
    before: Callable[[], object] = lambda: None
    holds: Callable[[], bool] | None = None


_FILE, _THING, _RUN_FOLDER = Path("file"), Path("thing"), Path("a/b/run")
_OLD = Artifact(kind="thing", files={"a": b"old", "b": b"old"})
_NEW = Artifact(kind="thing", files={"a": b"new", "c": b"new"})


def _thing_is_whole() -> bool:
    """Return whether the folder is the old one or the new one, or the old one is set aside."""
    if not _THING.exists():
        return Path(".thing.surefoot-old").is_dir()
    return read_artifact(_THING, "thing", beside={"signature"}) in (_OLD, _NEW)


def _check_and_write() -> None:
    check_artifact_place(_THING, "thing")
    write_artifact(_THING, _NEW)


def _hold_and_write() -> None:
    with hold_folder(_RUN_FOLDER, "run"):
        write_file(_RUN_FOLDER / "file", b"new")


def _keys_fit() -> bool:
    return not Path("key.pub").exists() or public_pem(read_private_key(Path("key"))) == read_file(
        Path("key.pub")
    )


def _make_keys() -> None:
    with contextlib.suppress(InputError):  # they are there
        write_key_pair(Path("key"), Path("key.pub"))


CALLS = {
    "file": Call(lambda: write_file(_FILE, b"new")),
    "file again": Call(
        lambda: write_file(_FILE, b"new"),
        lambda: write_file(_FILE, b"old"),
        lambda: read_file(_FILE) in (b"old", b"new"),
    ),
    "check of a file": Call(
        lambda: check_place(_FILE),
        lambda: write_file(_FILE, b"old"),
        lambda: read_file(_FILE) == b"old",
    ),
    "check of no file": Call(lambda: check_place(_FILE), holds=lambda: not _FILE.exists()),
    "artifact": Call(
        lambda: write_artifact(_THING, _NEW), holds=lambda: not _THING.exists() or _thing_is_whole()
    ),
    "artifact again": Call(
        lambda: write_artifact(_THING, _NEW), lambda: write_artifact(_THING, _OLD), _thing_is_whole
    ),
    "check of an artifact": Call(
        lambda: check_artifact_place(_THING, "thing"), lambda: write_artifact(_THING, _OLD)
    ),
    "check of no artifact": Call(
        lambda: check_artifact_place(_RUN_FOLDER / "thing", "thing"),
        holds=lambda: not (_RUN_FOLDER / "thing").exists(),
    ),
    "check and artifact again": Call(_check_and_write, lambda: write_artifact(_THING, _OLD)),
    "signature": Call(
        lambda: write_file(_THING / "signature", b"new", beside=_THING.resolve()),
        lambda: write_artifact(_THING, _OLD),
        _thing_is_whole,
    ),
    "claim": Call(lambda: claim_folder(_RUN_FOLDER, "run")),
    "hold": Call(_hold_and_write),
    "keys": Call(_make_keys, holds=_keys_fit),
}


@dataclass(frozen=True)
class Torn:
    """A command whose files are torn.

    Attributes:
        arguments: As typed; it is given again then.
        without: Folders of its results that are not there either, as if it had been killed.
    """

    arguments: str
    without: tuple[str, ...] = ()


TORN = {
    "train torn": Torn(_TRAIN),
    "train unfinished and torn": Torn(_TRAIN, ("run/policy",)),
    "run torn": Torn(_RUN),
}
TEARS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
    "half zeros": lambda data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2),
}
"""What a loss of power may leave of a file."""

VERDICTS = (0, 3, 4)
TIMED = ("bench.json", "bench.png", "summary.json", "report.html", "stages.json")
"""Files of a run that hold measured times, or digests of such files."""

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate")
"""Audit events of the interpreter that change a folder."""


def main() -> None:
    """Try the commands that are named."""
    place, sample, *names = sys.argv[1:]
    if not CALLS.keys() >= set(names):
        import_everything()
    bench, limit = Bench(Path(place)), None if sample == "all" else int(sample)
    for name in names:
        if name in CALLS:
            report = bench.try_call(CALLS[name], limit)
        elif name in TORN:
            report = bench.try_tears(TORN[name], limit)
        else:
            report = bench.try_command(COMMANDS[name], limit)
        print(json.dumps({"name": name, **report}), flush=True)


class Bench:
    """A folder in which commands are tried; what comes before several of them is done once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[tuple[str, ...], Path] = {}
        self._numbers = itertools.count()

    def try_command(self, command: Command, sample: int | None) -> dict[str, object]:
        """Kill a command at its file operations and return how it went."""
        start = self._prepared(command.before)
        whole = self._copy(start)
        reference = run(whole, pipeline(command.arguments))
        assert reference.code in VERDICTS, reference.text
        fine = (reference.code, command.finished)
        tried, faults = 0, []
        for point in spread(reference.operations, sample):
            place = self._copy(start)
            killed = run(place, pipeline(command.arguments), kill_at=point)
            # TensorBoard's thread may have one operation less: then the last one is not met.
            tried += killed.code == -signal.SIGKILL
            again = run(place, pipeline(command.arguments))
            fault = (
                again.code not in fine and f"exit {again.code}: {again.text[-500:]}"
            ) or difference(content(whole), content(place))
            if fault:
                faults.append(f"operation {point}, {killed.last}: {fault}")
            shutil.rmtree(place)
        return {"operations": reference.operations, "tried": tried, "faults": faults}

    def try_call(self, call: Call, sample: int | None) -> dict[str, object]:
        """Kill a call at every operation, and its second attempt too; return how it went."""
        start = self._copy(self._prepared(()))
        assert run(start, _code_of(call.before)).code == 0
        whole = self._copy(start)
        reference = run(whole, _code_of(call.work))
        assert reference.code == 0, reference.text
        tried, faults = 0, []
        for first in range(reference.operations):
            once = self._copy(start)
            places = [(once, run(once, _code_of(call.work), kill_at=first))]
            second = run(self._copy(once), _code_of(call.work)).operations
            for point in spread(second, sample):
                twice = self._copy(once)
                places.append((twice, run(twice, _code_of(call.work), kill_at=point)))
            for place, killed in places:
                tried += 1
                seen = 0 if call.holds is None else run(place, _code_of(call.holds)).code
                again = run(place, _code_of(call.work))
                fault = (
                    (seen and "a reader finds nothing whole")
                    or (again.code and f"exit {again.code}: {again.text[-500:]}")
                    or difference(content(whole), content(place))
                )
                if fault:
                    faults.append(f"operations {first} and then {killed.last}: {fault}")
                shutil.rmtree(place)
        return {"operations": reference.operations, "tried": tried, "faults": faults}

    def try_tears(self, torn: Torn, sample: int | None) -> dict[str, object]:
        """Tear each file that a command left, as a loss of power may; return how it went."""
        whole = self._prepared((torn.arguments,))
        start = self._copy(whole)
        for name in torn.without:
            shutil.rmtree(start / name)
        cases = [
            (path.relative_to(start), tear)
            for path in sorted(start.rglob("*"))
            if path.is_file() and path.parent != start
            for tear in TEARS
        ]
        tried = [cases[number] for number in spread(len(cases), sample)]
        faults = []
        for path, tear in tried:
            place = self._copy(start)
            data = (place / path).read_bytes()
            (place / path).write_bytes(TEARS[tear](data))
            again = run(place, pipeline(torn.arguments))
            fault = (
                again.code not in VERDICTS and f"exit {again.code}: {again.text[-500:]}"
            ) or difference(results(whole), results(place))
            if fault:
                faults.append(f"{path}, {tear}: {fault}")
            shutil.rmtree(place)
        return {"operations": len(cases), "tried": len(tried), "faults": faults}

    def _prepared(self, commands: tuple[str, ...]) -> Path:
        """Return the folder that is there after some commands."""
        if commands not in self._made:
            if commands:
                place = self._copy(self._prepared(commands[:-1]))
                done = run(place, pipeline(commands[-1]))
                assert done.code in VERDICTS, f"{commands[-1]}: {done.text}"
            else:
                place = self._folder / "empty"
                place.mkdir(parents=True)
                (place / "config.toml").write_text(CONFIG)
                (place / "other.toml").write_text(OTHER_BUDGET)
                (place / "grid.toml").write_text(GRID)
            self._made[commands] = place
        return self._made[commands]

    def _copy(self, start: Path) -> Path:
        place = self._folder / str(next(self._numbers))
        shutil.copytree(start, place)
        return place


def spread(num: int, sample: int | None) -> Sequence[int]:
    """Return all of the numbers below ``num``, or a sample of them that is spread evenly."""
    if sample is None or sample >= num:
        return range(num)
    return [(2 * number + 1) * num // (2 * sample) for number in range(sample)]


def content(folder: Path) -> dict[str, str]:
    """Return what is in a folder by name: the digest of a file, if it is always the same."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        # They hold times, or the digest of what does.
        timed = {"checkpoints", "cells"} & {*path.parts} and path.suffix == ".json"
        if "tensorboard/" in name:  # one file for every process
            continue
        if path.is_dir():
            found[name] = "folder"
        elif path.name in TIMED or timed or path.name.startswith(("key", "controller")):
            found[name] = "file" if path.stat().st_size else "empty"
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def results(folder: Path) -> dict[str, str]:
    """Return the content of a folder without what a finished run no longer reads."""
    found = content(folder).items()
    spent = ("run/checkpoints", "run/train.toml", "run/attack.work")
    return {name: digest for name, digest in found if not name.startswith(spent)}


def difference(wanted: dict[str, str], found: dict[str, str]) -> str | None:
    """Return how two folders differ, or None."""
    if missing := sorted(wanted.keys() - found.keys()):
        return f"missing: {', '.join(missing)}"
    if litter := sorted(found.keys() - wanted.keys()):
        return f"litter: {', '.join(litter)}"
    changed = sorted(name for name in wanted if wanted[name] != found[name])
    return f"changed: {', '.join(changed)}" if changed else None


@dataclass(frozen=True)
class Done:
    """How a child ended.

    Attributes:
        code: Exit code, negative for a signal.
        operations: File operations that it made.
        last: The operation at which it was killed.
        text: What it printed.
    """

    code: int
    operations: int
    last: str
    text: str


def run(folder: Path, work: Callable[[], int], kill_at: int | None = None) -> Done:
    """Do something in a folder in a forked child, killed before one of its file operations.

    Args:
        folder: The working folder; operations elsewhere do not count.
        work: What is done; returns the exit code.
        kill_at: Number of the operation, from 0; None to let the child live.
    """
    pid, told = start(folder, work, kill_at)
    with os.fdopen(told, encoding="utf-8") as file:
        table = json.load(file)
    _, status = os.waitpid(pid, 0)
    return Done(code=os.waitstatus_to_exitcode(status), **table)


def start(folder: Path, work: Callable[[], int], kill_at: int | None = None) -> tuple[int, int]:
    """Begin to do something as :func:`run` does it.

    Returns:
        The number of the child, and the descriptor of the pipe that it tells its end.
    """
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        _be_child(folder, work, kill_at, tell)
    os.close(tell)
    return pid, told


def pipeline(arguments: str) -> Callable[[], int]:
    """Return what runs a command of the pipeline in this process."""

    def work() -> int:
        from surefoot.cli import main as run_pipeline

        with mock.patch.object(sys, "argv", ["pipeline", *arguments.split()]):
            try:
                run_pipeline()
            except SystemExit as end:
                return end.code if isinstance(end.code, int) else 1
        return 0

    return work


def _code_of(call: Callable[[], object]) -> Callable[[], int]:
    """Return what makes a call, and ends well unless it returns False."""
    return lambda: int(call() is False)


def _be_child(folder: Path, work: Callable[[], int], kill_at: int | None, tell: int) -> None:
    """Do the work and end this process."""
    printed, code = io.StringIO(), 1

    def report(last: str) -> None:
        table = {"operations": counter.count, "last": last, "text": printed.getvalue()}
        os.write(tell, json.dumps(table).encode())

    counter = Counter(str(folder.resolve()), kill_at, report)
    try:
        os.chdir(folder)
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            counter.arm()
            code = work()
    except BaseException:
        printed.write(traceback.format_exc())
    report("")
    os._exit(code)


@dataclass
class Counter:
    """Counts the file operations of this process, and kills it before one of them.

    Attributes:
        folder: Operations elsewhere do not count.
        kill_at: Number of the operation.
        report: Is told the operation before the end.
        count: Operations so far.
    """

    folder: str
    kill_at: int | None
    report: Callable[[str], None]
    count: int = 0
    _pid: int = field(default_factory=os.getpid)
    _writes: int = field(default=os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def arm(self) -> None:
        """Begin; an audit hook is never removed."""
        mock.patch.object(os, "fsync", self._sync).start()
        sys.addaudithook(self._hear)

    def _sync(self, descriptor: int) -> None:
        # Nothing is synced: what a process wrote outlives it, if not the power.
        del descriptor
        self._step("fsync")

    def _hear(self, event: str, args: tuple[object, ...]) -> None:
        if event == "open":
            path, _, flags = args
            if isinstance(flags, int) and flags & self._writes and self._is_inside(path):
                self._step(f"open {path!s}")
        elif event in CHANGES and self._is_inside(args[0]):
            self._step(f"{event} {args[0]!s}")

    def _is_inside(self, path: object) -> bool:
        name = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else "/"
        return not name.startswith("/") or name.startswith(self.folder)

    def _step(self, what: str) -> None:
        if os.getpid() != self._pid:  # the process of a cell
            return
        with self._lock:  # TensorBoard writes in a thread of its own
            if self.count == self.kill_at:
                self.report(what)
                os.kill(os.getpid(), signal.SIGKILL)
            self.count += 1


_IMPORTED = (
    "PIL.JpegImagePlugin",
    "gymnasium.envs.mujoco.inverted_pendulum_v5",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "matplotlib.style",
    "onnxruntime",
    "pydantic.type_adapter",
    "rich.progress",
    "surefoot.attack",
    "surefoot.certify",
    "surefoot.cli.main",
    "surefoot.compress",
    "surefoot.envs",
    "surefoot.export",
    "surefoot.study.run_report",
    "surefoot.train",
    "surefoot.workflow",
    "torch._inductor",
    "torch.utils.tensorboard",
)
"""What the verbs need; ``torch._inductor`` is imported by deterministic algorithms."""


def import_everything() -> None:
    """Import what every child needs, so that none of them has to."""
    import forked_cell

    for name in _IMPORTED:
        importlib.import_module(name)
    # A benchmark measures memory in a new process, which takes a second and writes nothing.
    mock.patch("surefoot.runtime.benchmark.memory_bytes", return_value=None).start()
    mock.patch("matplotlib.figure.Figure.savefig", _save_no_picture).start()
    mock.patch("surefoot.workflow.cell_workers.CellProcess", forked_cell.ForkedCell).start()
    gc.freeze()  # a collection in a child would copy every page


def _save_no_picture(figure: object, file: io.IOBase, **how: object) -> None:
    """Write what stands for a picture: to draw one takes longer than all else, and is in memory."""
    del figure
    is_text = how["format"] == "svg"
    file.write("<svg></svg>" if is_text else b"\x89PNG\r\n\x1a\ntEXtSoftware\0surefoot")


if __name__ == "__main__":
    main()
