"""``pipeline train``: train a policy, with checkpoints, and write its policy folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surefoot.artifact import (
    Json,
    claim_folder,
    is_folder_of,
    read_artifact,
    sha256_hex,
    to_json,
    write_file,
)
from surefoot.cli import console
from surefoot.cli.options import AsJson, ConfigFile, Device, EnvModule, Overrides, Preset, Seed
from surefoot.cli.options import resolve as resolve_options
from surefoot.config import Table, build, differences, read_toml, to_table, to_toml
from surefoot.errors import InputError
from surefoot.onnx_file import load_policy
from surefoot.policy import weights_sha256

if TYPE_CHECKING:
    from surefoot.train import Progress

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
    from surefoot.envs import describe_env
    from surefoot.train import Progress, TrainConfig, save_trained, train_policy

    if "train" not in tables:
        raise InputError("a training needs --preset or a configuration with a [train] table")
    config = build(TrainConfig, tables["train"], "train")
    describe_env(
        config.env_id, config.env_module
    )  # refuse an unfit task before anything is written
    folder = out / "policy"
    if not _is_trained(folder, to_table(config)):
        total = config.num_iterations * config.batch_size
        with console.progress_bar(f"train {config.env_id}", total) as update:

            def on_progress(progress: Progress) -> None:
                update(progress.step, _remarks(progress))

            result = train_policy(config, out=out, on_progress=on_progress)
        save_trained(folder, result)
    claim_folder(out, "run")
    write_file(out / CONFIG_FILE, to_toml(tables | {"train": to_table(config)}).encode())
    file, artifact = load_policy(folder)
    facts = artifact.facts
    trained = {
        "env": facts["env"]["id"],
        "seed": facts["seed"],
        "steps": facts["steps"],
        "sparsity": facts["sparsity"],
        "clean_return": _clean_return(facts),
        "weights_sha256": weights_sha256(file.policy),
        "onnx_sha256": sha256_hex(file.data),
    }
    write_file(out / "train.json", to_json(trained))
    return trained


def _clean_return(facts: Mapping[str, Json]) -> Json:
    """Return the evaluated return of the policy that was taken."""
    evaluation = facts["evaluation"]
    best = facts["selected"] == "best"
    return evaluation["best"]["clean_return"] if best else evaluation["last"]


def tables_of_run(folder: Path) -> Table:
    """Return the resolved configuration of a run folder; empty for anything else."""
    path = folder / CONFIG_FILE
    return read_toml(path) if path.is_file() else {}


def _is_trained(folder: Path, table: Table) -> bool:
    """Return whether the policy folder is the result of this configuration.

    Raises:
        InputError: If it is the result of another one.
        IntegrityError: If it was changed after it was written.
    """
    from surefoot.train.train_config import WITHOUT_EFFECT

    if not is_folder_of(folder, "policy"):
        return False
    before: Table = read_artifact(folder, "policy").facts.get("config", {})
    if changes := differences(before, table, WITHOUT_EFFECT):
        raise InputError(
            f"{folder.parent} holds the training of another configuration ({changes}):"
            " use another output folder or the same configuration"
        )
    return True


def _remarks(progress: "Progress") -> str:
    mean = "-" if progress.mean_return is None else f"{progress.mean_return:.0f}"
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    return (
        f"return {mean}, {progress.steps_per_s:.0f} steps/s, "
        f"sparsity {progress.sparsity:.0%}, {minutes}:{seconds:02d} left"
    )
