"""What searches find in one controller. Nothing here proves anything.

A budget asks for the same search several times (several limits, several scopes); each is made once.
"""

from functools import cached_property

import numpy as np

from surefoot.ball import Ball
from surefoot.certify import counterexamples as search
from surefoot.certify.bounds.box_trees import BoxTree
from surefoot.certify.bounds.upward import Float, vector_norm_up
from surefoot.certify.counterexamples import Single
from surefoot.certify.evidence import CertifyConfig
from surefoot.certify.proofs import Proofs
from surefoot.certify.question_search import UNDECIDED, Growth, answer, broken_at
from surefoot.errors import InputError
from surefoot.policy import Array
from surefoot.quantities.base.proof import Outputs
from surefoot.quantities.base.scope import Scope
from surefoot.quantities.base.search import Found
from surefoot.quantities.base.witness import Witness
from surefoot.question import Condition, Question, RecordedStates
from surefoot.unknown import Unknown

_STEPS = (1.0, 0.3, 0.1, 0.03, 0.01)
"""Lengths of the steps along which a slope is measured, normalised units."""


_OF_LAW = ("total_variation", "kl")
"""Measures that a search looks for only where it is asked to."""

_WORK = 2**29
"""Multiplications of one gradient step from all starts of a search over all states."""

_LEAST, _MOST = 2, 24
"""Starts of such a search, times those that are asked for: most are given up soon."""


class Searches:
    """Searches in one controller under one configuration.

    Attributes:
        proofs: Proofs about the controller: its policy, its visited states, its rounding.
        replay: The deployed arithmetic.
        config: Effort of the searches.
    """

    def __init__(self, proofs: Proofs, replay: search.Replay, config: CertifyConfig) -> None:
        self.proofs = proofs
        self.policy = proofs.policy
        self.replay = replay
        self.config = config
        self._anywhere: dict[tuple[Ball, bool, bool], search.Worst] = {}
        self._at_states: dict[tuple[Scope, Ball, bool, bool], search.Worst] = {}
        self._growths: dict[Question, Growth] = {}

    def worst_anywhere(
        self, ball: Ball, *, distribution: bool = False, each_output: bool = False
    ) -> search.Worst:
        """Search over states and perturbations.

        Args:
            ball: Perturbation set.
            distribution: Whether to search for distances of action laws as well.
            each_output: Whether to keep the worst of each output as well.
        """
        key = (ball, distribution, each_output)
        if key not in self._anywhere:
            self._anywhere[key] = search.worst_anywhere(
                self.policy,
                self.replay,
                ball,
                starts=self._starts(self._num_starts),
                steps=2 * self.config.search_steps,
                seed=self.config.seed,
                distribution=distribution,
                each_output=each_output,
            )
        return self._anywhere[key]

    def worst_at(
        self, scope: Scope, ball: Ball, *, distribution: bool = False, each_output: bool = False
    ) -> search.Worst:
        """Search over perturbations of each state that is visited, or recorded.

        Args:
            scope: Which of the two.
            ball: Perturbation set.
            distribution: Whether to search for distances of action laws as well.
            each_output: Whether to keep the worst of each output as well.

        Raises:
            InputError: If there are no such observations.
        """
        there = self.proofs.at(scope)
        if isinstance(there, Unknown):
            raise InputError(f"a search at {scope} states needs observations")
        key = (scope, ball, distribution, each_output)
        if key not in self._at_states:
            self._at_states[key] = search.worst_at(
                self.policy,
                self.replay,
                there.states,
                ball,
                steps=self.config.search_steps,
                restarts=self.config.search_restarts,
                seed=self.config.seed,
                distribution=distribution,
                each_output=each_output,
                observations=self.proofs.evidence.observations_of(scope),
                late=there.seen_late(ball, self.config.seed),
            )
        return self._at_states[key]

    def worst_around(self, states: Single, ball: Ball) -> search.Worst:
        """Search over perturbations of given states once, from each corner of the gradient's signs.

        Args:
            states: Normalised units, float32, shape (n, obs_dim).
            ball: Perturbation set.
        """
        return search.worst_at(
            self.policy,
            self.replay,
            states,
            ball,
            steps=max(1, self.config.search_steps // 2),
            restarts=0,
            seed=self.config.seed,
        )

    @cached_property
    def start_states(self) -> Float:
        """States from which searches over the whole box start, shape (n, obs_dim)."""
        return self._starts(self.config.search_states)

    @property
    def _num_starts(self) -> int:
        """Starts of a search over all states: more where the network is small."""
        asked, policy = self.config.search_states, self.policy
        size = policy.num_outputs * sum(layer.weight.size for layer in policy.layers)
        return asked * int(np.clip(_WORK // (asked * size), _LEAST, _MOST))

    def _starts(self, count: int) -> Float:
        visited = self.proofs.visited
        known = None if isinstance(visited, Unknown) else visited.states.astype(np.float64)
        return search.start_states(self.policy, count, self.config.seed, known)

    @cached_property
    def steepest_slope(self) -> tuple[float, Float, Float]:
        """Largest norm of the actions' Jacobian that was found, its state and its direction."""
        norms, directions = search.jacobian_norms(self.policy, self.start_states)
        best = int(norms.argmax())
        return float(norms[best]), self.start_states[best], directions[best]

    # What quantities ask.

    def anywhere(self, ball: Ball, measure: str, outputs: Outputs = None) -> Found | None:
        """Search over states and perturbations; None where the file names no law to measure."""
        of_law = measure in _OF_LAW
        if of_law and not self.proofs.everywhere.has_law:
            return None
        each = outputs is not None
        worst = self.worst_anywhere(ball, distribution=of_law, each_output=each)
        return self._found(worst, measure, outputs)

    def at_states(self, scope: Scope, ball: Ball, measure: str, outputs: Outputs = None) -> Found:
        """Search over perturbations of each state that is visited, or recorded."""
        of_law, each = measure in _OF_LAW, outputs is not None
        worst = self.worst_at(scope, ball, distribution=of_law, each_output=each)
        return self._found(worst, measure, outputs)

    def _found(self, worst: search.Worst, measure: str, outputs: Outputs) -> Found:
        """Return what was found by one measure, of some outputs where these are given."""
        names = [measure] if outputs is None else [search.deviation_of(each) for each in outputs]
        values = np.max([worst.values[name] for name in names], axis=0)

        def violation(limit: float) -> Witness | None:
            index = int(values.argmax())
            value = float(values[index])
            if not value > limit:
                return None
            name = max(names, key=lambda name: worst.values[name][index])
            return search.replayed(
                self.replay,
                worst.observations[index],
                worst.states[index],
                worst.perturbed[name][index],
                measure=measure,
                value=value,
                outputs=outputs,
            )

        return Found(values=values, violation=violation)

    def steepest(self) -> Found:
        """Search for the steepest slope of the actions."""
        slope, state, direction = self.steepest_slope

        def violation(limit: float) -> Witness | None:
            """Return a pair whose slope exceeds ``limit`` even after 2 e_rt is taken off."""
            observations, states = search.attainable_states(self.policy, state[None])
            for length in _STEPS:
                rounding = self.proofs.everywhere.rounding(length)
                if isinstance(rounding, Unknown):
                    return None
                moved = (states + direction * length).astype(np.float32)
                pair = self.replay.outputs_at(np.concatenate([states, moved])).astype(np.float64)
                step = moved.astype(np.float64) - states.astype(np.float64)
                change = float(np.linalg.norm(pair[1] - pair[0]))
                slack = 2 * vector_norm_up(rounding.action)
                found = (change - slack) / float(np.linalg.norm(step)) * (1 - 1e-12)
                if found > limit:
                    return search.replayed(
                        self.replay, observations[0], states[0], moved[0], slope=found
                    )
            return None

        return Found(values=np.array([slope]), violation=violation)

    def tree_of(self, question: Question) -> BoxTree:
        """Return the tree of boxes that answers a question about a box, or tries to.

        Raises:
            InputError: If the question is not about such a controller.
        """
        return self._growth(question).tree

    def _growth(self, question: Question) -> Growth:
        if question not in self._growths:
            asked = self.proofs.boxed(question)
            self._growths[question] = (
                UNDECIDED
                if isinstance(asked, Unknown)
                else answer(
                    asked.question,
                    asked.policy,
                    self.proofs.everywhere.arithmetic,
                    self.replay,
                    num_boxes=self.config.region_boxes,
                    seed=self.config.seed,
                    gate=asked.gate,
                )
            )
        return self._growths[question]

    def violation(self, question: Question) -> Found | None:
        """Search a region for the worst violation of a condition; None where nothing is seen."""
        if isinstance(question.where, RecordedStates):
            return self._violation_at_recorded(question.condition)
        witness = self._growth(question).witness
        if witness is None or witness.value is None:
            return None
        return Found(values=np.array([witness.value]), violation=lambda _: witness)

    def _violation_at_recorded(self, condition: Condition) -> Found | None:
        there = self.proofs.recorded_states
        observations = self.proofs.evidence.observations_of(Scope.RECORDED)
        if isinstance(there, Unknown) or observations is None:
            return None
        outputs = self.replay.outputs_at(there.states).astype(np.float64)
        rows, limits = condition.rows(self.policy.num_outputs)
        values = condition.violation(outputs @ rows.T - limits)

        def violation(limit: float) -> Witness | None:
            worst = int(values.argmax())
            return broken_at(observations[worst], there.states[worst], condition, self.replay)

        return Found(values=values, violation=violation)

    def compression_error(self, scope: Scope | None) -> Found | None:
        """Compare with the dense policy; None where the two cannot be compared."""
        dense, known = self.proofs.dense, self._observed(scope)
        if isinstance(dense, Unknown) or known is None:
            return None
        seen, at = known
        gaps = search.gaps(self.replay, dense, at)

        def violation(limit: float) -> Witness | None:
            worst = int(gaps.argmax())
            if not gaps[worst] > limit:
                return None
            return Witness(observation=tuple(seen[worst].tolist()), value=float(gaps[worst]))

        return Found(values=gaps, violation=violation)

    def _observed(self, scope: Scope | None) -> tuple[Array, Single] | None:
        """Return the observations and states to look at, or None where a scope has none."""
        proofs = self.proofs
        match scope:
            case Scope.VISITED:
                there = proofs.independent_states
            case Scope.RECORDED:
                there = proofs.recorded_states
            case _:
                return search.attainable_states(self.policy, self.start_states)
        observations = proofs.evidence.observations_of(scope)
        if isinstance(there, Unknown) or observations is None:
            return None
        return observations, there.states
