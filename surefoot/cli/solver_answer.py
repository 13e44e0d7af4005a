"""``pipeline certify --vnnlib``: answer a VNN-LIB file as solvers do."""

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from surefoot.cli.console import show
from surefoot.process_exit import end_with

if TYPE_CHECKING:
    from surefoot.certify import CertifyConfig


def answer_and_exit(
    controller: Path,
    vnnlib: Path,
    *,
    config: "CertifyConfig",
    seconds: float | None,
    output: str | None,
    as_json: bool,
) -> NoReturn:
    """Print the answer to a VNN-LIB file, and exit as its verdict says."""
    from surefoot.workflow.answering import answer_vnnlib

    answer = answer_vnnlib(controller, vnnlib, config=config, seconds=seconds, output=output)
    show(as_json, answer.to_table(), text=answer.text)
    end_with(answer.verdict.exit_code)
