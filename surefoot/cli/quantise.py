"""``pipeline quantise``: ``compress --weights int8`` under the name by which it was known first."""

from pathlib import Path
from typing import Annotated

import typer

from surefoot.cli.compression_table import json_of, table_of
from surefoot.cli.console import CONSOLE, show
from surefoot.cli.options import AsJson, Discrete, OutputName


def quantise(
    policy: Annotated[Path, typer.Argument(help="A run, policy folder, bundle or .onnx file.")],
    out: Annotated[Path, typer.Option(help="Policy folder to write.")],
    output: OutputName = None,
    discrete: Discrete = False,
    as_json: AsJson = False,
) -> None:
    """Round the weights to 8 bits: compress --weights int8 without recording visited states."""
    from surefoot.workflow.compressing import quantise_controller

    result = quantise_controller(policy, out, output=output, discrete=discrete, listener=CONSOLE)
    show(as_json, json_of(result), table_of(result))
