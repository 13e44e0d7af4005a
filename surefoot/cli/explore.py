"""``pipeline certify`` without a budget: what could be required of a controller."""

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from surefoot.cli.console import CONSOLE, show
from surefoot.cli.exploration_tables import json_of, tables_of
from surefoot.process_exit import end_with

if TYPE_CHECKING:
    from surefoot.recordings import StatesFile
    from surefoot.workflow.configuration import Configuration


def explore_and_exit(
    controller: Path,
    configuration: "Configuration",
    *,
    output: str | None,
    discrete: bool,
    states: "StatesFile | None",
    draft: Path | None,
    as_json: bool,
) -> NoReturn:
    """Print what could be proved, and exit as nothing was required: nothing is proved."""
    from surefoot.certificate import Verdict
    from surefoot.workflow.exploring import explore_controller

    explored = explore_controller(
        controller,
        config=configuration.certification(),
        assumptions=configuration.assumptions(),
        output=output,
        discrete=discrete,
        states=states,
        draft=draft,
        listener=CONSOLE,
    )
    show(
        as_json,
        json_of(explored),
        *tables_of(explored),
        text=explored.draft and f"{explored.draft}\n",
    )
    end_with(Verdict.UNKNOWN.exit_code)
