"""What is known about one controller: proofs on one side, what searches found on the other."""

from functools import cached_property

from surefoot.budget import Budget
from surefoot.certify.at_states import Effort
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.bounds.chain import action_chain
from surefoot.certify.bounds.lipsdp import semidefinite_bounds
from surefoot.certify.bounds.lipsdp_proof import Multipliers
from surefoot.certify.counterexamples import Replay, deployed_arithmetic
from surefoot.certify.evidence import CertifyConfig, Evidence
from surefoot.certify.measurements import FileMeasurements
from surefoot.certify.proofs import Proofs
from surefoot.certify.searches import Searches
from surefoot.config import to_table
from surefoot.faint_sensors import faint_sensors
from surefoot.onnx_file import ControllerFile


class Analysis:
    """A controller, what is known beside it, and what comes of both; made when first asked for.

    Attributes:
        controller: Controller as read back from its file.
        evidence: Visited observations, measurements and assumptions.
        config: Effort of bounds and searches.
    """

    def __init__(
        self, controller: ControllerFile, evidence: Evidence, config: CertifyConfig
    ) -> None:
        self.controller = controller
        self.evidence = evidence
        self.config = config

    @cached_property
    def multipliers(self) -> list[tuple[str, Multipliers]]:
        """The semidefinite proofs by name, in action units: the one thing that is optimised."""
        if not self.controller.policy.is_elementwise:
            return []  # nothing bounds it in every state
        found = semidefinite_bounds(
            action_chain(self.controller.policy),
            iterations=self.config.lipsdp_iterations,
            row_iterations=self.config.lipsdp_per_actuator,
        )
        named = [("eclipse_fast", found.fast), ("lipsdp", found.whole)]
        named += [("lipsdp", row) for row in found.rows]
        return [(name, proof) for name, proof in named if proof is not None]

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
