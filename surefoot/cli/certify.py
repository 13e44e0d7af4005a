"""``pipeline certify``: hold a controller against a budget."""

from pathlib import Path
from typing import Annotated

import typer

from surefoot.cli.certificate_tables import tables_of
from surefoot.cli.console import CONSOLE, show
from surefoot.cli.explore import explore_and_exit
from surefoot.cli.idle_flags import refuse_idle
from surefoot.cli.options import (
    AsJson,
    Columns,
    CompressedFrom,
    ConfigFile,
    Discrete,
    EpisodeColumn,
    OutputName,
    Overrides,
    RobotFile,
    States,
    resolve,
    states_file,
)
from surefoot.cli.solver_answer import answer_and_exit
from surefoot.process_exit import end_with


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
    robot: RobotFile = None,
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
    files = {"out": out, "attack": attack, "bench": bench, "dense": dense, "robot": robot}
    if vnnlib is not None:
        others = {"budget": budget, "states": states, "draft_budget": draft_budget}
        refuse_idle("with --vnnlib", **files, **others, explain=explain)
        answer_and_exit(
            controller,
            vnnlib,
            config=configuration.certification(),
            seconds=timeout,
            output=output,
            as_json=as_json,
        )
    refuse_idle("without --vnnlib", timeout=timeout)
    recorded = states_file(states, columns, episode_column)
    if budget is None and not configuration.has_budget:
        refuse_idle("without a budget: give --budget", **files, explain=explain)
        explore_and_exit(
            controller,
            configuration,
            output=output,
            discrete=discrete,
            states=recorded,
            draft=draft_budget,
            as_json=as_json,
        )
    refuse_idle("where there is a budget", draft_budget=draft_budget)
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
        robot=robot,
        draw=not no_picture,
        listener=CONSOLE,
    )
    words = f"{explain_certificate(certificate)}\n" if explain else ""
    show(as_json, certificate.to_table(), *tables_of(certificate), text=words)
    end_with(certificate.verdict.exit_code)
