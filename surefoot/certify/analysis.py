"""What is known about one controller: proofs on one side, what searches found on the other."""

from functools import cached_property

from surefoot.ball import Ball, Norm
from surefoot.budget import Budget
from surefoot.certify.at_states import Effort
from surefoot.certify.behind_gate import enforced_state
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.bounds.chain import action_chain
from surefoot.certify.bounds.lipsdp import semidefinite_bounds
from surefoot.certify.bounds.lipsdp_proof import Multipliers
from surefoot.certify.counterexamples import Replay, deployed_arithmetic
from surefoot.certify.everywhere import shares_of
from surefoot.certify.evidence import CertifyConfig, Evidence
from surefoot.certify.measurements import FileMeasurements
from surefoot.certify.proofs import Proofs
from surefoot.certify.searches import Searches
from surefoot.config import to_table
from surefoot.faint_sensors import faint_sensors
from surefoot.onnx_file import ControllerFile

_MOST_BOXES = 4
"""Perturbations for which sensors are weighed: each takes the time of all Lipschitz constants."""


class Analysis:
    """A controller, what is known beside it, and what comes of both; made when first asked for.

    Attributes:
        controller: Controller as read back from its file.
        evidence: Visited observations, measurements and assumptions.
        config: Effort of bounds and searches.
        fitted_to: Budget for whose perturbations sensors are weighed, beside equal errors of all;
            None where nothing is required yet.
    """

    def __init__(
        self,
        controller: ControllerFile,
        evidence: Evidence,
        config: CertifyConfig,
        fitted_to: Budget | None = None,
    ) -> None:
        self.controller = controller
        self.evidence = evidence
        self.config = config
        self.fitted_to = fitted_to

    def held(self, budget: Budget) -> Budget:
        """Return a budget in the units of the controller.

        Raises:
            InputError: If it uses words of a robot that mean nothing on this one, or none is given,
                or the robot is not that of the controller.
        """
        policy, evidence = self.controller.policy, self.evidence
        enforced = enforced_state(policy, evidence.gate)
        return budget.on(evidence.robot, policy, evidence.state_limit, enforced)

    @cached_property
    def multipliers(self) -> list[tuple[str, Multipliers]]:
        """The semidefinite proofs by name, in action units: the one thing that is optimised."""
        if not self.controller.policy.is_elementwise:
            return []  # nothing bounds it in every state
        found = semidefinite_bounds(
            action_chain(self.controller.policy),
            iterations=self.config.lipsdp_iterations,
            row_iterations=self.config.lipsdp_per_actuator,
            balls=self._boxes,
        )
        named = [("eclipse_fast", found.fast), ("lipsdp", found.whole)]
        named += [("lipsdp", row) for row in (*found.rows, *found.weighed)]
        return [(name, proof) for name, proof in named if proof is not None]

    @property
    def _boxes(self) -> list[Ball]:
        """Perturbations of unit size for which sensors are weighed: equal errors and those named.

        In l2 no metric is better than a constant. A metric bounds all perturbations, so that those
        beyond the first few are bounded as well, if less tightly.
        """
        named = [] if self.fitted_to is None else self.held(self.fitted_to).requirements
        balls = [Ball(norm=Norm.LINF, epsilon=1.0)]
        balls += [need.ball for need in named if need.ball and need.about.proved]
        boxes = [self._box_of(ball) for ball in balls if ball.norm is Norm.LINF]
        moving = [box for box in boxes if box.sensors is None or any(box.sensors)]
        return list(dict.fromkeys(moving))[:_MOST_BOXES]

    def _box_of(self, ball: Ball) -> Ball:
        shares = shares_of(ball, self.controller.policy)
        sensors = None if shares is None else tuple(shares.tolist())
        return Ball(norm=ball.norm, epsilon=1.0, sensors=sensors, groups=ball.groups)

    @cached_property
    def proofs(self) -> Proofs:
        """Everything that is proved."""
        return Proofs(
            self.controller.policy,
            self.evidence,
            ARITHMETICS[self.config.arithmetic],
            self.multipliers,
            Effort.of(to_table(self.config)),
            lambda question: self.searches.tree_of(question),
        )

    @cached_property
    def replay(self) -> Replay:
        """The deployed arithmetic."""
        return deployed_arithmetic(self.controller)

    @cached_property
    def searches(self) -> Searches:
        """Everything that is searched for."""
        return Searches(self.proofs, self.replay, self.config)

    def faint_sensors(self, budget: Budget) -> tuple[str, ...]:
        """Return a line for each sensor of which a perturbation in raw units says little."""
        robot = self.evidence.robot
        if robot is None:
            return ()
        named = [need.perturb for need in budget.requirements if need.perturb is not None]
        normaliser = self.controller.policy.normaliser
        lines = [line for perturb in named for line in faint_sensors(perturb, robot, normaliser)]
        return tuple(dict.fromkeys(lines))

    @cached_property
    def measurements(self) -> FileMeasurements:
        """Everything that was measured on the file."""
        return FileMeasurements.of(self.controller, self.evidence)

    @cached_property
    def onnx_sha256(self) -> str:
        """Digest of the file."""
        return self.controller.sha256
