"""The constants that a VNN-LIB file declares: one by one (1.0), or as tensors of a network (2.0).

Inputs and outputs count in the order of their declarations, and the entries of a tensor as they lie
in memory, the last index first: as a controller with several inputs has them one behind the other.

Reference:
    https://www.vnnlib.org, versions 1.0 and 2.0.
"""

import itertools
import math
import re
from dataclasses import dataclass, field

from surefoot.limits import MAX_OUTPUTS, MAX_SENSORS
from surefoot.vnnlib_syntax import Expression, UnsupportedError, got

CONSTANT = re.compile(r"([XY])_(0|[1-9]\d{0,6})")
_TENSOR = re.compile(r"([A-Za-z]\w{0,255})(?:\[([\d,]{0,64})\])?", re.ASCII)
_TYPES = ("real", "float32")
_MOST = {"X": MAX_SENSORS, "Y": MAX_OUTPUTS}

DECLARATIONS = ("declare-const", "declare-fun", "vnnlib-version", "declare-network")
"""Words with which a declaration begins."""


@dataclass(slots=True)
class DeclaredNames:
    """What a file calls the inputs X_0, X_1, ... and the outputs Y_0, Y_1, ... of a network.

    Attributes:
        known: Input or output of each name that is declared.
        network: Name of the network of a file of version 2.0; empty for none.
    """

    known: dict[str, str] = field(default_factory=dict)
    network: str = ""

    def declare(self, node: Expression) -> None:
        """Read a declaration.

        Raises:
            UnsupportedError: If it declares something else, or one again.
        """
        match node.head:
            case "vnnlib-version":
                _check_version(node)
            case "declare-network":
                self._declare_network(node)
            case _:
                self._declare_constant(node)

    def count(self, kind: str, line: int) -> int:
        """Return the number of inputs (X) or outputs (Y), which count from 0 without a gap.

        Raises:
            UnsupportedError: If there is none, a gap, or too many.
        """
        numbers = {int(name[2:]) for name in self.known.values() if name[0] == kind}
        most = _MOST[kind]
        if numbers != set(range(len(numbers))) or not 0 < len(numbers) <= most:
            raise UnsupportedError(line, f"{kind}_0 to {kind}_n must be declared, at most {most}")
        return len(numbers)

    def _declare_constant(self, node: Expression) -> None:
        words = [part.word for part in node.parts[1:]]
        no_arguments = ["", "Real"] if node.head == "declare-fun" else ["Real"]
        is_real = words[1:] == no_arguments and not any(part.parts for part in node.parts)
        if not is_real or not CONSTANT.fullmatch(words[0]) or self.network:
            raise UnsupportedError(node.line, "expected a constant X_i or Y_j of sort Real")
        if words[0] in self.known:
            raise UnsupportedError(node.line, f"{words[0]} is declared twice")
        self.known[words[0]] = words[0]

    def _declare_network(self, node: Expression) -> None:
        if self.network:
            raise UnsupportedError(node.line, "only one network is supported")
        if self.known or len(node.parts) < 2 or not node.parts[1].word:
            raise UnsupportedError(node.line, "expected one network with a name")
        self.network = node.parts[1].word
        numbers = {kind: itertools.count() for kind in "XY"}
        for part in node.parts[2:]:
            kind = {"declare-input": "X", "declare-output": "Y"}.get(part.head)
            if kind is None:
                raise UnsupportedError(
                    part.line, f"expected declare-input or declare-output{got(part)}"
                )
            for name in _entries(part, _MOST[kind]):
                if name in self.known:
                    raise UnsupportedError(part.line, f"{name} is declared twice")
                self.known[name] = f"{kind}_{next(numbers[kind])}"


def _check_version(node: Expression) -> None:
    """Check that a file is of version 2.0.

    Raises:
        UnsupportedError: If it is not.
    """
    words = [part.word for part in node.parts[1:]]
    if words != ["<2.0>"]:
        raise UnsupportedError(node.line, f"expected <2.0>, got {' '.join(words)!r}")


def _entries(node: Expression, most: int) -> list[str]:
    """Return the names of the entries of a tensor, such as ``X[0,3]``.

    Raises:
        UnsupportedError: If it is no tensor of real numbers, or has too many.
    """
    words = [part.word for part in node.parts[1:]]
    tensor = _TENSOR.fullmatch(words[0]) if len(words) == 2 else None
    of_type = _TENSOR.fullmatch(words[1]) if len(words) == 2 else None
    if tensor is None or tensor[2] is not None or of_type is None or of_type[2] is None:
        raise UnsupportedError(node.line, "expected a name, a type and a shape, such as X real [5]")
    if of_type[1].lower() not in _TYPES:
        raise UnsupportedError(
            node.line, f"the type must be {' or '.join(_TYPES)}, got {of_type[1]!r}"
        )
    name, shape = tensor[1], [int(size) for size in of_type[2].split(",") if size]
    if not shape:
        return [name]
    if not 0 < math.prod(shape) <= most:
        raise UnsupportedError(node.line, f"a tensor must have 1 to {most} entries, got {shape}")
    ranges = (range(size) for size in shape)
    return [f"{name}[{','.join(map(str, index))}]" for index in itertools.product(*ranges)]
