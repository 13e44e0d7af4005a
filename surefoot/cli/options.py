"""The flags that several verbs share, and what they resolve to."""

import json
from pathlib import Path
from typing import Annotated

import typer

from surefoot.artifact import check_place
from surefoot.config import Table, resolve_tables
from surefoot.errors import InputError

TABLES = ("train", "certify", "assume", "export", "attack", "bench", "require")
"""The top-level tables of a configuration file."""

Preset = Annotated[str | None, typer.Option(help="Start from an installed preset.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="A TOML file over the preset.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Set one key: --set train.learning_rate=3e-4.")
]
Seed = Annotated[int | None, typer.Option(help="Seed of the training, as --set train.seed.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda, as --set train.device.")]
EnvModule = Annotated[
    str | None, typer.Option(help="Python module or file that registers your environment.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
AllowUncertified = Annotated[
    bool, typer.Option("--allow-uncertified", help="Go on without a proof; says so everywhere.")
]
BackendName = Annotated[
    str | None,
    typer.Option(
        "--backend", help="numpy, onnx, c; onnx-sparse, onnx-cuda, onnx-tensorrt, tensorrt."
    ),
]


def picture_beside(out: Path) -> Path:
    """Return where the picture of a result goes, if both can be written: asked before the work.

    Raises:
        InputError: If not, or if they would be the same file.
    """
    picture = out.with_suffix(".png")
    if picture == out:
        raise InputError(f"out must not end in .png, where its picture goes, got {out}")
    for path in (out, picture):
        check_place(path)
    return picture


def resolve(
    preset: str | None,
    config: Path | None,
    overrides: list[str] | None,
    *,
    seed: int | None = None,
    device: str | None = None,
    env_module: str | None = None,
) -> Table:
    """Return the configuration tables after preset, file, ``--set`` and the everyday flags."""
    flags = {"seed": seed, "device": device, "env_module": env_module}
    short = [
        f"train.{name}={json.dumps(value)}" for name, value in flags.items() if value is not None
    ]
    return resolve_tables(
        preset=preset, config=config, overrides=[*(overrides or []), *short], known=TABLES
    )
