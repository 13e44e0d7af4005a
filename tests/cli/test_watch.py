"""``pipeline watch``: a film, what it says, and what it refuses before anything is played.

Also of ``workflow/watching.py`` and ``study/film_record.py``.
"""

import json
from pathlib import Path

import pytest

from support.command_line import run_pipeline
from support.drawing import needs_gl
from surefoot.cli import libraries
from surefoot.study.film_record import FilmRecord
from surefoot.workflow.film_files import is_film

SMALL = ("--width", 64, "--height", 48)


@needs_gl
def test_the_strongest_attack_of_a_run_is_filmed_beside_the_clean_loop(
    tiny_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "tiny.mp4"
    done = run_pipeline("watch", tiny_run, "--out", out, *SMALL, "--json")
    assert done.code == 0, done.err
    attacked = json.loads((tiny_run / "attack.json").read_text())
    record = FilmRecord.read(out.with_suffix(".json"))
    assert json.loads(done.out) == record.to_table()
    assert record.onnx_sha256 == attacked["onnx_sha256"]
    assert record.attack == attacked["worst"]["attack"]
    returns = {name: one["returns"] for name, one in attacked["attacks"].items()}
    assert record.attacked.total in returns[record.attack]  # the very episode, bit for bit
    assert record.clean.total in returns["clean"]
    assert 0 < record.attacked.max_deviation <= (record.certified_deviation or 0)
    assert is_film(out.read_bytes())
    assert is_film(out.with_suffix(".gif").read_bytes())
    assert "WARNING" not in done.err


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("film.avi", None, "out must end in .mp4"),
        ("film.mp4", b"a diary", "out must be a new file or a film of surefoot"),
    ],
)
def test_what_is_not_ours_is_not_replaced(
    tiny_run: Path, tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    out = tmp_path / name
    if content is not None:
        out.write_bytes(content)
    done = run_pipeline("watch", tiny_run, "--out", out)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [content] * (content is not None)


def test_the_hint_for_ffmpeg_names_its_extra() -> None:
    missing = ModuleNotFoundError(name="imageio_ffmpeg")
    assert "[video]" in (libraries.hint_to_install(missing) or "")
