"""What the store of a study keeps of one cell: its record, which everything is drawn from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from surefoot.artifact import Json
from surefoot.certificate import Certificate, Verdict
from surefoot.records import AttackRecord, Record, StageRecord, TrainingRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class Maker(Record):
    """Code and libraries that made a result: others make another one.

    Attributes:
        code_sha256: Digest of the code of the stages.
        versions: Versions of the libraries that compute, by name.
    """

    code_sha256: str
    versions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class CertificateSummary(Record):
    """The numbers of a certificate that a study compares.

    Attributes:
        verdict: Verdict on the budget.
        lipschitz_l2: Bounds of the whole controller by name, action / normalised unit.
        deviation_linf: Bounds on the change of one output by name, action units.
        visited_certified: Bound at each visited state, action units; empty where not asked for.
        visited_sampled: Worst that a search found at each, action units.
    """

    verdict: Verdict
    lipschitz_l2: Mapping[str, float | None]
    deviation_linf: Mapping[str, float | None]
    visited_certified: tuple[float | None, ...]
    visited_sampled: tuple[float, ...]

    @classmethod
    def of(cls, certificate: Certificate) -> Self:
        """Return the summary of a certificate."""
        visited = certificate.claims.visited_deviation
        return cls(
            verdict=certificate.verdict,
            lipschitz_l2=dict(certificate.lipschitz_l2),
            deviation_linf=dict(certificate.deviation_linf),
            visited_certified=() if visited is None else tuple(visited.certified),
            visited_sampled=() if visited is None else visited.sampled,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class CellRecord(Record):
    """What ``cell.json`` says: one training, and what came of it.

    Attributes:
        settings: The resolved tables of the cell.
        maker: Code and libraries that made it.
        stages: What computed each stage and how long that took, by its name.
        train: Record of the training.
        curve: Columns of the learning curves, at the evaluations.
        certificate: Numbers of the certificate; None where the stage was left out.
        attack: Record of the attacks; None where the stage was left out.
        size_bytes: Size of ``policy.onnx``.
    """

    settings: Mapping[str, Json]
    maker: Maker
    stages: Mapping[str, StageRecord]
    train: TrainingRecord
    curve: Mapping[str, tuple[float | None, ...]]
    certificate: CertificateSummary | None
    attack: AttackRecord | None
    size_bytes: int

    @property
    def seconds(self) -> float:
        """Seconds of all stages together."""
        return sum(stage.seconds for stage in self.stages.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure(Record):
    """A cell that failed every time.

    Attributes:
        error: Last error, one line.
        attempts: Number of attempts.
    """

    error: str
    attempts: int
