"""Where the logits are of a controller that chooses: before the ArgMax or Softmax at its end."""

from collections.abc import Sequence

import onnx

from surefoot.errors import InputError
from surefoot.onnx_file.computation import Numbers
from surefoot.onnx_file.graph import OWN_DOMAINS
from surefoot.onnx_file.interface import chosen_output

_DEFAULT_AXIS = {"ArgMax": 0, "Softmax": -1, "LogSoftmax": -1}
"""Operators that the largest number decides, and along which axis if they name none."""

_SAME = {"Cast", "Identity"}
_RESHAPES = {"Flatten", "Reshape", "Squeeze", "Unsqueeze"}


def cut_at_logits(
    model: onnx.ModelProto, opset: int, name: str, output: str | None
) -> Sequence[int]:
    """Let the only output of a model be the logits of its choice.

    Args:
        model: A foreign model, changed in place.
        opset: Version of ONNX's own operators.
        name: How error messages call it.
        output: Which of several outputs is, or leads to, the choice.

    Returns:
        The axes along which the largest logit is chosen; none where the model ends in the logits.

    Raises:
        InputError: If there are several outputs and none is chosen, or ties go to the last of the
            largest.
    """
    graph = model.graph
    chosen = chosen_output(graph, name, output)
    made_by = {entry: node for node in graph.node for entry in node.output}
    value, logits, axes = chosen, chosen, []
    while (node := made_by.get(value)) is not None and node.domain in OWN_DOMAINS:
        if node.op_type in _DEFAULT_AXIS:
            axes.append(_axis_of(node, opset, name))
            logits = node.input[0]
        elif node.op_type not in (_SAME if axes else _SAME | _RESHAPES):
            break
        value = node.input[0]
    kept = [entry for entry in graph.output if entry.name == logits]
    del graph.output[:]
    graph.output.extend(kept or [onnx.ValueInfoProto(name=logits)])
    return axes


def check_axes(axes: Sequence[int], logits: Numbers) -> None:
    """Check that all logits of one observation lie along the axes of a choice.

    Args:
        axes: As :func:`cut_at_logits` returned them.
        logits: Logits of one observation, in their shape.

    Raises:
        InputError: If they do not, so that the choice is another one.
    """
    for axis in axes:
        if not -logits.ndim <= axis < logits.ndim or logits.shape[axis] != logits.size:
            raise InputError(
                f"chooses along axis {axis} of logits of shape {list(logits.shape)}, which are not "
                "those of one observation"
            )


def _axis_of(node: onnx.NodeProto, opset: int, name: str) -> int:
    given = {entry.name: entry.i for entry in node.attribute}
    if given.get("select_last_index"):
        raise InputError(
            f"{name}: {node.op_type} chooses the last of equal logits, the runtime the first"
        )
    old_softmax = node.op_type != "ArgMax" and opset < 13
    return int(given.get("axis", 1 if old_softmax else _DEFAULT_AXIS[node.op_type]))
