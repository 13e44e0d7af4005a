"""Films as files: an MP4 for people, and a GIF for pages that play none."""

import subprocess
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from surefoot.artifact import read_file
from surefoot.envs.camera import Pixels
from surefoot.errors import CheckError, MissingLibraryError
from surefoot.installation import how_to_install

_MARK = b"surefoot"
_GIF_END = b";"
_GIF_COMMENT = b"!\xfe" + bytes([len(_MARK)]) + _MARK + b"\0"
"""A comment extension of GIF89a, by which a film of ours is known."""

_GIF_WIDTH, _GIF_PICTURES_PER_S = 480, 10


def require_encoder() -> None:
    """Check that films can be encoded, before the work that is to be filmed.

    Raises:
        MissingLibraryError: If imageio-ffmpeg is not installed.
    """
    try:
        import imageio_ffmpeg  # noqa: F401
    except ImportError as error:
        hint = f"a film needs imageio-ffmpeg: {how_to_install('video')}"
        raise MissingLibraryError(hint) from error


def encode(pictures: Iterable[Pixels], pictures_per_s: float) -> tuple[bytes, bytes]:
    """Return a film as an MP4 (H.264) and as a GIF.

    Args:
        pictures: At least one, all of one even height and width.
        pictures_per_s: How many are shown in a second.

    Raises:
        MissingLibraryError: If imageio-ffmpeg is not installed.
        CheckError: If ffmpeg fails.
    """
    require_encoder()
    import imageio_ffmpeg

    rest = iter(pictures)
    first = next(rest)
    with TemporaryDirectory() as folder:
        film, gif = Path(folder) / "film.mp4", Path(folder) / "film.gif"
        writer = imageio_ffmpeg.write_frames(
            str(film),
            (first.shape[1], first.shape[0]),
            fps=pictures_per_s,
            macro_block_size=2,
            output_params=["-metadata", f"comment={_MARK.decode()}", "-movflags", "+faststart"],
        )
        writer.send(None)
        for picture in chain((first,), rest):
            writer.send(picture.tobytes())
        writer.close()
        _make_gif(imageio_ffmpeg.get_ffmpeg_exe(), film, gif)
        return read_file(film), read_file(gif).removesuffix(_GIF_END) + _GIF_COMMENT + _GIF_END


def is_film(data: bytes) -> bool:
    """Return True if content is a film that :func:`encode` made."""
    begins = data[4:8] == b"ftyp" or data.startswith(b"GIF89a")
    return begins and _MARK in data


def _make_gif(ffmpeg: str, film: Path, gif: Path) -> None:
    """Convert a film, with a palette of its own.

    Raises:
        CheckError: If ffmpeg fails.
    """
    filters = (
        f"fps={_GIF_PICTURES_PER_S},scale={_GIF_WIDTH}:-1:flags=lanczos,"
        "split[a][b];[a]palettegen[p];[b][p]paletteuse"
    )
    command = [ffmpeg, "-v", "error", "-i", str(film), "-filter_complex", filters, str(gif)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise CheckError(f"ffmpeg cannot make a GIF: {' '.join(done.stderr.split())}")
