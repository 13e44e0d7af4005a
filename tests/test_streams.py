"""Laws of `surefoot.streams`: what is written arrives, whatever others do to their streams."""

import io
import os
from pathlib import Path

from surefoot.streams import is_open, opened, stream_to


def test_what_is_written_arrives_after_the_descriptor_is_closed(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        stream = stream_to(file.fileno(), "ascii")
    with stream:
        stream.write("f\u00fcr\n")
    assert (tmp_path / "log").read_bytes() == b"f\\xfcr\n"


def test_a_closed_descriptor_is_a_stream_into_nothing() -> None:
    ends = os.pipe()
    for end in ends:
        os.close(end)
    assert stream_to(ends[1]).write("nobody hears it") == 15


def test_only_a_stream_that_takes_what_is_written_is_open() -> None:
    closed, detached, sound = (io.TextIOWrapper(io.BytesIO()) for _ in range(3))
    closed.close()
    detached.detach()
    assert [is_open(stream) for stream in (closed, detached, None, sound)] == [0, 0, 0, 1]
    assert opened(sound) is sound
