"""What a file, its certificate and a configuration settle before anything is played."""

from surefoot.attack.attack_config import AttackConfig
from surefoot.attack.behind_gate import DeployedGate, fallback_of
from surefoot.attack.proved_deviation import CertifiedBox, certified_boxes
from surefoot.attack.success import Predicate, success_predicate
from surefoot.ball import Ball
from surefoot.certificate import Certificate
from surefoot.errors import InputError
from surefoot.gate import Gate, Reaction
from surefoot.onnx_file import ControllerFile
from surefoot.policy import NO_NOISE, CategoricalHead, GaussianHead, Policy
from surefoot.records import ACTION
from surefoot.unknown import Unknown


def check_law(policy: Policy, config: AttackConfig) -> None:
    """Check that actions can be sampled where they are to be.

    Raises:
        InputError: If the file names no noise.
    """
    if config.samples and isinstance(policy.head, GaussianHead) and policy.head.std is None:
        raise InputError(f"attack.actions must be deterministic, got sampled: {NO_NOISE}")


def deployed_gate(
    file: ControllerFile, gate: Gate | None, config: AttackConfig
) -> DeployedGate | None:
    """Return the gate behind which a controller is played, None for none.

    Args:
        file: The controller.
        gate: Gate of its bundle; None for none.
        config: Whether it is played, and what it falls back to.

    Raises:
        InputError: If there is a function to fall back to and no gate that does, or it is not
            there, or the gate is another controller's.
    """
    if gate is None or not config.gate or config.samples:
        reaction = None
    else:
        gate.check_fits(file.policy.obs_dim, file.policy.num_outputs)
        reaction = gate.reaction
    if config.fallback is not None and reaction is not Reaction.FALLBACK:
        raise InputError(
            f"fallback must be left out, got {config.fallback!r}: no gate that falls back is played"
        )
    if gate is None or reaction is None:
        return None
    function = fallback_of(config.env_module, config.fallback)
    return DeployedGate(
        gate=gate,
        normaliser=file.policy.normaliser,
        fallback=function,
        fallback_name=config.fallback,
    )


def success_of(config: AttackConfig) -> Predicate | None:
    """Return what says whether an episode did the task, None where nothing does.

    Raises:
        InputError: If it has no module, or is not there.
    """
    if config.success is None:
        return None
    if config.env_module is None:
        raise InputError(f"success must be in an env_module, got {config.success!r} without one")
    return success_predicate(config.env_module, config.success)


def boxes_of(
    file: ControllerFile, certificate: Certificate | None, ball: Ball, config: AttackConfig
) -> tuple[CertifiedBox, ...]:
    """Return the boxes in which the actions are attacked; none where a suite has no proof of any.

    Raises:
        InputError: If the attack was asked for by its name, and there is no box.
    """
    if not config.plays_actions:
        return ()
    if config.samples:
        boxes: tuple[CertifiedBox, ...] | Unknown = Unknown("sampled actions have no box")
    elif isinstance(file.policy.head, CategoricalHead):
        boxes = Unknown("the actions are discrete")
    elif certificate is None:
        boxes = Unknown("no certificate bounds the actions")
    else:
        boxes = certified_boxes(certificate, ball, file.policy.num_outputs)
    if not isinstance(boxes, Unknown):
        return boxes
    if config.attacks:
        raise InputError(f"attacks must not name {ACTION!r} here: {boxes.reason}")
    return ()


def env_id_of(file: ControllerFile, config: AttackConfig) -> str:
    """Return the Gymnasium id of the task that is played.

    Raises:
        InputError: If neither the configuration nor the file names one.
    """
    if config.env_id is not None:
        return config.env_id
    if file.env_id is None:
        raise InputError("attack.env_id must be given: the controller file names no environment")
    return file.env_id
