"""Attacking: a deployed controller in closed loop, under every attack of a suite."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from surefoot.artifact import read_file, sha256_hex, write_file
from surefoot.attack import AttackConfig, draw_attacks, run_suite
from surefoot.errors import InputError
from surefoot.faint_sensors import faint_sensors
from surefoot.onnx_file import POLICY_FILE
from surefoot.output_path import ATTACK, check_result_and_picture
from surefoot.policy import Layer
from surefoot.records import AttackRecord
from surefoot.robot import Robot
from surefoot.run_folder import CRITIC_FILE, RunFolder
from surefoot.train.folder import critic_from_bytes
from surefoot.workflow.drawing import write_picture
from surefoot.workflow.listener import SILENCE, Listener
from surefoot.workflow.opening import Deployed, environment_module, open_deployed
from surefoot.workflow.robot_file import robot_of

Critics = Mapping[str, tuple[Layer, ...]]
"""Layers from states to values, by where they come from."""


def attack_controller(
    bundle: Path,
    out: Path,
    *,
    config: AttackConfig | None = None,
    allow_uncertified: bool = False,
    output: str | None = None,
    discrete: bool = False,
    listener: Listener = SILENCE,
) -> AttackRecord:
    """Attack a bundle's observations; write ``attack.json``, and its picture beside it.

    Args:
        bundle: A bundle; with ``allow_uncertified`` a run, a policy folder or an ``.onnx`` file.
        out: The record, a JSON file.
        config: The suite.
        allow_uncertified: Attack what is not certified, too.
        output: Output of a foreign file that holds the actions, if it has several outputs.
        discrete: Whether a foreign file's outputs are logits, of which the largest is chosen.
        listener: Is told of progress.

    Raises:
        InputError: If the path holds no controller, a setting is wrong, or ``out`` cannot be
            written.
        VerificationError: If the bundle does not verify.
        CheckError: If the runtime is not its twin, or a certified bound does not hold.
        InterruptedRun: If a signal asked to stop; what is finished of a long suite is kept.
    """
    target = open_deployed(
        bundle, listener, allow_uncertified=allow_uncertified, output=output, discrete=discrete
    )
    config = config or AttackConfig()
    if target.gate is not None and (config.samples or not config.gate):
        listener.remark(f"{bundle}: its gate is left out; what follows is of the controller")
    module = environment_module(target.file, bundle, config.env_module)
    if module != config.env_module:
        listener.remark(f"importing {module}, as the controller says")
    critics = shipped_critics(bundle, target.file.sha256)
    config = replace(config, env_module=module)
    return attack_deployed(target, out, config, critics, listener, robot=robot_of(bundle))


def attack_deployed(
    target: Deployed,
    out: Path,
    config: AttackConfig,
    critics: Critics,
    listener: Listener,
    *,
    robot: Robot | None = None,
) -> AttackRecord:
    """Attack a controller that was opened, see :func:`attack_controller`.

    Args:
        target: The controller.
        out: The record, a JSON file.
        config: The suite.
        critics: Layers from states to values, by where they come from.
        listener: Is told of progress.
        robot: Robot whose sensors a perturbation in raw units names; by default that of the
            certificate.

    Raises:
        InputError: If a setting is wrong, or ``out`` cannot be written.
        CheckError: If the runtime is not its twin, or a certified bound does not hold.
        InterruptedRun: If a signal asked to stop; what is finished of a long suite is kept.
    """
    check_result_and_picture(out, ATTACK)
    # What is finished of a long suite, for the same command to go on after an interruption.
    work = None if config.suite_name == "quick" else out.with_suffix(".work")
    if work == out:
        raise InputError(f"out must not end in .work, where unfinished work goes, got {out}")
    for words in _faint(target, config, robot):
        listener.remark(f"WARNING: {words}")
    with listener.progress(f"attack {config.suite_name}", config.num_steps) as update:
        report = run_suite(
            target.file,
            target.certificate,
            config,
            on_progress=update,
            critics=critics,
            work=work,
            robot=robot,
            gate=target.gate,
        )
    record = report.record()
    write_file(out, record.to_json())
    write_picture(out, lambda: draw_attacks(record), listener)
    return record


def _faint(target: Deployed, config: AttackConfig, robot: Robot | None) -> Iterable[str]:
    """Return a line for each sensor of which the configured errors say little.

    Raises:
        InputError: If the robot is not that of the controller.
    """
    described = robot or (None if target.certificate is None else target.certificate.robot)
    if config.perturb is None or described is None:
        return ()
    described.check_fits(target.file.policy)
    return faint_sensors(config.perturb, described, target.file.policy.normaliser)


def shipped_critics(path: Path, onnx_sha256: str) -> Critics:
    """Return the critic that was trained with a controller.

    Args:
        path: A run, its policy folder, a bundle inside of a run, or a file beside its critic.
        onnx_sha256: Digest of the controller; a critic of another one is none.
    """
    beside = path.resolve().parent
    for folder in (RunFolder(path).policy, path, beside, RunFolder(beside).policy):
        controller, critic = folder / POLICY_FILE, folder / CRITIC_FILE
        if not (controller.is_file() and critic.is_file()):
            continue
        if sha256_hex(read_file(controller)) == onnx_sha256:
            return {"shipped": critic_from_bytes(read_file(critic))}
    return {}
