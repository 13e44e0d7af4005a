"""``pipeline compress``: a finished policy with fewer weights, or weights of fewer bits."""

from pathlib import Path
from typing import Annotated

import typer

from surefoot.cli import completion
from surefoot.cli.compression_table import json_of, table_of
from surefoot.cli.console import CONSOLE, show
from surefoot.cli.idle_flags import given, refuse_idle
from surefoot.cli.options import AsJson, Columns, Discrete, EnvModule, OutputName, states_file


def compress(
    policy: Annotated[Path, typer.Argument(help="A run, policy folder, bundle or .onnx file.")],
    out: Annotated[Path, typer.Option(help="Policy folder to write.")],
    method: Annotated[
        str | None,
        typer.Option(
            help="magnitude, obd, obs (default) or sparsegpt.",
            autocompletion=completion.one_of(completion.METHODS),
        ),
    ] = None,
    sparsity: Annotated[
        float | None, typer.Option(help="Share of all weights that are zero in the result.")
    ] = None,
    allocation: Annotated[
        str | None,
        typer.Option(
            help="erk (default), uniform or global.",
            autocompletion=completion.one_of(completion.ALLOCATIONS),
        ),
    ] = None,
    refit: Annotated[
        bool,
        typer.Option(
            "--refit",
            help="Refit the kept weights to the outputs of their layer (obs always does).",
        ),
    ] = False,
    block_rows: Annotated[
        int | None,
        typer.Option(
            help="4 or 8: rows of one column go together, for which C is fastest; default: single "
            "weights."
        ),
    ] = None,
    weights: Annotated[
        str,
        typer.Option(
            help="float32, float16 or int8.", autocompletion=completion.one_of(completion.WEIGHTS)
        ),
    ] = "float32",
    max_control_error: Annotated[
        float | None,
        typer.Option(
            help="In place of --sparsity: the largest sparsity found whose certified change of any "
            "action is at most this (see --over)."
        ),
    ] = None,
    over: Annotated[
        str | None,
        typer.Option(
            help="Where the control error is certified: visited states (default), or the box.",
            autocompletion=completion.one_of(completion.DOMAINS),
        ),
    ] = None,
    epsilon: Annotated[
        float,
        typer.Option(help="Radius of the linf ball around each visited state, normalised units."),
    ] = 0.0,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Recorded states (see certify --states) in place of visited ones."),
    ] = None,
    columns: Columns = None,
    visited_states: Annotated[
        int | None,
        typer.Option(
            help="Visited states to record for the result; default: as many as before; 0: none."
        ),
    ] = None,
    output: OutputName = None,
    discrete: Discrete = False,
    env_module: EnvModule = None,
    as_json: AsJson = False,
) -> None:
    """Compress a finished policy into another one, which needs its own certificate."""
    from surefoot.certify import ControlLimit
    from surefoot.compress import OneShotConfig
    from surefoot.config import build
    from surefoot.workflow.compressing import compress_controller

    how = given(method=method, allocation=allocation, refit=refit, block_rows=block_rows)
    where = given(max_control_error=max_control_error, over=over)
    config = build(OneShotConfig, {"weights": weights, **how}, "compress")
    limit = build(ControlLimit, {"epsilon": epsilon, **where}, "compress")
    if max_control_error is None:
        refuse_idle("without a limit: give --max-control-error", over=over)
        if sparsity is None:
            refuse_idle("if no weight is removed: give --sparsity or --max-control-error", **how)
    result = compress_controller(
        policy,
        out,
        sparsity=sparsity,
        config=config,
        limit=limit,
        calibration=states_file(calibration, columns),
        visited_states=visited_states,
        env_module=env_module,
        output=output,
        discrete=discrete,
        listener=CONSOLE,
    )
    show(as_json, json_of(result), table_of(result))
