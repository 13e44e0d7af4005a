"""Feed every parser of bytes that others may have written, led by the coverage that they reach.

    pip install "surefoot[bench]"
    python benchmarks/fuzz_parsers.py --seconds 3600 --out fuzz.json
    python benchmarks/fuzz_parsers.py --targets budget visited --seconds 60

A parser may refuse its bytes, by an error of surefoot's in one line. Whatever else it raises is a
finding, as is a warning, and what takes more than a second of the processor. The seconds are those
of the processor, so that other load takes nothing from them, and are shared evenly between the
targets; each runs in a process of its own, from a corpus of what surefoot writes. Findings are kept
under ``--findings``, one file for each place in the code, for a test to be made of. Corpus and
counts are kept there as well: the same command with more seconds goes on from them.

Reference:
    Atheris (Google): coverage of Python code for libFuzzer.
"""

import argparse
import base64
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

SLOW_S = 1.0
DICTIONARY = (
    "surefoot/bundle/1",
    "surefoot/certificate/1",
    "PROVED",
    "[[require]]",
    "quantity",
    "action_deviation",
    "visited",
    "1e999",
    "-0.0",
    "NaN",
    "null",
    "\\\\ud800",
    "0x",
    "a.a.a",
    "PK\\x01\\x02",
    "PK\\x05\\x06",
    "\\x93NUMPY\\x01\\x00",
    "descr",
    "fortran_order",
    "'|O'",
    "surefoot.head",
    "categorical",
    "Gemm",
    "Clip",
    "payloadType",
    "application/vnd.in-toto+json",
)


@dataclass(frozen=True)
class Target:
    """A parser.

    Attributes:
        parse: Is given bytes.
        seeds: What surefoot writes, and the like.
    """

    parse: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


@dataclass
class Outcome:
    """What came of a target.

    Attributes:
        executions: Inputs that were parsed.
        accepted: Those that were not refused.
        processor_s: Seconds of the processor, the start of the process among them.
        slowest_s: Longest time of one, seconds of the processor.
        findings: Errors by the place where they were raised.
    """

    executions: int = 0
    accepted: int = 0
    processor_s: float = 0.0
    slowest_s: float = 0.0
    findings: dict[str, str] = field(default_factory=dict)


def main() -> None:
    """Fuzz the targets one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", nargs="*", default=None, metavar="NAME")
    parser.add_argument("--seconds", type=float, default=900)
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        fuzz(given.worker, given.seconds, given.findings)
        return
    names = given.targets or list(NAMES)
    rows = []
    for name in names:
        rows.append(run_worker(name, given.seconds / len(names), given.findings))
        text = json.dumps({"seconds": given.seconds, "targets": rows}, indent=2)
        if given.out:
            given.out.write_text(text + "\n")
    print(text)
    sys.exit(any(row["findings"] for row in rows))


def run_worker(name: str, seconds: float, findings: Path) -> dict[str, Any]:
    """Fuzz a target in a process of its own and return what came of it."""
    command = [sys.executable, __file__, "--worker", name, "--seconds", str(seconds)]
    command += ["--findings", str(findings)]
    row = kept(name, findings)
    if row["processor_s"] < seconds:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        row = kept(name, findings)
        if done.returncode:  # libFuzzer kept what it was given
            row["findings"][f"the process ended with {done.returncode}"] = without_places(
                done.stderr
            )[-2000:]
    print(f"{name}: {row['executions']}, {len(row['findings'])} findings", file=sys.stderr)
    return {"name": name, **row}


def kept(name: str, findings: Path) -> dict[str, Any]:
    """Return what came of a target by now."""
    report = findings / f"{name}.json"
    return json.loads(report.read_text()) if report.is_file() else vars(Outcome())


def without_places(words: str) -> str:
    """Return a report that does not say where the checkout and its temporary folders lay."""
    words = words.replace(f"{Path(__file__).parents[1]}/", "")
    return re.sub(rf"{re.escape(tempfile.gettempdir())}/tmp\w+/", "", words)


def fuzz(name: str, seconds: float, findings: Path) -> None:
    """Fuzz a target in this process, which libFuzzer ends."""
    import atheris

    with atheris.instrument_imports(include=["surefoot", "tomllib", "json", "zipfile"]):
        target = targets(Path(tempfile.mkdtemp()))[name]
        from surefoot.errors import SurefootError

    corpus, report = findings / f"{name}-corpus", findings / f"{name}.json"
    corpus.mkdir(parents=True, exist_ok=True)
    outcome, told = Outcome(), time.monotonic() - 2
    if report.is_file():
        outcome = Outcome(**json.loads(report.read_bytes()))
    before_s = outcome.processor_s
    warnings.simplefilter("error")
    mock.patch.object(os, "fsync").start()  # nothing needs to last

    def try_bytes(data: bytes) -> None:
        nonlocal told
        outcome.executions += 1
        began = time.process_time()
        try:
            target.parse(data)
            outcome.accepted += 1
        except SurefootError as error:
            if "\n" in str(error):
                keep("an error of more than one line", data, str(error))
        except Exception as error:  # what is to be found
            last = traceback.extract_tb(error.__traceback__)[-1]
            keep(f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}", data, "")
        took_s = time.process_time() - began
        outcome.slowest_s = max(outcome.slowest_s, took_s)
        if took_s > SLOW_S:
            keep("slow", data, f"{took_s:.1f} s")
        if time.monotonic() - told > 1:
            told, outcome.processor_s = time.monotonic(), before_s + time.process_time()
            report.write_text(json.dumps(vars(outcome)))
            if outcome.processor_s >= seconds:  # libFuzzer itself counts the time of the clock
                os._exit(0)

    def keep(what: str, data: bytes, words: str) -> None:
        if what not in outcome.findings:
            outcome.findings[what] = words or without_places(traceback.format_exc())[-1500:]
            (findings / f"{name}-{len(outcome.findings)}").write_bytes(data)

    for number, seed in enumerate(target.seeds):
        try_bytes(seed)
        (corpus / str(number)).write_bytes(seed)
    words = findings / "words.dict"
    words.write_text("".join(f'"{word}"\n' for word in DICTIONARY))
    largest = max(4096, 2 * max(map(len, target.seeds)))
    flags = [f"-max_len={largest}", f"-dict={words}", "-timeout=60", "-rss_limit_mb=2048"]
    flags += [f"-artifact_prefix={findings / name}-"]
    atheris.Setup(["fuzz", *flags, str(corpus)], try_bytes)
    atheris.Fuzz()


NAMES = (
    "json",
    "toml",
    "config",
    "budget",
    "manifest",
    "certificate",
    "policy",
    "foreign",
    "sparse",
    "visited",
    "critic",
    "checkpoint",
    "signatures",
    "statement",
    "trust",
    "keys",
    "attack",
    "bench",
    "training",
    "calibration",
    "bundle",
)


def targets(place: Path) -> Mapping[str, Target]:
    """Return every parser with its seeds, by name of ``NAMES``.

    Args:
        place: Folder for what is read from files.
    """
    import numpy as np
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from support.policies import random_policy
    from support.small_bundle import small_bundle
    from surefoot.artifact import (
        MANIFEST,
        Artifact,
        from_json,
        read_artifact,
        to_json,
        write_artifact,
    )
    from surefoot.budget import Budget
    from surefoot.bundle import open_bundle
    from surefoot.certificate import Certificate
    from surefoot.config import parse_toml
    from surefoot.errors import InputError
    from surefoot.keys import generate_key, read_private_key, read_public_key
    from surefoot.onnx_file import dense_onnx, policy_from_onnx
    from surefoot.recordings import StatesFile
    from surefoot.records import AttackRecord, BenchRecord, TrainingRecord
    from surefoot.runtime.controller_file import controller_from_onnx
    from surefoot.signing import (
        PAYLOAD_TYPE,
        SIGNATURES_FILE,
        Role,
        TrustPolicy,
        pre_authentication,
        read_trust_policy,
        require_evidence,
        verified_statements,
    )
    from surefoot.train.checkpoint import Checkpoint, CheckpointStore
    from surefoot.train.folder import critic_from_bytes, critic_to_bytes
    from surefoot.visited import Visited
    from surefoot.workflow.configuration import Configuration
    from surefoot.workflow.source import read_source
    from surefoot.workflow.verifying import check_claims

    bundle = small_bundle(place)
    files = bundle.artifact.files
    signatures = (bundle.folder / SIGNATURES_FILE).read_bytes()
    payloads = tuple(
        base64.b64decode(json.loads(line)["payload"]) for line in signatures.splitlines()
    )
    critic = critic_to_bytes(random_policy(np.random.default_rng(1), (3, 4, 1)).layers)
    private, public = generate_key()
    thing = Artifact(kind="thing", files={"a": b"a"}, facts={"seed": 1, "rate": 3e-4})
    array = io.BytesIO()
    np.save(array, np.eye(3))

    def through_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
        path = place / name

        def parse(data: bytes) -> object:
            path.write_bytes(data)
            return read(path)

        return parse

    def manifest(data: bytes) -> object:
        folder = place / "thing"
        folder.mkdir(exist_ok=True)
        (folder / "a").write_bytes(b"a")
        (folder / MANIFEST).write_bytes(data)
        return read_artifact(folder, "thing")

    def forged(data: bytes) -> object:
        """Put bytes in the place of one file, behind a manifest that fits."""
        name = sorted(files)[data[0] % len(files)] if data else "policy.onnx"
        artifact = replace(bundle.artifact, files={**files, name: data[1:]})
        folder = place / "forged"
        folder.mkdir(exist_ok=True)
        for entry, content in {**artifact.files, MANIFEST: artifact.manifest()}.items():
            (folder / entry).write_bytes(content)
        return check_claims(open_bundle(folder))

    def configuration(data: bytes) -> object:
        """Read every table."""
        read = Configuration(parse_toml(text_of(data), "toml"))
        made = [read.training(), read.certification(), read.assumptions(), read.exporting()]
        return [*made, read.attacking(), read.benchmarking(), read.budget()]

    key = Ed25519PrivateKey.generate()
    trusted = TrustPolicy(keys=dict.fromkeys(Role, (key.public_key(),)), max_age_days=1.5)

    def statement(payload: bytes) -> None:
        """Sign whatever it is, and ask whether it allows to deploy the small bundle."""
        signature = {"sig": base64.b64encode(key.sign(pre_authentication(payload))).decode()}
        text = base64.b64encode(payload).decode()
        envelope = {"payload": text, "payloadType": PAYLOAD_TYPE, "signatures": [signature]}
        found = verified_statements(json.dumps(envelope).encode(), trusted.keys)
        subjects = dict(found[0].subjects) if found else {}
        require_evidence(found, trusted, subjects, None)

    def checkpoint(data: bytes) -> object:
        """Put bytes in the place of the state, behind a manifest that fits."""
        kept = read_artifact(checkpoints / "000000000003", "checkpoint")
        write_artifact(
            checkpoints / "000000000003",
            replace(kept, files={**kept.files, "state.json": data}),
        )
        with warnings.catch_warnings(action="ignore"):  # it says that none holds
            return CheckpointStore(checkpoints, {"seed": 1}).load()

    checkpoints = place / "checkpoints"
    state = {"weights": np.eye(2, dtype=np.float32), "done": [1, None, {"a": 0.5}]}
    CheckpointStore(checkpoints, {"seed": 1}).save(Checkpoint(step=3, tree=state, files={}))
    saved = read_artifact(checkpoints / "000000000003", "checkpoint").files["state.json"]

    def read_key(path: Path) -> object:
        try:
            return read_private_key(path)
        except InputError:
            return read_public_key(path)

    (place / "key.pub").write_bytes(public)
    origin = bundle.folder.parent / "policy"
    return {
        "json": Target(
            lambda data: from_json(data, "json"), (files["parity.json"], to_json([1.5, "ü"]))
        ),
        "toml": Target(lambda data: parse_toml(text_of(data), "toml"), (PRESET.read_bytes(),)),
        "config": Target(configuration, (PRESET.read_bytes(),)),
        "budget": Target(lambda data: Budget.parse(text_of(data)), (files["budget.toml"],)),
        "manifest": Target(manifest, (thing.manifest(),)),
        "certificate": Target(Certificate.parse, (files["certificate.json"],)),
        "policy": Target(policy_from_onnx, (files["policy.onnx"],)),
        "foreign": Target(
            lambda data: controller_from_onnx(data, "policy.onnx"),
            (foreign(files["policy.onnx"]), *foreign_graphs()),
        ),
        "sparse": Target(dense_onnx, (files["policy.sparse.onnx"],)),
        "visited": Target(Visited.from_bytes, (files["visited.npz"],)),
        "critic": Target(critic_from_bytes, (critic,)),
        "checkpoint": Target(checkpoint, (saved,)),
        "statement": Target(statement, payloads),
        "signatures": Target(
            lambda data: verified_statements(data, bundle.trust.keys), (signatures,)
        ),
        "trust": Target(
            through_file("trust.toml", read_trust_policy),
            (b'[keys]\ngate = ["key.pub"]\n[require]\nmax_age_days = 3.5\ntests = ["a"]\n',),
        ),
        "keys": Target(through_file("key", read_key), (private, public)),
        "attack": Target(
            lambda data: AttackRecord.from_json(data, "attack.json"), (to_json(attack_table()),)
        ),
        "bench": Target(
            lambda data: BenchRecord.from_json(data, "bench.json"), (to_json(bench_table()),)
        ),
        "training": Target(
            lambda data: TrainingRecord.from_json(data, "train.json"), (to_json(TRAINING),)
        ),
        "calibration": Target(
            through_file(
                "states.npy", lambda path: read_source(origin, StatesFile(path=path), None, None)
            ),
            (array.getvalue(),),
        ),
        "bundle": Target(
            forged,
            tuple(bytes([number]) + files[name] for number, name in enumerate(sorted(files))),
        ),
    }


def text_of(data: bytes) -> str:
    """Return the text of a file as the callers of parsers of text read it.

    Raises:
        InputError: If it is not UTF-8.
    """
    from surefoot.artifact import decoded
    from surefoot.errors import InputError

    try:
        return decoded(data)
    except ValueError as error:
        raise InputError(str(error)) from error


def foreign(data: bytes) -> bytes:
    """Return a canonical file as if a stranger had written it."""
    import onnx

    model = onnx.load_model_from_string(data)
    model.producer_name = "stranger"
    del model.metadata_props[:]
    return bytes(model.SerializeToString())


def foreign_graphs() -> tuple[bytes, ...]:
    """Return graphs of operators that the canonical file does not have."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    def graph(nodes: list[Any], constants: Mapping[str, Any]) -> bytes:
        value = helper.make_tensor_value_info
        made = helper.make_graph(
            nodes,
            "g",
            [value("x", TensorProto.FLOAT, ["N", 3])],
            [value("y", TensorProto.FLOAT, ["N", 2])],
            [numpy_helper.from_array(array, name) for name, array in constants.items()],
        )
        opsets = [helper.make_opsetid("", 17)]
        return bytes(
            helper.make_model(made, opset_imports=opsets, ir_version=8).SerializeToString()
        )

    weight = np.arange(6, dtype=np.float32).reshape(3, 2)
    node = helper.make_node
    return (
        graph(
            [
                node("MatMul", ["x", "w"], ["a"]),
                node("Add", ["a", "b"], ["c"]),
                node("LeakyRelu", ["c"], ["d"], alpha=0.1),
                node("Slice", ["d", "from", "to"], ["e"]),
                node("Concat", ["e", "e"], ["f"], axis=1),
                node("Reshape", ["f", "shape"], ["y"]),
            ],
            {
                "w": weight,
                "b": np.ones(2, np.float32),
                "from": np.array([0, 0]),
                "to": np.array([9, 1]),
                "shape": np.array([0, -1]),
            },
        ),
        graph(
            [
                node("Transpose", ["x"], ["a"], perm=[1, 0]),
                node("Gather", ["a", "rows"], ["b"], axis=0),
                node("Transpose", ["b"], ["c"], perm=[1, 0]),
                node("Tile", ["c", "times"], ["d"]),
                node("Unsqueeze", ["d", "axes"], ["e"]),
                node("Squeeze", ["e", "axes"], ["f"]),
                node("Expand", ["f", "shape"], ["g"]),
                node("BatchNormalization", ["g", "s", "s", "s", "s"], ["h"]),
                node("Clip", ["h", "low", "high"], ["y"]),
            ],
            {
                "rows": np.array([0, 1]),
                "times": np.array([1, 1]),
                "axes": np.array([0]),
                "shape": np.array([1, 2]),
                "s": np.ones(2, np.float32),
                "low": np.float32(-1),
                "high": np.float32(1),
            },
        ),
    )


def attack_table() -> dict[str, Any]:
    """Return what an attack.json says."""
    outcome = {
        "returns": [1.0, 2.5],
        "mean": 1.75,
        "iqm": 1.75,
        "interval": [1.0, 2.5],
        "max_deviation": 0.1,
        "max_deviation_per_output": [0.1, 0.05],
        "certified_deviation": None,
        "reached_share": None,
        "lengths": [10, 20],
        "terminated": [True, False],
        "failures": 1,
        "failure_reasons": [None, "lost"],
        "variant": "a",
        "effort": {"queries": 3},
        "selection": {"a": {"mean": 1.5, "max_deviation": 0.1, "failures": 0}},
    }
    return {
        "epsilon": 0.05,
        "norm": "linf",
        "backend": "numpy",
        "suite": "quick",
        "episodes": 2,
        "attacks": {"clean": outcome, "push": outcome},
        "worst": {"attack": "push", "mean": 1.75, "failures": 1},
        "gradient_masking": {"ratio": 1.5, "signs": ["a"]},
        "onnx_sha256": "0" * 64,
        "env": "Task-v0",
    }


def bench_table() -> dict[str, Any]:
    """Return what a bench.json says."""
    percentiles = dict.fromkeys(("p50_us", "p90_us", "p99_us", "p999_us"), 1.5)
    latency = {"n": 10, **percentiles, "p999_us": None, "max_us": 2.0}
    backend = {
        **latency,
        "inference": latency,
        "paced": {"100": latency},
        "paced_under_load": {},
        "misses": {"100": 0},
        "misses_under_load": {},
        "batches": {"4": latency},
        "size_bytes": 1000,
        "memory_bytes": None,
        "warm_up": 5,
    }
    return {
        "backends": {"numpy": backend},
        "timer_floor_us": 0.1,
        "machine": {"cores": 2},
        "onnx_sha256": "0" * 64,
    }


TRAINING = {
    "env": "Task-v0",
    "seed": 0,
    "steps": 1000,
    "sparsity": 0.9,
    "clean_return": None,
    "weights_sha256": "0" * 64,
    "onnx_sha256": "0" * 64,
}
PRESET = Path(__file__).parents[1] / "surefoot" / "presets" / "demo.toml"


if __name__ == "__main__":
    main()
