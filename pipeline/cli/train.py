"""``pipeline train``: train a policy, with checkpoints, and write its policy folder."""

from pathlib import Path
from typing import Annotated

import typer

from surefoot.artifact import Json, claim_folder, read_file, write_file
from surefoot.cli import console
from surefoot.cli.options import AsJson, ConfigFile, Device, EnvModule, Overrides, Preset, Seed
from surefoot.cli.options import resolve as resolve_options
from surefoot.config import Table, build, to_table, to_toml
from surefoot.errors import InputError

CONFIG_FILE = "config.toml"


def train(
    out: Annotated[Path, typer.Option(help="Run folder; a started run goes on.")],
    preset: Preset = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    seed: Seed = None,
    device: Device = None,
    env_module: EnvModule = None,
    as_json: AsJson = False,
) -> None:
    """Train a policy into a run folder, or go on where it stopped."""
    tables = resolve_options(
        preset, config, overrides, seed=seed, device=device, env_module=env_module
    )
    result = train_into(out, tables)
    rows = [(key, result[key]) for key in sorted(result)]
    console.show(as_json, result, console.table(f"trained {out}", ("what", "value"), rows))


def train_into(out: Path, tables: Table) -> dict[str, Json]:
    """Train into a run folder unless that very training is already done; return what came out.

    Raises:
        InputError: If the configuration is wrong, or the folder is not ours.
        InterruptedRun: If it was stopped; a checkpoint is written.
    """
    from surefoot.train import TrainConfig, is_trained, save_trained, train_policy, trained_facts

    if "train" not in tables:
        raise InputError("a training needs --preset or a configuration with a [train] table")
    config = build(TrainConfig, tables["train"], "train")
    claim_folder(out, "run")
    resolved = tables | {"train": to_table(config)}
    if not is_trained(out, config):
        with console.progress_bar(f"train {config.env_id}", config.total_steps) as update:
            trained = train_policy(
                config, out=out, on_progress=lambda p: update(p.step, p.describe())
            )
        save_trained(out, trained)
    write_file(out / CONFIG_FILE, to_toml(resolved).encode())
    return trained_facts(out)


def tables_of_run(folder: Path) -> Table:
    """Return the resolved configuration of a run folder; empty for anything else."""
    from surefoot.config import parse_toml

    path = folder / CONFIG_FILE
    return parse_toml(read_file(path).decode(), str(path)) if path.is_file() else {}
