"""From a controller file to a TensorRT plan: strongly typed float32, TF32 off, batch 1.

A plan is executable code, tied to a TensorRT version and a GPU. It is built on the machine that
runs it, kept in the user's own cache with its digest, and never taken from a bundle.

Reference:
    NVIDIA TensorRT 10.12 to 11 Python API. Not executed on a GPU here: see docs/hardware.md.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surefoot.artifact import Json, from_json, read_file, sha256_hex, to_json, write_file
from surefoot.config import to_table
from surefoot.errors import CheckError, InputError, IntegrityError, VerificationError

_SPARSE_LINES = ("eligible for sparse math", "picked sparse implementation")


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanKey:
    """What a plan is good for; anything else is another plan.

    Attributes:
        onnx_sha256: Digest of the graph that was compiled.
        tensorrt: Version of TensorRT.
        device: Model and compute capability of the GPU.
        sparse: Whether 2:4 sparsity was allowed.
    """

    onnx_sha256: str
    tensorrt: str
    device: str
    sparse: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A serialised engine.

    Attributes:
        key: Everything that the plan depends on.
        data: The plan.
        sparse_report: The builder's report on 2:4 sparsity; empty if there is none.
    """

    key: PlanKey
    data: bytes
    sparse_report: tuple[str, ...]


def build_plan(trt: Any, onnx: bytes, key: PlanKey, width: int) -> Plan:  # noqa: ANN401 - a module
    """Compile a graph.

    Args:
        trt: The module ``tensorrt``.
        onnx: A canonical file, or one cut at its state.
        key: Everything that the plan depends on.
        width: Number of entries of its input.

    Raises:
        CheckError: If TensorRT does not read or build it; the message has its reason.
    """
    log = make_log(trt)
    builder = trt.Builder(log)
    flags = 0
    if hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):  # TensorRT 11 knows no other
        flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, log)
    if not parser.parse(onnx):
        reasons = [str(parser.get_error(number)) for number in range(parser.num_errors)]
        raise CheckError(
            f"TensorRT cannot read the file: {'; '.join(reasons) or 'no reason given'}"
        )
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # on by default; it would void the rounding term
    if key.sparse:
        # With 2:4 alone, TensorRT may turn 0 * x into 0 and hide NaN.
        config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
        config.set_flag(trt.BuilderFlag.STRICT_NANS)
    profile = builder.create_optimization_profile()
    shape = (1, width)
    profile.set_shape(network.get_input(0).name, shape, shape, shape)
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise CheckError(f"TensorRT cannot build the engine: {log.last_error or 'no reason given'}")
    lines = [line for line in log.lines if any(part in line for part in _SPARSE_LINES)]
    return Plan(key=key, data=bytes(plan), sparse_report=tuple(lines))


def save_plan(folder: Path, plan: Plan) -> None:
    """Keep a plan with its digest, the plan first, so that a crash leaves no broken pair."""
    base = _name(plan.key)
    write_file(folder / f"{base}.plan", plan.data)
    facts = {**to_table(plan.key), "sparse_report": list(plan.sparse_report)}
    write_file(
        folder / f"{base}.json", to_json({"facts": facts, "plan_sha256": sha256_hex(plan.data)})
    )


def read_plan(folder: Path, key: PlanKey) -> Plan | None:
    """Return the plan for exactly this graph, version and GPU, or None if none is kept.

    Raises:
        VerificationError: If what is kept is for another version or GPU, or was changed.
    """
    base = _name(key)
    if not (folder / f"{base}.json").is_file():
        return None
    try:
        table: Json = from_json(read_file(folder / f"{base}.json"), f"{base}.json")
        data = read_file(folder / f"{base}.plan")
        facts, digest = dict(table["facts"]), table["plan_sha256"]
        report = tuple(facts.pop("sparse_report"))
    except (InputError, IntegrityError, KeyError, TypeError, ValueError) as error:
        raise VerificationError(f"{folder / base} is not a TensorRT engine of surefoot") from error
    for name, wanted in to_table(key).items():
        if facts.get(name) != wanted:
            raise VerificationError(
                f"{folder / base} is for {name} {facts.get(name)!r}, this is {wanted!r}: delete it"
            )
    if digest != sha256_hex(data):
        raise VerificationError(f"{folder / base}.plan was changed after it was built: delete it")
    return Plan(key=key, data=data, sparse_report=report)


def make_log(trt: Any) -> Any:  # noqa: ANN401 - TensorRT's own classes
    """Return a TensorRT logger that keeps every line and the last error."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[str] = []
            self.last_error = ""

        def log(self, severity: Any, message: str) -> None:  # noqa: ANN401
            self.lines.append(message)
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.last_error = message

    return Log()


def _name(key: PlanKey) -> str:
    return sha256_hex(to_json(to_table(key)))
