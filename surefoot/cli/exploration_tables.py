"""What an exploration found, as JSON and as tables."""

from typing import TYPE_CHECKING

from surefoot.artifact import Json
from surefoot.cli.inspect import rows_of
from surefoot.cli.tables import Table, proved

if TYPE_CHECKING:
    from surefoot.certify.exploration import Exploration, SizedDeviation
    from surefoot.workflow.exploring import ExploredController


def json_of(explored: "ExploredController") -> dict[str, Json]:
    """Return the object that ``--json`` prints."""
    from surefoot.config import to_table

    return {
        "controller": to_table(explored.inspection, nulls=True)
        | {"path": str(explored.inspection.path)},
        "exploration": to_table(explored.exploration, nulls=True),
        "draft_budget": explored.draft,
    }


def tables_of(explored: "ExploredController") -> list[Table]:
    """Return what a controller is, its bounds by size, and what could be required of it."""
    exploration = explored.exploration
    return [*rows_of(explored.inspection), _deviations(exploration), _candidates(exploration)]


def _deviations(exploration: "Exploration") -> Table:
    head = ["epsilon", "proved, every state", "found, any state", "proved / found", "note"]
    if exploration.scope is not None:
        head[3:3] = [f"proved, {exploration.num_states} {exploration.scope} states", "found there"]
    rows = [_row(exploration, row) for row in exploration.deviations]
    return Table("largest change of one action, linf, action units (or of a logit)", head, rows)


def _row(exploration: "Exploration", row: "SizedDeviation") -> list[object]:
    cells: list[object] = [f"{row.epsilon:g}", proved(row.proved), row.found]
    if exploration.scope is not None:
        cells += [proved(row.proved_at_states), row.found_at_states]
    gap = row.proved / row.found if row.proved is not None and row.found else None
    return [*cells, gap, "vacuous: the whole range" if row.vacuous else ""]


def _candidates(exploration: "Exploration") -> Table:
    rows = [
        (candidate.requirement.describe(), candidate.found) for candidate in exploration.candidates
    ]
    if not rows:
        return Table("no requirement could be proved yet", ("why", ""), _obstacles(exploration))
    title = "what could be required and would be proved"
    return Table(title, ("requirement", "a search found"), rows)


def _obstacles(exploration: "Exploration") -> list[tuple[str, str]]:
    """Return why nothing could be required."""
    vacuous = "bounds say no more than the range of the actuators"
    found = [f"in every state: {exploration.reason or vacuous}"]
    if exploration.scope is None:
        found.append("around states: none are given (--states)")
    else:
        found.append(f"around {exploration.num_states} {exploration.scope} states: {vacuous}")
    return [(words, "") for words in found]
