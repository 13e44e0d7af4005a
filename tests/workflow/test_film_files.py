"""A film is a file that plays, and is known as ours."""

import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from surefoot.errors import MissingLibraryError
from surefoot.workflow.film_files import encode, is_film

PICTURES = [np.full((48, 64, 3), 10 * number, np.uint8) for number in range(20)]


def test_a_film_has_the_pictures_it_was_made_of(tmp_path: Path) -> None:
    film, gif = encode(iter(PICTURES), 25.0)
    path = tmp_path / "film.mp4"
    path.write_bytes(film)
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(path)
    assert frames == len(PICTURES)
    assert seconds == pytest.approx(len(PICTURES) / 25.0, abs=0.05)
    assert gif.startswith(b"GIF89a")
    assert gif.endswith(b";")
    assert is_film(film)
    assert is_film(gif)
    assert not is_film(gif.replace(b"surefoot", b"sidefoot"))
    assert not is_film(b"a text about surefoot")


def test_without_ffmpeg_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(MissingLibraryError, match=r"a film needs imageio-ffmpeg: pip install"):
        encode(iter(PICTURES), 25.0)
