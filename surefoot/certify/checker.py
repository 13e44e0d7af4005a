"""Prove a saved certificate again, from the file and the saved multipliers alone.

No optimiser and no search takes part. Whatever the certificate says beyond the proofs is refused.
"""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field

from surefoot.budget import Scope
from surefoot.certificate import Certificate, Finding, Verdict
from surefoot.certify.differences import differences
from surefoot.certify.measurements import FileMeasurements
from surefoot.certify.proofs import Proofs
from surefoot.certify.saved_proofs import saved_proofs
from surefoot.certify.table_check import check_tables
from surefoot.certify.verdict import finite
from surefoot.certify.words_check import faults_of_words
from surefoot.errors import IntegrityError
from surefoot.onnx_file import ControllerFile
from surefoot.policy import Array, Policy, weights_sha256
from surefoot.quantities.base.measurement import Limits
from surefoot.quantities.base.proof import Ground, Withheld
from surefoot.quantities.base.quantity import MeasuredQuantity, ProvedQuantity
from surefoot.unknown import Unknown
from surefoot.visited import Order, SampledEpisodes


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckReport:
    """Which requirements were checked, by their number in the budget, from 0.

    Attributes:
        proved: Requirements that hold, or do not, as the certificate says.
        lacking: Evidence that was missing, by the requirement that rests on it.
        lacking_claims: Evidence that was missing, by the name of the claim beside the requirements
            that rests on it.
    """

    proved: tuple[int, ...]
    lacking: Mapping[int, Set[Ground]] = field(default_factory=dict)
    lacking_claims: Mapping[str, Ground] = field(default_factory=dict)

    @property
    def unchecked(self) -> tuple[int, ...]:
        """Requirements whose evidence was missing."""
        return tuple(self.lacking)


def check_certificate(
    certificate: Certificate,
    controller: ControllerFile,
    *,
    observations: Array | None = None,
    recorded: Array | None = None,
    order: Order | None = None,
    sampled: SampledEpisodes | None = None,
    dense_policy: Policy | None = None,
) -> CheckReport:
    """Prove a certificate again and compare every number and verdict.

    Args:
        certificate: Certificate as read back from its file.
        controller: The file that it must be about.
        observations: The visited observations, for claims about visited states.
        recorded: The recorded observations, for claims about every one of them.
        order: What came before these observations, for claims about readings that are late.
        sampled: Episodes of the sampling policy, for claims about its return.
        dense_policy: Policy from which this one was compressed, for claims about compression.

    Raises:
        IntegrityError: If anything it says is not so.
    """
    weights, onnx, budget = weights_sha256(controller.policy), controller.sha256, certificate.budget
    certificate.check_is_about(weights_sha256=weights, onnx_sha256=onnx, budget=budget)
    proofs = saved_proofs(
        certificate,
        controller.policy,
        observations=observations,
        recorded=recorded,
        order=order,
        sampled=sampled,
        dense_policy=dense_policy,
    )
    file = FileMeasurements.of(controller, proofs.evidence)
    tables = check_tables(certificate, proofs)
    faults = [*faults_of_words(certificate, proofs), *tables.faults]
    proved: list[int] = []
    lacking: dict[int, Set[Ground]] = {}
    shares = zip(certificate.findings, budget.error_shares, strict=True)
    for number, (finding, delta) in enumerate(shares):
        match _again(finding, proofs, file, delta):
            case Withheld(grounds=grounds):
                lacking[number] = grounds
            case again:
                faults += _finding_faults(finding, again, proofs)
                proved.append(number)
    if faults:
        raise IntegrityError(faults[0])
    return CheckReport(proved=tuple(proved), lacking=lacking, lacking_claims=tables.lacking)


def _again(
    finding: Finding, proofs: Proofs, file: FileMeasurements, delta: float
) -> float | Withheld | None:
    """Return the number of a finding once more, None where it has none."""
    match finding.requirement.about:
        case ProvedQuantity() as quantity:
            bound = quantity.prove_again(finding.requirement, finding.certified, proofs, delta)
            if isinstance(bound, Withheld):
                return bound
            return None if isinstance(bound, Unknown) else finite(bound.value)
        case MeasuredQuantity() as quantity:
            known = quantity.of_file(finding.requirement, file, delta)
            if isinstance(known, Unknown):
                return None
            return known.lower if isinstance(known, Limits) else known.value


def _finding_faults(finding: Finding, again: float | None, proofs: Proofs) -> Iterator[str]:
    """Yield the faults of a finding's number, verdict and witness."""
    need, value = finding.requirement, finding.sampled if finding.measured else finding.certified
    yield from differences(value, again, need.describe())
    if (finding.verdict is Verdict.PROVED) != (value is not None and need.holds(value)):
        yield f"{need.describe()}: the verdict does not follow from {value}"
    if finding.verdict is Verdict.REFUTED and not _is_violated(finding, proofs):
        yield f"{need.describe()}: the witness violates nothing"


def _is_violated(finding: Finding, proofs: Proofs) -> bool:
    about, witness = finding.requirement.about, finding.witness
    if finding.requirement.scope is Scope.GATE:  # no search is made there
        return False
    if isinstance(about, MeasuredQuantity) or witness is None:
        return witness is not None
    return about.is_violated(finding.requirement, witness, proofs)
