"""What a person or a program wants to know about a bundle."""

from pathlib import Path
from typing import TYPE_CHECKING

from surefoot.artifact import Json

if TYPE_CHECKING:
    from surefoot.bundle import Bundle


def facts_of(bundle: "Bundle", folder: Path) -> dict[str, Json]:
    """Return the verdict, the digests and the size, by the keys of ``--json``."""
    return {
        "bundle": str(folder),
        "verdict": bundle.certificate.verdict.value,
        "uncertified": bundle.uncertified,
        "weights_sha256": bundle.certificate.weights_sha256,
        "onnx_sha256": bundle.certificate.onnx_sha256,
        "manifest_sha256": bundle.manifest_sha256,
        "size_bytes": len(bundle.controller.data),
    }
