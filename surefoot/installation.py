"""How surefoot was installed, and so how more of it is installed."""

import json
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
    origin = next((text for text in found if text is not None), None)
    if origin is None:
        return f"pip install 'surefoot[{extra}]'"
    table = json.loads(origin)
    if "dir_info" in table:
        folder = Path(url2pathname(urlsplit(table["url"]).path))
        return _from_folder(folder, extra, editable=bool(table["dir_info"].get("editable")))
    url, vcs = table["url"], table.get("vcs_info")
    place = url if vcs is None else f"{vcs['vcs']}+{url}@{vcs['commit_id']}"
    return f"pip install 'surefoot[{extra}] @ {place}'"


def _from_folder(folder: Path, extra: str, *, editable: bool) -> str:
    return f"pip install {'-e ' if editable else ''}'{folder}[{extra}]'"
