"""A policy of a training library, written as a canonical file that agrees with the library.

The file holds float32 numbers and computes in float32. So does the library, perhaps in other steps
and with constants of more digits. What may lie between them is estimated, at the same observations:

    |file - library| <= |policy - policy in float32 constants| + 16 max |file - file in float64|

The first term is what the constants lose. The second is how far float32 moves the file itself: the
library's own rounding is of that size, so that what is sixteen times as far away is another
function. It is a check of the conversion, no part of a proof: a certificate is about the file.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from surefoot.artifact import Json, sha256_hex, write_file
from surefoot.errors import CheckError, InputError
from surefoot.onnx_file import policy_from_onnx, policy_to_onnx
from surefoot.output_path import CONTROLLER, check_result_file
from surefoot.policy import Array, CategoricalHead, GaussianHead, Layer, Normaliser, Policy, Squash
from surefoot.version import __version__

NUM_OBSERVATIONS = 1000
"""Observations that the library is asked about."""

_SAFETY = 16.0
"""How often as far as float32 moves the file the library may be away from it."""

_SIZES = 0.1, 1.0, 3.0
"""Standard deviations of their states, normalised units: the last reaches an ordinary clip."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Conversion:
    """A policy of a training library, and the library's own answers.

    Attributes:
        policy: What it computes, with its constants as the library has them.
        predict: The library's deterministic actions. Takes observations of shape (n, obs_dim),
            float32, raw units; returns actions of shape (n, act_dim), action units, or numbers of
            choices of shape (n,).
        metadata: What the file says about itself, JSON by key.
        notes: What a user should know about it, a sentence each.
    """

    policy: Policy
    predict: Callable[[Array], Array]
    metadata: Mapping[str, Json]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class LibraryAgreement:
    """How a written file compares with the library.

    Attributes:
        num_observations: Observations that were compared.
        largest: Largest difference of an action, action units; None for choices.
        explained: Largest difference that rounding explains, action units or those of a logit.
        num_open: Choices that rounding could change, and that were not compared.
    """

    num_observations: int
    largest: float | None
    explained: float
    num_open: int = 0

    @property
    def text(self) -> str:
        """It as a sentence."""
        count = f"{self.num_observations:,} observations"
        if self.largest is None:
            open_text = f", {self.num_open} within rounding" if self.num_open else ""
            return f"the library chooses the same on {count}{open_text}"
        return (
            f"the library's own actions on {count}: largest difference {self.largest:.2g}, "
            f"rounding explains {self.explained:.2g}"
        )


def write_conversion(conversion: Conversion, out: Path) -> tuple[Policy, LibraryAgreement]:
    """Write the canonical file of a converted policy, if it is what the library computes.

    Args:
        conversion: The policy.
        out: The file; only a controller file of surefoot is replaced.

    Returns:
        The policy that the file holds, and how it compares with the library.

    Raises:
        InputError: If the file cannot be written, or a constant is no float32 number.
        CheckError: If the library acts otherwise than the file, by more than rounding explains.
    """
    check_result_file(out, CONTROLLER)
    data = policy_to_onnx(in_float32(conversion.policy), conversion.metadata)
    policy = policy_from_onnx(data, str(out)).policy
    agreement = compare(policy, conversion)
    write_file(out, data)
    return policy, agreement


def metadata_of(
    policy: Policy, data: bytes, *, library: str, library_version: str, algorithm: str
) -> dict[str, Json]:
    """Return the metadata of a converted file.

    Args:
        policy: What it computes.
        data: The bytes of the checkpoint.
        library: Name of the package that wrote it.
        library_version: Version of that package.
        algorithm: What trained it.
    """
    head = policy.head
    action: dict[str, Json]
    if isinstance(head, CategoricalHead):
        action = {"num": head.num_actions}
    elif head.squash is Squash.IDENTITY:
        action = {"size": len(head.centre)}
    else:
        low, high = head.centre - head.half_range, head.centre + head.half_range
        action = {"low": low.tolist(), "high": high.tolist()}
    clip = policy.normaliser.clip
    return {
        "observation": {"size": policy.obs_dim, "clip": clip if math.isfinite(clip) else None},
        "action": action,
        "origin": {
            "code": __version__,
            "library": library,
            "library_version": library_version,
            "algorithm": algorithm,
            "checkpoint_sha256": sha256_hex(data),
        },
    }


def in_float32(policy: Policy) -> Policy:
    """Return the policy with every constant rounded to float32, and no rounding of others.

    Raises:
        InputError: If a number is too large for float32, or a scale too small.
    """
    head = policy.head
    if isinstance(head, GaussianHead):
        centre, half_range = _single(head.centre), _single(head.half_range)
        head = replace(head, centre=centre, half_range=half_range, rounding=None)
    return Policy(
        normaliser=_normaliser_in_float32(policy.normaliser),
        layers=tuple(_layer_in_float32(layer) for layer in policy.layers),
        head=head,
    )


def compare(policy: Policy, conversion: Conversion) -> LibraryAgreement:
    """Compare a file's policy with the library on random observations.

    Args:
        policy: As it was read back from the file.
        conversion: What it was made of.

    Raises:
        CheckError: If they differ by more than rounding explains; the message names where.
        InputError: If float32 may overflow at ordinary states.
    """
    obs = _observations(policy)
    explained = _explained(policy, conversion.policy, obs)
    if not np.isfinite(explained).all():
        raise InputError("the policy may overflow float32 at ordinary states")
    answers = np.asarray(conversion.predict(obs))
    outputs = policy.outputs(obs, np.float32).astype(np.float64)
    if isinstance(policy.head, CategoricalHead):
        return _compared_choices(policy.head, outputs, explained, answers)
    difference = np.abs(outputs - answers.reshape(outputs.shape))
    if not (difference <= explained).all():
        row, column = np.argwhere(~(difference <= explained))[0]
        raise CheckError(
            f"the converted policy is not what the library computes: at observation "
            f"{obs[row].tolist()} action {column} is {outputs[row, column]:.9g}, the library says "
            f"{answers.reshape(outputs.shape)[row, column]:.9g}; rounding explains "
            f"{explained[row, column]:.3g}"
        )
    return LibraryAgreement(
        num_observations=len(obs),
        largest=float(difference.max()),
        explained=float(explained.max()),
    )


def _compared_choices(
    head: CategoricalHead, outputs: Array, explained: Array, answers: Array
) -> LibraryAgreement:
    """Compare choices where the best logit leads by more than rounding can take.

    Raises:
        CheckError: If one is another; the message names where.
    """
    ranked = np.sort(outputs, axis=1)
    decided = ranked[:, -1] - ranked[:, -2] > 2 * explained.max(axis=1)
    chosen = head.select(outputs)
    wrong = np.flatnonzero(decided & (chosen != answers.reshape(-1)))
    if len(wrong):
        row = wrong[0]
        raise CheckError(
            f"the converted policy is not what the library computes: it chooses {chosen[row]} of "
            f"{outputs[row].tolist()}, the library {answers.reshape(-1)[row]}"
        )
    return LibraryAgreement(
        num_observations=len(outputs),
        largest=None,
        explained=float(explained.max()),
        num_open=int((~decided).sum()),
    )


def _observations(policy: Policy) -> Array:
    """Return random observations of ordinary states, (NUM_OBSERVATIONS, obs_dim), raw units."""
    rng = np.random.default_rng(0)
    states = rng.normal(size=(NUM_OBSERVATIONS, policy.obs_dim))
    states *= rng.choice(_SIZES, (NUM_OBSERVATIONS, 1))
    mean, scale = policy.normaliser.mean, policy.normaliser.scale
    return np.asarray((mean + scale * states).astype(np.float32))


def _explained(policy: Policy, exact: Policy, obs: Array) -> Array:
    """Bound the rounding between the file and the library, (n, num_outputs)."""
    outputs = policy.outputs(obs)
    constants = np.abs(exact.outputs(obs) - outputs)
    own = np.abs(policy.outputs(obs, np.float32) - outputs).max(axis=0)
    last_bit = np.spacing(np.abs(outputs).max(axis=0).astype(np.float32))
    return np.asarray(constants + _SAFETY * (own + last_bit))


def _normaliser_in_float32(normaliser: Normaliser) -> Normaliser:
    mean, clip = _single(normaliser.mean), float(_single(np.array(normaliser.clip)))
    if normaliser.factor is not None:
        return Normaliser.multiplying(mean, _single(normaliser.factor), clip)
    return Normaliser(mean=mean, scale=_single(normaliser.scale), clip=clip)


def _layer_in_float32(layer: Layer) -> Layer:
    return replace(layer, weight=_single(layer.weight), bias=_single(layer.bias), rounding=None)


def _single(array: Array) -> Array:
    with np.errstate(over="ignore"):  # infinity is refused by whoever takes it
        return np.asarray(array.astype(np.float32))
