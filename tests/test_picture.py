"""A picture is drawn in the same way whatever a notebook or a user's settings say."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from surefoot.errors import MissingLibraryError
from surefoot.picture import draw_png, draw_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWN = """
import sys
from surefoot.picture import draw_png
sys.stdout.buffer.write(draw_png(2, 1, lambda figure: figure.add_subplot().plot([1, 2])))
"""


def paint(figure: "Figure") -> None:
    figure.add_subplot().set_title("a title")


def drawn(folder: Path, **variables: str) -> bytes:
    """Return the picture of a process with these environment variables."""
    done = subprocess.run(
        [sys.executable, "-c", DRAWN],
        env=os.environ | variables,
        cwd=folder,
        capture_output=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_no_backend_of_the_environment_counts(tmp_path: Path, backend: str) -> None:
    assert drawn(tmp_path, MPLBACKEND=backend) == drawn(tmp_path, MPLBACKEND="agg")


def test_no_settings_of_the_user_count(tmp_path: Path) -> None:
    before = drawn(tmp_path)
    (tmp_path / "matplotlibrc").write_text("axes.facecolor: black\ntext.usetex: true\n")
    assert drawn(tmp_path) == before


def test_the_environment_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    draw_png(1, 1, paint)
    assert os.environ["MPLBACKEND"] == "module://matplotlib_inline.backend_inline"


def test_equal_pictures_are_equal_bytes() -> None:
    one = draw_svg(2, 1, paint)
    assert one == draw_svg(2, 1, paint)
    assert re.match(r"<svg [^>]*>", one)


def test_without_matplotlib_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingLibraryError, match=r"matplotlib: pip install .*\[train\]"):
        draw_png(1, 1, paint)
