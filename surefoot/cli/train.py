"""``pipeline train``: train a policy, with checkpoints, and write its policy folder."""

from pathlib import Path
from typing import Annotated

import typer

from surefoot.cli.console import CONSOLE, show
from surefoot.cli.libraries import load_simulation
from surefoot.cli.options import (
    AsJson,
    ConfigFile,
    Device,
    EnvModule,
    Overrides,
    Preset,
    Seed,
    resolve,
)
from surefoot.cli.tables import Table


def train(
    out: Annotated[Path, typer.Option(help="Run folder; resumes a run that was started.")],
    preset: Preset = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    seed: Seed = None,
    device: Device = None,
    env_module: EnvModule = None,
    as_json: AsJson = False,
) -> None:
    """Train a policy into a run folder, or resume it."""
    flags = {"seed": seed, "device": device, "env_module": env_module}
    configuration = resolve(preset, config, overrides, train=flags)
    load_simulation()
    from surefoot.workflow.training import train_run

    record = train_run(out, configuration, listener=CONSOLE).to_table()
    show(as_json, record, Table(f"trained {out}", ("what", "value"), sorted(record.items())))
