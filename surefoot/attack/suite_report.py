"""What a suite found, and how ``attack.json`` says it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version

from surefoot import __version__
from surefoot.artifact import Json
from surefoot.attack.closed_loop import Evaluation
from surefoot.attack.cost import Cost
from surefoot.ball import Ball
from surefoot.envs import EnvSpec
from surefoot.provenance import code_digest
from surefoot.runtime.machine import machine_facts
from surefoot.statistics import bootstrap_interval, interquartile_mean

CLEAN = "clean"
"""Name of the loop without an adversary in a report."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackResult:
    """One attack on the evaluation episodes.

    Attributes:
        variant: The variant that was chosen.
        selection: Every variant on the selection episodes; empty for the clean loop.
        evaluation: What happened.
        certified: Proved bound on the deviation, if there is one.
        effort: Cost of everything: making the variants, choosing one, and playing it.
        facts: What else a reader should know: which critic, how a training went.
    """

    variant: str
    selection: Mapping[str, Evaluation]
    evaluation: Evaluation
    certified: float | None
    effort: Cost = field(default_factory=Cost)
    facts: Mapping[str, Json] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(self.evaluation.returns.mean())

    def to_table(self) -> dict[str, Json]:
        """Return the entry of ``attack.json``."""
        evaluation = self.evaluation
        interval = bootstrap_interval(evaluation.returns)
        return {
            "returns": evaluation.returns.tolist(),
            "mean": self.mean,
            "iqm": interquartile_mean(evaluation.returns),
            "interval": [interval.low, interval.high],
            "max_deviation": evaluation.max_deviation,
            "max_deviation_per_output": evaluation.deviations.max(axis=0, initial=0.0).tolist(),
            "certified_deviation": self.certified,
            "reached_share": evaluation.max_deviation / self.certified if self.certified else None,
            "lengths": evaluation.lengths.tolist(),
            "terminated": evaluation.terminated.tolist(),
            "failures": evaluation.num_failures,
            "failure_reasons": list(evaluation.failures),
            "variant": self.variant,
            "effort": self.effort.to_table(),
            **self.facts,
            "selection": {
                name: {
                    "mean": float(tried.returns.mean()),
                    "max_deviation": tried.max_deviation,
                    "failures": tried.num_failures,
                }
                for name, tried in self.selection.items()
            },
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackReport:
    """What ``attack.json`` says.

    Attributes:
        ball: The perturbation set.
        suite: Attacks that were played.
        backend: What computed the controller.
        spec: The task.
        onnx_sha256: Digest of the file that was attacked.
        seeds: Seeds of the episodes, by what they served for.
        attacks: Results by name, the clean loop among them.
        settings: The configuration of the suite: attacks compare at equal effort only.
        masking: What speaks for masked gradients, where that was looked at.
    """

    ball: Ball
    suite: str
    backend: str
    spec: EnvSpec
    onnx_sha256: str
    seeds: Mapping[str, tuple[int, ...]]
    attacks: Mapping[str, AttackResult]
    settings: Mapping[str, Json]
    masking: Mapping[str, Json] | None = None

    @property
    def worst(self) -> str:
        """Name of the attack that the controller stood worst; an upper bound on the worst case."""
        attacked = [name for name in self.attacks if name != CLEAN]
        return min(attacked, key=lambda name: self.attacks[name].evaluation.standing)

    def to_table(self) -> dict[str, Json]:
        """Return ``attack.json`` as JSON values."""
        return {
            "epsilon": self.ball.epsilon,
            "norm": self.ball.norm.value,
            "backend": self.backend,
            "suite": self.suite,
            "episodes": len(self.seeds["evaluation"]),
            "attacks": {name: result.to_table() for name, result in self.attacks.items()},
            "worst": {
                "attack": self.worst,
                "mean": self.attacks[self.worst].mean,
                "failures": self.attacks[self.worst].evaluation.num_failures,
            },
            "settings": dict(self.settings),
            "gradient_masking": None if self.masking is None else dict(self.masking),
            "onnx_sha256": self.onnx_sha256,
            "code_sha256": code_digest(),
            "env": self.spec.env_id,
            "action": "deterministic",
            "seeds": {name: list(seeds) for name, seeds in self.seeds.items()},
            "versions": {
                "surefoot": __version__,
                "torch": version("torch"),
                **machine_facts()["libraries"],
                **self.spec.packages,
            },
        }
