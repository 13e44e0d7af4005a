"""What a certificate may rest on beside the weights, and how much effort goes into it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from surefoot.artifact import Json, sha256_hex
from surefoot.budget import QUANTITIES, Requirement
from surefoot.certify.measurements import Limits, Measurement, worst_mean, worst_rate
from surefoot.config import build, settle_choices, to_table
from surefoot.errors import InputError, IntegrityError
from surefoot.policy import Array, Policy, weights_sha256
from surefoot.unknown import Unknown
from surefoot.visited import SampledEpisodes

_LONGEST = 10**7
"""Steps of an episode, each of which a bound sums over: a day at 100 Hz."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Assumptions:
    """What claims take for granted, stated by the user and repeated in the certificate.

    Attributes:
        reward_range: Smallest and largest reward of a step.
        discount: Discount of the return, below 1.
        horizon: Length of an episode in steps, for the undiscounted return.
        state_limit: Largest magnitude of a state before it is perturbed, normalised units, for
            controllers without a clip.
    """

    reward_range: tuple[float, float] | None = None
    discount: float | None = None
    horizon: int | None = None
    state_limit: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evidence:
    """What is known beside the weights. Everything is optional; without it some claims are UNKNOWN.

    Attributes:
        observations: Visited raw observations, each from an independent episode at a step that was
            drawn beforehand, shape (n, obs_dim).
        dense_policy: What the policy was compressed from.
        measurements: Attacked returns, latencies and success rates.
        reward_range: Smallest and largest reward of a step: an assumption of return claims.
        discount: Discount of the return, below 1.
        horizon: Length of an episode in steps, for the undiscounted return.
        sampled: Independent clean episodes of the policy that samples its actions.
        state_limit: Largest magnitude of a state before it is perturbed: an assumption.
        agreement: How a policy that was rebuilt from a stranger's file agreed with its runtime.
    """

    observations: Array | None = None
    dense_policy: Policy | None = None
    measurements: tuple[Measurement, ...] = ()
    reward_range: tuple[float, float] | None = None
    discount: float | None = None
    horizon: int | None = None
    sampled: SampledEpisodes | None = None
    state_limit: float | None = None
    agreement: Mapping[str, Json] | None = None

    def __post_init__(self) -> None:
        """Check ranges and shapes.

        Raises:
            InputError: If one is out of range.
        """
        if self.observations is not None and (
            self.observations.ndim != 2 or not np.isfinite(self.observations).all()
        ):
            raise InputError(
                f"observations must be finite, (n, obs_dim), got {self.observations.shape}"
            )
        if self.reward_range is not None and not (
            np.isfinite(self.reward_range).all() and self.reward_range[0] <= self.reward_range[1]
        ):
            raise InputError(f"reward_range must be [low, high], got {self.reward_range}")
        if self.discount is not None and not 0 <= self.discount < 1:
            raise InputError(f"discount must be in [0, 1), got {self.discount}")
        if self.horizon is not None and not 1 <= self.horizon <= _LONGEST:
            raise InputError(f"horizon must be in [1, {_LONGEST}], got {self.horizon}")
        if self.state_limit is not None and not 0 < self.state_limit < np.inf:
            raise InputError(f"state_limit must be positive and finite, got {self.state_limit}")
        if self.sampled is not None and not np.isfinite(self.sampled.observations).all():
            raise InputError("observations of the sampling policy must be finite")

    @property
    def num_repeated(self) -> int:
        """Number of visited observations that a controller cannot tell from an earlier one."""
        if self.observations is None or not len(self.observations):
            return 0
        # Observations enter as float32; + 0 makes -0 the same row as 0.
        seen = self.observations.astype(np.float32) + np.float32(0)
        return len(seen) - len(np.unique(seen, axis=0))

    @property
    def reward_span(self) -> float:
        """Largest minus smallest reward, 0 among them because an episode may end early."""
        low, high = self.reward_range or (0.0, 0.0)
        return max(high, 0.0) - min(low, 0.0)

    @property
    def return_range(self) -> tuple[float, float] | None:
        """Least and largest undiscounted return of an episode that the assumptions allow."""
        if self.reward_range is None or self.horizon is None:
            return None
        low, high = self.reward_range
        return min(low, 0.0) * self.horizon, max(high, 0.0) * self.horizon

    def restricted(self, policy: Policy) -> Policy:
        """Return what the controller does wherever the assumption on its states holds.

        Where no state exceeds the limit, a clip at the limit changes nothing.
        """
        if self.state_limit is None or self.state_limit >= policy.normaliser.clip:
            return policy
        return replace(policy, normaliser=replace(policy.normaliser, clip=self.state_limit))

    @property
    def contradicts_rewards(self) -> bool:
        """Whether a clean return that was seen lies outside of what the assumptions allow."""
        if self.sampled is None or self.reward_range is None:
            return False
        low, high = (size * self.sampled.horizon for size in self.reward_range)
        returns = self.sampled.returns
        return bool(((returns < min(low, 0.0)) | (returns > max(high, 0.0))).any())

    def states(self, policy: Policy) -> Array | None:
        """Return the states of the visited observations in deployed arithmetic, float32.

        Raises:
            InputError: If the observations are not those of the policy, or break an assumption.
        """
        return self._checked(policy, self.observations)

    def sampled_states(self, policy: Policy) -> Array | None:
        """Return the states that the sampling policy met at the steps that it reached, float32.

        Raises:
            InputError: If the observations are not those of the policy.
        """
        return None if self.sampled is None else self._checked(policy, self.sampled.observations)

    def _checked(self, policy: Policy, observations: Array | None) -> Array | None:
        """Return the states of observations, none of which may break the assumption on states.

        Raises:
            InputError: If one does.
        """
        states, limit = _states(policy, observations), self.state_limit
        if states is None or observations is None:
            return None
        if limit is None or limit != policy.normaliser.clip:
            return states
        free = replace(policy, normaliser=replace(policy.normaliser, clip=np.inf))
        largest = float(np.abs(free.state(observations)).max())
        if largest > limit:
            raise InputError(f"state_limit is {limit:g}, a visited state has {largest:g}")
        return states

    def fitting_measurements(self, requirement: Requirement) -> list[Measurement]:
        """Return the measurements of a quantity under its perturbation, on whatever file."""
        return [
            entry
            for entry in self.measurements
            if entry.quantity == requirement.quantity
            and entry.epsilon == requirement.epsilon
            and entry.norm == requirement.norm
        ]

    def worst_measurement(self, requirement: Requirement, onnx_sha256: str) -> Measurement | None:
        """Return the worst measurement of a quantity on one file, or None."""
        own = self._own(requirement, onnx_sha256)
        pick = max if QUANTITIES[requirement.quantity].at_most else min
        return pick(own, key=lambda entry: entry.value) if own else None

    def failed(self, requirement: Requirement, onnx_sha256: str) -> Unknown | None:
        """Return why the returns of one file say nothing: episodes that failed; or None."""
        if requirement.quantity != "attacked_return":
            return None
        own = self._own(requirement, onnx_sha256)
        worst = max(own, key=lambda entry: entry.failures, default=None)
        if worst is None or not worst.failures:
            return None
        return Unknown(
            f"{worst.failures} episodes failed under {worst.source}: they have no return"
        )

    def limits(self, requirement: Requirement, onnx_sha256: str, delta: float) -> Limits | Unknown:
        """Return what the worst measurement on one file proves with confidence, or why nothing.

        Args:
            requirement: About a success rate or an attacked return.
            onnx_sha256: Digest of the file.
            delta: Chance that a limit of it is wrong.
        """
        own = self._own(requirement, onnx_sha256)
        if not own:
            elsewhere = self.fitting_measurements(requirement)
            return Unknown(
                "it was measured on another file" if elsewhere else "it was not measured"
            )
        if requirement.quantity == "success_rate":
            return worst_rate(own, delta) or Unknown("it was not measured")
        if failed := self.failed(requirement, onnx_sha256):
            return failed
        if self.return_range is None:
            return Unknown("neither reward_range nor horizon may be missing: they bound a return")
        return worst_mean(own, *self.return_range, delta)

    def measured(self, requirement: Requirement, onnx_sha256: str, delta: float) -> float | None:
        """Return the number by which a measured quantity of one file counts, or None.

        Args:
            requirement: About the quantity.
            onnx_sha256: Digest of the file.
            delta: Chance of error, where the requirement names a confidence.
        """
        if requirement.confidence is not None:
            limits = self.limits(requirement, onnx_sha256, delta)
            return None if isinstance(limits, Unknown) else limits.lower
        worst = self.worst_measurement(requirement, onnx_sha256)
        failed = self.failed(requirement, onnx_sha256)
        return None if worst is None or failed else worst.value

    def _own(self, requirement: Requirement, onnx_sha256: str) -> list[Measurement]:
        fitting = self.fitting_measurements(requirement)
        return [entry for entry in fitting if entry.onnx_sha256 == onnx_sha256]

    def to_table(self) -> dict[str, Json]:
        """Return assumptions, measurements and the digest of the observations as JSON values."""
        return {
            "observations_sha256": None if self.observations is None else self.digest(),
            "num_observations": 0 if self.observations is None else len(self.observations),
            "sampled_sha256": None if self.sampled is None else _digest_of(self.sampled),
            "dense_sha256": None
            if self.dense_policy is None
            else weights_sha256(self.dense_policy),
            "reward_range": None if self.reward_range is None else list(self.reward_range),
            "discount": self.discount,
            "horizon": self.horizon,
            "state_limit": self.state_limit,
            "measurements": [to_table(entry) for entry in self.measurements],
        }

    @classmethod
    def from_table(
        cls,
        table: Mapping[str, Json],
        observations: Array | None,
        dense_policy: Policy | None = None,
        sampled: SampledEpisodes | None = None,
    ) -> "Evidence":
        """Read assumptions and measurements back; observations and policies are not in them.

        Raises:
            IntegrityError: If the table is malformed, or about other observations.
        """
        try:
            rewards = table["reward_range"]
            evidence = cls(
                observations=observations,
                dense_policy=dense_policy,
                sampled=sampled,
                reward_range=None if rewards is None else (rewards[0], rewards[1]),
                discount=table["discount"],
                horizon=table["horizon"],
                state_limit=table.get("state_limit"),
                measurements=tuple(
                    build(Measurement, entry, "measurement") for entry in table["measurements"]
                ),
            )
            digest = table["observations_sha256"]
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise IntegrityError(
                f"the evidence of the certificate is malformed: {error}"
            ) from error
        if observations is not None and evidence.digest() != digest:
            raise IntegrityError("the certificate rests on other observations")
        if sampled is not None and _digest_of(sampled) != table.get("sampled_sha256"):
            raise IntegrityError("the certificate rests on other episodes of the sampling policy")
        if dense_policy is not None and weights_sha256(dense_policy) != table.get("dense_sha256"):
            raise IntegrityError("the certificate rests on another dense policy")
        return evidence

    def digest(self) -> str:
        """Return the SHA-256 of the observations as little-endian float64."""
        given = np.zeros((0, 0)) if self.observations is None else self.observations
        array = np.ascontiguousarray(given, dtype="<f8")
        return sha256_hex(str(array.shape).encode() + array.tobytes())


def _states(policy: Policy, observations: Array | None) -> Array | None:
    """Return states in deployed arithmetic, float32, or None without observations.

    Raises:
        InputError: If the observations are not those of the policy.
    """
    if observations is None or not len(observations):
        return None
    if observations.shape[1] != policy.obs_dim:
        raise InputError(
            f"observations must have {policy.obs_dim} columns, got {observations.shape[1]}"
        )
    return policy.state(observations, np.float32)


def _digest_of(sampled: SampledEpisodes) -> str:
    arrays = (sampled.observations, sampled.steps, sampled.alive, sampled.returns)
    parts = [str(sampled.horizon).encode()]
    for array in arrays:
        parts += [str(array.shape).encode(), np.ascontiguousarray(array, dtype="<f8").tobytes()]
    return sha256_hex(b"".join(parts))


@dataclass(frozen=True, kw_only=True, slots=True)
class CertifyConfig:
    """How much effort goes into bounds and search.

    Attributes:
        arithmetic: What the controller runs in: plain float32, float32 with TF32 products, or
            float16 values with float32 sums (see ``rounding.ARITHMETICS``).
        epsilon: Perturbation of the table of all bounds when the budget names none, normalised
            units.
        seed: Of every search.
        search_states: Starting states of the search over the whole state box.
        search_steps: Gradient steps of each ascent.
        search_restarts: Random starts beside the corner of the gradient's signs.
        lipsdp_iterations: L-BFGS iterations of LipSDP; 0 leaves it out.
        lipsdp_per_actuator: Further iterations for each actuator alone; 0 leaves them out.
        split_boxes: Pieces into which the perturbations of a visited state may be cut where the
            bound does not meet the limit; 0 leaves it out.
        alpha_steps: Gradient steps that choose the lines of CROWN at visited states, which also
            adds second-order bounds; 0 for fixed lines.
    """

    arithmetic: Literal["float32", "tf32", "float16"] = "float32"
    epsilon: float = 0.05
    seed: int = 0
    search_states: int = 128
    search_steps: int = 10
    search_restarts: int = 1
    lipsdp_iterations: int = 40
    lipsdp_per_actuator: int = 15
    split_boxes: int = 0
    alpha_steps: int = 0

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InputError: If one is out of range.
        """
        settle_choices(self)
        if not 0 < self.epsilon < np.inf:
            raise InputError(f"epsilon must be positive and finite, got {self.epsilon}")
        for name in ("search_states", "search_steps"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in (
            "seed",
            "search_restarts",
            "lipsdp_iterations",
            "lipsdp_per_actuator",
            "split_boxes",
            "alpha_steps",
        ):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must be at least 0, got {getattr(self, name)}")
