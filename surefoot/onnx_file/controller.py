"""A controller read back from the bytes of an ONNX file, canonical or foreign."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from surefoot.artifact import Json
from surefoot.config import build
from surefoot.errors import InputError, IntegrityError
from surefoot.onnx_file.foreign import ForeignFile, Original, read_foreign
from surefoot.onnx_file.graph import (
    OUTPUT,
    POLICY_FILE,
    PREFIX,
    PRODUCER,
    STATE,
    parse_onnx,
    parse_unchecked,
    properties_of,
)
from surefoot.onnx_file.interface import Interface
from surefoot.onnx_file.read import NORMALISER_OPS, read_canonical
from surefoot.policy import CategoricalHead, Policy, weights_sha256


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """How a policy that was read from a foreign file compared with a runtime on that file.

    Attributes:
        runtime: Name and version.
        num_inputs: Observations that were compared, of those where the bound is finite.
        largest: Largest |runtime - policy| of an output at states up to 128, action units.
        share: Largest difference as a share of what its bound allows.
    """

    runtime: str
    num_inputs: int
    largest: float
    share: float

    def to_table(self) -> dict[str, Json]:
        """Return it as JSON values."""
        return {
            "runtime": self.runtime,
            "num_inputs": self.num_inputs,
            "largest_difference": self.largest,
            "largest_share_of_bound": self.share,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where a controller comes from that surefoot did not write.

    Attributes:
        interface: How its file is fed.
        original: The bytes of its file and of those beside it.
        agreement: How what was read compared with a runtime.
        notes: Remarks for the user, a sentence each.
    """

    interface: Interface
    original: Original
    agreement: Agreement
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class InputPart:
    """Consecutive sensors of the observation.

    Attributes:
        name: As the input of a file of others that they were is called; empty for no name.
        size: Their number.
    """

    name: str
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Adopted:
    """What a canonical file says about the file of others that it was made from.

    Attributes:
        sha256: Digest of that file, and of those beside it.
        inputs: Its inputs, which are the observation.
        output: Its output that are the actions.
    """

    sha256: str
    inputs: tuple[InputPart, ...]
    output: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ControllerFile:
    """A controller read back from the bytes of an ONNX file.

    Attributes:
        policy: The function that the file computes.
        metadata: The file's own metadata (environment, origin, training), parsed JSON by key.
        properties: Metadata of other tools (joint names, gains, ...), text by key.
        data: The bytes for a runtime.
        origin: How a file that surefoot did not write was read; None for a canonical one.
    """

    policy: Policy
    metadata: Mapping[str, Json] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    data: bytes
    origin: Origin | None = None

    @property
    def sha256(self) -> str:
        """Digest of the file, and of those beside it if there are any."""
        return self.original.sha256

    @property
    def env_id(self) -> str | None:
        """Gymnasium id of the environment that the file names, if it names one."""
        return self._env_text("id")

    @property
    def env_module(self) -> str | None:
        """Python module or file that registers the environment, if the file names one."""
        return self._env_text("module")

    @property
    def adopted(self) -> Adopted | None:
        """The file of others that it is or was made from; None for one that was trained here.

        Raises:
            InputError: If its metadata say that in another form than this one.
        """
        if self.origin is not None:
            interface = self.origin.interface
            parts = tuple(InputPart(name=part.name, size=part.size) for part in interface.parts)
            return Adopted(sha256=self.sha256, inputs=parts, output=interface.output)
        table = self.metadata.get("adopted")
        return None if table is None else build(Adopted, table, "metadata 'surefoot.adopted'")

    @property
    def parts(self) -> tuple[InputPart, ...]:
        """The inputs of the file of others, or all sensors as one without a name.

        Raises:
            InputError: If its metadata name other sensors than it has.
        """
        obs_dim = self.policy.obs_dim
        if self.adopted is None:
            return (InputPart(name="", size=obs_dim),)
        parts = self.adopted.inputs
        if sum(part.size for part in parts) != obs_dim or min(part.size for part in parts) < 1:
            raise InputError(
                f"metadata 'surefoot.adopted' must name {obs_dim} sensors, got {parts}"
            )
        return parts

    def _env_text(self, key: str) -> str | None:
        env = self.metadata.get("env")
        text = env.get(key) if isinstance(env, dict) else None
        return text if isinstance(text, str) else None

    @property
    def original(self) -> Original:
        """The bytes of the file, and of those beside it."""
        return Original(data=self.data, beside={}) if self.origin is None else self.origin.original

    @property
    def carried_metadata(self) -> dict[str, Json]:
        """What a file of the same controller in another form says as well."""
        of_the_form = ("format", "head", "weights", "weights_sha256")
        return {key: value for key, value in self.metadata.items() if key not in of_the_form}

    def require_choice(self, *, discrete: bool) -> None:
        """Refuse to read the actions of a canonical file as logits.

        Raises:
            InputError: If that is asked for, and the file says that they are actions.
        """
        if discrete and not isinstance(self.policy.head, CategoricalHead):
            raise InputError("--discrete: the file says that its outputs are actions, no logits")

    def require_read(self) -> None:
        """Refuse a policy that is not what its file was read as.

        Raises:
            InputError: If it is of a canonical file and another one than that file holds, or of a
                file of others without a runtime that agreed.
        """
        if self.origin is not None:
            return
        read = policy_from_onnx(self.data).policy
        if weights_sha256(read) != weights_sha256(self.policy):
            raise InputError("the policy of a controller must be the one that its file holds")


def policy_from_onnx(data: bytes, name: str = POLICY_FILE) -> ControllerFile:
    """Read a controller back from ONNX bytes, strictly: what is not understood is refused by name.

    Args:
        data: The bytes of the file.
        name: How error messages call it.

    Raises:
        InputError: If the file is no ONNX, holds an operator outside the controller set, a
            non-finite constant, or a chain that is not normaliser, layers, squash and scale.
        IntegrityError: If the file says a `weights_sha256` that its weights do not have, or is of
            surefoot and says none, or its metadata are damaged.
    """
    model = parse_onnx(data, name)
    policy, metadata = read_canonical(model, name)
    claimed = metadata.get("weights_sha256")
    # Metadata stand last in the file, so a truncated one can still be a valid graph.
    if claimed is None and model.producer_name == PRODUCER:
        raise IntegrityError(f"{name} has no weights_sha256, which every surefoot file has")
    if claimed is not None and claimed != weights_sha256(policy):
        raise IntegrityError(
            f"{name} names weights_sha256 {claimed!r}, which is not that of its weights"
        )
    return ControllerFile(
        policy=policy, metadata=metadata, properties=properties_of(model), data=data
    )


def read_onnx(
    data: bytes,
    name: str,
    output: str | None = None,
    folder: Path | None = None,
    *,
    discrete: bool = False,
) -> ControllerFile | ForeignFile:
    """Read any controller: a canonical file strictly, a foreign one as far as it is understood.

    Args:
        data: The bytes of the file.
        name: How error messages call it.
        output: Output of a foreign file that holds the actions, if it has several outputs.
        discrete: Whether a foreign file's outputs are logits, of which the largest is chosen.
        folder: Where the file lies, for a foreign file's constants in files beside it.

    Raises:
        InputError: If it is no controller, or no known one; the message names the node.
        IntegrityError: If it is a canonical file that was changed.
    """
    if not _is_ours(parse_unchecked(data, name)):
        return read_foreign(data, name, output, folder, discrete=discrete)
    if output not in (None, OUTPUT):
        raise InputError(f"{name} has no output {output!r}, only {OUTPUT!r}")
    file = policy_from_onnx(data, name)
    file.require_choice(discrete=discrete)
    return file


def _is_ours(model: onnx.ModelProto) -> bool:
    """Return True if surefoot wrote a file, or somebody changed what it wrote."""
    named = any(str(entry.key).startswith(PREFIX) for entry in model.metadata_props)
    return named or model.producer_name == PRODUCER


def cut_at_state(data: bytes) -> bytes:
    """Return the same graph from `state` to `actions`, for perturbations of the state itself.

    The threat model perturbs after the normaliser and its clip and does not clip again. The nodes
    and weights that remain are those of the deployed file.

    Args:
        data: A canonical file, as :func:`policy_to_onnx` wrote it.

    Raises:
        InputError: If the file has no tensor called `state` right after the normaliser.
    """
    model = parse_onnx(data, "the ONNX file")
    nodes = list(model.graph.node)
    ends = [position for position, node in enumerate(nodes) if STATE in node.output]
    # Another file may call any of its tensors `state`: behind limits of its own it is another one.
    kinds = [node.op_type for node in nodes]
    cut = ends[0] + 1 if ends and _is_ours(model) else 0
    if not cut or not NORMALISER_OPS.issuperset(kinds[:cut]) or kinds[cut : cut + 1] != ["Gemm"]:
        raise InputError(
            f"the ONNX file has no tensor {STATE!r} after a normaliser: it is not a canonical file"
        )
    kept = nodes[cut:]
    used = {name for node in kept for name in node.input}
    constants = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    del model.graph.initializer[:]
    model.graph.initializer.extend(constants)
    model.graph.input[0].name = STATE
    return bytes(model.SerializeToString(deterministic=True))
