"""One HTML page about a run: may this controller be deployed, and what is that worth?"""

from collections.abc import Iterator

from surefoot.artifact import from_json, read_artifact
from surefoot.ball import Ball
from surefoot.budget import Scope
from surefoot.certificate import BOUNDS, Certificate, Verdict, proved_text
from surefoot.quantities.action_deviation import ACTION_DEVIATION
from surefoot.records import CLEAN, AttackRecord, BenchRecord
from surefoot.run_folder import CURVES_FILE, RunFolder, picture_of
from surefoot.study.figures import deviation_histogram, learning_curve, robustness_front
from surefoot.study.film_record import FilmRecord
from surefoot.study.page import (
    banner,
    figure,
    film,
    image,
    note,
    number,
    page,
    section,
    share,
    table,
)
from surefoot.study.run_summary import RunResults, read_results

_DEPLOY = {
    Verdict.PROVED: "every requirement of the budget holds. It may be deployed.",
    Verdict.REFUTED: "a requirement is violated. It must not be deployed.",
    Verdict.UNKNOWN: "not every requirement is proved. It must not be deployed.",
}
_WIDE = 900
"""Pixels of a picture of two plots."""


def render_report(run: RunFolder) -> str:
    """Return the page of a run that was certified, attacked where it can be, and perhaps timed.

    Raises:
        InputError: If a result is missing or malformed, or they are about several controllers.
        IntegrityError: If the certificate or the policy was changed.
    """
    results = read_results(run)
    certificate = results.certificate
    return page(
        f"{results.name}: {certificate.verdict}",
        f"{results.name}: may this controller be deployed?",
        [
            _verdict(certificate) + "".join(map(note, certificate.sensor_warnings)),
            _numbers(results),
            section("Requirements", _findings(certificate)),
            section("Deviation at visited states", _deviations(certificate)),
            section("Bounds of the whole controller", _bounds(certificate, run)),
            section("Attacks in closed loop", _closed_loop(results.attack, run)),
            section("Learning", _learning(run)),
            section("Runtime", _latencies(results.bench, run)),
            section("Digests", _digests(certificate)),
        ],
    )


def _verdict(certificate: Certificate) -> str:
    """Say what may be done, and which of it rests on a proof and which on measurements."""
    proved = sum(
        finding.verdict is Verdict.PROVED and not finding.measured
        for finding in certificate.findings
    )
    met = sum(
        finding.verdict is Verdict.PROVED and finding.measured for finding in certificate.findings
    )
    silent = "; ".join(topic.value for topic in certificate.budget.silent_about) or "nothing"
    return banner(
        certificate.verdict,
        f"{certificate.verdict}: {_DEPLOY[certificate.verdict]}",
        f"Of {len(certificate.findings)} requirements, {proved} proved and {met} met as measured. "
        f"The budget is silent about: {silent}.",
    )


def _numbers(results: RunResults) -> str:
    attack, training = results.attack, results.training
    rows = [
        *(() if attack is None else _returns(attack)),
        ("sparsity", f"{results.file.policy.sparsity:.1%}"),
        ("size of policy.onnx", f"{len(results.file.data):,} bytes"),
        *(() if training is None else (("training steps", f"{training.steps:,}"),)),
    ]
    return table(("what", "value"), rows, numeric=(1,))


def _returns(attack: AttackRecord) -> Iterator[tuple[str, str]]:
    yield "clean return", number(attack.attacks[CLEAN].mean)
    for name, outcome in attack.attacked.items():
        yield f"return under {name}", number(outcome.mean)
    for name, outcome in attack.attacks.items():
        if outcome.failures:
            yield f"episodes that failed under {name}", str(outcome.failures)


def _findings(certificate: Certificate) -> str:
    rows = [
        (
            finding.requirement.describe(),
            _proved(finding.certified, at_most=finding.requirement.about.at_most),
            number(finding.sampled),
            finding.method,
            finding.outcome,
            finding.reason_on(certificate.robot),
        )
        for finding in certificate.findings
    ]
    head = ("requirement", "certified", "sampled", "method", "verdict", "reason")
    return table(head, rows, numeric=(1, 2)) + note(
        "Certified is a proved bound; deviations include the rounding of the runtime. Sampled is "
        "the worst that a search found: the truth lies between. PROVED is said of what is proved, "
        "MET of what was measured and holds in the measurement."
    )


def _deviations(certificate: Certificate) -> str:
    """Show the bound and the worst found at each visited state, and the limit if there is one."""
    visited = certificate.claims.visited_deviation
    if visited is None:
        return ""
    limits = [
        finding.requirement.limit
        for finding in certificate.findings
        if finding.requirement.about is ACTION_DEVIATION
        and finding.requirement.scope is Scope.VISITED
        and finding.requirement.ball == Ball(norm=visited.norm, epsilon=visited.epsilon)
    ]
    proved = [bound for bound in visited.certified if bound is not None]
    picture = deviation_histogram(proved, visited.sampled, min(limits, default=None))
    return figure(
        picture,
        f"Action deviation under {visited.norm} perturbations of {visited.epsilon:g} "
        f"(normalised units) at {len(visited.certified)} visited states, one per episode.",
    )


def _bounds(certificate: Certificate, run: RunFolder) -> str:
    l2, linf = certificate.lipschitz_l2, certificate.deviation_linf
    rows = [
        (name.replace("_", " "), _proved(l2.get(name)), _proved(linf.get(name)))
        for name in (*BOUNDS, "best")
    ]
    rows.append(("sampled", number(l2.get("sampled")), number(linf.get("sampled"))))
    epsilon = linf.get("epsilon")
    head = ("bound", "l2 Lipschitz, action / normalised unit", f"linf deviation at {epsilon}")
    shown = table(head, rows, numeric=(1, 2)) + note(
        "The paper's surrogate is its printed constant, brought into the norm and units of the "
        "column so that it is sound; best takes the least bound. Arithmetic: "
        f"{certificate.arithmetic}."
    )
    picture = picture_of(run.certificate)
    if not picture.is_file():  # drawn only where there is a bound to draw
        return shown
    caption = "Largest change of one actuator against the size of the perturbation."
    return figure(image(picture, "deviation against epsilon"), caption) + shown


def _closed_loop(attack: AttackRecord | None, run: RunFolder) -> str:
    if attack is None:
        return note("The controller names no environment, so that it was not attacked.")
    return _attacks(attack, run) + _film(attack, run)


def _attacks(attack: AttackRecord, run: RunFolder) -> str:
    rows = [
        (
            name,
            number(outcome.mean),
            number(outcome.iqm),
            number(outcome.max_deviation),
            _proved(outcome.certified_deviation),
            share(outcome.reached_share),
            str(outcome.failures),
        )
        for name, outcome in attack.attacks.items()
    ]
    head = (
        *("attack", "mean return", "IQM", "largest deviation reached", "certified deviation"),
        *("reached", "failures"),
    )
    notes = [_behind_gate(attack)] if attack.gate is not None else []
    beyond = "".join(note(line) for line in (*notes, *attack.beyond_proof))
    shown = table(head, rows, numeric=range(1, 7)) + beyond
    picture = picture_of(run.attack)
    if not picture.is_file():
        return shown
    caption = (
        f"{attack.episodes} episodes each on held-out seeds, sensors wrong by "
        f"{attack.perturbation}; line: mean, dots: episodes."
    )
    pixels = min(_WIDE, 160 + 130 * len(rows))
    return figure(image(picture, "returns under attack", pixels), caption) + shown


def _behind_gate(attack: AttackRecord) -> str:
    """Return in how many episodes of each attack the gate fired, in one line."""
    fired = (
        f"{name} {share(outcome.gate.fired)}"
        for name, outcome in attack.attacks.items()
        if outcome.gate is not None
    )
    shares = ", ".join(fired)
    return f"Played {attack.played}. Share of the episodes in which the gate fired: {shares}."


def _film(attack: AttackRecord, run: RunFolder) -> str:
    """Show the film of a run, unless it is of a controller that the run no longer has."""
    about = run.film.with_suffix(".json")
    if not (run.film.is_file() and about.is_file()):
        return ""
    record = FilmRecord.read(about)
    if record.onnx_sha256 != attack.onnx_sha256:
        return ""
    words = (
        f"An episode without an adversary, and the same under {record.attack}, {record.variant}."
    )
    return figure(film(run.film, words, _WIDE), words)


def _learning(run: RunFolder) -> str:
    data = read_artifact(run.policy, "policy").files.get(CURVES_FILE)
    if data is None:  # a policy that was compressed
        return ""
    curves = from_json(data, CURVES_FILE)
    curve = figure(learning_curve(curves), "Return and sparsity in training.")
    if not any(value is not None for value in curves.get("screened_return", ())):
        return curve
    words = "Policies that were screened by cheap attacks while training; the ring is the result."
    return curve + figure(robustness_front(curves), words)


def _latencies(bench: BenchRecord | None, run: RunFolder) -> str:
    if bench is None:
        return ""
    rows = [
        (
            name,
            *(
                number(value)
                for value in (entry.p50_us, entry.p90_us, entry.p99_us, entry.p999_us, entry.max_us)
            ),
        )
        for name, entry in bench.backends.items()
    ]
    head = ("backend", "p50, us", "p90, us", "p99, us", "p99.9, us", "largest, us")
    shown = table(head, rows, numeric=range(1, 6))
    picture = picture_of(run.bench)
    if not picture.is_file():
        return shown
    caption = "Latency of one action by backend, and deadlines missed by control rate."
    return figure(image(picture, "latencies and missed deadlines", _WIDE), caption) + shown


def _digests(certificate: Certificate) -> str:
    digests = (
        ("weights_sha256", certificate.weights_sha256),
        ("onnx_sha256", certificate.onnx_sha256),
        ("budget_sha256", certificate.budget.sha256),
    )
    return table(("of", "digest"), digests)


def _proved(value: float | None, *, at_most: bool = True) -> str:
    """Return a bound in a few digits on whose side it still holds, a dash for None."""
    return number(None) if value is None else proved_text(value, at_most=at_most)
