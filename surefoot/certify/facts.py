"""What is known about one controller: proofs on one side, what searches found on the other.

A budget asks for the same search several times (several limits, several scopes); this is the memory
behind the findings. It decides nothing.
"""

from copy import copy
from functools import cached_property

import numpy as np

from surefoot.artifact import sha256_hex
from surefoot.ball import Ball, Norm
from surefoot.certify import counterexamples as search
from surefoot.certify.bounds.chain import action_chain
from surefoot.certify.bounds.lipsdp import semidefinite_bounds
from surefoot.certify.bounds.lipsdp_proof import Multipliers
from surefoot.certify.bounds.rounding import ARITHMETICS
from surefoot.certify.bounds.upward import Float
from surefoot.certify.evidence import CertifyConfig, Evidence
from surefoot.certify.proofs import Effort, Proofs
from surefoot.config import to_table
from surefoot.errors import InputError
from surefoot.onnx_file import ControllerFile


class Facts:
    """Proofs and searches about one controller under one configuration."""

    def __init__(
        self, controller: ControllerFile, evidence: Evidence, config: CertifyConfig
    ) -> None:
        self.controller = controller
        self.policy = evidence.restricted(controller.policy)
        self.evidence = evidence
        self.config = config
        self.sensors: tuple[float, ...] | None = None
        self._anywhere: dict[tuple[float, Norm, bool], search.Found] = {}
        self._visited: dict[tuple[float, Norm, bool], search.Found] = {}

    def within(self, sensors: tuple[float, ...] | None) -> "Facts":
        """Return the facts for linf perturbations of which each sensor sees its share."""
        if sensors is None:
            return self
        proofs = self.proofs.within(sensors)
        facts = copy(self)
        facts.sensors, facts.proofs = sensors, proofs
        facts._anywhere, facts._visited = {}, {}
        return facts

    @cached_property
    def onnx_sha256(self) -> str:
        """Digest of the file."""
        return sha256_hex(self.controller.data)

    @cached_property
    def proofs(self) -> Proofs:
        """Everything that is proved."""
        arithmetic = ARITHMETICS[self.config.arithmetic]
        states = self.evidence.states(self.policy)
        effort = Effort.of(to_table(self.config))
        return Proofs(self.policy, arithmetic, states, self.multipliers, effort)

    @cached_property
    def multipliers(self) -> list[tuple[str, Multipliers]]:
        """The semidefinite proofs by name, in action units."""
        found = semidefinite_bounds(
            action_chain(self.policy),
            iterations=self.config.lipsdp_iterations,
            row_iterations=self.config.lipsdp_per_actuator,
        )
        named = [("eclipse_fast", found.fast), ("lipsdp", found.whole)]
        named += [("lipsdp", row) for row in found.rows]
        return [(name, proof) for name, proof in named if proof is not None]

    @cached_property
    def replay(self) -> search.Replay:
        """The deployed arithmetic."""
        return search.deployed_arithmetic(self.controller)

    def anywhere(self, epsilon: float, norm: Norm, *, distribution: bool = False) -> search.Found:
        """Return what a search over states and perturbations found."""
        key = (epsilon, norm, distribution)
        if key not in self._anywhere:
            self._anywhere[key] = search.worst_anywhere(
                self.policy,
                self.replay,
                Ball(epsilon=epsilon, norm=norm, sensors=self.sensors),
                starts=self.start_states,
                steps=2 * self.config.search_steps,
                seed=self.config.seed,
                distribution=distribution,
            )
        return self._anywhere[key]

    def at_visited(self, epsilon: float, norm: Norm, *, distribution: bool = False) -> search.Found:
        """Return what a search over perturbations found at each visited state.

        Raises:
            InputError: If there are no visited observations.
        """
        key = (epsilon, norm, distribution)
        states = self.proofs.states
        if states is None:
            raise InputError("a search at visited states needs observations")
        if key not in self._visited:
            self._visited[key] = search.worst_at(
                self.policy,
                self.replay,
                states,
                Ball(epsilon=epsilon, norm=norm, sensors=self.sensors),
                steps=self.config.search_steps,
                restarts=self.config.search_restarts,
                seed=self.config.seed,
                distribution=distribution,
                observations=self.evidence.observations,
            )
        return self._visited[key]

    @cached_property
    def start_states(self) -> Float:
        """States from which searches over the whole box start."""
        states = self.proofs.states
        visited = None if states is None else states.astype(np.float64)
        return search.start_states(
            self.policy, self.config.search_states, self.config.seed, visited
        )

    @cached_property
    def steepest(self) -> tuple[float, Float, Float]:
        """Largest Jacobian norm found, its state and its direction."""
        norms, directions = search.jacobian_norms(self.policy, self.start_states)
        best = int(norms.argmax())
        return float(norms[best]), self.start_states[best], directions[best]
