"""Compressing: a finished policy with fewer weights, or weights of fewer bits, beside its error."""

from dataclasses import dataclass, replace
from pathlib import Path

from surefoot.artifact import check_artifact_place, sha256_hex
from surefoot.certify import ControlLimit
from surefoot.compress import (
    Method,
    OneShotConfig,
    WeightFormat,
    calibration_states,
    left_whole,
    num_kept,
    num_weights,
)
from surefoot.errors import InputError
from surefoot.onnx_file import POLICY_FILE, save_policy
from surefoot.output_path import check_artifact_folder
from surefoot.policy import Array, Policy, weights_sha256
from surefoot.recordings import StatesFile
from surefoot.robot import ROBOT_FILE
from surefoot.run_folder import CRITIC_FILE
from surefoot.visited import VISITED_FILE, Visited
from surefoot.workflow.compression_record import CleanReturns, Compression, OriginalPolicy
from surefoot.workflow.compression_search import CompressionSearch
from surefoot.workflow.listener import SILENCE, Listener
from surefoot.workflow.source import NUM_EPISODES, Source, read_source

_NUM_STATES = 384
_RECORD_NONE = "--visited-states 0 to record none"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CompressedPolicy:
    """A policy folder that was written.

    Attributes:
        folder: The folder.
        policy: The policy.
        onnx_sha256: Digest of its file.
        compression: How it was made, and how far it is from the original.
    """

    folder: Path
    policy: Policy
    onnx_sha256: str
    compression: Compression


def compress_controller(
    policy: Path,
    out: Path,
    *,
    sparsity: float | None = None,
    config: OneShotConfig | None = None,
    limit: ControlLimit | None = None,
    calibration: StatesFile | None = None,
    visited_states: int | None = None,
    env_module: str | None = None,
    output: str | None = None,
    discrete: bool = False,
    listener: Listener = SILENCE,
) -> CompressedPolicy:
    """Compress a controller into a policy folder of its own, to be certified by itself.

    Args:
        policy: A run, policy folder, bundle or ``.onnx`` file.
        out: The policy folder.
        sparsity: Share of weights that are zero; None for what ``limit`` allows, or all that are.
        config: How.
        limit: Largest control error, if there is one, and where it holds.
        calibration: States of the user's own instead of those that the policy visits.
        visited_states: States of the result to record; None for as many as the original has.
        env_module: Module or file that registers the environment.
        output: Output of a foreign file that holds the actions, if it has several outputs.
        discrete: Whether a foreign file's outputs are logits, of which the largest is chosen.
        listener: Is told of progress, and what should be known of a foreign file.

    Raises:
        InputError: If there is nothing to do; the sparsity, the limit or the calibration cannot be;
            or ``out`` is the folder of the original, or not ours.
        IntegrityError: If a file of the original was changed.
    """
    check_artifact_folder(out, (None if calibration is None else calibration.path,))
    check_artifact_place(out, "policy")
    config, limit = config or OneShotConfig(), limit or ControlLimit()
    _check_target(sparsity, config, limit, visited_states)
    source = read_source(
        policy, calibration, env_module, output, discrete=discrete, listener=listener
    )
    _check_apart(out, source)
    for note in () if source.file.origin is None else source.file.origin.notes:
        listener.remark(note)
    removes = sparsity is not None or limit.max_control_error is not None
    if not removes:
        # Which looks at no state, and takes no block apart.
        config = replace(config, method=Method.MAGNITUDE, block_rows=1)
    original = source.file.policy
    if words := left_whole([layer.weight.shape for layer in original.layers], config.block_rows):
        listener.remark(words)
    states = _states_of(source, config, limit)
    search = CompressionSearch(original=original, states=states, config=config, limit=limit)
    compressed = _compress(search, sparsity, listener)
    if visited_states != 0 and source.env_module != env_module:
        listener.remark(f"importing {source.env_module}, as the controller says")
    visited, returns = _play(source, compressed, visited_states)
    compression = Compression(
        method=config.method if removes else None,
        allocation=config.allocation if removes else None,
        refit=config.refit,
        block_rows=config.block_rows,
        weights=config.weights,
        kept_weights=num_weights(compressed),
        limit=limit,
        errors=search.errors(compressed, visited),
        changed_choices=search.changed_choices(compressed),
        original=OriginalPolicy(
            onnx_sha256=source.file.sha256,
            weights_sha256=weights_sha256(original),
            sparsity=original.sparsity,
        ),
        calibration_states=0 if states is None else len(states),
        clean_return=returns,
    )
    data = _save(out, compressed, compression, source, visited)
    return CompressedPolicy(
        folder=out, policy=compressed, onnx_sha256=sha256_hex(data), compression=compression
    )


def quantise_controller(
    policy: Path,
    out: Path,
    *,
    output: str | None = None,
    discrete: bool = False,
    listener: Listener = SILENCE,
) -> CompressedPolicy:
    """Round the weights of a controller to 8 bits; no visited states are recorded.

    Args:
        policy: A run, policy folder, bundle or ``.onnx`` file.
        out: The policy folder.
        output: Output of a foreign file that holds the actions, if it has several outputs.
        discrete: Whether a foreign file's outputs are logits, of which the largest is chosen.
        listener: Is told what should be known of a foreign file.

    Raises:
        InputError: If ``out`` is the folder of the original, or not ours.
        IntegrityError: If a file of the original was changed.
    """
    return compress_controller(
        policy,
        out,
        config=OneShotConfig(weights=WeightFormat.INT8),
        visited_states=0,
        output=output,
        discrete=discrete,
        listener=listener,
    )


def _check_target(
    sparsity: float | None,
    config: OneShotConfig,
    limit: ControlLimit,
    visited_states: int | None,
) -> None:
    """Check that the arguments ask for one thing to do.

    Raises:
        InputError: If it is not.
    """
    if sparsity is not None and limit.max_control_error is not None:
        raise InputError("give --sparsity or --max-control-error, not both")
    if (sparsity, limit.max_control_error, config.weights) == (None, None, WeightFormat.FLOAT32):
        raise InputError("nothing to do: give --sparsity, --max-control-error or --weights")
    if visited_states is not None and visited_states < 0:
        raise InputError(f"visited-states must be at least 0, got {visited_states}")


def _check_apart(out: Path, source: Source) -> None:
    """Check that the original stays.

    Raises:
        InputError: If the result would take its place.
    """
    if out.resolve() == source.folder.resolve():
        raise InputError(
            "out must not be the folder of the policy, with which the result is compared, got"
            f" {out}"
        )


def _states_of(source: Source, config: OneShotConfig, limit: ControlLimit) -> Array | None:
    """Return the states that the original visits, normalised units, (n, obs_dim), if needed."""
    observations = source.seen()
    if observations is None and (config.needs_states or limit.needs_states):
        without = "--calibration" if limit.needs_states else "--calibration, or --method magnitude"
        observations = source.play(source.file.policy, _NUM_STATES, instead=without).pool
    if observations is None:
        return None
    return calibration_states(source.file.policy, observations, fits_weights=config.needs_states)


def _compress(search: CompressionSearch, sparsity: float | None, listener: Listener) -> Policy:
    if search.limit.max_control_error is not None:
        return search.sparsest(listener)
    if sparsity is None:
        return search.make(num_weights(search.original))
    size = sum(layer.weights.size for layer in search.original.layers)
    return search.make(num_kept(size, sparsity))


def _play(
    source: Source, compressed: Policy, visited_states: int | None
) -> tuple[Visited | None, CleanReturns | None]:
    """Play both policies, and record what the compressed one visits; nothing for 0 states."""
    num_states = visited_states
    if num_states is None and source.visited is not None:
        num_states = len(source.visited.independent)
    elif num_states is None:
        num_states = _NUM_STATES if source.file.env_id else 0
    if not num_states:
        return None, None
    returns = CleanReturns(
        original=source.clean_return(source.file.policy, instead=_RECORD_NONE),
        compressed=source.clean_return(compressed, instead=_RECORD_NONE),
        episodes=NUM_EPISODES,
    )
    return source.play(compressed, num_states, instead=_RECORD_NONE), returns


def _save(
    out: Path,
    compressed: Policy,
    compression: Compression,
    source: Source,
    visited: Visited | None,
) -> bytes:
    """Write the policy folder and return the bytes of its file."""
    extra = {} if source.critic is None else {CRITIC_FILE: source.critic}
    if source.robot is not None:
        extra[ROBOT_FILE] = source.robot
    if visited is not None:
        extra[VISITED_FILE] = visited.to_bytes()
    return save_policy(
        out,
        compressed,
        metadata=source.file.carried_metadata,
        properties=source.file.properties,
        facts={"sparsity": compressed.sparsity, "compression": compression.to_table()},
        inputs={POLICY_FILE: source.file.sha256},
        extra_files=extra,
    )
