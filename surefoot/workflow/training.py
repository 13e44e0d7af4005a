"""Training into a run folder: a started training resumes, a finished one is kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from surefoot.artifact import (
    Artifact,
    Json,
    check_artifact_place,
    is_folder_of,
    read_artifact,
    sha256_hex,
    write_artifact,
    write_file,
)
from surefoot.certify.bounds.chain import action_chain
from surefoot.certify.bounds.global_bounds import closed_form_bounds
from surefoot.compress import left_whole
from surefoot.config import REST, Table, build, config_sha256, to_table, to_toml
from surefoot.envs import BoxActions, DiscreteActions, EnvSpec, describe_env
from surefoot.errors import InputError, IntegrityError
from surefoot.kernels import running_kernels
from surefoot.onnx_file import POLICY_FILE, load_policy, policy_to_onnx
from surefoot.output_path import check_replaceable, check_run_folder
from surefoot.ownership import hold_folder
from surefoot.policy import Policy, weights_sha256
from surefoot.provenance import MadeOn, made_on
from surefoot.records import TrainingRecord, read_stages
from surefoot.robot import ROBOT_FILE, Robot
from surefoot.run_folder import RunFolder
from surefoot.train import Progress, TrainConfig, TrainResult, save_trained, train_policy
from surefoot.train.checkpoint import read_checkpoint
from surefoot.train.defence_ball import check_same_errors, errors_in_training
from surefoot.train.folder import controller_metadata
from surefoot.train.pruning_config import BlockPruning
from surefoot.train.resume import Begun
from surefoot.train.training_run import seconds_of
from surefoot.workflow.configuration import Configuration
from surefoot.workflow.finished_stages import FinishedStages
from surefoot.workflow.listener import SILENCE, Listener
from surefoot.workflow.robot_file import read_robot


def train_run(
    out: Path, configuration: Configuration, *, listener: Listener = SILENCE
) -> TrainingRecord:
    """Train a policy into a run folder, unless that very training is already done.

    A finished training goes on where ``train.total_steps`` is larger than it was.

    Args:
        out: The run folder; a started run resumes.
        configuration: Its ``[train]`` table says how; all of it is kept in the folder.
        listener: Is told of progress.

    Raises:
        InputError: If the configuration is wrong, or the folder is not ours, holds another training
            or is in use by another process.
        DivergenceError: If simulation or training become non-finite.
        InterruptedRun: If a signal asked to stop; a checkpoint is written.
    """
    check_run_folder(out)
    config = configuration.training()
    # Refuse an unfit task or robot before anything is written.
    robot = _robot_of(config, describe_env(config.env_id, config.env_module))
    errors = errors_in_training(config, robot)
    run, table = RunFolder(out), to_table(config)
    with hold_folder(run.path, "run"):
        if not _is_trained(run, table, errors, listener):
            check_artifact_place(run.policy, "policy")
            check_replaceable((run.config, run.stages, run.training, run.training_config))
            _train(run, config, robot, listener)
        elif "train" not in read_stages(run.stages):
            _enter_again(run, listener)
        _keep_robot(run, robot)
        write_file(run.config, to_toml(configuration.tables | {"train": table}).encode())
        record = _record_of(run)
        write_file(run.training, record.to_json())
        return record


def _robot_of(config: TrainConfig, spec: EnvSpec) -> Robot | None:
    """Return the robot that a configuration describes; None for none.

    Raises:
        InputError: If it has other sensors or actuators than the task.
    """
    if config.robot is None:
        return None
    robot = read_robot(Path(config.robot))
    match spec.actions:
        case BoxActions(low=low):
            robot.check_sizes(spec.obs_dim, low.size)
        case DiscreteActions(num=num):
            robot.check_sizes(spec.obs_dim, num)
    return robot


def _keep_robot(run: RunFolder, robot: Robot | None) -> None:
    """Keep a description that was changed after the training, which does not depend on it.

    Of the errors that a defence stands it does, and those are the same.
    """
    artifact = read_artifact(run.policy, "policy")
    if robot is None or artifact.files.get(ROBOT_FILE) == robot.text.encode():
        return
    files = {**artifact.files, ROBOT_FILE: robot.text.encode()}
    write_artifact(run.policy, replace(artifact, files=files))


def _train(run: RunFolder, config: TrainConfig, robot: Robot | None, listener: Listener) -> None:
    total = config.num_iterations * config.batch_size
    with listener.progress(f"train {config.env_id}", total) as update:
        result = train_policy(
            config,
            out=run.path,
            on_progress=lambda progress: update(progress.step, _remarks(progress)),
            measure=lipschitz_bounds,
            robot=robot,
        )
    if words := _left_whole(result):
        listener.remark(words)
    if reason := running_kernels().unpinned:
        listener.remark(f"another processor may train another policy from this seed: {reason}")
    # Last comes the policy folder, which says that all of it is done.
    _enter(run, result, listener)
    save_trained(run.policy, result, robot)


def _left_whole(result: TrainResult) -> str:
    """Return one line about the layers that pruning in blocks left as they were, or nothing."""
    pruning = result.config.pruning
    if not isinstance(pruning, BlockPruning) or pruning.target == "critic":
        return ""
    return left_whole([layer.weight.shape for layer in result.policy.layers], pruning.rows)


def lipschitz_bounds(policy: Policy) -> dict[str, float]:
    """Return the closed-form Lipschitz bounds of a policy by name, action / normalised unit, l2."""
    return dict(closed_form_bounds(action_chain(policy)).whole)


def _enter(run: RunFolder, result: TrainResult, listener: Listener) -> None:
    """Enter the training in the list of what is done."""
    onnx_sha256 = sha256_hex(policy_to_onnx(result.policy, controller_metadata(result)))
    stages = FinishedStages(run.stages, onnx_sha256, listener)
    digests, seconds = {POLICY_FILE: onnx_sha256}, sum(result.timing.values())
    stages.enter("train", config_sha256(result.config), digests, seconds=seconds, where=made_on())


def _enter_again(run: RunFolder, listener: Listener) -> None:
    """Enter a finished training that a damaged list has lost, if its last checkpoint is there."""
    file, artifact = load_policy(run.policy)
    facts = _facts_of(artifact, run)
    try:
        seconds = seconds_of(read_checkpoint(run.checkpoints, facts.steps))
    except (InputError, IntegrityError) as error:
        listener.remark(f"how long the training took is lost: {error}")
        return
    if facts.made_on is not None:
        config = config_sha256(build(TrainConfig, artifact.facts["config"], "train"))
        stages, digests = (
            FinishedStages(run.stages, file.sha256, listener),
            {POLICY_FILE: file.sha256},
        )
        stages.enter("train", config, digests, seconds=seconds, where=facts.made_on)


def _is_trained(
    run: RunFolder, table: Table, errors: tuple[float, ...] | None, listener: Listener
) -> bool:
    """Return True if the policy folder is the result of this configuration, not of a shorter one.

    A policy that is not as it was written, after a loss of power say, is made again.

    Raises:
        InputError: If it is the result of another one.
    """
    if not is_folder_of(run.policy, "policy"):
        return False
    try:
        artifact = read_artifact(run.policy, "policy")
    except IntegrityError as error:
        listener.remark(f"rebuilt from the newest checkpoint: {error}")
        return False
    begun = Begun(artifact.facts.get("config", {}), artifact.code_version, str(run.path))
    begun.check_same(table)
    check_same_errors(artifact.facts.get("errors"), errors)
    return begun.total_steps >= int(table["total_steps"])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Env:
    id: str
    more: Mapping[str, Json] = field(default_factory=dict, metadata=REST)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Best:
    clean_return: float | None
    step: int
    screened_return: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Evaluations:
    last: float | None
    best: _Best
    more: Mapping[str, Json] = field(default_factory=dict, metadata=REST)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Facts:
    """What the manifest of a trained policy says, as far as the record of the training repeats it.

    Attributes:
        env: The task.
        seed: Seed of the training.
        steps: Environment steps.
        sparsity: Share of the weights that are zero.
        selected: Which policy was taken.
        evaluation: Its evaluations.
        made_on: What computed it; None in a policy of before version 0.2.
        more: Everything else.
    """

    env: _Env
    seed: int
    steps: int
    sparsity: float
    selected: Literal["best", "last", "robust"]
    evaluation: _Evaluations
    made_on: MadeOn | None = None
    more: Mapping[str, Json] = field(default_factory=dict, metadata=REST)


def _facts_of(artifact: Artifact, run: RunFolder) -> _Facts:
    return build(_Facts, artifact.facts, f"the facts of {run.policy}")


def _record_of(run: RunFolder) -> TrainingRecord:
    file, artifact = load_policy(run.policy)
    facts = _facts_of(artifact, run)
    best = facts.selected != "last"
    return TrainingRecord(
        env=facts.env.id,
        seed=facts.seed,
        steps=facts.steps,
        sparsity=facts.sparsity,
        clean_return=facts.evaluation.best.clean_return if best else facts.evaluation.last,
        weights_sha256=weights_sha256(file.policy),
        onnx_sha256=file.sha256,
        made_on=facts.made_on,
    )


def _remarks(progress: Progress) -> str:
    mean = "-" if progress.mean_return is None else f"{progress.mean_return:.0f}"
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    return (
        f"return {mean}, {progress.steps_per_s:.0f} steps/s, "
        f"sparsity {progress.sparsity:.0%}, {minutes}:{seconds:02d} left"
    )
