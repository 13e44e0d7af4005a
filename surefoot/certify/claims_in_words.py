"""A certificate's claims in plain words: what holds beside its requirements.

A sentence is made of all fields of the claim that it is about: a condition that is left out would
make it say more than is proved.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from surefoot.ball import Norm
from surefoot.budget import percent
from surefoot.certificate import Certificate, proved_text
from surefoot.claims import (
    AttackedReturnClaim,
    DistributionClaim,
    LossClaim,
    MeasuredClaim,
    ReturnLimits,
    RuntimeErrorClaim,
    SensorsClaim,
    ValueClaim,
    VisitedRadiusClaim,
)
from surefoot.misreading import in_full
from surefoot.robot import UNSPOKEN, Robot


def arithmetic_sentence(claim: RuntimeErrorClaim, arithmetic: str) -> str:
    """Say in one sentence what rounding may add to every deviation.

    Args:
        claim: How far the deployed arithmetic may be from real arithmetic.
        arithmetic: Name of the deployed arithmetic.
    """
    about = f"for {claim.domain} in {claim.arithmetic}"
    if claim.values is None:
        return f"The rounding of the runtime is not bounded ({about}: {claim.reason})."
    each = ", ".join(proved_text(value, digits=2) for value in claim.values)
    words = (
        f"Every deviation includes what {arithmetic} arithmetic may add, at most {each} "
        f"({claim.units}, one for each output), {about}."
    )
    given = [text for text in (claim.assumption, claim.state_limit) if text is not None]
    return f"{words} Assumed: {'; '.join(given)}." if given else words


def claim_sentences(certificate: Certificate) -> Iterator[str]:
    """Yield what the claims of a certificate say that no requirement asks for."""
    claims = certificate.claims
    yield from _law(claims.distribution)
    if claims.visited_radius is not None:
        yield _radius(claims.visited_radius)
    if claims.value is not None:
        yield from _losses(claims.value)
    for measured in claims.measured:
        yield from _measured(measured, certificate.onnx_sha256)


def _law(claim: DistributionClaim) -> Iterator[str]:
    if claim.numbers is None:
        return
    most = [
        f"{bound(claim.total_variation)} in total variation",
        f"{bound(claim.numbers.pinsker_total_variation)} by Pinsker's inequality",
        f"{bound(claim.kl)} nats",
    ]
    if claim.transport is not None:
        most.append(f"{bound(claim.transport.w2)} in the Wasserstein-2 distance")
    yield (
        f"{claim.domain}, {perturbed(claim.norm, claim.epsilon)}, the law of the action of "
        f"{claim.law}, moves by at most {', '.join(most)} (by {claim.numbers.method})"
    )


def _radius(claim: VisitedRadiusClaim) -> str:
    radii = np.array(claim.certified)
    condition = perturbed(claim.norm, claim.epsilon, claim.sensors)
    if claim.readings is not None:
        errors = ", ".join(f"{name} {size}" for name, size in claim.readings.items())
        condition += f" (the readings by {errors})"
    words = (
        f"of {claim.domain}, a share {number(claim.share_at_least_epsilon)} keeps "
        f"{claim.actuator or 'every output'} within {exact(claim.limit)} {condition}; their "
        f"radii are {lower(radii.min())} to {lower(radii.max())}, with median "
        f"{lower(float(np.median(radii)))} ({claim.units}; {claim.arithmetic}; by "
        f"{claim.method})"
    )
    if claim.share_proved is None:
        return words
    return (
        f"{words}; with confidence {percent(claim.confidence)} a share {lower(claim.share_proved)} "
        "of all states that the policy visits does so"
    )


def _losses(claim: ValueClaim) -> Iterator[str]:
    condition = f"{perturbed(claim.norm, claim.epsilon)} by an adversary that {claim.adversary}"
    about = f"{claim.law}; {claim.assumption}"
    for name, loss in claim.losses.items():
        yield f"{condition}, {_loss(name, loss, claim.units)} ({about})"
    if claim.attacked_return is not None:
        yield f"{condition}, {_what_is_left(claim.attacked_return, claim.units)} ({about})"


def _loss(name: str, loss: LossClaim, units: str) -> str:
    vacuous = ", which is vacuous" if loss.vacuous else ""
    if not loss.sound:
        printed = f"the published {name} says {number(loss.bound)} {units}"
        return f"{printed} of {number(loss.trivial)}{vacuous}: {loss.flaw}"
    words = (
        f"the return falls by at most {bound(loss.bound)} ({units}) by the {name} bound, where no "
        f"policy can lose more than {number(loss.trivial)}{vacuous}"
    )
    if loss.confidence is None:
        return words
    return (
        f"{words}, with confidence {percent(loss.confidence)} from {loss.episodes} episodes whose "
        f"total variation is {number(loss.mean_total_variation)} on average: {loss.assumption}"
    )


def _what_is_left(claim: AttackedReturnClaim, units: str) -> str:
    if claim.bound is None:
        return f"nothing is known about the return that is left: {claim.reason}"
    vacuous = ", which is vacuous," if claim.vacuous else ""
    return (
        f"the return is at least {lower(claim.bound)} {units}{vacuous} with confidence "
        f"{percent(claim.confidence)}: it is at least {lower(claim.clean_at_least)} without an "
        f"adversary, and at least {lower(claim.least_conceivable)} whatever the policy"
    )


def _measured(claim: MeasuredClaim, onnx_sha256: str) -> Iterator[str]:
    """Yield what was measured, with its limits; nothing of it is proved for the whole ball."""
    own = claim.onnx_sha256 == onnx_sha256
    where = "" if own else f" of another file, {claim.onnx_sha256[:16]}...,"
    source = claim.source or "an attack without a name"
    head = f"under {source} the {claim.quantity}{where} was {number(claim.value)}"
    sure = "" if claim.confidence is None else f" with confidence {percent(claim.confidence)}"
    if claim.rate is not None:
        yield f"{head}: at least {lower(claim.rate.at_least)}{sure}"
    if claim.returns is not None:
        yield f"{head}:{sure} {'; '.join(_limits(claim.returns))}"


def _limits(limits: ReturnLimits) -> Iterator[str]:
    mean = limits.mean_at_least
    if mean is not None:
        yield (
            f"its mean is at least {lower(mean.betting)} by betting, {lower(mean.dkw)} by a band, "
            f"{lower(mean.hoeffding)} by Hoeffding's inequality, if {limits.assumption}"
        )
    if limits.quantile_at_least is not None:
        least = lower(limits.quantile_at_least)
        yield f"all but {percent(limits.quantile)} of the returns are at least {least}"
    yield f"the observed distribution function is off by at most {number(limits.distribution_band)}"


def sensor_sentences(claim: SensorsClaim | None, robot: Robot | None = None) -> Iterator[str]:
    """Yield epsilon in the raw unit of each sensor; first the sensors on which it says little.

    Args:
        claim: What epsilon is on each sensor.
        robot: Robot whose sensors these are, by name; None where none is described.
    """
    if claim is None:
        return
    yield from (
        f"WARNING: {words}"
        for words in claim.warnings(() if robot is None else robot.sensor_labels)
    )
    if robot is not None:
        units = zip(robot.sensor_labels, robot.each_sensor, strict=True)
        yield f"the sensors, in this order: {', '.join(f'{name} ({s.unit})' for name, s in units)}"
    yield f"a normalised unit in raw units, sensor by sensor: {numbers(claim.scale)}"
    yield f"epsilon {exact(claim.epsilon)} in raw units: {numbers(claim.epsilon_raw)}"
    yield f"a step of float32 in normalised units: {numbers(claim.float32_step)}"
    most = ", ".join(map(bound, claim.per_raw_unit))
    yield f"the largest effect of each sensor alone, {claim.units}: {most}"


def perturbed(norm: Norm, epsilon: float, sensors: tuple[float, ...] | None = None) -> str:
    """Describe a perturbation as the condition of a claim.

    Args:
        norm: Norm of the perturbation.
        epsilon: Size of the perturbation, normalised units.
        sensors: Share of epsilon by which each sensor may move; None for all of it.
    """
    ball = f"{exact(epsilon)} ({norm})"
    if sensors is None:
        return f"if the state is wrong by at most {ball}"
    shares = ", ".join(map(exact, sensors))
    return f"if each sensor is wrong by at most its share of {ball}, the shares being ({shares})"


def misread(
    readings: Mapping[str, str],
    sides: Mapping[str, tuple[float, float]],
    together: Sequence[Sequence[str]] = (),
    late: Mapping[str, int] | None = None,
    steady: Mapping[str, float] | None = None,
) -> str:
    """Describe a perturbation in raw units as the condition of a claim.

    Args:
        readings: Largest error of the readings of each sensor that is named, with its unit.
        sides: Least and largest radius of the entries of each that errs, normalised units.
        together: Names of the sensors of each group whose errors count together.
        late: Steps by which the reading of each sensor may be late, by its name.
        steady: How far each sensor may be off by the same amount, normalised units, by its name.
    """
    words = []
    for name, size in readings.items():
        words.append(f"{name} by at most {size}{_in_states(sides.get(name))}")
    words += [f"those of {', '.join(names)} together" for names in together]
    if late:
        steps = ", ".join(f"{name} by {number}" for name, number in late.items() if number)
        words.append(
            f"with what is seen late ({steps}) between the readings that were recorded up to so "
            "many steps before in the same episode"
        )
    if steady:
        sizes = ", ".join(f"{name} {number(size)}" for name, size in steady.items() if size)
        words.append(f"of which the same for a whole episode: {sizes} normalised")
    return f"no sensor reads wrong but {', '.join(words)}"


def _in_states(sides: tuple[float, float] | None) -> str:
    """Return the least and largest radius of some sensors in parentheses; nothing without any."""
    if sides is None:
        return ""
    least, most = map(proved_text, sides)
    return f" ({most if least == most else f'{least} to {most}'} normalised)"


def bound(value: float | None) -> str:
    """Return an upper bound, rounded to the side on which it holds."""
    return number(None) if value is None else proved_text(value)


def lower(value: float | None) -> str:
    """Return a lower bound, rounded to the side on which it holds."""
    return number(None) if value is None else proved_text(value, at_most=False)


def exact(value: float) -> str:
    """Format a value that somebody asked for."""
    return in_full(value)


def number(value: float | None) -> str:
    """Format a value that was found, to four digits."""
    return "unknown" if value is None else f"{value:.4g}"


def number_with(value: float, unit: str) -> str:
    """Format a value that was found, to four digits, with its unit if there is one."""
    return number(value) if unit in UNSPOKEN else f"{number(value)} {unit}"


def numbers(values: Sequence[float | None]) -> str:
    """Format values that were found, to four digits each."""
    return ", ".join(map(number, values))
