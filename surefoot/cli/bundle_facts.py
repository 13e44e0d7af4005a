"""What a person or a program wants to know about a bundle."""

from pathlib import Path
from typing import TYPE_CHECKING

from surefoot.artifact import Json

if TYPE_CHECKING:
    from surefoot.bundle import Bundle
    from surefoot.workflow.exporting import CSize


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


def facts_of_c(size: "CSize | None") -> dict[str, Json]:
    """Return the memory that a bundle's C code takes, empty if it holds none."""
    if size is None:
        return {}
    stacks = {
        f"c_stack_bytes_{machine.replace(' ', '_').replace('-', '_')}": stack_bytes
        for machine, stack_bytes in size.stack_bytes.items()
    }
    return {
        "c_flash_bytes": size.flash_bytes,
        "c_ram_bytes": size.ram_bytes,
        "c_multiply_adds": size.multiply_adds,
        **stacks,
    }
