"""The tables and pictures of what each method learns and stands, from the agents that are kept.

    python benchmarks/learning_tables.py

writes learning.md and learning.png (what is learned and proved), and attacks.md and attacks.png
(every defence against every attack), from docs/results/agents, which ``learning.py`` fills.
"""

import argparse
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from learning import ADVERSARY_STEPS, KEPT, METHODS, TASKS, Cell, cells, epsilon_of, kept
from matplotlib.figure import Figure

from surefoot.attack.attack_config import FULL
from surefoot.attack.method import MethodSummary, summarise_method
from surefoot.attack.proved_deviation import stretched
from surefoot.certificate import proved_text
from surefoot.config import build
from surefoot.policy import GaussianHead, Squash
from surefoot.records import AttackRecord
from surefoot.runtime.controller_file import load_controller_file

ATTACKS = tuple(name for name in FULL if name != "clean")
COLOURS = dict(
    zip(
        METHODS,
        ("C7", "C0", "C6", "C2", "C1", "black", "C3", "C4", "C5", "C8", "C9", "gold", "pink"),
        strict=True,
    )
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """The agents of one method on one task: one record per seed, and where their folders lie."""

    preset: str
    method: str
    agents: Path
    records: Sequence[Mapping[str, Any]]

    @property
    def name(self) -> str:
        """Of the method."""
        return METHODS[self.method][0]

    @property
    def attacked(self) -> list[Mapping[str, Any]]:
        """Return the records of those that were attacked."""
        return [record for record in self.records if "attack" in record]

    @property
    def summary(self) -> MethodSummary | None:
        """What the attacks say about the method."""
        attacks = [build(AttackRecord, record["attack"], "attack") for record in self.attacked]
        return summarise_method(attacks) if attacks else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agents", type=Path, default=KEPT)
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    given = parser.parse_args()
    rows = rows_of(given.agents)
    for name, text in (("learning", learning_page(rows)), ("attacks", attacks_page(rows))):
        (given.results / f"{name}.md").write_text(text)
    (given.results / "learning.png").write_bytes(draw_learning(rows))
    if any(row.attacked for row in rows):
        (given.results / "attacks.png").write_bytes(draw_attacks(rows))


def rows_of(agents: Path) -> list[Row]:
    """Return a row for every method on every task of which an agent is kept."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for cell in cells():
        if record := kept(agents, cell):
            found.setdefault((cell.preset, cell.method), []).append(record)
    order = [(preset, method) for preset, methods in TASKS.items() for method in methods]
    return [
        Row(preset=preset, method=method, agents=agents, records=found[preset, method])
        for preset, method in order
        if (preset, method) in found
    ]


def learning_page(rows: Sequence[Row]) -> str:
    """Return what is learned and proved, as Markdown."""
    lines = [
        "# What each method learns, withstands and has proved",
        "",
        "Presets at one million steps of the policy, on held-out seeds (ATLA's adversary"
        " takes as many steps again).",
        "",
        "* *Trained*: the return of the evaluation that chose the deployed policy and, after"
        " the slash, of the last one. Each takes 10 episodes; only those at full strength"
        " count (all 20 of plain PPO, the last half or fewer where a defence or the sparsity"
        " rises).",
        "* *Clean* and *worst attacked*: 50 other episodes of each seed that was attacked;"
        " the mean over the agents (interquartile where there are four or more) and its 95 %"
        " interval (agents resampled, then their episodes: of three agents it says little)."
        " The worst is that of the full suite, which [attacks.md](attacks.md) takes apart.",
        "* *Proved* and *found*: the largest change of any action, in action units.",
        "",
        "    python benchmarks/learning.py train --jobs 2 && python benchmarks/learning_tables.py",
        "",
        "Every agent is in `docs/results/agents`: the controller that was attacked, its critic,"
        " and `agent.json` with every return, bound and command. Its last command attacks it"
        " again.",
        "",
        "![curves](learning.png)",
    ]
    head = (
        "method",
        "sparsity",
        "trained, each seed: best / last",
        "clean",
        "worst attacked",
        "worst of each seed",
        "proved everywhere",
        "found",
        "proved at 99 % of visited states",
        "paper's surrogate",
    )
    for preset in dict.fromkeys(row.preset for row in rows):
        lines += ["", f"## {preset}, linf epsilon {epsilon_of(preset):g}", ""]
        lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        lines += [
            "| " + " | ".join(learning_cells(row)) + " |" for row in rows if row.preset == preset
        ]
    lines += ["", "## Commands", "", "Of the first seed of each row; seeds differ in `--seed`.", ""]
    for row in rows:
        lines += [f"    {command}" for command in row.records[0]["commands"]]
    return "\n".join(lines) + "\n"


def learning_cells(row: Row) -> list[str]:
    """Return one line of the table."""
    worst = [
        f"{record['seed']}: {record['attack']['worst']['mean']:.0f}"
        f" ({record['attack']['worst']['attack']})"
        for record in row.attacked
    ]
    proved = [record["certificate"] for record in row.records if "certificate" in record]
    everywhere = [one["deviation_linf"] for one in proved]
    epsilons = {one["epsilon"] for one in everywhere}
    at = f" (at {epsilons.pop():g})" if len(epsilons) == 1 else ""
    return [
        row.name,
        f"{100 * row.records[0]['train']['sparsity']:.1f} %",
        ", ".join(
            f"{record['train']['clean_return']:.0f} / {record['curve']['clean_return'][-1]:.0f}"
            for record in row.records
        ),
        mean_text(row, "clean"),
        mean_text(row, "worst"),
        ", ".join(worst) or "-",
        range_text([one["best"] for one in everywhere], proved_in_three) + at,
        range_text([one["sampled"] for one in everywhere]),
        range_text([one["visited"]["certified"] for one in proved], proved_in_three),
        range_text([one["paper_surrogate"] for one in everywhere]),
    ]


def mean_text(row: Row, what: str) -> str:
    """Return the mean of the clean or worst returns of a row, and its 95 % interval.

    One agent has none: its episodes alone say nothing about another seed.
    """
    if (summary := row.summary) is None:
        return "-"
    mean, interval = {
        "clean": (summary.clean_iqm, summary.clean_interval),
        "worst": (summary.worst_iqm, summary.worst_interval),
    }[what]
    if len(row.attacked) == 1:
        return f"{mean:.0f} (one seed)"
    return f"{mean:.0f} [{interval.low:.0f}, {interval.high:.0f}]"


def range_text(
    values: Sequence[float], written: Callable[[float], str] = lambda value: f"{value:.3g}"
) -> str:
    """Return the least and the largest; upper bounds are written rounded up."""
    if not values:
        return "-"
    low, high = written(min(values)), written(max(values))
    return low if low == high else f"{low} to {high}"


def proved_in_three(value: float) -> str:
    """Return an upper bound in three digits."""
    return proved_text(value, digits=3)


def attacks_page(rows: Sequence[Row]) -> str:
    """Return every defence against every attack, as Markdown."""
    lines = [
        "# Every defence against every attack",
        "",
        "Mean returns on 50 held-out evaluation episodes, of the median agent"
        " (the seed whose worst is the median); then the worst attack on every seed, and the mean"
        " over the seeds with its 95 % interval. A percentage is the worst"
        " return of a seed divided by its clean return. Every change of an action that an attack"
        " reached, on evaluation and on selection episodes, is held here against what is proved"
        " everywhere (*reached*: the largest share of it). What is proved for a smaller radius"
        " grows with the radius, up to the range of the actuators.",
        "",
        "    python benchmarks/learning.py train --jobs 2 && python benchmarks/learning_tables.py",
        "",
        "![picture](attacks.png)",
    ]
    head = ["defence", "clean", *ATTACKS, "worst of each seed", "worst [95 %]", "reached"]
    for preset in dict.fromkeys(row.preset for row in rows if row.attacked):
        lines += ["", f"## {preset}, linf epsilon {epsilon_of(preset):g}", ""]
        lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        lines += [
            "| " + " | ".join(attack_cells(row, row.summary)) + " |"
            for row in rows
            if row.preset == preset and row.summary
        ]
    return "\n".join([*lines, "", *what_they_say(rows), "", *what_was_learned(rows)]) + "\n"


def attack_cells(row: Row, summary: MethodSummary) -> list[str]:
    """Return one line of the table; the strongest attack on the median agent is bold."""
    agent = summary.median_agent
    strongest = row.attacked[agent]["attack"]["worst"]["attack"]
    returns = [f"{summary.attacked[name][agent]:.0f}" for name in ATTACKS]
    returns[ATTACKS.index(strongest)] = f"**{summary.attacked[strongest][agent]:.0f}**"
    each = ", ".join(
        f"{one['seed']}: {worst:.0f} ({one['attack']['worst']['attack']}, {worst / clean:.0%})"
        for one, worst, clean in zip(row.attacked, summary.worst, summary.clean, strict=True)
    )
    return [
        row.name,
        f"{summary.clean[agent]:.0f}",
        *returns,
        each,
        mean_text(row, "worst"),
        reached_text(row),
    ]


def reached_text(row: Row) -> str:
    """Return the largest share of a proved bound that an attack reached.

    Raises:
        SystemExit: If one was exceeded, which would be a bug of the certifier.
    """
    shares = []
    for record in row.attacked:
        proved, found = record["certificate"]["deviation_linf"], record["attack"]
        largest = max(
            played["max_deviation"]
            for entry in found["attacks"].values()
            for played in (entry, *entry["selection"].values())
        )
        bound = stretched(proved["best"], proved["epsilon"], found["epsilon"])
        if found["epsilon"] > proved["epsilon"]:  # the range is in the bound, and grows for nothing
            bound = min(bound, range_of(row, record["seed"]))
        shares.append(largest / bound)
        if shares[-1] > 1:
            raise SystemExit(f"{record['train']['onnx_sha256']}: an attack exceeds what is proved")
    return f"{max(shares):.0%}"


def range_of(row: Row, seed: int) -> float:
    """Return by how much an action of an agent can change at all, rounding included."""
    name = Cell(preset=row.preset, method=row.method, seed=seed).name
    head = load_controller_file(row.agents / name / "policy.onnx").policy.head
    assert isinstance(head, GaussianHead)
    assert head.squash is not Squash.IDENTITY
    return float(2 * np.abs(head.half_range).max() * (1 + 1e-3))


def what_they_say(rows: Sequence[Row]) -> list[str]:
    """Return the sentences that hold of all agents together."""
    attacked = [(row, record["attack"]) for row in rows for record in row.attacked]
    if not attacked:
        return ["No agent was attacked yet."]
    learned = [
        min(one["attacks"][name]["mean"] for name in ("sa-rl", "pa-ad")) for _, one in attacked
    ]
    worst = [one["worst"]["mean"] for _, one in attacked]
    clean = [mean_of(record) for row in rows for record in row.attacked]
    behind = [value - least for value, least in zip(learned, worst, strict=True)]
    near_clean = sum(gap <= 0.1 * abs(whole) for gap, whole in zip(behind, clean, strict=True))
    near_worst = sum(gap <= 0.1 * abs(least) for gap, least in zip(behind, worst, strict=True))
    plain = [
        (record["seed"], row.preset, record["attack"]["worst"]["mean"], mean_of(record))
        for row in rows
        if row.method == "dense"
        for record in row.attacked
    ]
    fallen = [least <= 0.4 * whole for _, _, least, whole in plain]
    standing = [
        f"{preset} seed {seed}: {least / whole:.0%}"
        for (seed, preset, least, whole), fell in zip(plain, fallen, strict=True)
        if not fell
    ]
    signs = [sign for _, one in attacked for sign in one["gradient_masking"]["signs"]]
    failures = sum(entry["failures"] for _, one in attacked for entry in one["attacks"].values())
    codes = {one["code_sha256"] for _, one in attacked}
    trainings = [one["attacks"]["pa-ad"]["training"] for _, one in attacked]
    untaught = sum(
        min(one["no start"]["returns"], default=math.inf)
        < min(one["taught"]["start"], *one["taught"]["returns"])
        for one in trainings
    )
    steps = {
        name: int(np.median([one["attacks"][name]["effort"]["env_steps"] for _, one in attacked]))
        for name in ATTACKS
    }
    return [
        f"Of {len(attacked)} agents a learned adversary is the strongest on"
        f" {sum(gap <= 0 for gap in behind)}; it is at most a tenth of the strongest's own return"
        f" behind it on {near_worst}, and at most a tenth of the clean return on {near_clean}. Of"
        f" {len(plain)} agents of plain PPO {sum(fallen)} keep at most 40 % of their clean return"
        f"{' (not: ' + ', '.join(standing) + ')' if standing else ''}. Failures of a controller (a"
        f" number that is not finite, a diverged simulation): {failures}. Signs of masked"
        f" gradients: {len(signs)}{': ' + '; '.join(sorted(set(signs))) if signs else ''}. PA-AD"
        f" came further from nothing than taught on {untaught}.",
        "",
        "Environment steps that each attack took, training, choice of a variant and report"
        " together (median over agents): "
        + ", ".join(f"{name} {count:,}" for name, count in steps.items())
        + ".",
        "",
        f"Each learned adversary had {ADVERSARY_STEPS:,} steps a training, a quarter of the"
        " default, and one that fell behind another that was taught a fifth of that; critics of"
        " Robust Sarsa: six of the thirty that were published, ratios of RS+MAD three of ten; one"
        " training seed of each adversary. Code of the attacks"
        f" (`code_sha256`): {', '.join(sorted(code[:12] for code in codes))}.",
    ]


def what_was_learned(rows: Sequence[Row]) -> list[str]:
    """Return what learning added to the attack that taught an adversary, and found from nothing."""
    head = ("agent", "clean", "pa-ad: taught by", "start", "after", "from nothing")
    head += ("sa-rl: taught by", "start", "after", "from nothing")
    lines = [
        "## What the learned adversaries learned",
        "",
        "An adversary that is *taught* imitates the strongest attack before it and then continues"
        " to learn. Returns on the eight episodes on which its snapshots are compared: of the"
        " imitation, of the best snapshot (bold where learning took off more than a twentieth), and"
        " of the best snapshot of one that began with nothing. SA-RL comes after PA-AD, and is"
        " mostly taught by it.",
        "",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
    ]
    for row in rows:
        for record in row.attacked:
            attacks = record["attack"]["attacks"]
            cells = [f"{row.preset}, {row.name}, {record['seed']}", f"{mean_of(record):.0f}"]
            for name in ("pa-ad", "sa-rl"):
                training = attacks[name]["training"]
                start = training["taught"]["start"]
                after = min([start, *training["taught"]["returns"]])
                cells += [
                    attacks[name]["scan"]["taught"]["teacher"],
                    f"{start:.0f}",
                    f"**{after:.0f}**" if after < start - 0.05 * abs(start) else f"{after:.0f}",
                    f"{min(training['no start']['returns'], default=math.nan):.0f}",
                ]
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def mean_of(record: Mapping[str, Any]) -> float:
    """Return the mean clean return on the evaluation episodes of the attacks."""
    return float(record["attack"]["attacks"]["clean"]["mean"])


def draw_learning(rows: Sequence[Row]) -> bytes:
    """Draw the learning curves: a panel per task, a thin line per seed, a thick one their mean."""
    presets = list(dict.fromkeys(row.preset for row in rows))
    figure = Figure(figsize=(5.2 * len(presets), 4.6), layout="constrained")
    for panel, preset in zip(
        figure.subplots(1, len(presets), squeeze=False)[0], presets, strict=True
    ):
        for row in (row for row in rows if row.preset == preset):
            colour = COLOURS[row.method]
            curves = [record["curve"] for record in row.records]
            for curve in curves:
                panel.plot(
                    curve["step"], curve["clean_return"], color=colour, linewidth=0.5, alpha=0.5
                )
            mean = np.mean([curve["clean_return"] for curve in curves], axis=0)
            panel.plot(curves[0]["step"], mean, color=colour, linewidth=2, label=row.name)
        panel.set(title=preset, xlabel="environment steps", ylabel="clean return, deterministic")
        panel.spines[["top", "right"]].set_visible(False)
    named = {line.get_label(): line for panel in figure.axes for line in panel.get_lines()}
    lines = {name: line for name, line in named.items() if not str(name).startswith("_")}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=5, frameon=False)
    return png_of(figure)


def draw_attacks(rows: Sequence[Row]) -> bytes:
    """Draw every seed as a line from its clean return to its worst, with all attacks on it."""
    rows = [row for row in rows if row.attacked]
    tasks = list(dict.fromkeys(row.preset for row in rows))
    heights = [sum(len(row.attacked) + 1 for row in rows if row.preset == task) for task in tasks]
    figure = Figure(figsize=(9, 0.16 * sum(heights) + 0.9 * len(tasks)), layout="constrained")
    panels = figure.subplots(len(tasks), 1, squeeze=False, height_ratios=heights)[:, 0]
    learned = {"sa-rl": ("C3", "v"), "pa-ad": ("C1", "^")}
    for panel, task in zip(panels, tasks, strict=True):
        place, ticks = 0, {}
        for row in (row for row in rows if row.preset == task):
            ticks[place + (len(row.attacked) - 1) / 2] = row.name
            for record in row.attacked:
                attacks = record["attack"]["attacks"]
                ends = [record["attack"]["worst"]["mean"], attacks["clean"]["mean"]]
                panel.plot(ends, [place, place], color="0.8", linewidth=1, zorder=1)
                panel.scatter(ends[1], place, color="C0", s=24, zorder=3)
                for name in ATTACKS:
                    colour, marker = learned.get(name, ("0.45", "o"))
                    size = 22 if name in learned else 7
                    value = attacks[name]["mean"]
                    panel.scatter(value, place, color=colour, marker=marker, s=size, zorder=2)
                place += 1
            place += 1
        panel.set_yticks(list(ticks), labels=list(ticks.values()), fontsize=8)
        panel.invert_yaxis()
        panel.set_title(f"{task}, one line per seed", fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel(
        "return: blue clean, red SA-RL, orange PA-AD, grey the other attacks of the full suite"
    )
    return png_of(figure)


def png_of(figure: Figure) -> bytes:
    """Return a picture as a file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
