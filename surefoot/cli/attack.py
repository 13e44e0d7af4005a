"""``pipeline attack``: attack the deployed controller in closed loop."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from surefoot.artifact import Json, sha256_hex, write_file
from surefoot.bundle import open_bundle
from surefoot.certificate import Certificate
from surefoot.cli import console
from surefoot.cli.options import (
    AllowUncertified,
    AsJson,
    BackendName,
    ConfigFile,
    EnvModule,
    Overrides,
    picture_beside,
)
from surefoot.cli.options import resolve as resolve_options
from surefoot.config import Table, build
from surefoot.errors import InputError
from surefoot.onnx_file import POLICY_FILE, ControllerFile, load_controller_file
from surefoot.policy import Layer
from surefoot.run_folder import CRITIC_FILE


def attack(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    out: Annotated[Path, typer.Option(help="Result to write.")] = Path("attack.json"),
    suite: Annotated[str | None, typer.Option(help="Which attacks: quick or full.")] = None,
    backend: BackendName = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    env_module: EnvModule = None,
    allow_uncertified: AllowUncertified = False,
    as_json: AsJson = False,
) -> None:
    """Attack a bundle's observations and report clean and attacked returns."""
    file, certificate = open_target(bundle, allow_uncertified)
    tables = resolve_options(None, config, overrides)
    flags = {"suite": suite, "backend": backend, "env_module": env_module}
    given = {name: value for name, value in flags.items() if value is not None}
    table = tables.get("attack", {}) | given
    result = attack_into(
        out, file, certificate, table, critics=shipped_critics(bundle, sha256_hex(file.data))
    )
    console.show(as_json, result, table_of(result))


def open_target(path: Path, allow_uncertified: bool) -> tuple[ControllerFile, Certificate | None]:
    """Return the controller of a verified bundle; any other controller only when allowed.

    Raises:
        InputError: If the path holds no controller.
        VerificationError: If it is no bundle that verifies and uncertified ones are not allowed, or
            its certificate is about another arithmetic than the runtime has.
    """
    from surefoot.artifact import is_folder_of

    if is_folder_of(path, "bundle") or not allow_uncertified:
        from surefoot.runtime.load import require_arithmetic

        bundle = open_bundle(path, allow_uncertified=allow_uncertified)
        require_arithmetic(bundle.certificate)
        return bundle.controller, bundle.certificate
    console.remark(f"WARNING: {path} is not a bundle; nothing is proved about it")
    return load_controller_file(path), None


def shipped_critics(path: Path, onnx_sha256: str) -> dict[str, tuple[Layer, ...]]:
    """Return the critic that was trained with a controller.

    Args:
        path: A run, its policy folder, a bundle inside of a run, or a file beside its critic.
        onnx_sha256: Of the controller; a critic of another one is none.
    """
    from surefoot.artifact import read_file
    from surefoot.train.folder import critic_from_bytes

    beside = path.resolve().parent
    for folder in (path / "policy", path, beside, beside / "policy"):
        controller, critic = folder / POLICY_FILE, folder / CRITIC_FILE
        if not (controller.is_file() and critic.is_file()):
            continue
        if sha256_hex(read_file(controller)) == onnx_sha256:
            return {"shipped": critic_from_bytes(read_file(critic))}
    return {}


def attack_into(
    out: Path,
    file: ControllerFile,
    certificate: Certificate | None,
    table: Table,
    *,
    critics: Mapping[str, tuple[Layer, ...]] | None = None,
) -> dict[str, Json]:
    """Run a suite against a controller, write ``attack.json`` and a picture, return the result.

    Raises:
        InputError: If a setting is wrong, or ``out`` cannot be written.
    """
    from surefoot.attack import AttackConfig, draw_attacks, run_suite

    config = build(AttackConfig, table, "attack")
    picture = picture_beside(out)
    # What is finished of a long suite, for the same command to go on after an interruption.
    work = None if config.suite == "quick" else out.with_suffix(".work")
    if work == out:
        raise InputError(f"out must not end in .work, where unfinished work goes, got {out}")
    with console.progress_bar(f"attack {config.suite}", config.num_steps) as update:
        report = run_suite(
            file, certificate, config, on_progress=update, critics=critics, work=work
        )
    record = report.record()
    write_file(out, record.to_json())
    write_file(picture, draw_attacks(record))
    return record.to_table()


def table_of(result: dict[str, Json]) -> console.Table:
    """Return the attacks as a table."""
    rows = [
        (
            name,
            entry["mean"],
            entry["iqm"],
            f"[{entry['interval'][0]:.0f}, {entry['interval'][1]:.0f}]",
            entry["max_deviation"],
            console.proved(entry["certified_deviation"]),
            None if entry["reached_share"] is None else f"{entry['reached_share']:.0%}",
            entry["failures"],
        )
        for name, entry in result["attacks"].items()
    ]
    for sign in (result["gradient_masking"] or {}).get("signs", []):
        console.remark(f"WARNING: gradients may be masked: {sign}")
    title = (
        f"{result['episodes']} episodes, {result['norm']} epsilon {result['epsilon']:g}, "
        f"backend {result['backend']}"
    )
    head = (
        "attack",
        "mean return",
        "IQM",
        "95 % interval of the IQM",
        "max deviation",
        "certified",
        "reached",
        "failures",
    )
    return console.table(title, head, rows)
