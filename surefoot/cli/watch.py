"""``pipeline watch``: a film of the controller, clean and under the strongest attack."""

from pathlib import Path
from typing import Annotated

import typer

from surefoot.cli import completion
from surefoot.cli.console import CONSOLE, show
from surefoot.cli.libraries import load_simulation
from surefoot.cli.options import (
    AllowUncertified,
    AsJson,
    ConfigFile,
    EnvId,
    EnvModule,
    OutputName,
    Overrides,
    resolve,
)
from surefoot.cli.tables import Table, proved


def watch(
    bundle: Annotated[Path, typer.Argument(help="A run or a bundle.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Film to write, .mp4; a .gif and .json beside it. Default: watch.mp4."),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            help="Suite of attacks of which the strongest is shown: quick, paper or full.",
            autocompletion=completion.one_of(completion.SUITES),
        ),
    ] = None,
    width: Annotated[int, typer.Option(help="Width of each half, pixels.")] = 480,
    height: Annotated[int, typer.Option(help="Height of the robot's picture, pixels.")] = 360,
    config: ConfigFile = None,
    overrides: Overrides = None,
    output: OutputName = None,
    env: EnvId = None,
    env_module: EnvModule = None,
    allow_uncertified: AllowUncertified = False,
    as_json: AsJson = False,
) -> None:
    """Film an episode without an adversary beside one under the strongest attack."""
    flags = {"suite": suite, "env_id": env, "env_module": env_module}
    configuration = resolve(None, config, overrides, attack=flags)
    load_simulation()
    from surefoot.envs.filming import Shot
    from surefoot.workflow.watching import watch_controller

    record = watch_controller(
        bundle,
        out,
        config=configuration,
        shot=Shot(width=width, height=height),
        allow_uncertified=allow_uncertified,
        output=output,
        listener=CONSOLE,
    )
    rows = [
        (name, one.total, one.length, one.max_deviation, proved(record.certified_deviation))
        for name, one in (
            ("clean", record.clean),
            (f"{record.attack}, {record.variant}", record.attacked),
        )
    ]
    head = ("episode", "return", "steps", "max deviation", "certified")
    title = f"seed {record.seed}, sensors wrong by {record.perturbation}"
    show(as_json, record.to_table(), Table(title, head, rows))
