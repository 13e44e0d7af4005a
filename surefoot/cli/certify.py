"""``pipeline certify``: hold a controller against a budget."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from surefoot.artifact import from_json
from surefoot.cli.certificate_tables import tables_of
from surefoot.cli.console import CONSOLE, show
from surefoot.cli.options import (
    AsJson,
    Columns,
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


def certify(
    controller: Annotated[Path, typer.Argument(help="A run, policy folder, bundle or .onnx file.")],
    budget: Annotated[
        Path | None, typer.Option(help="Budget; default: that of the run or bundle.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Certificate to write.")] = Path("certificate.json"),
    attack: Annotated[
        Path | None, typer.Option(help="attack.json with measured returns; default: the run's own.")
    ] = None,
    bench: Annotated[Path | None, typer.Option(help="bench.json with measured latency.")] = None,
    output: OutputName = None,
    discrete: Discrete = False,
    dense: Annotated[
        Path | None,
        typer.Option(help="Policy from which it was compressed, for compression_error."),
    ] = None,
    states: States = None,
    columns: Columns = None,
    episode_column: EpisodeColumn = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Explain the certificate in plain words.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Certify a controller: exit 0 proved, 3 refuted, 4 not proved."""
    from surefoot.certify import explain as explain_certificate
    from surefoot.workflow.certifying import certify_controller
    from surefoot.workflow.configuration import Configuration

    configuration = resolve(None, config, overrides).over(Configuration.beside(controller))
    certificate = certify_controller(
        controller,
        configuration.budget(budget),
        out,
        config=configuration.certification(),
        assumptions=configuration.assumptions(),
        attack=attack,
        bench=bench,
        output=output,
        discrete=discrete,
        dense=dense,
        states=states_file(states, columns, episode_column),
        listener=CONSOLE,
    )
    show(as_json, from_json(certificate.to_json(), "certificate"), *tables_of(certificate))
    if explain and not as_json:
        write_result(f"{explain_certificate(certificate)}\n")
    sys.exit(certificate.verdict.exit_code)
