"""``pipeline adopt``: a controller that others made becomes a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surefoot.artifact import Json
from surefoot.cli.console import CONSOLE, show
from surefoot.cli.idle_flags import refuse_idle
from surefoot.cli.libraries import load_simulation
from surefoot.cli.options import (
    AsJson,
    Columns,
    Discrete,
    EnvId,
    EnvModule,
    EpisodeColumn,
    OutputName,
    RobotFile,
    States,
    states_file,
)
from surefoot.cli.robot_tables import json_of, tables_of
from surefoot.cli.tables import Table, cell

if TYPE_CHECKING:
    from surefoot.runtime.canonical import CanonicalDifference
    from surefoot.workflow.adopting import AdoptedController


def adopt(
    source: Annotated[Path, typer.Argument(help="An .onnx file, of others or of a converter.")],
    out: Annotated[Path, typer.Option(help="Run folder to write.")],
    output: OutputName = None,
    discrete: Discrete = False,
    env: EnvId = None,
    env_module: EnvModule = None,
    robot: RobotFile = None,
    states: States = None,
    columns: Columns = None,
    episode_column: EpisodeColumn = None,
    visited_states: Annotated[
        int | None,
        typer.Option(help="Visited states to record in the environment; default: 384; 0: none."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Turn a foreign .onnx file into a run: rewrite it in canonical form and compare the two."""
    if env is None:
        refuse_idle("without --env", env_module=env_module)
    else:
        load_simulation()
    from surefoot.workflow.adopting import adopt_controller

    adopted = adopt_controller(
        source,
        out,
        output=output,
        discrete=discrete,
        env_id=env,
        env_module=env_module,
        robot=robot,
        states=states_file(states, columns, episode_column),
        visited_states=visited_states,
        listener=CONSOLE,
    )
    show(
        as_json,
        {**_facts_of(adopted), "robot": json_of(adopted.description, adopted.file.properties)},
        Table(f"adopted {out}", ("what", "value"), _rows_of(adopted, source)),
        *tables_of(adopted.description, adopted.file.properties, adopted.file.policy.num_outputs),
    )


def _facts_of(adopted: "AdoptedController") -> dict[str, Json]:
    """Return the JSON object that ``--json`` prints about the files."""
    from surefoot.policy import weights_sha256

    return {
        "run": str(adopted.run.path),
        "original_sha256": adopted.original.sha256,
        "onnx_sha256": adopted.file.sha256,
        "weights_sha256": weights_sha256(adopted.file.policy),
        "canonical": adopted.difference.to_table(),
        "notes": list(adopted.notes),
        "warnings": list(adopted.warnings),
        "visited_states": _num_states(adopted),
    }


def _rows_of(adopted: "AdoptedController", source: Path) -> list[tuple[str, object]]:
    policy = adopted.file.policy
    return [
        ("original", f"{source}, sha256 {adopted.original.sha256}"),
        ("canonical file", adopted.run.policy / "policy.onnx"),
        ("compared on ONNX Runtime", _words_of(adopted.difference)),
        ("sensors", policy.obs_dim),
        ("outputs", policy.num_outputs),
        ("environment", adopted.file.env_id),
        ("visited states", _num_states(adopted)),
        ("recorded states", 0 if adopted.visited is None else len(adopted.visited.pool)),
    ]


def _words_of(difference: "CanonicalDifference") -> str:
    if difference.is_none:
        return f"equal at all {difference.num_inputs:,} inputs"
    return (
        f"equal at {difference.num_equal:,} of {difference.num_inputs:,} inputs; elsewhere steps "
        f"that became one product round otherwise: by at most {cell(difference.largest)}, "
        f"{100 * difference.share:.2g}% of what the rounding bounds of both allow"
    )


def _num_states(adopted: "AdoptedController") -> int:
    return 0 if adopted.visited is None else len(adopted.visited.independent)
