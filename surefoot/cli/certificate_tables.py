"""A certificate as tables: verdicts, every bound with its gap, and what they mean for returns."""

from typing import TYPE_CHECKING

from surefoot.cli.tables import Table, proved

if TYPE_CHECKING:
    from surefoot.certificate import Certificate
    from surefoot.claims import Claims, DistributionClaim, LossClaim


def tables_of(certificate: "Certificate") -> list[Table]:
    """Return the certificate as tables: the requirements, then every bound with its gap."""
    findings = [
        (
            finding.requirement.describe(),
            proved(finding.certified, at_most=finding.requirement.about.at_most),
            finding.sampled,
            finding.method,
            finding.outcome,
            finding.reason_on(certificate.robot),
        )
        for finding in certificate.findings
    ]
    columns = ("requirement", "certified", "sampled", "method", "verdict", "reason")
    tables = [Table(f"verdict: {certificate.headline}", columns, findings)]
    for title, bounds in (
        ("l2 Lipschitz bound, action units per normalised unit", certificate.lipschitz_l2),
        ("linf deviation of one actuator, action units", certificate.deviation_linf),
    ):
        sampled = bounds.get("sampled")
        rows = [
            (
                name,
                proved(value),
                value / sampled if value is not None and sampled else None,
            )
            for name, value in bounds.items()
            if name not in ("epsilon", "sampled")
        ]
        epsilon = f" (epsilon {bounds['epsilon']})" if "epsilon" in bounds else ""
        head = ("bound", "value", "times sampled")
        tables.append(Table(title + epsilon, head, [*rows, ("sampled", sampled, 1.0)]))
    claims = certificate.claims
    return [*tables, *_law_tables(claims.distribution), *_return_tables(claims)]


def _law_tables(claim: "DistributionClaim") -> list[Table]:
    """Tabulate how far the distribution of the sampled action may move."""
    if claim.numbers is None:
        return []
    values = {
        "total_variation": claim.total_variation,
        "pinsker_total_variation": claim.numbers.pinsker_total_variation,
        "kl": claim.kl,
        "w2": None if claim.transport is None else claim.transport.w2,
    }
    rows = [(name, proved(value)) for name, value in values.items() if value is not None]
    title = f"law of the sampled action, {claim.norm} epsilon {claim.epsilon}"
    return [Table(title, ("distance", "at most"), rows)]


def _return_tables(claims: "Claims") -> list[Table]:
    """Tabulate what perturbations may cost: every bound, the published ones as printed included."""
    value = claims.value
    if value is None:
        return []
    rows: list[tuple[object, ...]] = [
        (name, proved(loss.bound), loss.trivial, _worth(loss), _when(loss))
        for name, loss in value.losses.items()
    ]
    for theorem, printed in claims.paper.theorems.printed.items():
        rows += [
            (f"{theorem}, {law}", bound, printed.trivial_as_printed, "NOT A BOUND", "as printed")
            for law, bound in printed.as_printed.items()
        ]
    title = f"loss of return of the sampling policy, {value.norm} epsilon {value.epsilon}"
    head = ("bound", "value", "without it", "note", "holds")
    return [Table(title, head, rows)] if rows else []


def _worth(loss: "LossClaim") -> str:
    return "NOT A BOUND" if not loss.sound else "vacuous" if loss.vacuous else ""


def _when(loss: "LossClaim") -> str:
    """Say when a bound on the loss of return holds."""
    if not loss.sound:
        return "as printed"
    return "always" if loss.confidence is None else f"confidence {loss.confidence:g}"
