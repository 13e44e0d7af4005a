"""What is known about one controller: bounds and searches, each computed once when first asked for.

A budget asks for the same bound several times (several limits, several scopes); this is the memory
behind the findings. It decides nothing.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from surefoot.artifact import sha256_hex
from surefoot.budget import Norm
from surefoot.certify import search
from surefoot.certify.chain import (
    Chain,
    action_chain,
    distribution_chain,
    logit_difference_chain,
)
from surefoot.certify.distances import (
    categorical_kl,
    categorical_tv,
    gaussian_kl,
    gaussian_tv,
    span_from_l2,
)
from surefoot.certify.evidence import CertifyConfig, Evidence
from surefoot.certify.global_bounds import (
    LipschitzBounds,
    closed_form_bounds,
    least,
    least_rows,
)
from surefoot.certify.local_bounds import (
    LocalBounds,
    local_bounds,
    local_region,
)
from surefoot.certify.rounding import ARITHMETICS, RoundingBound, rounding_bound, state_bound
from surefoot.certify.upward import Float, up, vector_norm_up
from surefoot.errors import InputError
from surefoot.onnx_format import ControllerFile
from surefoot.policy import CategoricalHead, GaussianHead, Squash


@dataclass(frozen=True, kw_only=True, slots=True)
class DistanceBound:
    """Bounds on the distance of action laws, rounding included.

    Attributes:
        size: D for a Gaussian, the span of the logit change for a categorical head.
        total_variation: In [0, 1].
        kl: Nats.
        method: Name of the bound behind ``size``.
    """

    size: float
    total_variation: float
    kl: float
    method: str


class Facts:
    """Bounds and searches about one controller under one configuration."""

    def __init__(
        self, controller: ControllerFile, evidence: Evidence, config: CertifyConfig
    ) -> None:
        self.controller = controller
        self.policy = controller.policy
        self.evidence = evidence
        self.config = config
        self.arithmetic = ARITHMETICS[config.arithmetic]
        self._rounding: dict[float, RoundingBound | str] = {}
        self._anywhere: dict[tuple[float, Norm, bool], search.Found] = {}
        self._visited: dict[tuple[float, Norm, bool], search.Found] = {}
        self._local: dict[tuple[float, Norm], LocalBounds] = {}
        observations = evidence.observations
        if observations is not None and observations.shape[1] != self.policy.obs_dim:
            raise InputError(
                f"observations must have {self.policy.obs_dim} columns, got {observations.shape[1]}"
            )

    @cached_property
    def onnx_sha256(self) -> str:
        """Digest of the file."""
        return sha256_hex(self.controller.data)

    @cached_property
    def replay(self) -> search.Replay:
        """The deployed arithmetic."""
        return search.deployed_arithmetic(self.controller)

    @cached_property
    def action(self) -> LipschitzBounds:
        """Lipschitz bounds in action units (logits for a categorical head)."""
        return self._bounds(action_chain(self.policy))

    @cached_property
    def distribution(self) -> LipschitzBounds:
        """Lipschitz bounds of Sigma^(-1/2) mu, or of the logits."""
        return self._bounds(distribution_chain(self.policy))

    @cached_property
    def logit_differences(self) -> LipschitzBounds:
        """Lipschitz bounds of the differences of logits."""
        return closed_form_bounds(logit_difference_chain(self.policy))

    def _bounds(self, chain: Chain) -> LipschitzBounds:
        return closed_form_bounds(chain)

    @cached_property
    def action_range(self) -> Float | None:
        """Largest possible change of each actuator whatever the perturbation, action units."""
        head = self.policy.head
        if isinstance(head, CategoricalHead) or head.squash is Squash.IDENTITY:
            return None
        return np.asarray(2.0 * head.half_range.astype(np.float64))

    def rounding(self, epsilon: float) -> RoundingBound | str:
        """Return e_rt over every state that a perturbation can reach, or why there is none."""
        if epsilon not in self._rounding:
            bound = state_bound(self.policy, epsilon)
            self._rounding[epsilon] = rounding_bound(self.policy, bound, self.arithmetic)
        return self._rounding[epsilon]

    def visited_rounding(self, epsilon: float) -> RoundingBound | str:
        """Return e_rt over the perturbed visited states alone, or why there is none."""
        states = np.abs(self._visited_states()).max(axis=0).astype(np.float64)
        return rounding_bound(self.policy, np.asarray(up(states + epsilon)), self.arithmetic)

    def local(self, epsilon: float, norm: Norm) -> LocalBounds:
        """Return bounds around each visited state in real arithmetic."""
        if (epsilon, norm) not in self._local:
            region = local_region(self._visited_states(), epsilon, norm)
            self._local[epsilon, norm] = local_bounds(self.policy, region)
        return self._local[epsilon, norm]

    def visited_deviation(self, epsilon: float, norm: Norm) -> tuple[Float, str] | str:
        """Return the largest deployed deviation at each visited state, shape (n,)."""
        rounding = self.visited_rounding(epsilon)
        if isinstance(rounding, str):
            return rounding
        everywhere = least_rows(self.deviations(epsilon, norm))
        rows = np.minimum(self.local(epsilon, norm).action, everywhere)
        return np.asarray(up(rows + 2 * rounding.action, 2).max(axis=1)), "crown"

    def visited_distance(self, epsilon: float, norm: Norm) -> tuple[Float, Float] | str:
        """Return TV and KL of the action laws at each visited state, each of shape (n,)."""
        rounding = self.visited_rounding(epsilon)
        if isinstance(rounding, str):
            return rounding
        everywhere, _ = self._distance_size(epsilon, norm)
        sizes = np.minimum(self.local(epsilon, norm).distance, everywhere)
        return self._laws(sizes, rounding)[1:]

    def _visited_states(self) -> search.Single:
        if self.visited_states is None:
            raise InputError("claims at visited states need observations")
        return self.visited_states

    def deviations(self, epsilon: float, norm: Norm) -> dict[str, Float]:
        """Return by name bounds on each actuator's change in real arithmetic, shape (m,)."""
        bounds = self.action.deviations(epsilon, norm)
        if self.action_range is not None:
            bounds["action_range"] = self.action_range
        return bounds

    def deployed_deviation(self, epsilon: float, norm: Norm) -> tuple[Float, str] | str:
        """Return the least bound per actuator with 2 e_rt, and the name of the worst's bound."""
        rounding = self.rounding(epsilon)
        if isinstance(rounding, str):
            return rounding
        bounds = self.deviations(epsilon, norm)
        total = up(least_rows(bounds) + 2 * rounding.action, 2)
        worst = int(total.argmax())
        _, name = least({name: float(rows[worst]) for name, rows in bounds.items()})
        return total, name

    def distance(self, epsilon: float, norm: Norm) -> DistanceBound | str:
        """Return bounds on TV and KL between the action laws anywhere, rounding included."""
        rounding = self.rounding(epsilon)
        if isinstance(rounding, str):
            return rounding
        size, method = self._distance_size(epsilon, norm)
        sizes, tv, kl = self._laws(np.asarray(size), rounding)
        return DistanceBound(
            size=float(sizes), total_variation=float(tv), kl=float(kl), method=method
        )

    def _laws(self, sizes: Float, rounding: RoundingBound) -> tuple[Float, Float, Float]:
        """Return D or the span with rounding, TV and KL from D or the span in real arithmetic."""
        head = self.policy.head
        if isinstance(head, GaussianHead):
            sizes = up(sizes + 2 * vector_norm_up(up(rounding.network / head.std, 2)), 3)
            return sizes, gaussian_tv(sizes), gaussian_kl(sizes)
        sizes = up(sizes + 4 * rounding.network.max(), 3)
        return sizes, categorical_tv(sizes), categorical_kl(sizes)

    def _distance_size(self, epsilon: float, norm: Norm) -> tuple[float, str]:
        size, method = self.distribution.vector_deviation(epsilon, norm)
        if isinstance(self.policy.head, GaussianHead):
            return size, method
        rows = least_rows(self.distribution.deviations(epsilon, norm))
        pairs = least_rows(self.logit_differences.deviations(epsilon, norm))
        return least(
            {
                method: float(span_from_l2(size)),
                "two actions' sum": float(up(np.sort(rows)[-2:].sum(), 2)),
                "logit differences": float(pairs.max()),
            }
        )

    @cached_property
    def visited_states(self) -> search.Single | None:
        """States of the visited observations in the deployed arithmetic, float32."""
        if self.evidence.observations is None or not len(self.evidence.observations):
            return None
        states: search.Single = self.policy.state(self.evidence.observations, np.float32)
        return states

    def anywhere(self, epsilon: float, norm: Norm, *, distribution: bool = False) -> search.Found:
        """Return what a search over states and perturbations found."""
        key = (epsilon, norm, distribution)
        if key not in self._anywhere:
            self._anywhere[key] = search.worst_anywhere(
                self.policy,
                self.replay,
                search.Ball(epsilon=epsilon, norm=norm),
                starts=self.start_states,
                steps=2 * self.config.search_steps,
                seed=self.config.seed,
                distribution=distribution,
            )
        return self._anywhere[key]

    def at_visited(self, epsilon: float, norm: Norm, *, distribution: bool = False) -> search.Found:
        """Return what a search over perturbations found at each visited state."""
        key = (epsilon, norm, distribution)
        if key not in self._visited:
            self._visited[key] = search.worst_at(
                self.policy,
                self.replay,
                self._visited_states(),
                search.Ball(epsilon=epsilon, norm=norm),
                steps=self.config.search_steps,
                restarts=self.config.search_restarts,
                seed=self.config.seed,
                distribution=distribution,
            )
        return self._visited[key]

    @cached_property
    def start_states(self) -> Float:
        """States from which searches over the whole box start."""
        visited = self.visited_states
        return search.start_states(
            self.policy,
            self.config.search_states,
            self.config.seed,
            None if visited is None else visited.astype(np.float64),
        )

    @cached_property
    def steepest(self) -> tuple[float, Float, Float]:
        """Largest Jacobian norm found, its state and its direction."""
        norms, directions = search.jacobian_norms(self.policy, self.start_states)
        best = int(norms.argmax())
        return float(norms[best]), self.start_states[best], directions[best]


def finite(value: float) -> float | None:
    """Return ``value``, or None where it proves nothing (JSON has no infinity)."""
    return value if math.isfinite(value) else None
