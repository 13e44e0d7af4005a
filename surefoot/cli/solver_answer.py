"""``pipeline certify --vnnlib``: answer a VNN-LIB file as solvers do."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from surefoot.cli.console import show

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
    sys.exit(answer.verdict.exit_code)
