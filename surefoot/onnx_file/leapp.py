"""What LEAPP says about a file that it exported: a YAML file beside it, which names its digest.

LEAPP (NVIDIA) describes a pipeline of models in one file in their folder: names, kinds, history and
feedback of their inputs and outputs. It is found by the SHA-256 of the model, and taken as text:
nothing in it is parsed or executed.
"""

from itertools import islice
from pathlib import Path

from surefoot.artifact import read_file, sha256_hex
from surefoot.errors import InputError, IntegrityError
from surefoot.limits import MAX_FILES, MAX_MANIFEST_BYTES

LEAPP_KEY = "leapp.yaml"
"""Key of the text among the metadata of a canonical file."""


def leapp_text(path: Path, data: bytes) -> str | None:
    """Return what LEAPP says about a file; None where no YAML file beside it names its digest.

    Args:
        path: Where the file lies.
        data: Its bytes.
    """
    digest = sha256_hex(data)
    found = (entry for entry in path.parent.iterdir() if entry.suffix in (".yaml", ".yml"))
    for entry in sorted(islice(found, MAX_FILES)):
        try:
            text = read_file(entry, max_bytes=MAX_MANIFEST_BYTES).decode()
        except (InputError, IntegrityError, UnicodeDecodeError):  # nothing that LEAPP wrote
            continue
        if digest in text:
            return text
    return None
