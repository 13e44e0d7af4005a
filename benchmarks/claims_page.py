"""The page of what became of the papers' claims, from numbers that others measured.

    python benchmarks/claims_page.py

writes docs/results/claims.md from paper_claims.toml (the claims in our words), papers.json (the
agents at hand), one_shot.json, tabular_adversary.json, and the studies in docs/results/studies,
each a folder named as its grid. A claim that a study decides has the verdict of that study.
"""

import argparse
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from page_tables import table

from surefoot.config import build
from surefoot.study.results import DecidedClaim, Decision, decided_claims, joined
from surefoot.workflow.studying import stored_study

HERE = Path(__file__).parent
RESULTS = HERE.parent / "docs" / "results"
NOT_HERE = "not checkable here"
PARTS = {
    "A": "Pruning Cannot Hurt Robustness: theory",
    "E": "Pruning Cannot Hurt Robustness: experiments",
    "S": "Closed-Form Robustness Bounds for Second-Order Pruning",
    "R": "On the Tension Between Optimality and Adversarial Robustness (BARPO)",
}
HEAD = """\
# What became of the papers' claims

A is *Pruning Cannot Hurt Robustness* (arXiv 2510.12939), B *Closed-Form Robustness Bounds for
Second-Order Pruning* (arXiv 2507.02953) and C the paper of BARPO (arXiv 2512.01228); of B and C
only the abstracts were at hand.

* **Reproduced** or **refuted**: by a proof, by a counterexample in a test or on the agents at hand,
  or by a 95 % interval on held-out seeds.
* **Conditional**: some of what it says holds, as the row tells.
* **Undecided**: nothing here decides it; the row says what there is, and which grid would. Its
  ratios come from three seeds an arm, on which levels were chosen, too, and on Hopper from dense SA
  agents that another build trained than the pruned ones: they are no verdict.

A ratio is that of the means of two arms, with its 95 % interval and the numbers of agents. The
theorems are about the policy that samples its actions, the returns about the deterministic one.
The last column has the tests (`pytest -k NAME`) and what decides an open row:
`pipeline study benchmarks/grids/GRID.toml --out docs/results/studies/GRID`. Numbers of rows
without either are those of the [last section](#the-agents-at-hand).
"""


@dataclass(frozen=True, kw_only=True)
class PaperClaim:
    """A claim of a paper.

    Attributes:
        id: Its number.
        where: Place in the papers.
        sentence: Sentence in our words.
        verdict: What is decided without a study.
        why: Our numbers, with places for those of papers.json.
        tests: Tests that hold it, or its counterexample.
        grids: Grids that decide it.
    """

    id: str
    where: str
    sentence: str
    verdict: str
    why: str
    tests: tuple[str, ...] = ()
    grids: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AbstractSentence:
    """A sentence of the abstract of the first paper.

    Attributes:
        sentence: The sentence in our words.
        claims: Numbers of the claims that it comes to.
    """

    sentence: str
    claims: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Claims:
    """What paper_claims.toml says.

    Attributes:
        claim: The claims.
        abstract: The abstract of the first paper, sentence by sentence.
        core_hours: What each grid costs, at measured speeds.
    """

    claim: tuple[PaperClaim, ...]
    abstract: tuple[AbstractSentence, ...]
    core_hours: Mapping[str, float] = field(default_factory=dict)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=Path, default=RESULTS / "studies")
    parser.add_argument("--out", type=Path, default=RESULTS / "claims.md")
    given = parser.parse_args()
    given.out.write_text(page(read_claims(), numbers(), decisions(given.studies)))


def read_claims() -> Claims:
    text = (HERE / "paper_claims.toml").read_text()
    return build(Claims, tomllib.loads(text), "paper_claims.toml")


def numbers() -> dict[str, Any]:
    """Return what the places in the rows may name."""
    found: dict[str, Any] = json.loads((RESULTS / "papers.json").read_text())
    gaps = [row["dense_gap"] for row in found["theorem_3"]["rows"]]
    found["theorem_3"]["median_dense_gap"] = float(np.median(gaps))
    return found | {
        "one_shot_page": one_shot(found["admissible"]["tolerance"]),
        "tabular": tabular(),
    }


def tabular() -> dict[str, Any]:
    """Return what became of each ascent in tables."""
    rows = json.loads((RESULTS / "tabular_adversary.json").read_text())["rows"]
    return {f"{row['gradient']}_{row['spread']:.0f}_{row['objective']}": row for row in rows}


def one_shot(limit: float) -> dict[str, float]:
    """Return the shares of weights that a certified limit lets go, and ratios of methods."""
    pages = json.loads((RESULTS / "one_shot.json").read_text())
    removed = [
        {
            row["method"]: row["sparsity"]
            for row in page["sparsest"]
            if (row["over"], row["limit"], row["weights"]) == ("visited", limit, "float32")
        }
        for page in pages
    ]
    everything = [share for row in removed for share in row.values()]
    ratios = {
        name: float(np.mean([row[name] / row["magnitude"] for row in removed]))
        for name in ("obd", "obs", "sparsegpt")
    }
    return {"least": min(everything), "largest": max(everything), **ratios}


def decisions(studies: Path) -> dict[str, list[DecidedClaim]]:
    """Return what each published study decided, by the name of its grid; nothing if unfinished."""
    found = {}
    for grid in sorted((HERE / "grids").glob("*.toml")):
        if (studies / grid.stem).is_dir():
            study = stored_study(grid, studies / grid.stem)
            results = study.results(study.cells())
            if not results.missing:
                found[grid.stem] = decided_claims(results)
    return found


def page(
    claims: Claims, found: Mapping[str, Any], decided: Mapping[str, Sequence[DecidedClaim]]
) -> str:
    """Return the page as Markdown."""
    rows = {claim.id: row_of(claim, claims, found, decided) for claim in claims.claim}
    verdicts = {number: row[3].strip("*") for number, row in rows.items()}
    kinds = (*(kind.value for kind in Decision), NOT_HERE)
    counts = ", ".join(f"{list(verdicts.values()).count(kind)} {kind}" for kind in kinds)
    sections = [
        HEAD,
        f"Of {len(rows)} claims: {counts}.",
        "\n## The abstract of A, sentence by sentence\n",
        table(("sentence, in our words", "verdicts"), abstract_rows(claims, verdicts)),
    ]
    head = ("", "claim", "where", "verdict", "what we have", "tests and grids")
    for letter, title in PARTS.items():
        own = [row for number, row in rows.items() if number.startswith(letter)]
        sections += [f"\n## {title}\n", table(head, own)]
    return "\n".join([*sections, tail(found)])


def abstract_rows(claims: Claims, verdicts: Mapping[str, str]) -> list[tuple[str, str]]:
    return [
        (entry.sentence, ", ".join(f"{number} {verdicts[number]}" for number in entry.claims))
        for entry in claims.abstract
    ]


def row_of(
    claim: PaperClaim,
    claims: Claims,
    found: Mapping[str, Any],
    decided: Mapping[str, Sequence[DecidedClaim]],
) -> tuple[str, ...]:
    judged = [
        (grid, entry)
        for grid in claim.grids
        for entry in decided.get(grid, ())
        if re.fullmatch(rf"{claim.id}(-.*)?", entry.claim.id)
    ]
    verdict = joined([entry.decision for _, entry in judged]).value if judged else claim.verdict
    why = "; ".join([filled(claim.why, found), *(words_of(*entry) for entry in judged)])
    holders = [f"`{name.partition('::')[2]}`" for name in claim.tests]
    wanted = [
        f"`{grid}.toml`, {claims.core_hours[grid]:g} core-hours"
        for grid in claim.grids
        if grid not in decided
    ]
    held = ", ".join(holders + wanted)
    row = (claim.id, claim.sentence, claim.where, f"**{verdict}**", why, held)
    return tuple(cell.replace("|", r"\|") for cell in row)


def words_of(grid: str, entry: DecidedClaim) -> str:
    parts = [f"{part.arm} {ratio(asdict(part.contrast))}" for part in entry.parts if part.contrast]
    return f"[{grid}](studies/{grid}/claims.md), {entry.claim.id}: {', '.join(parts)}"


def filled(text: str, found: Mapping[str, Any]) -> str:
    """Return a text with its places filled."""

    def fill(match: re.Match[str]) -> str:
        name, _, form = match[1].partition(":")
        if name.startswith("ratio "):
            _, quantity, contrast = name.split()
            return ratio(found["contrasts"][contrast][quantity])
        value: Any = found
        for key in re.findall(r"\w+", name):
            value = value[int(key) if key.isdecimal() else key]
        return format(value, form)

    return re.sub(r"\{([^{}]+)\}", fill, text)


def ratio(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return "no ratio, the baseline's mean is not positive"
    agents = f"n {entry['num_arm']} and {entry['num_baseline']}"
    if entry["low"] is None:
        return f"{entry['ratio']:.2f} ({agents})"
    return f"{entry['ratio']:.2f} [{entry['low']:.2f}, {entry['high']:.2f}] ({agents})"


def tail(found: Mapping[str, Any]) -> str:
    return f"""
## The agents at hand

![bounds, terms and predictors](papers.png)

Left: bounds and found deviations of {found["dense_agents"]} dense actors after magnitude pruning in
one shot. Middle: the terms of A's Theorem 3, estimated, against the trivial bound. Right: what
predicts the worst return of {found["predictors"]["agents"]} Hopper agents.

## Ascent in tables

![values on the way of ascents in tables](tabular_adversary.png)

Values of softmax policies of 40 random decision processes, five starts each, that ascend alone
(SPO) or against the strongest adversary (ARPO), with exact gradients (R4).

```sh
{found["command"]}        # papers.json, papers.png
python benchmarks/tabular_adversary.py --out docs/results/tabular_adversary.json
pipeline study benchmarks/grids/g1-hopper.toml --out docs/results/studies/g1-hopper --jobs 2
python benchmarks/claims_page.py
```
"""


if __name__ == "__main__":
    main()
