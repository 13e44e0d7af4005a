"""What a suite found."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from surefoot.artifact import Json
from surefoot.attack.action import ActionAdversary
from surefoot.attack.adversary import Adversary, NoAdversary
from surefoot.attack.closed_loop import Evaluation
from surefoot.attack.cost import Cost
from surefoot.attack.proved_deviation import CertifiedBox
from surefoot.ball import Ball
from surefoot.config import to_table
from surefoot.envs import EnvSpec
from surefoot.provenance import code_digest, made_on
from surefoot.records import (
    CLEAN,
    ActionRecord,
    AttackOutcome,
    AttackRecord,
    GradientMasking,
    VariantRecord,
    WorstAttack,
)
from surefoot.statistics import bootstrap_interval, interquartile_mean


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackResult:
    """One attack on the evaluation episodes.

    Attributes:
        variant: The variant that was chosen.
        selection: Every variant on the selection episodes; empty for the clean loop.
        evaluation: Outcome of the episodes.
        certified: Proved bound on the deviation, if there is one.
        effort: Cost of everything: making the variants, choosing one, and playing it.
        facts: Further remarks: which critic, how a training went.
        adversary: The variant itself, to play it again.
    """

    variant: str
    selection: Mapping[str, Evaluation]
    evaluation: Evaluation
    certified: float | None
    effort: Cost = field(default_factory=Cost)
    facts: Mapping[str, Json] = field(default_factory=dict)
    adversary: Adversary | ActionAdversary = field(default_factory=NoAdversary)

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(self.evaluation.returns.mean())

    def record(self) -> AttackOutcome:
        """Return the entry of ``attack.json``."""
        evaluation = self.evaluation
        interval = bootstrap_interval(evaluation.returns)
        return AttackOutcome(
            returns=tuple(evaluation.returns.tolist()),
            mean=self.mean,
            iqm=interquartile_mean(evaluation.returns),
            interval=(interval.low, interval.high),
            max_deviation=evaluation.max_deviation,
            max_deviation_per_output=tuple(evaluation.deviations.max(axis=0, initial=0.0).tolist()),
            certified_deviation=self.certified,
            reached_share=evaluation.max_deviation / self.certified if self.certified else None,
            lengths=tuple(evaluation.lengths.tolist()),
            terminated=tuple(evaluation.terminated.tolist()),
            failures=evaluation.num_failures,
            failure_reasons=tuple(evaluation.failures),
            successes=evaluation.successes,
            gate=evaluation.gate,
            variant=self.variant,
            effort=self.effort.to_table(),
            selection={
                name: VariantRecord(
                    mean=float(tried.returns.mean()),
                    max_deviation=tried.max_deviation,
                    failures=tried.num_failures,
                )
                for name, tried in self.selection.items()
            },
            more=self.facts,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionResult:
    """The attack on the actions, in one box.

    Attributes:
        box: How far the certificate lets each action move.
        result: Outcome under the strongest variant.
    """

    box: CertifiedBox
    result: AttackResult

    def record(self) -> ActionRecord:
        """Return the entry of ``attack.json``."""
        return ActionRecord(
            scope=self.box.scope,
            limits=self.box.limits,
            fraction=self.box.fraction,
            confidence=self.box.confidence,
            outcome=self.result.record(),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackReport:
    """What ``attack.json`` says.

    Attributes:
        ball: The perturbation set.
        suite: Attacks that were played.
        backend: Backend that computed the controller.
        spec: The task.
        onnx_sha256: Digest of the file that was attacked.
        seeds: Seeds of the episodes, by what they served for.
        attacks: Results by name, the clean loop among them.
        actions: Results of the attack on the actions, one for each box that a certificate leaves.
        settings: The configuration of the suite: attacks compare at equal effort only.
        masking: Signs of masked gradients, if they were looked for.
        readings: Largest error of the readings by sensor, with its unit; None where the ball is not
            said in raw units.
        gate: What the robot got in the place of a rejected action; None without a gate.
    """

    ball: Ball
    suite: str
    backend: str
    spec: EnvSpec
    onnx_sha256: str
    seeds: Mapping[str, tuple[int, ...]]
    attacks: Mapping[str, AttackResult]
    settings: Mapping[str, Json]
    actions: tuple[ActionResult, ...] = ()
    masking: GradientMasking | None = None
    readings: Mapping[str, str] | None = None
    gate: str | None = None

    @property
    def worst(self) -> str:
        """Name of the attack that the controller stood worst; an upper bound on the worst case.

        That of the clean loop, which bounds it as well, where no observations were attacked.
        """
        attacked = [name for name in self.attacks if name != CLEAN] or [CLEAN]
        return min(attacked, key=lambda name: self.attacks[name].evaluation.standing)

    def record(self) -> AttackRecord:
        """Return ``attack.json``."""
        worst = self.attacks[self.worst]
        return AttackRecord(
            epsilon=self.ball.epsilon,
            norm=self.ball.norm,
            sensors=self.ball.sensors,
            groups=self.ball.groups,
            delays=self.ball.delays,
            biases=self.ball.biases,
            readings=self.readings,
            backend=self.backend,
            suite=self.suite,
            episodes=len(self.seeds["evaluation"]),
            attacks={name: result.record() for name, result in self.attacks.items()},
            worst=WorstAttack(
                attack=self.worst, mean=worst.mean, failures=worst.evaluation.num_failures
            ),
            gradient_masking=self.masking,
            actions=tuple(result.record() for result in self.actions) or None,
            onnx_sha256=self.onnx_sha256,
            env=self.spec.env_id,
            gate=self.gate,
            more={
                "settings": dict(self.settings),
                "code_sha256": code_digest(),
                "action": self.settings["actions"],
                "seeds": {name: list(seeds) for name, seeds in self.seeds.items()},
                "made_on": to_table(made_on(), nulls=True),
                "packages": dict(self.spec.packages),
            },
        )

    def to_table(self) -> dict[str, Json]:
        """Return ``attack.json`` as JSON values."""
        return self.record().to_table()
