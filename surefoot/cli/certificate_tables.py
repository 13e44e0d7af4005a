"""A certificate as tables: verdicts, every bound with its gap, and what they mean for returns."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from surefoot.artifact import Json
from surefoot.cli.tables import Table, proved

if TYPE_CHECKING:
    from surefoot.certificate import Certificate


def tables_of(certificate: "Certificate") -> list[Table]:
    """Return the certificate as tables: the requirements, then every bound with its gap."""
    findings = [
        (
            finding.requirement.describe(),
            proved(finding.certified, at_most=finding.requirement.at_most is not None),
            finding.sampled,
            finding.method,
            finding.verdict.word(measured=finding.measured),
            finding.reason,
        )
        for finding in certificate.findings
    ]
    columns = ("requirement", "certified", "sampled", "method", "verdict", "reason")
    tables = [Table(f"verdict: {certificate.verdict}", columns, findings)]
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
    return [*tables, *_law_tables(certificate.claims), *_return_tables(certificate.claims)]


def _law_tables(claims: Mapping[str, Json]) -> list[Table]:
    """Return how far the law of the sampled action may move."""
    law = claims.get("distribution") or {}
    names = ("total_variation", "pinsker_total_variation", "kl", "w2")
    rows = [(name, proved(law[name])) for name in names if law.get(name) is not None]
    title = f"law of the sampled action, {law.get('norm')} epsilon {law.get('epsilon')}"
    return [Table(title, ("distance", "at most"), rows)] if rows else []


def _return_tables(claims: Mapping[str, Json]) -> list[Table]:
    """Return what perturbations may cost: every bound, the published ones as printed among them."""
    value = claims.get("value")
    if not value:
        return []
    known = ("coupling", "average", "horizon", "path", "paper_alpha")
    entries = [(name, value[name]) for name in known if name in value]
    rows = [
        (
            name,
            proved(entry["bound"]),
            entry["trivial"],
            "NOT A BOUND" if not entry["sound"] else "vacuous" if entry["vacuous"] else "",
            _when(entry),
        )
        for name, entry in entries
    ]
    for theorem, entry in claims["paper"]["theorems"].items():
        rows += [
            (f"{theorem}, {law}", bound, entry["trivial_as_printed"], "NOT A BOUND", "as printed")
            for law, bound in (entry["as_printed"] or {}).items()
        ]
    title = f"loss of return of the sampling policy, {value['norm']} epsilon {value['epsilon']}"
    head = ("bound", "value", "without it", "", "holds")
    return [Table(title, head, rows)] if rows else []


def _when(entry: Mapping[str, Json]) -> str:
    """Return when a bound on the loss of return holds."""
    if not entry["sound"]:
        return "as printed"
    return f"confidence {entry['confidence']:g}" if "confidence" in entry else "always"
