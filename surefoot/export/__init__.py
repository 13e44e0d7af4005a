"""From a certified policy to the folder that is deployed: nothing unproved, nothing different.

`assemble_bundle` ships the certified file byte for byte, and what is derived from it (sparse ONNX,
C), after every form has been seen to compute it within the rounding that the certificate counts on.
It takes the certificate at its word: `surefoot.export_bundle` proves it again before.
"""

from surefoot.export.exporter import ExportConfig, assemble_bundle, check_exported
from surefoot.export.forms import Target, build_form, check_forms
from surefoot.export.parity import Parity, check_parity

__all__ = [
    "ExportConfig",
    "Parity",
    "Target",
    "assemble_bundle",
    "build_form",
    "check_exported",
    "check_forms",
    "check_parity",
]
