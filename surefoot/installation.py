"""How surefoot was installed, and so how more of it is installed."""

import json
import shlex
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname


def how_to_install(extra: str) -> str:
    """Return the command that adds an extra to this installation.

    An installer writes down where a distribution came from, unless it came from an index: PEP 610.

    Args:
        extra: Name of the extra in ``pyproject.toml``.
    """
    # In a checkout, the metadata of its build lie beside those of the installation.
    found = [one.read_text("direct_url.json") for one in metadata.distributions(name="surefoot")]
    if not found:  # imported from a checkout
        return _from_folder(Path(__file__).parents[1], extra, editable=True)
    match _parsed(next((text for text in found if text is not None), "")):
        case {"url": str(url), "dir_info": dict(info)}:
            folder = Path(url2pathname(urlsplit(url).path))
            return _from_folder(folder, extra, editable=bool(info.get("editable")))
        case {"url": str(url), "vcs_info": {"vcs": str(vcs), "commit_id": str(commit)}, **more}:
            return _from_address(f"{vcs}+{url}@{commit}", extra, more.get("subdirectory"))
        case {"url": str(url), "archive_info": dict(), **more}:
            return _from_address(url, extra, more.get("subdirectory"))
    return f"pip install 'surefoot[{extra}]'"


def _parsed(text: str) -> object:
    """Return what a note of an installer says, nothing where it is torn: advice ends no command."""
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    return None


def _from_address(place: str, extra: str, subdirectory: object) -> str:
    fragment = f"#subdirectory={subdirectory}" if subdirectory else ""
    return f"pip install {shlex.quote(f'surefoot[{extra}] @ {place}{fragment}')}"


def _from_folder(folder: Path, extra: str, *, editable: bool) -> str:
    return f"pip install {'-e ' if editable else ''}{shlex.quote(f'{folder}[{extra}]')}"
