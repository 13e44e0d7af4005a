"""From a certified policy to the folder that is deployed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from surefoot.artifact import Artifact, sha256_hex, to_json
from surefoot.bundle import BUDGET_FILE, CERTIFICATE_FILE, ORIGIN_FILE, Bundle, write_bundle
from surefoot.certificate import Certificate
from surefoot.errors import InputError, IntegrityError
from surefoot.export.parity import (
    Parity,
    check_parity,
    parity_observations,
    parity_states,
    state_limit,
)
from surefoot.onnx_format import POLICY_FILE, ControllerFile
from surefoot.policy import Array, Policy, weights_sha256
from surefoot.runtime.arithmetic import runtime_error
from surefoot.runtime.load import Backend, controller_of
from surefoot.visited import VISITED_FILE, Visited

PARITY_FILE = "parity.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportConfig:
    """How an export is checked.

    Attributes:
        backends: The forms that must compute the policy before anything is written.
        num_random: Random observations, and as many states, beside the extreme and visited ones.
        seed: Of these.
    """

    backends: tuple[Backend, ...] = (Backend.NUMPY, Backend.ONNX)
    num_random: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: If there is no backend or no input.
        """
        if not self.backends:
            raise InputError("backends must hold at least one")
        if self.num_random < 1:
            raise InputError(f"num_random must be at least 1, got {self.num_random}")


_DEFAULT = ExportConfig()


def export_bundle(
    folder: Path,
    file: ControllerFile,
    origin: Artifact,
    certificate: Certificate,
    config: ExportConfig = _DEFAULT,
    *,
    allow_uncertified: bool = False,
) -> Bundle:
    """Check a policy and its certificate and write them as a bundle, whole or not at all.

    Args:
        folder: Where the bundle goes; replaced only if it is one.
        file: The canonical file, as read back from the policy folder; shipped byte for byte.
        origin: That policy folder. Its manifest is shipped too; its visited observations, if there
            are any, are part of the parity check.
        certificate: What is proved about the file.
        config: How it is checked.
        allow_uncertified: Export even when the verdict is not PROVED, marked as such.

    Raises:
        InputError: If the folder is not ours or cannot be written.
        IntegrityError: If the certificate or the policy folder is about another file.
        CheckError: If the verdict is not PROVED and that is not allowed, or a form that was
            exported does not compute the policy.
    """
    if origin.files.get(POLICY_FILE) != file.data:
        raise IntegrityError(f"the policy folder does not hold the {POLICY_FILE} to be exported")
    certificate.check_is_about(
        weights_sha256=weights_sha256(file.policy),
        onnx_sha256=sha256_hex(file.data),
        budget=certificate.budget,
    )
    parities = check_exported(
        file, _visited(origin, file.policy), _error_bound(file, certificate), config
    )
    files = {
        POLICY_FILE: file.data,
        ORIGIN_FILE: origin.manifest(),
        CERTIFICATE_FILE: certificate.to_json(),
        BUDGET_FILE: certificate.budget.text.encode(),
        PARITY_FILE: to_json({parity.backend: parity.to_table() for parity in parities}),
    }
    return write_bundle(folder, files, allow_uncertified=allow_uncertified)


def check_exported(
    file: ControllerFile, visited: Array, bound: Array, config: ExportConfig
) -> Sequence[Parity]:
    """Compare every form with the float64 reference on random, visited and extreme inputs.

    Only inputs whose state lies within :func:`state_limit` count: the bound is about no others.

    Args:
        file: The canonical file.
        visited: Observations, shape (n, obs_dim), raw units; may be empty.
        bound: Allowed difference per output, action units, shape (num_outputs,).
        config: Which forms, how many inputs.

    Raises:
        CheckError: If a form differs by more than the bound; the message names the first case.
        MissingLibraryError: If a backend is not there.
    """
    policy, rng = file.policy, np.random.default_rng(config.seed)
    drawn = parity_observations(policy, rng, config.num_random)
    observations = np.concatenate([drawn, visited.astype(np.float32)])
    inside = np.abs(policy.state(observations)).max(axis=1) <= state_limit(policy)
    states = parity_states(policy, rng, config.num_random)
    return [
        check_parity(controller_of(file, backend), policy, observations[inside], states, bound)
        for backend in config.backends
    ]


def _error_bound(file: ControllerFile, certificate: Certificate) -> Array:
    """Return what a runtime may err by: our bound, and no more than the certificate counts on.

    Raises:
        IntegrityError: If the certificate counts on another number of outputs.
    """
    bound = runtime_error(file.policy, state_limit=state_limit(file.policy))
    if not certificate.runtime_error:  # it proves nothing about a runtime
        return bound
    if len(certificate.runtime_error) != file.policy.num_outputs:
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
