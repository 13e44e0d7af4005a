"""A certificate in plain words: what is guaranteed, what is not, and why."""

from collections.abc import Mapping

from surefoot.artifact import Json
from surefoot.budget import Scope
from surefoot.certificate import Certificate, Finding, Verdict, proved_text

_NOT_GUARANTEED = (
    "Nothing is said about perturbations larger than the epsilon of a requirement, or in another "
    "norm. Epsilon counts in normalised units: sensor k may be wrong by epsilon times its scale.",
    "Nothing is proved about the closed loop. That the action moves little does not prove that the "
    "robot stays up: no sound model of contacts exists. Attacked returns are measured.",
    "Total variation, KL and return loss are about the policy that samples its actions. The "
    "deployed controller plays the mean, whose law is a single point.",
    "Statistical claims hold for states drawn like the given ones, independently, in the same "
    "simulator, and not for another robot, floor or task. A training run draws them at steps fixed "
    "beforehand, one per episode; episodes that ended earlier were redrawn. That given states were "
    "drawn so is assumed; only that none repeats is checked.",
)


def explain(certificate: Certificate) -> str:
    """Return what a certificate guarantees and what it does not, in plain words."""
    head = [
        f"This certificate is about the file with SHA-256 {certificate.onnx_sha256[:16]}... and no "
        f"other. Its verdict is {certificate.verdict}.",
        _arithmetic(certificate),
    ]
    groups = (
        ("Guaranteed, always:", _chosen(certificate, Verdict.PROVED, statistical=False)),
        ("Guaranteed with a confidence:", _chosen(certificate, Verdict.PROVED, statistical=True)),
        ("Measured on this file, not proved:", _measured(certificate)),
        ("Violated, with a concrete example:", _refuted(certificate)),
        ("Neither proved nor refuted:", _unknown(certificate)),
        ("Said beside the requirements:", _beside(certificate.claims)),
        ("Not guaranteed:", list(_NOT_GUARANTEED)),
    )
    parts = ["\n".join(head)]
    parts += [
        "\n".join([title, *(f"  - {line}" for line in lines)]) for title, lines in groups if lines
    ]
    return "\n\n".join(parts) + "\n"


def _arithmetic(certificate: Certificate) -> str:
    if not certificate.runtime_error:
        reason = certificate.claims.get("runtime_error", {}).get("reason", "no bound")
        return f"The rounding of the runtime is not bounded ({reason})."
    largest = max(certificate.runtime_error)
    output = "logit" if _units(certificate) == "logits" else "action"
    words = (
        f"Every deviation includes what {certificate.arithmetic} arithmetic may add, at most "
        f"{proved_text(largest, digits=2)} per {output}, in any order of summation."
    )
    claim = certificate.claims.get("runtime_error", {})
    given = [claim[key] for key in ("assumption", "state_limit") if key in claim]
    return f"{words} Assumed: {'; '.join(given)}." if given else words


def _chosen(certificate: Certificate, verdict: Verdict, *, statistical: bool) -> list[str]:
    units = _units(certificate)
    return [
        _sentence(
            finding,
            _bound(finding.certified, at_most=finding.requirement.at_most is not None),
            units,
        )
        for finding in certificate.findings
        if finding.verdict is verdict
        and finding.statistical == statistical
        and not finding.measured
    ]


def _measured(certificate: Certificate) -> list[str]:
    units = _units(certificate)
    return [
        _sentence(finding, _number(finding.sampled), units)
        for finding in certificate.findings
        if finding.measured and finding.verdict is Verdict.PROVED
    ]


def _refuted(certificate: Certificate) -> list[str]:
    lines = []
    for finding in certificate.findings:
        if finding.verdict is Verdict.REFUTED:
            found = f"found {_number(finding.sampled)}"
            lines.append(f"required: {finding.requirement.describe()}; {found}")
    return lines


def _unknown(certificate: Certificate) -> list[str]:
    return [
        f"required: {finding.requirement.describe()}; {finding.reason}"
        for finding in certificate.findings
        if finding.verdict is Verdict.UNKNOWN
    ]


def _beside(claims: Mapping[str, Json]) -> list[str]:
    """Return what the claims say that no requirement asks for."""
    return [*_law(claims), *_radius(claims), *_loss(claims), *_attacks(claims)]


def _law(claims: Mapping[str, Json]) -> list[str]:
    law = claims.get("distribution") or {}
    if law.get("total_variation") is None:
        return []
    return [
        f"in every state, if the state is wrong by at most {law['epsilon']:g} ({law['norm']}), the "
        f"law of the sampled action moves by at most {proved_text(law['total_variation'])} in "
        f"total variation and {_bound(law['kl'])} nats"
    ]


def _radius(claims: Mapping[str, Json]) -> list[str]:
    radius = claims.get("visited_radius") or {}
    if "share_proved" not in radius:
        return []
    return [
        f"with confidence {radius['confidence']:.1%}, a share "
        f"{proved_text(radius['share_proved'], at_most=False)} of the states that the policy visits"
        f" tolerates {radius['epsilon']:g} ({radius['norm']}) before an output"
        f" moves by more than {radius['limit']:g}"
    ]


def _loss(claims: Mapping[str, Json]) -> list[str]:
    value = claims.get("value") or {}
    lines = []
    for name in ("coupling", "average", "horizon", "path"):
        if name in value:
            bound = value[name]
            words = f"if the state is wrong by at most {value['epsilon']:g} ({value['norm']}), the "
            words += f"sampling policy loses at most {_bound(bound['bound'])} of its return by the "
            words += f"{name} bound, of {_number(bound['trivial'])} that there are"
            if "confidence" in bound:
                words += f", with confidence {bound['confidence']:.1%}"
            lines.append(words + (": vacuous" if bound["vacuous"] else ""))
    return lines


def _attacks(claims: Mapping[str, Json]) -> list[str]:
    """Return what was measured, with its limits; nothing of it is proved for the whole ball."""
    lines = []
    for row in claims.get("measured", []):
        if row["quantity"] == "success_rate":
            lines.append(
                f"under {row['source']} a share {row['value']:.4g} of the episodes did not fail: "
                f"at least {proved_text(row['at_least'], at_most=False)} with confidence "
                f"{row['confidence']:.1%}"
            )
        elif row.get("mean_at_least"):
            lines.append(
                f"under {row['source']} the mean return was {row['value']:.4g}: at least "
                f"{proved_text(row['mean_at_least']['betting'], at_most=False)} with confidence "
                f"{row['confidence']:.1%}"
            )
    return lines


def _units(certificate: Certificate) -> str:
    """Return the unit of what the controller puts out: actions, or logits."""
    return str(certificate.claims.get("runtime_error", {}).get("units", "action units"))


def _sentence(finding: Finding, value: str, units: str) -> str:
    requirement = finding.requirement
    logits = units == "logits"
    words = requirement.about.claim.format(
        value=value,
        norm=requirement.norm,
        at_least="at least " if finding.statistical else "",
        output="logit" if logits else "actuator",
        outputs="logits" if logits else "actions",
        units="" if logits else f" {units}",
    )
    line = f"{_where(finding)}{words} (required: {_number(requirement.limit)}"
    if finding.sampled is not None and not finding.measured:
        line += f"; the worst that a search found: {_number(finding.sampled)}"
    if finding.measured and finding.statistical:
        line += f"; {finding.reason}"
    return f"{line}; by {finding.method})"


def _where(finding: Finding) -> str:
    """Return the condition under which a claim holds, with its comma."""
    requirement, words = finding.requirement, []
    if requirement.scope is Scope.EVERYWHERE:
        words.append("in every state")
    if requirement.scope is Scope.VISITED:
        words.append(f"in {requirement.fraction:.1%} of the states that the policy visits")
    if requirement.confidence is not None:
        words.append(f"with confidence {requirement.confidence:.1%} (shared by all such claims)")
    if requirement.epsilon is not None:
        ball = f"{requirement.epsilon:g} ({requirement.norm})"
        attacked = f"attacked within {ball}"
        words.append(attacked if finding.measured else f"if the state is wrong by at most {ball}")
    return ", ".join(words) + ", " if words else ""


def _bound(value: float | None, *, at_most: bool = True) -> str:
    return _number(None) if value is None else proved_text(value, at_most=at_most)


def _number(value: Json) -> str:
    return "unknown" if value is None else f"{value:.4g}"
