"""One HTML page about a run: may this controller be deployed, and what is that worth?

The page holds everything itself (figures are inline), so that it can be mailed and archived.
"""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from surefoot.artifact import Json, from_json, read_artifact, read_file
from surefoot.budget import Scope
from surefoot.certificate import BOUNDS, Certificate, Finding, Verdict
from surefoot.errors import InputError
from surefoot.study.figures import deviation_histogram, learning_curve

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2530; margin: 2rem auto; max-width: 60rem;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #dde1e6;
         vertical-align: top; }
td.number, th.number { text-align: right; }
.verdict { padding: .8rem 1rem; border-radius: .4rem; color: white; font-weight: 600; }
.PROVED { background: #2f7d4f; } .REFUTED { background: #b3261e; } .UNKNOWN { background: #8a6d1d; }
.quiet { color: #67707c; } code { font-size: .85em; overflow-wrap: anywhere; }
figure { margin: 1rem 0; } svg, img { width: 40rem; max-width: 100%; height: auto; }
"""
_DEPLOY = {
    Verdict.PROVED: "PROVED: every requirement of the budget holds. It may be deployed.",
    Verdict.REFUTED: "REFUTED: a requirement is violated. It must not be deployed.",
    Verdict.UNKNOWN: "UNKNOWN: not every requirement is proved. It must not be deployed.",
}


def render_report(run: Path) -> str:
    """Return the page of a run folder.

    Raises:
        InputError: If the folder lacks a result that the page is about.
        IntegrityError: If a result is malformed.
    """
    summary, attack, bench = (_read(run, f"{name}.json") for name in ("summary", "attack", "bench"))
    policy = read_artifact(run / "policy", "policy")
    curves = from_json(policy.files["curves.json"], "curves.json")
    certificate = Certificate.parse(read_file(run / "certificate.json"))
    sections = [
        f'<p class="verdict {certificate.verdict}">{_DEPLOY[certificate.verdict]}</p>',
        _numbers(summary),
        "<h2>Requirements</h2>" + _findings(certificate.findings),
        _deviations(certificate),
        "<h2>Bounds of the whole controller</h2>" + _bounds(certificate, run / "certificate.png"),
        "<h2>Attacks in closed loop</h2>" + _attacks(attack, run / "attack.png"),
        "<h2>Learning</h2>" + _figure(learning_curve(curves), "Return and sparsity in training."),
        "<h2>Runtime</h2>" + _latencies(bench),
        "<h2>Digests</h2>" + _digests(summary),
    ]
    title = f"{escape(summary['env'])}: {certificate.verdict}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{title}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{escape(summary['env'])}: may this controller be deployed?</h1>\n"
        + "\n".join(sections)
        + "\n</body></html>\n"
    )


def _numbers(summary: dict[str, Json]) -> str:
    attacked = summary["attacked_return"]
    rows = [
        ("clean return", _number(summary["clean_return"])),
        *((f"return under {name}", _number(value)) for name, value in attacked.items()),
        *(
            (f"episodes that failed under {name}", str(count))
            for name, count in summary.get("failures", {}).items()
            if count
        ),
        ("sparsity", f"{summary['sparsity']:.1%}"),
        ("size of policy.onnx", f"{summary['size_bytes']:,} bytes"),
        ("training steps", f"{summary['steps']:,}"),
    ]
    return _table(("what", "value"), rows)


def _findings(findings: tuple[Finding, ...]) -> str:
    rows = [
        (
            finding.requirement.describe(),
            _number(finding.certified),
            _number(finding.sampled),
            finding.method + (" (measured)" if finding.measured else ""),
            finding.verdict.value,
            finding.reason,
        )
        for finding in findings
    ]
    head = ("requirement", "certified", "sampled", "method", "verdict", "reason")
    note = (
        "<p class='quiet'>Certified is a proved bound; deviations include the rounding of the "
        "runtime. Sampled is the worst that a search found. The truth lies between.</p>"
    )
    return _table(head, rows) + note


def _deviations(certificate: Certificate) -> str:
    """Show the bound and the worst found at each visited state, and the limit if there is one."""
    visited = certificate.claims.get("visited_deviation")
    if not visited:
        return ""
    limits = [
        finding.requirement.limit
        for finding in certificate.findings
        if finding.requirement.quantity == "action_deviation"
        and finding.requirement.scope is Scope.VISITED
        and finding.requirement.epsilon == visited["epsilon"]
    ]
    limit = min(limits, default=None)
    picture = deviation_histogram(visited["certified"], visited["sampled"], limit)
    caption = (
        f"Action deviation under {visited['norm']} perturbations of {visited['epsilon']:g} "
        f"(normalised units) at {len(visited['certified'])} visited states, one per episode."
    )
    return "<h2>Deviation at visited states</h2>" + _figure(picture, caption)


def _bounds(certificate: Certificate, picture: Path) -> str:
    l2, linf = certificate.lipschitz_l2, certificate.deviation_linf
    names = (*BOUNDS, "best", "sampled")
    rows = [
        (name.replace("_", " "), _number(l2.get(name)), _number(linf.get(name))) for name in names
    ]
    epsilon = linf.get("epsilon")
    head = ("bound", "l2 Lipschitz, action / normalised unit", f"linf deviation at {epsilon}")
    note = (
        "<p class='quiet'>The paper's surrogate is its printed constant, brought into the norm and "
        "units of the column so that it is sound; best takes the least bound. Arithmetic: "
        f"{escape(certificate.arithmetic)}.</p>"
    )
    if not picture.is_file():  # drawn only where there is a bound to draw
        return _table(head, rows) + note
    caption = "Largest change of one actuator against the size of the perturbation."
    return (
        _figure(_image(picture, "deviation against epsilon"), caption) + _table(head, rows) + note
    )


def _attacks(attack: dict[str, Json], picture: Path) -> str:
    caption = (
        f"{attack['episodes']} episodes each on seeds that training never saw, {attack['norm']} "
        f"epsilon {attack['epsilon']:g}; bar: mean, dots: episodes."
    )
    rows = [
        (
            name,
            _number(entry["mean"]),
            _number(entry["iqm"]),
            _number(entry["max_deviation"]),
            _number(entry["certified_deviation"]),
            _share(entry["reached_share"]),
            str(entry["failures"]),
        )
        for name, entry in attack["attacks"].items()
    ]
    head = (
        *("attack", "mean return", "IQM", "largest deviation reached", "certified deviation"),
        *("reached", "failures"),
    )
    return _figure(_image(picture, "returns under attack"), caption) + _table(head, rows)


def _latencies(bench: dict[str, Json]) -> str:
    keys = ("p50_us", "p90_us", "p99_us", "p999_us", "max_us")
    rows = [
        (name, *(_number(entry[key]) for key in keys)) for name, entry in bench["backends"].items()
    ]
    return _table(("backend", *(key.replace("_us", ", us") for key in keys)), rows)


def _digests(summary: dict[str, Json]) -> str:
    names = ("weights_sha256", "onnx_sha256", "budget_sha256")
    rows = "".join(
        f"<tr><td>{name}</td><td><code>{summary[name]}</code></td></tr>" for name in names
    )
    return f"<table>{rows}</table>"


def _image(path: Path, words: str) -> str:
    encoded = base64.b64encode(read_file(path)).decode()
    return f'<img alt="{words}" src="data:image/png;base64,{encoded}">'


def _figure(picture: str, caption: str) -> str:
    return f"<figure>{picture}<figcaption class='quiet'>{escape(caption)}</figcaption></figure>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(entry)}</td>" for entry in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{titles}</tr>{body}</table>"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _read(run: Path, name: str) -> dict[str, Json]:
    if not (run / name).is_file():
        raise InputError(f"{run} has no {name}: finish `pipeline run --out {run}` first")
    table: dict[str, Json] = from_json(read_file(run / name), str(run / name))
    return table
