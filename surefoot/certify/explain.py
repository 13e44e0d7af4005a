"""A certificate in plain words: what is guaranteed, what is not, and why.

A sentence is made of all fields of the finding or claim that it is about: a condition that is left
out would make it say more than is proved.
"""

from collections.abc import Callable, Iterator

import numpy as np

from surefoot.ball import Ball
from surefoot.budget import Scope, percent
from surefoot.certificate import Certificate, Finding, Verdict
from surefoot.certify.claims_in_words import (
    arithmetic_sentence,
    bound,
    claim_sentences,
    exact,
    lower,
    misread,
    number,
    number_with,
    perturbed,
    sensor_sentences,
)
from surefoot.certify.verdict import HOLDS
from surefoot.misreading import errors_of
from surefoot.quantities import QUANTITIES
from surefoot.quantities.base.quantity import Topic
from surefoot.raw_units import sides_of
from surefoot.robot import PURE, Robot

_NOT_GUARANTEED = (
    "Nothing is said about perturbations larger than the epsilon of a requirement, or in another "
    "norm. Epsilon counts in normalised units: sensor k may be wrong by epsilon times its scale.",
    "Nothing is proved about the closed loop. That the action moves little does not prove that the "
    "robot stays up: no sound model of contacts exists. What episodes show is measured.",
    "Total variation, KL and return loss are about the policy that samples its actions. The "
    "deployed controller plays the mean, whose law is a single point.",
    "Statistical claims hold for states drawn like the given ones, independently, in the same "
    "simulator, and not for another robot, floor or task. A training run draws them at steps fixed "
    "beforehand, one per episode; episodes that ended earlier were redrawn. That the given states "
    "were drawn this way is assumed; surefoot checks only that none repeats. From a recording of "
    "yours it draws one state per episode, every step with the same chance; that its episodes are "
    "independent and were played with this controller is assumed.",
    "A claim about recorded states covers these alone, perturbed as stated: it says nothing about "
    "a state between two of them, or about the next episode.",
)


def explain(certificate: Certificate) -> str:
    """Explain in plain words what a certificate guarantees and what it does not."""
    head = [
        f"This certificate is about the file with SHA-256 {certificate.onnx_sha256[:16]}... and no "
        f"other. Its verdict is {certificate.headline}.",
        arithmetic_sentence(certificate.claims.runtime_error, certificate.arithmetic),
    ]
    robot = certificate.robot
    sensors = list(sensor_sentences(certificate.claims.sensors, robot))
    sensors += [] if robot is None else robot.by_metadata
    groups = (
        ("Guaranteed, always:", _chosen(certificate, _is_proved)),
        ("Guaranteed with a confidence:", _chosen(certificate, _is_proved_with_confidence)),
        ("Met, as measured on this file, not proved:", _chosen(certificate, _is_met)),
        ("Violated, with a concrete example:", _open(certificate, Verdict.REFUTED)),
        ("Neither proved nor refuted:", _open(certificate, Verdict.UNKNOWN)),
        ("Beyond the requirements:", list(claim_sentences(certificate))),
        ("What epsilon is on each sensor:", sensors),
        ("What it remembers:", list(_memory_sentences(certificate))),
        ("Not asked, so not answered:", list(map(_topic, certificate.budget.silent_about))),
        ("Not guaranteed:", list(_NOT_GUARANTEED)),
    )
    parts = ["\n".join(head)]
    parts += [
        "\n".join([title, *(f"  - {line}" for line in lines)]) for title, lines in groups if lines
    ]
    return "\n\n".join(parts) + "\n"


def _memory_sentences(certificate: Certificate) -> Iterator[str]:
    """Yield what holds of a memory, where the controller has one."""
    size = certificate.proof.get("memory")
    if size is not None:
        yield (
            f"The last {size} sensors are its memory. Every claim is about one step, from the "
            "memories in the states that it names. A linf perturbation leaves the memory alone "
            "unless the requirement names sensors, one of l2 is about all of them. What an error "
            "becomes that the memory carries through several steps is outside."
        )


def _is_proved(finding: Finding) -> bool:
    return finding.outcome == "PROVED" and not finding.statistical


def _is_proved_with_confidence(finding: Finding) -> bool:
    return finding.outcome == "PROVED" and finding.statistical


def _is_met(finding: Finding) -> bool:
    return finding.outcome == "MET"


def _chosen(certificate: Certificate, belongs: Callable[[Finding], bool]) -> list[str]:
    return [_sentence(finding, certificate) for finding in certificate.findings if belongs(finding)]


def _sentence(finding: Finding, certificate: Certificate) -> str:
    """Say what holds of a requirement, under which condition, and how that is known."""
    requirement, units = finding.requirement, certificate.claims.runtime_error.units
    logits, meant = units == "logits", requirement.on_robot
    if meant is not None and meant.unit:
        units = meant.unit
    output = "logit" if logits else "actuator"
    if requirement.actuator is not None:
        output = f"output of {requirement.actuator}"
    words = requirement.about.claim.format(
        value=_value(finding),
        at_least="at least " if finding.statistical else "",
        norm=requirement.norm,
        output=output,
        outputs="logits" if logits else "actions",
        units="" if logits or units == PURE else f" {units}",
    )
    known = [f"required: {exact(requirement.limit)}"]
    if finding.sampled is not None and not finding.measured:
        known.append(f"the worst that a search found: {number(finding.sampled)}")
    if finding.reason != HOLDS:
        known.append(finding.reason)
    known.append(f"by {finding.method}")
    return f"{_where(finding, certificate.robot)}{words} ({'; '.join(known)})"


def _value(finding: Finding) -> str:
    """Return the number that counts, rounded to the side on which it still holds."""
    if not finding.measured:
        return bound(finding.certified)
    if finding.statistical:
        return lower(finding.sampled)
    return number(None) if finding.sampled is None else exact(finding.sampled)


def _where(finding: Finding, robot: Robot | None) -> str:
    """Return the condition under which a claim holds, with its comma."""
    requirement, words = finding.requirement, []
    if requirement.scope is Scope.EVERYWHERE:
        words.append("in every state")
    if requirement.scope is Scope.GATE:
        words.append("in every state that the gate lets through")
    if requirement.scope is Scope.VISITED:
        words.append(f"in {percent(requirement.fraction)} of the states that the policy visits")
    if requirement.scope is Scope.RECORDED:
        words.append("in every recorded state")
    if requirement.asks:
        words.append(requirement.asked)
    if requirement.confidence is not None:
        words.append(
            f"with confidence {percent(requirement.confidence)} (shared by all such claims)"
        )
    if (ball := requirement.ball) is not None:
        words.append(_perturbed(finding, ball, robot))
    return ", ".join(words) + ", " if words else ""


def _perturbed(finding: Finding, ball: Ball, robot: Robot | None) -> str:
    """Return the perturbation of a requirement as a condition."""
    meant = finding.requirement.on_robot
    if meant is not None and meant.readings and robot is not None:
        together = [[robot.sensor_labels[each] for each in group] for group in ball.groups or ()]
        late = dict(zip(robot.sensor_labels, ball.delays or (), strict=False))
        said = errors_of(finding.requirement.perturb or {}, robot)
        erring = [name for name in meant.readings if name in said and said[name].is_size]
        sides = sides_of(erring, robot, ball)
        off = () if ball.biases is None else (ball.sides * np.array(ball.biases)).tolist()
        steady = dict(zip(robot.sensor_labels, off, strict=False))
        wrong = misread(meant.readings, sides, together, late, steady)
        return f"attacked so that {wrong}" if finding.measured else f"if {wrong}"
    if finding.measured:
        return f"attacked within {exact(ball.epsilon)} ({ball.norm})"
    return perturbed(ball.norm, ball.epsilon, ball.sensors)


def _open(certificate: Certificate, verdict: Verdict) -> list[str]:
    """List the requirements that do not hold, or are not known to."""
    lines = []
    for finding in certificate.findings:
        if finding.verdict is not verdict:
            continue
        words = [f"required: {finding.requirement.describe()}"]
        if finding.sampled is not None:
            words.append(f"found {number(finding.sampled)}")
        if finding.statistical:
            words.append("counted with a confidence")
        if finding.certified is not None:
            words.append(f"proved {bound(finding.certified)} by {finding.method}")
        elif finding.method != "none":
            words.append(f"by {finding.method}")
        words += [finding.reason, *_witness(finding, certificate.robot)]
        lines.append("; ".join(words))
    return lines


def _witness(finding: Finding, robot: Robot | None) -> Iterator[str]:
    """Yield the numbers of a witness; its states are in the certificate."""
    witness, meant = finding.witness, finding.requirement.on_robot
    if witness is None:
        return
    if witness.deviation is not None:
        moved = number_with(witness.deviation, "" if meant is None else meant.unit)
        yield (
            f"in the example {_output(witness.actuator, robot)} moves by {moved}, replayed by "
            f"{witness.runtime}"
        )
    if (example := finding.example(robot)) != "":
        yield f"{example}, replayed by {witness.runtime}"
    if witness.measure is not None:
        yield f"its {witness.measure} is {number(witness.value)}"
    if witness.slope is not None:
        yield f"its slope is {number(witness.slope)}"
    if witness.violated is not None:
        yield (
            f"{witness.violated} of {witness.states} states violate it, so at most a share "
            f"{number(witness.share_at_most)} satisfies it"
        )
    if witness.source is not None:
        limit = "" if witness.at_most is None else f", at most {number(witness.at_most)}"
        yield f"measured on {witness.source}: {witness.seen or number(witness.value)}{limit}"


def _output(output: int | None, robot: Robot | None) -> str:
    if output is None or robot is None:
        return f"output {output}"
    return robot.actuator_labels[output]


def _topic(topic: Topic) -> str:
    names = ", ".join(name for name, quantity in QUANTITIES.items() if quantity.topic is topic)
    return f"{topic.value} ({names})"
