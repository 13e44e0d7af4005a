"""Reporting: one page about a run."""

from pathlib import Path

from surefoot.artifact import write_file
from surefoot.output_path import REPORT, check_result_file
from surefoot.run_folder import RunFolder
from surefoot.study.run_report import render_report


def write_report(run: Path, out: Path | None = None) -> Path:
    """Write the page of a finished run and return its path, ``report.html`` in the run by default.

    Raises:
        InputError: If the folder lacks a result that the page is about, or ``out`` cannot be
            written.
        IntegrityError: If a result is malformed.
    """
    folder = RunFolder(run)
    path = out or folder.report
    check_result_file(path, REPORT)
    write_file(path, render_report(folder).encode())
    return path
