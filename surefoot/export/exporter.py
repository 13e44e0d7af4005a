"""From a certified policy to the folder that is deployed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from surefoot.artifact import Artifact, to_json
from surefoot.bundle import BUDGET_FILE, CERTIFICATE_FILE, ORIGIN_FILE, Bundle, write_bundle
from surefoot.certificate import Certificate
from surefoot.errors import InputError, IntegrityError
from surefoot.export.forms import Form, Target, build_form, require_grade
from surefoot.export.parity import (
    Parity,
    check_parity,
    parity_observations,
    parity_states,
    state_limit,
)
from surefoot.gate import GATE_FILE, GateFile
from surefoot.onnx_file import POLICY_FILE, ControllerFile
from surefoot.policy import Array, Policy, weights_sha256
from surefoot.ranges import MOST_AT_ONCE, require_at_least
from surefoot.robot import ROBOT_FILE
from surefoot.runtime.arithmetic import TAU, runtime_error
from surefoot.runtime.c_source import CConfig
from surefoot.runtime.load import Backend, controller_of, require_arithmetic
from surefoot.visited import VISITED_FILE, Visited

PARITY_FILE = "parity.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportConfig:
    """What is exported, and how it is checked.

    Attributes:
        targets: The forms that the bundle holds; the canonical file is always among them.
        c: How the C is laid out.
        num_random: Random observations, and as many states, beside the extreme and visited ones.
        seed: Seed of these random inputs.
    """

    targets: tuple[Target, ...] = (Target.ONNX,)
    c: CConfig = field(default_factory=CConfig)
    num_random: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: If there is no target or no input.
        """
        if not self.targets:
            raise InputError("targets must hold at least one")
        require_at_least(self, 1, "num_random", most=10 * MOST_AT_ONCE)
        require_at_least(self, 0, "seed")


_DEFAULT = ExportConfig()


def assemble_bundle(
    folder: Path,
    file: ControllerFile,
    origin: Artifact,
    certificate: Certificate,
    config: ExportConfig = _DEFAULT,
    *,
    allow_uncertified: bool = False,
    gate: GateFile | None = None,
) -> Bundle:
    """Check a policy and its certificate and write them as a bundle, whole or not at all.

    The certificate is held against the file, not proved again: `surefoot.export_bundle` does that.

    Args:
        folder: Where the bundle goes; replaced only if it is one.
        file: The canonical file, as read back from the policy folder; shipped byte for byte.
        origin: That policy folder. Its manifest is shipped too; its visited observations, if there
            are any, are part of the parity check.
        certificate: What is proved about the file.
        config: What is exported, and how it is checked.
        allow_uncertified: Export even when the verdict is not PROVED, marked as such.
        gate: Gate to which the controller is held at run time; None for none.

    Raises:
        InputError: If the folder is not ours or cannot be written.
        IntegrityError: If the certificate or the policy folder is about another file.
        VerificationError: If the certificate is about another arithmetic than the forms have.
        CheckError: If the verdict is not PROVED and that is not allowed, or a form that was
            exported does not compute the policy.
        MissingLibraryError: If this machine lacks what builds or runs a form.
    """
    if origin.files.get(POLICY_FILE) != file.data:
        raise IntegrityError(f"the policy folder does not hold the {POLICY_FILE} to be exported")
    certificate.check_is_about(
        weights_sha256=weights_sha256(file.policy),
        onnx_sha256=file.sha256,
        budget=certificate.budget,
    )
    require_arithmetic(certificate)
    if Target.C in config.targets:
        require_grade(certificate, config.c, gate)
    robot = certificate.robot
    forms = {target: build_form(file, target, config.c, gate, robot) for target in config.targets}
    forms = {Target.ONNX: build_form(file, Target.ONNX, config.c), **forms}
    visited = _visited(origin, file.policy)
    parities = check_exported(file, list(forms.values()), visited, certificate, config)
    # The states that statistical claims rest on, so that `verify` can prove those again too.
    evidence = {name: origin.files[name] for name in (VISITED_FILE,) if name in origin.files}
    if robot is not None:
        evidence[ROBOT_FILE] = robot.text.encode()
    files = {
        **evidence,
        **({} if gate is None else {GATE_FILE: gate.to_bytes()}),
        **{name: data for form in forms.values() for name, data in form.files.items()},
        POLICY_FILE: file.data,
        ORIGIN_FILE: origin.manifest(),
        CERTIFICATE_FILE: certificate.to_json(),
        BUDGET_FILE: certificate.budget.text.encode(),
        PARITY_FILE: to_json({parity.backend: parity.to_table() for parity in parities}),
    }
    return write_bundle(folder, files, allow_uncertified=allow_uncertified)


def check_exported(
    file: ControllerFile,
    forms: Sequence[Form],
    visited: Array,
    certificate: Certificate | None,
    config: ExportConfig,
) -> Sequence[Parity]:
    """Compare NumPy and every form with the float64 reference at random, visited, extreme inputs.

    Only inputs whose state lies within :func:`state_limit` count: the bounds are about no others.
    The bound of each form is its own, and no more than the certificate counts on.

    Args:
        file: The canonical file.
        forms: What was built of it.
        visited: Observations, shape (n, obs_dim), raw units; may be empty.
        certificate: Certificate whose rounding term covers every form; None for the bounds alone.
        config: How many inputs.

    Raises:
        CheckError: If a form differs by more than its bound; the message names the first case.
        IntegrityError: If the certificate counts on another number of outputs.
    """
    policy, rng = file.policy, np.random.default_rng(config.seed)
    drawn = parity_observations(policy, rng, config.num_random)
    observations = np.concatenate([drawn, visited.astype(np.float32)])
    inside = np.abs(policy.state(observations)).max(axis=1) <= state_limit(policy)
    states = parity_states(policy, rng, config.num_random)
    checked = [(controller_of(file, Backend.NUMPY), TAU)]
    checked += [(form.controller, form.tau) for form in forms]
    return [
        check_parity(
            controller,
            policy,
            observations[inside],
            states,
            _error_bound(policy, certificate, tau),
            tau=tau,
        )
        for controller, tau in checked
    ]


def _error_bound(policy: Policy, certificate: Certificate | None, tau: float) -> Array:
    """Bound the error of a form: by its own bound, and no more than the certificate counts on.

    Raises:
        IntegrityError: If the certificate counts on another number of outputs.
    """
    bound = runtime_error(policy, state_limit=state_limit(policy), tau=tau)
    if certificate is None or not certificate.runtime_error:  # it proves nothing about a runtime
        return bound
    if len(certificate.runtime_error) != policy.num_outputs:
        raise IntegrityError("the certificate's runtime_error must have one entry per output")
    return np.minimum(bound, certificate.runtime_error)


def _visited(origin: Artifact, policy: Policy) -> Array:
    """Return the visited observations of a policy folder, shape (n, obs_dim); n may be 0.

    Raises:
        IntegrityError: If they are of another size, or not finite.
    """
    if VISITED_FILE not in origin.files:
        return np.empty((0, policy.obs_dim))
    pool = Visited.from_bytes(origin.files[VISITED_FILE]).pool
    if pool.ndim != 2 or pool.shape[1] != policy.obs_dim or not np.isfinite(pool).all():
        raise IntegrityError(f"{VISITED_FILE} must hold finite vectors of {policy.obs_dim} numbers")
    return pool
