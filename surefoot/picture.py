"""Pictures: drawn without a display, and the same whatever the environment tells Matplotlib."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from surefoot.errors import MissingLibraryError
from surefoot.installation import how_to_install

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Painter = Callable[["Figure"], None]
"""Draws into an empty figure."""

_DPI = 150


def draw_png(width: float, height: float, paint: Painter, *, dpi: int = _DPI) -> bytes:
    """Return a picture as a PNG file.

    Args:
        width: Inches.
        height: Inches.
        paint: Draws it.
        dpi: Pixels per inch.

    Raises:
        MissingLibraryError: If matplotlib is not installed.
    """
    with _figure(width, height) as figure:
        paint(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": "surefoot"})
        return buffer.getvalue()


def draw_svg(width: float, height: float, paint: Painter) -> str:
    """Return a picture as the `<svg>` element of a page, see :func:`draw_png`.

    Raises:
        MissingLibraryError: If matplotlib is not installed.
    """
    with _figure(width, height) as figure:
        paint(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        text = buffer.getvalue()
        return text[text.index("<svg") :]


@contextmanager
def _figure(width: float, height: float) -> Iterator["Figure"]:
    """Give an empty figure, under Matplotlib's own defaults while the block runs.

    Raises:
        MissingLibraryError: If matplotlib is not installed.
    """
    # A notebook leaves the name of its backend to every program that it starts, and Matplotlib
    # refuses to be imported under a name that it does not know.
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib as mpl
        from matplotlib import style
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        hint = f"a picture needs matplotlib: {how_to_install('train')}"
        raise MissingLibraryError(hint) from error
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    # A fixed salt makes equal pages of equal results.
    with (
        style.context("default"),
        mpl.rc_context({"svg.hashsalt": "surefoot", "svg.fonttype": "none"}),
    ):
        # The object interface, not pyplot: no global state.
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
