"""Everything that is proved about a controller, with the evidence that was given.

Nothing here searches for violations or optimises multipliers: the checker builds it again.
"""

from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from functools import cached_property

import numpy as np

from surefoot.ball import Ball, Norm
from surefoot.certify.at_states import AtStates, Effort
from surefoot.certify.behind_gate import BehindGate
from surefoot.certify.bounds.arithmetics import Arithmetic
from surefoot.certify.bounds.box_trees import BoxTree
from surefoot.certify.bounds.choice_leads import may_be_made
from surefoot.certify.bounds.lipsdp_proof import Multipliers
from surefoot.certify.bounds.rounding import state_bound
from surefoot.certify.bounds.upward import Float, up, vector_norm_up
from surefoot.certify.compression import both_roundings, comparable, compression_error
from surefoot.certify.distances import categorical_tv, gaussian_tv
from surefoot.certify.everywhere import Everywhere, chosen
from surefoot.certify.evidence import Evidence
from surefoot.certify.lateness import NO_ORDER, Lateness
from surefoot.certify.questions import (
    BoxQuestion,
    observation_of,
    proved_violation,
    readings_of,
    violation_at,
    violations_at,
)
from surefoot.certify.return_loss import (
    CleanTv,
    coupling_bound,
    finite_horizon_bound,
    measured_average_bound,
    measured_path_bound,
)
from surefoot.errors import IntegrityError
from surefoot.gate import Gate
from surefoot.policy import Array, CategoricalHead, Policy, Squash
from surefoot.quantities.base.proof import Bound, Distance, Ground, Loss, Outputs, StateBounds
from surefoot.quantities.base.scope import Scope
from surefoot.quantities.base.witness import Witness
from surefoot.question import GatedReadings, Question, RecordedStates
from surefoot.unknown import Unknown


class Proofs:
    """Proved bounds of one controller.

    Attributes:
        policy_of_file: Policy of the controller file.
        policy: Function of the controller wherever the assumption on its states holds.
        evidence: Evidence beside the weights.
        effort: Effort allowed to bounds around states.
        everywhere: Bounds that hold in every state.
        dense: Policy from which this one was compressed, or why the two cannot be compared.
        visited: Bounds around the visited states, or why there are none.
    """

    def __init__(
        self,
        policy: Policy,
        evidence: Evidence,
        arithmetic: Arithmetic,
        multipliers: Sequence[tuple[str, Multipliers]] = (),
        effort: Effort | None = None,
        tree_of: Callable[[Question], BoxTree] = lambda _: BoxTree(),
        *,
        gate: Gate | None = None,
    ) -> None:
        """Collect the premises of the proofs.

        Args:
            policy: Policy of the controller file; its arrays are float32 by value.
            evidence: Evidence beside the weights.
            arithmetic: Arithmetic in which the controller is deployed.
            multipliers: Proofs of metrics by name, in action units (logits).
            effort: Effort allowed to bounds around states.
            tree_of: From a question to the tree of boxes that its proof is made of.
            gate: Gate that lets only some states through, of which all bounds are; None for all
                states.

        Raises:
            InputError: If the evidence is not about such a policy.
        """
        self.policy_of_file = policy
        self.evidence = evidence
        self.effort = effort or Effort()
        self.everywhere = (
            Everywhere(evidence.restricted(policy), arithmetic, multipliers)
            if gate is None
            else BehindGate(policy, gate, arithmetic, multipliers)
        )
        self.policy = self.everywhere.policy
        self._tree_of = tree_of
        self.dense = comparable(self.policy, evidence.dense_policy)
        states = evidence.states(policy)
        self.visited: AtStates | Unknown = Unknown("no visited observations are given")
        if states is not None:
            earlier = evidence.earlier_states(policy)
            self.visited = self._at(
                states,
                self._lateness(states) if earlier is None else Lateness.after(states, earlier),
            )

    @cached_property
    def recorded_states(self) -> AtStates | Unknown:
        """Bounds around the recorded states, or why there are none.

        Raises:
            InputError: If the observations are not those of the policy, or break an assumption.
        """
        states = self._recorded
        if states is None:
            return Unknown("no recorded observations are given")
        return self._at(states, self._lateness(states))

    @cached_property
    def _recorded(self) -> Array | None:
        """States of the recorded observations.

        Raises:
            InputError: If the observations are not those of the policy, or break an assumption.
        """
        return self.evidence.recorded_states(self.policy_of_file)

    def _lateness(self, states: Array) -> Lateness | Unknown:
        """Return the recorded states before some of them."""
        if self.evidence.episodes is None:
            return Unknown(NO_ORDER)
        return Lateness.of(states, self._recorded, self.evidence.episodes)

    @cached_property
    def behind_gate(self) -> "Proofs | Unknown":
        """Bounds for every state that the gate lets through, or why there are none."""
        gate = self.evidence.gate
        if gate is None:
            return Unknown("the controller has no gate")
        arithmetic, multipliers = self.everywhere.arithmetic, self.everywhere.multipliers
        return Proofs(self.policy_of_file, Evidence(), arithmetic, multipliers, gate=gate.gate)

    def at(self, scope: Scope) -> AtStates | Unknown:
        """Return the bounds around the recorded states, or around the visited ones."""
        return self.recorded_states if scope is Scope.RECORDED else self.visited

    def _at(self, states: Array, lateness: Lateness | Unknown) -> AtStates:
        return AtStates(self.everywhere, states, self.effort, self.dense, lateness)

    @property
    def independent_states(self) -> AtStates | Unknown:
        """Bounds around the visited states, where these count as independent draws."""
        if isinstance(self.visited, Unknown) or not self.evidence.num_repeated:
            return self.visited
        # Independent draws of real-valued states do not repeat; copies are no further evidence.
        count, repeated = len(self.visited.states), self.evidence.num_repeated
        return Unknown(f"{repeated} of {count} visited states repeat")

    @property
    def withheld(self) -> Set[Ground]:
        """What the certificate that is checked rests on and is not there; nothing elsewhere."""
        return self.evidence.withheld

    @property
    def assumption(self) -> str:
        """What bounds at all states take for granted about these; empty for nothing."""
        limit = self.evidence.state_limit
        if limit is None or self.policy is self.policy_of_file:
            return ""
        return f"for states of magnitude up to {limit:g} before they are perturbed, as assumed"

    def lipschitz(self, norm: Norm) -> Bound:
        """Bound |a(z + d) - a(z)|_2 / |d| in real arithmetic."""
        return self.everywhere.lipschitz(norm)

    def deviation(self, ball: Ball, outputs: Outputs = None) -> Bound | Unknown:
        """Bound the largest change of one action, rounding included."""
        bounds = self.everywhere.deployed_deviation(ball, outputs)
        if isinstance(bounds, Unknown):
            return bounds
        return Bound(value=float(bounds.rows.max()), method=bounds.method)

    def _pair_of(self, witness: Witness) -> tuple[Float, Float]:
        """Return the state and the perturbation of a witness.

        Raises:
            IntegrityError: If it holds none of this policy.
        """
        state, step = (np.array(part, np.float64) for part in (witness.state, witness.perturbation))
        if state.shape != (self.policy.obs_dim,) or step.shape != state.shape:
            raise IntegrityError(
                f"the witness must be a state and a perturbation of {self.policy.obs_dim} numbers"
            )
        return state, step

    def _is_seen(self, state: Float, step: Float, ball: Ball) -> bool:
        """Return True if a perturbation of a state is in the set, late readings included."""
        moved = step[None]
        if ball.delays is not None:  # sensors are late first, and then err
            known = [at for at in (self.recorded_states, self.visited) if isinstance(at, AtStates)]
            moved = np.concatenate(
                [step[None][:0], *(at.left_of(state, step, ball) for at in known)]
            )
        return bool(self.policy.reachable(ball).holds(moved).any())

    def change_at(self, witness: Witness, ball: Ball, outputs: Outputs = None) -> float:
        """Bound the change of one action that the deployed arithmetic may show at a witness.

        It is 0 where the perturbation of the witness is not in the ball.

        Raises:
            IntegrityError: If the witness holds no state and perturbation of this policy.
        """
        state, step = self._pair_of(witness)
        if not self._is_seen(state, step, ball):
            return 0.0
        pair = self.policy.outputs_at(np.stack([state, state + step]))
        rounding = self.everywhere.rounding(ball.epsilon)  # deployed: twice this on top
        slack = np.inf if isinstance(rounding, Unknown) else 2 * rounding.action
        return float((np.abs(pair[1] - pair[0]) + slack)[chosen(outputs)].max())

    def lead_at(self, witness: Witness, ball: Ball) -> float:
        """Bound the lead of another choice that the deployed arithmetic may show at a witness.

        It is -infinity where the perturbation of the witness is not in the ball, or nothing is
        chosen.

        Raises:
            IntegrityError: If the witness holds no state and perturbation of this policy.
        """
        state, step = self._pair_of(witness)
        is_choice = isinstance(self.policy.head, CategoricalHead)
        if not is_choice or not self._is_seen(state, step, ball):
            return -np.inf
        rounding = self.everywhere.rounding(ball.epsilon)
        if isinstance(rounding, Unknown):
            return np.inf
        slack = rounding.network[:, None] + rounding.network
        here, there = self.policy.network(np.stack([state, state + step]))
        made = may_be_made((here[:, None] - here + slack)[None])[0]
        leads = there[:, None] - there + slack
        np.fill_diagonal(leads, -np.inf)
        return float(leads[:, made].max())

    def is_recorded(self, witness: Witness) -> bool:
        """Return True if the state of a witness is a recorded one."""
        if isinstance(self.recorded_states, Unknown):
            return False
        states = self.recorded_states.states.astype(np.float64)
        return bool((states == np.array(witness.state, np.float64)).all(axis=1).any())

    def boxed(self, question: Question) -> BoxQuestion | Unknown:
        """Return a question that is not about recorded states as one about a box."""
        if not isinstance(question.where, GatedReadings):
            return BoxQuestion(question=question, policy=self.policy)
        if self.evidence.gate is None:
            return Unknown("the controller has no gate")
        # What the gate lets through needs no assumption on the states.
        gate = self.evidence.gate.gate
        inside = replace(question, where=readings_of(gate))
        return BoxQuestion(question=inside, policy=self.policy_of_file, gate=gate)

    def violation(self, question: Question) -> Bound | Unknown:
        """Bound by how much a condition is broken in its region, rounding included.

        Raises:
            InputError: If the question is not about such a controller.
        """
        arithmetic = self.everywhere.arithmetic
        if not isinstance(question.where, RecordedStates):
            asked = self.boxed(question)
            if isinstance(asked, Unknown):
                return asked
            tree = self._tree_of(question)
            robot = self.evidence.robot
            return proved_violation(asked.question, asked.policy, arithmetic, tree, robot)
        there = self.recorded_states
        if isinstance(there, Unknown):
            return there
        states = there.states.astype(np.float64)
        values = violations_at(states, question.condition, self.policy, arithmetic)
        bound = there.at_every(StateBounds(values=values, method="crown"))
        if not (count := int((values > 0).sum())):
            return bound
        words = f"open at {count} of them, worst at number {int(values.argmax())}"
        return replace(bound, still_open=words)

    def violation_at(self, witness: Witness, question: Question) -> float:
        """Bound the violation that the deployed arithmetic may show at a witness.

        It is -infinity where the witness is not in the region.

        Raises:
            IntegrityError: If the witness holds no observation of this policy.
        """
        arithmetic = self.everywhere.arithmetic
        if not isinstance(question.where, RecordedStates):
            asked = self.boxed(question)
            if isinstance(asked, Unknown) or not asked.admits(observation_of(witness, self.policy)):
                return -np.inf
            return violation_at(witness, asked.question, asked.policy, arithmetic)
        if not self.is_recorded(witness):
            return -np.inf
        state = np.array(witness.state, np.float64)[None]
        return float(violations_at(state, question.condition, self.policy, arithmetic)[0])

    def distance(self, ball: Ball) -> Distance[float] | Unknown:
        """Bound the distances of the action laws, rounding included."""
        return self.everywhere.distance(ball)

    def compression_error(self) -> Bound | Unknown:
        """Bound the largest change of one action against the dense policy, rounding included."""
        if isinstance(self.dense, Unknown):
            return self.dense
        rows = self._compression_rows(self.dense, 0.0)
        if isinstance(rows, Unknown):
            return rows
        return Bound(value=float(rows.max()), method="telescoped layers")

    def compression_tv(self, epsilon: float) -> float | Unknown:
        """Bound TV between the laws of this and the dense policy, at the same perturbed states.

        Args:
            epsilon: Size of a linf perturbation, normalised units.
        """
        if isinstance(self.dense, Unknown):
            return self.dense
        change = self._compression_rows(self.dense, epsilon)
        if isinstance(change, Unknown):
            return change
        head, other = self.policy.head, self.dense.head
        if isinstance(head, CategoricalHead) or isinstance(other, CategoricalHead):
            return float(categorical_tv(up(2 * change.max())))
        if head.std is None or other.std is None or not np.array_equal(head.std, other.std):
            return Unknown("the two policies do not name the same noise")
        means = up(change / head.half_range.astype(np.float64))
        if head.squash is not Squash.IDENTITY and not (means < 2).all():
            return 1.0  # the squash bounds the change of the actions, not that of the means
        return float(gaussian_tv(vector_norm_up(up(means / head.noise.astype(np.float64)))))

    def _compression_rows(self, dense: Policy, epsilon: float) -> Float | Unknown:
        """Bound the change of each action against the dense policy at all perturbed states."""
        states = state_bound(self.policy, epsilon)
        extra = both_roundings(self.policy, dense, states, self.everywhere.arithmetic)
        if isinstance(extra, Unknown):
            return extra
        return up(compression_error(self.policy, dense, states) + extra)

    def return_loss(self, ball: Ball) -> Loss | Unknown:
        """Bound the loss of return by the largest total variation of the action laws."""
        distance, evidence = self.distance(ball), self.evidence
        if isinstance(distance, Unknown):
            return distance
        if evidence.reward_range is None:
            return Unknown("no reward_range is assumed")
        if evidence.contradicts_rewards:
            return Unknown("a clean return contradicts the assumed reward_range")
        tv, span = distance.total_variation, evidence.reward_span
        if evidence.discount is not None:
            loss = coupling_bound(tv, span, evidence.discount)
            return replace(loss, method=f"coupling, discount {evidence.discount:g}")
        if evidence.horizon is not None:
            loss = finite_horizon_bound(tv, span, evidence.horizon)
            return replace(loss, method=f"coupling, horizon {evidence.horizon}")
        return Unknown("neither discount nor horizon is given")

    def return_loss_from_episodes(self, ball: Ball, delta: float) -> Loss | Unknown:
        """Bound the loss of return by clean episodes of the sampling policy.

        Args:
            ball: Perturbation set.
            delta: Chance that the bound is wrong.
        """
        clean, evidence = self.clean_tv(ball), self.evidence
        if isinstance(clean, Unknown):
            return clean
        words = f"of {len(clean.steps)} clean episodes"
        if evidence.discount is not None:
            loss = measured_average_bound(clean, evidence.reward_span, evidence.discount, delta)
            return replace(loss, method=f"average {words}, discount {evidence.discount:g}")
        if evidence.horizon != clean.horizon:
            return Unknown(f"the clean episodes have a horizon of {clean.horizon}")
        loss = measured_path_bound(clean, evidence.reward_span, delta)
        return replace(loss, method=f"path {words}, horizon {clean.horizon}")

    def clean_tv(self, ball: Ball) -> CleanTv | Unknown:
        """Bound TV at the states that clean episodes of the sampling policy met at random steps."""
        episodes = self.evidence.sampled
        states = self.evidence.sampled_states(self.policy_of_file)
        if episodes is None or states is None:
            return Unknown("no clean episodes of the sampling policy are given")
        everywhere = self.distance(ball)
        if isinstance(everywhere, Unknown):
            return everywhere
        there = self._at(states, Unknown(NO_ORDER)).distance(ball)
        if isinstance(there, Unknown):
            return there
        values = np.minimum(there.total_variation, everywhere.total_variation)
        return CleanTv(
            steps=episodes.steps,
            values=np.where(episodes.alive, values, 0.0),
            largest=everywhere.total_variation,
            horizon=episodes.horizon,
        )
