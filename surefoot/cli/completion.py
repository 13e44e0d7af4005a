"""What a shell completes beside verbs, flags and paths.

The names are repeated here, because a stage takes seconds to import and a key press should not; a
test compares them with the stages.
"""

from collections.abc import Callable, Sequence

BACKENDS = ("numpy", "onnx", "c", "onnx-sparse", "onnx-cuda", "onnx-tensorrt", "tensorrt")
SUITES = ("quick", "paper", "full")
TARGETS = ("onnx", "sparse-onnx", "c", "tensorrt")
METHODS = ("magnitude", "obd", "obs", "sparsegpt")
ALLOCATIONS = ("erk", "uniform", "global")
WEIGHTS = ("float32", "float16", "int8")
DOMAINS = ("visited", "box")
DEVICES = ("auto", "cpu", "cuda")
EVERYTHING = "all"
"""In place of backends or targets: all that are at hand."""


def one_of(names: Sequence[str]) -> Callable[[str], list[str]]:
    """Return a completion of one name."""
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


def some_of(names: Sequence[str]) -> Callable[[str], list[str]]:
    """Return a completion of the last of several names with commas between them."""

    def complete(incomplete: str) -> list[str]:
        *before, last = incomplete.split(",")
        choices = names if before else (*names, EVERYTHING)
        return [",".join([*before, name]) for name in one_of(choices)(last) if name not in before]

    return complete


def preset(incomplete: str) -> list[str]:
    """Complete the name of an installed preset."""
    from surefoot.config import preset_names

    return one_of(preset_names())(incomplete)
