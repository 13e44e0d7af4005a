"""``pipeline quantise``: ``compress --weights int8`` under the name by which it was known first."""

from pathlib import Path
from typing import Annotated

import typer

from surefoot.cli import console
from surefoot.cli.compress import compress_into, table_of
from surefoot.cli.options import AsJson
from surefoot.cli.source import read_source


def quantise(
    policy: Annotated[Path, typer.Argument(help="A run, a policy folder or an .onnx file.")],
    out: Annotated[Path, typer.Option(help="Policy folder to write.")],
    as_json: AsJson = False,
) -> None:
    """Round the weights to 8 bits: compress --weights int8, recording no visited states."""
    from surefoot.certify import ControlLimit
    from surefoot.compress import OneShotConfig, WeightFormat

    result = compress_into(
        out,
        read_source(policy, None, None),
        OneShotConfig(weights=WeightFormat.INT8),
        ControlLimit(),
        sparsity=None,
        visited_states=0,
    )
    console.show(as_json, result, table_of(result))
