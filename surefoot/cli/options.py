"""The flags that several verbs share, and the configuration that they resolve to."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surefoot.cli import completion
from surefoot.cli.idle_flags import refuse_idle

if TYPE_CHECKING:
    from surefoot.recordings import StatesFile
    from surefoot.workflow.configuration import Configuration

Preset = Annotated[
    str | None,
    typer.Option(help="Installed preset to start from.", autocompletion=completion.preset),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="TOML file; overrides preset or defaults.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override one key: --set train.learning_rate=3e-4."),
]
Seed = Annotated[int | None, typer.Option(help="Training seed; same as --set train.seed.")]
Device = Annotated[
    str | None,
    typer.Option(
        help="auto, cpu or cuda; same as --set train.device.",
        autocompletion=completion.one_of(completion.DEVICES),
    ),
]
OutputName = Annotated[
    str | None, typer.Option(help="Output of a foreign .onnx file that holds the actions.")
]
Discrete = Annotated[
    bool,
    typer.Option(
        "--discrete", help="Outputs of a foreign .onnx file are logits; the largest is chosen."
    ),
]
EnvId = Annotated[
    str | None, typer.Option("--env", help="Gymnasium id of the environment that it controls.")
]
EnvModule = Annotated[
    str | None, typer.Option(help="Python module or file that registers your environment.")
]
CompressedFrom = Annotated[
    Path | None,
    typer.Option("--dense", help="Policy from which it was compressed, for compression_error."),
]
States = Annotated[
    Path | None,
    typer.Option(help="Recorded states: .npy, .npz, .csv, .parquet or a ROS 2 bag."),
]
Columns = Annotated[
    str | None,
    typer.Option(help="Columns of the recording, one per sensor: a,b,c; in a bag TOPIC.FIELD."),
]
EpisodeColumn = Annotated[
    str | None,
    typer.Option(help="Column of the recording that tells episodes apart, for scope visited."),
]
RobotFile = Annotated[
    Path | None,
    typer.Option("--robot", help="robot.toml with the sensors and actuators of the robot."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
AllowUncertified = Annotated[
    bool,
    typer.Option(
        "--allow-uncertified", help="Accept what is not proved, and say so in every result."
    ),
]


def states_file(
    path: Path | None, columns: str | None, episode_column: str | None = None
) -> "StatesFile | None":
    """Return the states that the flags name, if they name any.

    Raises:
        InputError: If columns are named of no file.
    """
    from surefoot.recordings import StatesFile

    if path is None:
        refuse_idle("without a file of states", columns=columns, episode_column=episode_column)
        return None
    names = () if columns is None else tuple(name.strip() for name in columns.split(","))
    return StatesFile(path=path, columns=names, episode_column=episode_column)


def resolve(
    preset: str | None,
    config: Path | None,
    overrides: list[str] | None,
    **flags: Mapping[str, object],
) -> "Configuration":
    """Return the configuration after preset, file, ``--set`` and everyday flags, in this order.

    Args:
        preset: Name of a preset.
        config: A TOML file.
        overrides: Values of ``--set``.
        flags: Keys that everyday flags set, by table; None for a flag that was not given.

    Raises:
        InputError: If one of them cannot be read, or names an unknown table.
    """
    from surefoot.workflow.configuration import Configuration

    given = {
        table: {key: value for key, value in keys.items() if value is not None}
        for table, keys in flags.items()
    }
    base = Configuration.resolve(preset=preset, config=config, overrides=overrides or [])
    return Configuration({table: keys for table, keys in given.items() if keys}).over(base)
