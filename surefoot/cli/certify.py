"""``pipeline certify``: hold a controller against a budget."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surefoot.artifact import from_json
from surefoot.cli.certificate_tables import tables_of
from surefoot.cli.console import CONSOLE, show
from surefoot.cli.options import (
    AsJson,
    Columns,
    CompressedFrom,
    ConfigFile,
    Discrete,
    EpisodeColumn,
    OutputName,
    Overrides,
    States,
    resolve,
    states_file,
)
from surefoot.cli.standard_output import write_result
from surefoot.errors import InputError

if TYPE_CHECKING:
    from surefoot.workflow.exploring import ExploredController

NOTHING_PROVED = 4
"""Exit code where nothing is required, so that nothing is proved."""


def certify(
    controller: Annotated[Path, typer.Argument(help="A run, policy folder, bundle or .onnx file.")],
    budget: Annotated[
        Path | None, typer.Option(help="Budget; default: that of the run or bundle.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Certificate to write; default: certificate.json.")
    ] = None,
    attack: Annotated[
        Path | None, typer.Option(help="attack.json with measured returns; default: the run's own.")
    ] = None,
    bench: Annotated[Path | None, typer.Option(help="bench.json with measured latency.")] = None,
    output: OutputName = None,
    discrete: Discrete = False,
    dense: CompressedFrom = None,
    states: States = None,
    columns: Columns = None,
    episode_column: EpisodeColumn = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    vnnlib: Annotated[
        Path | None,
        typer.Option(help="VNN-LIB file to answer, instead of a budget: sat, unsat or unknown."),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds for the VNN-LIB file.", min=0.0)
    ] = None,
    draft_budget: Annotated[
        Path | None, typer.Option(help="Without a budget: where to write one to start from.")
    ] = None,
    no_picture: Annotated[bool, typer.Option("--no-picture", help="Draw no picture.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Explain the certificate in plain words.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Certify a controller: exit 0 proved, 3 refuted, 4 not proved.

    Without a budget, say what the controller is and what could be proved of it, and exit with 4:
    nothing was required, so nothing is proved. With --vnnlib, print what solvers of VNN-LIB print:
    unsat (0), sat and the input that shows it (3), or unknown (4).
    """
    from surefoot.workflow.configuration import Configuration

    configuration = resolve(None, config, overrides).over(Configuration.beside(controller))
    if vnnlib is not None:
        files = {"budget": budget, "out": out, "attack": attack, "bench": bench, "dense": dense}
        others = {"states": states, "draft_budget": draft_budget, "explain": explain or None}
        _refuse_idle({**files, **others}, "with --vnnlib")
        from surefoot.workflow.answering import answer_vnnlib

        answer = answer_vnnlib(
            controller,
            vnnlib,
            config=configuration.certification(),
            seconds=timeout,
            output=output,
        )
        if as_json:
            show(as_json, answer.to_table())
        else:
            write_result(answer.text)
        sys.exit(answer.verdict.exit_code)
    _refuse_idle({"timeout": timeout}, "without --vnnlib")
    recorded = states_file(states, columns, episode_column)
    if budget is None and not configuration.has_budget:
        files = {"out": out, "attack": attack, "bench": bench, "dense": dense}
        given = {**files, "explain": explain or None, "no_picture": no_picture or None}
        _refuse_idle(given, "without a budget: give --budget")
        from surefoot.workflow.exploring import explore_controller

        explored = explore_controller(
            controller,
            config=configuration.certification(),
            assumptions=configuration.assumptions(),
            output=output,
            discrete=discrete,
            states=recorded,
            draft=draft_budget,
            listener=CONSOLE,
        )
        _show_explored(explored, as_json=as_json)
        sys.exit(NOTHING_PROVED)
    _refuse_idle({"draft_budget": draft_budget}, "where there is a budget")
    from surefoot.certify import explain as explain_certificate
    from surefoot.workflow.certifying import certify_controller

    certificate = certify_controller(
        controller,
        configuration.budget(budget),
        out or Path("certificate.json"),
        config=configuration.certification(),
        assumptions=configuration.assumptions(),
        attack=attack,
        bench=bench,
        output=output,
        discrete=discrete,
        dense=dense,
        states=recorded,
        draw=not no_picture,
        listener=CONSOLE,
    )
    show(as_json, from_json(certificate.to_json(), "certificate"), *tables_of(certificate))
    if explain and not as_json:
        write_result(f"{explain_certificate(certificate)}\n")
    sys.exit(certificate.verdict.exit_code)


def _show_explored(explored: "ExploredController", *, as_json: bool) -> None:
    from surefoot.cli import exploration_tables

    tables = exploration_tables.tables_of(explored)
    show(as_json, exploration_tables.json_of(explored), *tables)
    if not as_json:
        write_result(f"{explored.draft}\n")


def _refuse_idle(flags: Mapping[str, object], where: str) -> None:
    """Refuse flags that have no effect.

    Raises:
        InputError: If one was given.
    """
    idle = [name for name, value in flags.items() if value is not None]
    if idle:
        raise InputError(f"{', '.join(idle)}: of no effect {where}")
