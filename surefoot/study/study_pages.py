"""The pages of a study: its claims and its sweet spots, in Markdown, a function of its results."""

from collections.abc import Mapping, Sequence

import numpy as np

from surefoot.statistics import interquartile_mean
from surefoot.study.contrasts import Contrast
from surefoot.study.grid import Choice, Purpose
from surefoot.study.metrics import METRICS
from surefoot.study.results import (
    DecidedClaim,
    Results,
    chosen_level,
    decided_claims,
)
from surefoot.study.study_figures import study_figures

_CHOICES: Mapping[Choice, str] = {
    "published": "score of the paper",
    "certified": "certified deviation at visited states",
}
_SHOWN = ("clean", "attacked", "worst", "visited_certified", "visited_sampled", "size_bytes")
_JUDGED = ("published", "clean", "attacked", "worst", "visited_certified")
_HOW_TO_READ = """\
A ratio is that of the means over agents, arm over baseline; its 95 % interval draws agents again
and then the episodes of each, with percentiles widened for few agents (Hesterberg 2015). p is
Welch's, by Holm's method for all comparisons of this page. *Seen* is the change of the ratio that a
sample of this spread shows with a power of 80 %."""

_PURPOSES: Mapping[Purpose, str] = {"select": "selection seeds", "report": "report seeds"}


def study_files(results: Results) -> dict[str, bytes]:
    """Return the files that a study writes, by their place in its folder."""
    pages = {"claims.md": claims_page(results), "sweetspots.md": sweet_spots_page(results)}
    return {name: text.encode() for name, text in pages.items()} | study_figures(results)


def claims_page(results: Results) -> str:
    """Return what became of every claim, and which cells failed."""
    sections = [
        "# Claims",
        _seeds_line(results),
        _HOW_TO_READ,
        _claims_table(decided_claims(results)),
        _failures_table(results),
    ]
    return _page(sections)


def sweet_spots_page(results: Results) -> str:
    """Return the chosen levels, chosen on some seeds and judged on others, and every arm."""
    sections = ["# Sweet spots", _seeds_line(results)]
    if results.grid.families:
        judged = f"on the {_PURPOSES[results.grid.judged_on]}"
        sections += [
            "A level is chosen on the selection seeds, the baseline being a candidate. *As"
            " published* is its score on the very seeds that chose it. The other columns are ratios"
            f" to the baseline, `{results.grid.file.baseline}`, {judged}.",
            _choices_table(results),
        ]
    for purpose, words in _PURPOSES.items():
        if any(results.of(purpose, arm) for arm in results.grid.arms):
            sections += [f"## Every arm, {words}", _arms_table(results, purpose)]
    return _page(sections)


def _seeds_line(results: Results) -> str:
    seeds, preset = results.grid.file.seeds, results.grid.file.preset
    judged = f", {len(seeds.report)} to judge" if seeds.report else ""
    left = f" {results.missing} cells are left." if results.missing else ""
    return f"Preset `{preset}`, {len(seeds.select)} seeds to choose{judged}.{left}"


def _claims_table(decided: Sequence[DecidedClaim]) -> str:
    head = (
        *("claim", "sentence", "arm", "quantity", "rule", "ratio", "agents", "p", "seen"),
        *("verdict", "why"),
    )
    rows = [row for entry in decided for row in _claim_rows(entry)]
    return _table(head, rows) if rows else "The grid makes no claims."


def _claim_rows(entry: DecidedClaim) -> list[tuple[str, ...]]:
    """Return a row for each arm, and one for all of them together where there are several."""
    claim = entry.claim
    rows = [
        (
            claim.id,
            claim.sentence,
            part.arm or "-",
            METRICS[claim.metric].words,
            f"{claim.rule.replace('_', ' ')} {claim.printed:g}",
            _ratio(part.contrast),
            _agents(part.contrast),
            _probability(part.p_holm),
            _share(None if part.contrast is None else part.contrast.smallest_effect),
            part.decision.value,
            part.reason,
        )
        for part in entry.parts
    ]
    if len(rows) == 1:
        return [*rows]
    return [*rows, (claim.id, "of all arms together", *[""] * 7, entry.decision.value, "")]


def _failures_table(results: Results) -> str:
    if not results.failed:
        return ""
    rows = [
        (entry.name, str(entry.failure.attempts), entry.failure.error) for entry in results.failed
    ]
    return "## Cells that failed\n\n" + _table(("cell", "attempts", "error"), rows)


def _choices_table(results: Results) -> str:
    head = (
        *("family", "chosen by", "level", "as published"),
        *(METRICS[metric].words for metric in _JUDGED),
        *("worst seed", "better than the baseline"),
    )
    rows = [
        (family, words, *_judged(results, chosen_level(results, family, choice)))
        for family in results.grid.families
        for choice, words in _CHOICES.items()
    ]
    return _table(head, rows)


def _judged(results: Results, arm: str | None) -> tuple[str, ...]:
    """Return the cells of a row about a chosen level."""
    if arm is None:
        return ("-",) * (len(_JUDGED) + 4)
    baseline, judged_on = results.grid.file.baseline, results.grid.judged_on
    published = results.contrast("select", arm, baseline, "published")
    found = [results.contrast(judged_on, arm, baseline, metric) for metric in _JUDGED]
    worst = _scores(results, judged_on, arm, "worst")
    improvement = None if found[0] is None else found[0].improvement
    return (
        f"`{arm}`",
        "-" if published is None else f"{published.ratio:.2f}",
        *map(_ratio, found),
        _number(min(worst, default=None)),
        _share(improvement),
    )


def _arms_table(results: Results, purpose: Purpose) -> str:
    head = (
        *("arm", "agents", "sparsity"),
        *(METRICS[metric].words for metric in _SHOWN),
        *("IQM under the worst attack", "worst seed"),
    )
    rows = []
    for arm in results.grid.arms:
        if cells := results.of(purpose, arm):
            worst = _scores(results, purpose, arm, "worst")
            rows.append(
                (
                    f"`{arm}`",
                    str(len(cells)),
                    f"{np.mean([cell.train.sparsity for cell in cells]):.1%}",
                    *(_number(results.mean(purpose, arm, metric)) for metric in _SHOWN),
                    _number(interquartile_mean(np.array(worst)) if worst else None),
                    _number(min(worst, default=None)),
                )
            )
    return _table(head, rows)


def _scores(results: Results, purpose: Purpose, arm: str, metric: str) -> list[float]:
    return [float(parts[0].mean()) for parts in results.sample(purpose, arm, metric)]


def _ratio(found: Contrast | None) -> str:
    if found is None:
        return "-"
    if found.low is None or found.high is None:
        return f"{found.ratio:.2f}"
    return f"{found.ratio:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _agents(found: Contrast | None) -> str:
    return "-" if found is None else f"{found.num_arm}, {found.num_baseline}"


def _probability(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _page(sections: Sequence[str]) -> str:
    return "\n\n".join(section for section in sections if section) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines)


def _escaped(text: str) -> str:
    """Return text that stays in its cell of a table."""
    return " ".join(text.replace("|", r"\|").split())
