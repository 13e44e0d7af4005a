"""``pipeline attack``: attack the deployed controller in closed loop."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surefoot.cli import completion
from surefoot.cli.console import CONSOLE, show
from surefoot.cli.libraries import load_simulation
from surefoot.cli.options import (
    AllowUncertified,
    AsJson,
    ConfigFile,
    Discrete,
    EnvId,
    EnvModule,
    OutputName,
    Overrides,
    resolve,
)
from surefoot.cli.tables import Table, proved

if TYPE_CHECKING:
    from surefoot.records import AttackRecord, GateOutcome

_HEAD = (
    "attack",
    "mean return",
    "IQM",
    "95 % interval of the IQM",
    "max deviation",
    "certified",
    "reached",
    "failures",
)


def attack(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    out: Annotated[Path, typer.Option(help="Result to write.")] = Path("attack.json"),
    suite: Annotated[
        str | None,
        typer.Option(
            help="Suite of attacks: quick, paper or full.",
            autocompletion=completion.one_of(completion.SUITES),
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="numpy, onnx, c; onnx-sparse, onnx-cuda, onnx-tensorrt, tensorrt.",
            autocompletion=completion.one_of(completion.BACKENDS),
        ),
    ] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    output: OutputName = None,
    discrete: Discrete = False,
    env: EnvId = None,
    env_module: EnvModule = None,
    allow_uncertified: AllowUncertified = False,
    as_json: AsJson = False,
) -> None:
    """Attack a bundle's observations and report clean and attacked returns."""
    flags = {"suite": suite, "backend": backend, "env_id": env, "env_module": env_module}
    configuration = resolve(None, config, overrides, attack=flags)
    load_simulation()
    from surefoot.workflow.attacking import attack_controller

    record = attack_controller(
        bundle,
        out,
        config=configuration.attacking(),
        allow_uncertified=allow_uncertified,
        output=output,
        discrete=discrete,
        listener=CONSOLE,
    )
    if record.gradient_masking is not None:
        for sign in record.gradient_masking.signs:
            CONSOLE.remark(f"WARNING: gradients may be masked: {sign}")
    for line in record.beyond_proof:
        CONSOLE.remark(line)
    show(as_json, record.to_table(), _table_of(record))


def _table_of(record: "AttackRecord") -> Table:
    rows = [
        (
            name,
            outcome.mean,
            outcome.iqm,
            f"[{outcome.interval[0]:.0f}, {outcome.interval[1]:.0f}]",
            outcome.max_deviation,
            proved(outcome.certified_deviation),
            None if outcome.reached_share is None else f"{outcome.reached_share:.0%}",
            outcome.failures,
        )
        for name, outcome in record.attacks.items()
    ]
    title = (
        f"{record.episodes} episodes, sensors wrong by {record.perturbation}, "
        f"backend {record.backend}"
    )
    if record.gate is None:
        return Table(title, _HEAD, rows)
    fired = (_fired(outcome.gate) for outcome in record.attacks.values())
    guarded = [(*row, words) for row, words in zip(rows, fired, strict=True)]
    return Table(f"{title}, {record.played}", (*_HEAD, "gate fired, at step"), guarded)


def _fired(gate: "GateOutcome | None") -> str | None:
    """Return in which share of the episodes a gate fired, and the median step at which it did."""
    if gate is None:
        return None
    step = "" if gate.median_steps is None else f", {gate.median_steps:g}"
    return f"{gate.fired:.0%}{step}"
