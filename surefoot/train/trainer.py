"""The stage function of training."""

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from surefoot.artifact import Json, write_file
from surefoot.config import to_table, to_toml
from surefoot.envs.make import make_env
from surefoot.envs.replay import check_replay
from surefoot.envs.vector import VectorEnv
from surefoot.errors import (
    DivergenceError,
    InputError,
    InterruptedRun,
    MissingLibraryError,
    ReplayError,
)
from surefoot.faint_sensors import faint_sensors
from surefoot.ownership import hold_folder
from surefoot.policy import Normaliser
from surefoot.robot import Robot
from surefoot.run_folder import RunFolder
from surefoot.sensors import SensorScales
from surefoot.train.checkpoint import Checkpoint, CheckpointStore
from surefoot.train.defence_ball import perturbation_of
from surefoot.train.defence_config import AlternatingTraining, Defence, GrowingBall
from surefoot.train.result import Progress, TrainResult
from surefoot.train.resume import Begun, words_of
from surefoot.train.signals import StopRequest
from surefoot.train.tensorboard_log import TensorboardLog
from surefoot.train.train_config import WITHOUT_EFFECT, TrainConfig
from surefoot.train.training_run import Measure, Run, planned_steps
from surefoot.version import __version__

_MAX_VISITED_ENVS = 32

_EPSILON = 0.05
"""Perturbation for which sensors are looked at where no defence names one, normalised units."""

_DIFFERENT = "the result is not that of a training that was never stopped"
_NEW_EPISODES = 'train.resume = "new_episodes" begins new episodes when a training resumes'
_WHEN_UNFINISHED = (*WITHOUT_EFFECT, "visited_states", "gate_trials")
"""What may differ when a run resumes: its states are recorded at its end."""


def train_policy(
    config: TrainConfig,
    *,
    out: Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    measure: Measure | None = None,
    robot: Robot | None = None,
) -> TrainResult:
    """Train a policy.

    On the CPU the result is a function of the configuration alone: equal seeds give equal digests,
    however often the run was stopped or killed in between: the episodes in progress are replayed.
    Whether the task allows that is tried at the start. Where it does not, ``config.resume`` lets a
    stopped run begin new episodes; where it did so stands in the facts of the result.

    A run may be extended by a larger ``total_steps``, finished or not. The learning rate, the
    averaging and the grid of evaluations are then those of the longer run; sparsity and the ramp of
    a defence, which must not run backwards, keep the length that they were begun with.

    Args:
        config: The run.
        out: Run folder for checkpoints, TensorBoard and the resolved configuration. If it holds
            checkpoints of the same configuration, the run resumes from the newest; what no weight
            depends on (``num_threads``, ``visited_states``, ``gate_trials``, ``checkpoint_steps``,
            ``resume``) may differ, and ``total_steps`` may be larger. What an older version did not
            know counts as its default.
        on_progress: Called after every iteration.
        measure: What the curves hold of each evaluated policy beside its return.
        robot: Robot whose sensors ``config.defence.perturb`` names; None for none.

    Raises:
        InputError: If the task is unknown; the defence or the pruning does not fit it, its
            networks or the robot; ``out`` is not ours, is in use by another process, cannot be
            written, or holds checkpoints of another configuration or of a version that cannot be
            resumed; or the episodes of the policy are too short for ``visited_states``.
        ReplayError: If the task cannot be replayed and no new episodes are allowed.
        UserCodeError: If code of the task fails.
        MissingLibraryError: If a device was asked for that is not there, or a library of the task.
        DivergenceError: If simulation or training become non-finite; the checkpoints before stay.
        InterruptedRun: If a signal asked to stop: a checkpoint was written.
    """
    device = pick_device(config.device)
    folder = None if out is None else RunFolder(out)
    with ExitStack() as stack:
        stack.enter_context(_torch_settings(config.torch_threads, device))
        # A run that resumes is held against its checkpoints first; one that is refused at its
        # start leaves nothing behind.
        store = checkpoint = None
        if folder is not None and folder.checkpoints.is_dir():
            store = _hold(stack, folder, config, device)
            checkpoint = store.load()
        tasks = _Tasks(config, stack)
        run = _new_run(config, tasks, device, checkpoint, measure, robot)
        if folder is not None and store is None:
            store = _hold(stack, folder, config, device)
        if checkpoint is not None:
            _restore(run, checkpoint)
            _warn_of_what_changed(run, checkpoint)
        if folder is not None:
            write_file(folder.training_config, to_toml({"train": to_table(config)}).encode())
        log = TensorboardLog(None if folder is None else folder.tensorboard, run.step)
        stack.enter_context(log)
        stop = stack.enter_context(StopRequest())
        _iterate(run, store, log, stop, on_progress)
        num_envs = min(_MAX_VISITED_ENVS, max(1, config.visited_states))
        result = run.result(tasks.environments(num_envs))
        _warn_of_sensors(result, robot)
        if stop.requested:
            kept = "; its checkpoint is kept" if store else ""
            raise InterruptedRun(f"interrupted after the last step{kept}")
        return result


@dataclass(frozen=True, slots=True)
class _Tasks:
    """Makes environments of a training's task.

    Attributes:
        config: Configuration of the training.
        stack: Closes the environments when the training ends.
    """

    config: TrainConfig
    stack: ExitStack

    def make(self, num_envs: int) -> VectorEnv:
        """Make environments that the caller closes."""
        return make_env(
            self.config.env_id,
            num_envs,
            num_threads=self.config.num_threads,
            env_module=self.config.env_module,
        )

    def environments(self, num_envs: int) -> VectorEnv:
        """Make environments that are closed when the training ends."""
        return self.stack.enter_context(closing(self.make(num_envs)))


def _new_run(
    config: TrainConfig,
    tasks: _Tasks,
    device: torch.device,
    checkpoint: Checkpoint | None,
    measure: Measure | None,
    robot: Robot | None,
) -> Run:
    """Return a run at its first step, planned as long as that of the checkpoint, if there is one.

    Raises:
        InputError: If the defence speaks of another robot than that of the task, or of none.
        ReplayError: If the task cannot be replayed and no new episodes are allowed.
    """
    env = tasks.environments(config.num_envs)
    has_users_code = not env.resumable or config.env_module is not None
    if has_users_code and config.resume == "replay":
        with _hint_at_new_episodes():
            check_replay(tasks.make)
    has_rival = isinstance(config.defence, AlternatingTraining)
    return Run(
        config,
        env,
        tasks.environments(config.evaluation_episodes),
        device,
        rival_env=tasks.environments(config.num_envs) if has_rival else None,
        planned_steps=None if checkpoint is None else planned_steps(checkpoint),
        measure=measure,
        robot=robot,
    )


def _warn_of_sensors(result: TrainResult, robot: Robot | None) -> None:
    """Name the sensors on which a perturbation of this policy says little."""
    config, policy = result.config, result.policy
    if constant := result.facts["constant_sensors"]:
        words = (
            f"sensors {constant} never moved while training, so nothing is known of what the policy"
            f" does if they move; their scale is {config.constant_scale:g} of their raw unit"
            " (train.constant_scale)"
        )
        warnings.warn(words, stacklevel=3)
    for words in _faint(config.defence, robot, policy.normaliser):
        warnings.warn(words, stacklevel=3)


def _faint(defence: Defence, robot: Robot | None, normaliser: Normaliser) -> Iterable[str]:
    """Return a line for each sensor of which the perturbation of a defence says little."""
    perturb = perturbation_of(defence)
    if perturb is not None and robot is not None:
        return faint_sensors(perturb, robot, normaliser)
    epsilon = defence.epsilon if isinstance(defence, GrowingBall) else None
    return SensorScales.of(normaliser).warnings(epsilon or _EPSILON)


def pick_device(name: str) -> torch.device:
    """Return the device of the updates: `auto` takes CUDA where there is any.

    Raises:
        MissingLibraryError: If CUDA was asked for and is not there.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise MissingLibraryError("device must be auto or cpu: PyTorch finds no CUDA here")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _hold(
    stack: ExitStack, folder: RunFolder, config: TrainConfig, device: torch.device
) -> CheckpointStore:
    """Hold a run folder until the training ends, and return its checkpoints."""
    stack.enter_context(hold_folder(folder.path, "run"))
    # With the device that was picked: one cannot resume where the other was.
    table = to_table(config) | {"device": device.type}

    def check(stored: Mapping[str, Json], code_version: str) -> None:
        Begun(stored, code_version, str(folder.path)).check_same(table, _WHEN_UNFINISHED)

    return CheckpointStore(folder.checkpoints, table, check=check)


@contextmanager
def _hint_at_new_episodes() -> Iterator[None]:
    """Point to new episodes where episodes cannot be replayed.

    Raises:
        ReplayError: If the block raised one.
    """
    try:
        yield
    except ReplayError as error:
        raise ReplayError(f"{error}; {_NEW_EPISODES}") from error


def _warn_of_what_changed(run: Run, checkpoint: Checkpoint) -> None:
    """Say in which ways a run that resumes is not the run that was stopped."""
    if run.config.resume == "new_episodes":
        words = f"new episodes begin at step {run.step}: {_DIFFERENT}"
        warnings.warn(words, stacklevel=3)
    if run.extensions and run.extensions[-1].step == checkpoint.step:
        warnings.warn(words_of(run.extensions[-1], run.config), stacklevel=3)


def _restore(run: Run, checkpoint: Checkpoint) -> None:
    """Put a run where a checkpoint was.

    Raises:
        InputError: If this code does not understand it, or it is of another robot.
        ReplayError: If its episodes cannot be replayed.
    """
    with _hint_at_new_episodes():
        try:
            run.load_checkpoint(checkpoint)
        except InputError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            # Between two releases the code changes under one number.
            raise InputError(
                f"surefoot {__version__} does not understand the checkpoints that surefoot"
                f" {checkpoint.code_version} wrote into this folder ({error!r}): resume with the"
                " code that wrote them, or use another output folder"
            ) from error


def _iterate(
    run: Run,
    store: CheckpointStore | None,
    log: TensorboardLog,
    stop: StopRequest,
    on_progress: Callable[[Progress], None] | None,
) -> None:
    """Iterate to the end; write a checkpoint when it is due, and when asked to stop.

    Raises:
        DivergenceError: If simulation or training become non-finite; the message says when.
        InterruptedRun: If a signal asked to stop.
    """
    began, first_step = time.perf_counter(), run.step
    saved_step = run.step
    while not run.is_finished:
        step = run.step
        try:
            run.iterate()
        except DivergenceError as error:
            raise DivergenceError(f"{error}, in the steps after {step}") from error
        log.write(run)
        rate = (run.step - first_step) / (time.perf_counter() - began)
        if on_progress is not None:
            on_progress(_progress(run, rate))
        due = run.step - saved_step >= run.config.checkpoint_steps or run.is_finished
        if store is not None and (due or stop.requested):
            store.save(run.checkpoint())
            saved_step = run.step
        if stop.requested:
            where = (
                f"checkpoint written at step {run.step}" if store else "no checkpoint: no folder"
            )
            raise InterruptedRun(f"interrupted, {where}")


def _progress(run: Run, steps_per_s: float) -> Progress:
    total = run.config.num_iterations * run.config.batch_size
    return Progress(
        step=run.step,
        total=total,
        mean_return=run.mean_return,
        steps_per_s=steps_per_s,
        sparsity=run.curves["sparsity"][-1] or 0.0,
        seconds_left=(total - run.step) / steps_per_s,
    )


@contextmanager
def _torch_settings(num_threads: int, device: torch.device) -> Iterator[None]:
    """Set the threads and the determinism of PyTorch, and restore them."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(num_threads)
    # On CUDA it would refuse some operations; there only statistics are promised to repeat.
    torch.use_deterministic_algorithms(device.type == "cpu")
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
