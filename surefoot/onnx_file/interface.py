"""How a runtime feeds a file that surefoot did not write: its inputs, its output, its batch."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from surefoot.errors import InputError, did_you_mean
from surefoot.limits import MAX_SENSORS
from surefoot.onnx_file.computation import Computation, Numbers
from surefoot.onnx_file.graph import properties_of
from surefoot.onnx_file.operators import FLOATS

_PER_ACTION = ("action_scale", "joint_names")
"""Keys of metadata with an entry for each action, separated by commas."""

_VALUES = ("value", "critic", "vf", "v")
"""How exporters call the output of a value function."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """One input of a graph.

    Attributes:
        name: Name in the file.
        shape: Its shape for one observation.
        batched: Whether its first size is dynamic.
        dtype: NumPy's name of its type.
        is_read: Whether the actions depend on it; if not, it is fed zeros.
    """

    name: str
    shape: tuple[int, ...]
    batched: bool
    dtype: str
    is_read: bool

    @property
    def size(self) -> int:
        """Number of its entries for one observation."""
        return math.prod(self.shape)


@dataclass(frozen=True, kw_only=True, slots=True)
class Interface:
    """How a runtime feeds a file that surefoot did not write.

    Attributes:
        inputs: Inputs in the order of the file; those that are read, concatenated, are the
            observation.
        output: Name of the actions.
        rows: Observations of one call where the file fixes their number; 1 where it is dynamic.
    """

    inputs: tuple[Input, ...]
    output: str
    rows: int = 1

    @property
    def parts(self) -> tuple[Input, ...]:
        """The inputs that are the observation."""
        return tuple(entry for entry in self.inputs if entry.is_read)

    @property
    def obs_dim(self) -> int:
        """Number of sensors."""
        return sum(part.size for part in self.parts)

    @property
    def batched(self) -> bool:
        """Whether a call may take any number of observations."""
        return all(entry.batched for entry in self.inputs)

    @property
    def is_plain(self) -> bool:
        """Whether it is fed as a canonical file is: one float32 input of shape [N, obs_dim]."""
        first = self.inputs[0]
        return (
            self.batched
            and len(self.inputs) == 1
            and len(first.shape) == 2
            and (first.dtype == "float32")
        )


def chosen_output(graph: onnx.GraphProto, name: str, output: str | None) -> str:
    """Return the name of the output that are the actions.

    Raises:
        InputError: If there are several and none is chosen, or none of this name.
    """
    outputs = {entry.name: _dims(entry) for entry in graph.output}
    if output is None and len(outputs) == 1:
        return str(next(iter(outputs)))
    if output is not None and output in outputs:
        return output
    actions = outputs.keys() - memories_of(graph).values()
    if output is None and len(actions) == 1:
        return str(actions.pop())
    known = ", ".join(f"{entry!r} {_shape_text(dims)}" for entry, dims in outputs.items())
    if output is None:
        raise InputError(
            f"{name} has more than one output; choose the actions among {known} with --output"
        )
    hint = did_you_mean(output, outputs)
    raise InputError(
        f"{name} has no output {output!r}{hint}; choose the actions among {known} with --output"
    )


def memories_of(graph: onnx.GraphProto) -> Mapping[str, str]:
    """Return the output h_out of each input h_in, as rsl_rl names a memory."""
    outputs = {str(entry.name) for entry in graph.output}
    inputs = (str(entry.name) for entry in graph.input)
    named = {name: f"{name.removesuffix('_in')}_out" for name in inputs if name.endswith("_in")}
    return {name: later for name, later in named.items() if later in outputs}


def interface_of(
    graph: onnx.GraphProto,
    constants: Collection[str],
    name: str,
    output: str,
    taken: Collection[str],
) -> Interface:
    """Read the inputs and the output of a graph.

    Args:
        graph: The file's graph.
        constants: Names of its constants.
        name: How error messages call the file.
        output: Name of the actions.
        taken: Names of all values that the output may depend on.

    Raises:
        InputError: If the actions depend on no input, or on one that is no vector of floats.
    """
    given = [entry for entry in graph.input if entry.name not in constants]
    inputs = tuple(_input(entry, name, entry.name in taken) for entry in given)
    if not any(entry.is_read for entry in inputs):
        raise InputError(f"{name}: output {output!r} does not depend on the observation")
    interface = Interface(inputs=inputs, output=output)
    if interface.obs_dim > MAX_SENSORS:
        raise InputError(
            f"{name}: must have at most {MAX_SENSORS} sensors, has {interface.obs_dim}"
        )
    return interface


def require_sizes(
    graph: onnx.GraphProto, interface: Interface, name: str, of_steps: Collection[str]
) -> None:
    """Check that the number of sensors does not depend on a dynamic size, which counts as 1.

    Broadcast against a gain of five numbers, one sensor and five compute the same five actions.

    Args:
        graph: The file's graph.
        interface: Its inputs.
        name: How error messages call the file.
        of_steps: Inputs whose sizes before the last are layers, steps and a batch, as cells have.

    Raises:
        InputError: If a size behind the first is dynamic, or the only one.
    """
    declared = {entry.name: _dims(entry) for entry in graph.input}
    for part in interface.parts:
        dims = declared[part.name]
        counted = dims[-1:] if part.name in of_steps or len(dims) == 1 else dims[1:]
        if None in counted:
            raise InputError(
                f"{name}: input {part.name!r} must have fixed sizes behind that of its batch, has "
                f"{_shape_text(dims)}: export it with the number of its sensors"
            )


def memory_of(computation: Computation, interface: Interface) -> Numbers | None:
    """Return the numbers of the next values of the last sensors, None where none is a memory.

    Raises:
        InputError: If a memory is not whole, or not behind the sensors.
    """
    if not computation.recalled:
        return None
    remembered = sorted(computation.recalled)
    first = interface.obs_dim - len(remembered)
    if first < 1 or remembered != [*range(first, interface.obs_dim)]:
        names = ", ".join(repr(part.name) for part in interface.parts)
        raise InputError(
            "a memory must be whole inputs of the file behind the observation, as they are, in "
            f"{names}: export the actor as forward(obs, h_in) or forward(obs, h_in, c_in)"
        )
    return np.array([computation.recalled[number] for number in remembered])


def one_row_of(interface: Interface, graph: onnx.GraphProto) -> Interface | None:
    """Return the interface for one row where a file fixes a batch of several, else None."""
    sizes = {entry.shape[0] for entry in interface.inputs if len(entry.shape) > 1}
    declared = next(_dims(entry) for entry in graph.output if entry.name == interface.output)
    rows = sizes.pop() if len(sizes) == 1 else 1
    if rows == 1 or (declared and declared[0] not in (rows, None)):
        return None
    inputs = tuple(
        Input(
            name=entry.name,
            shape=(1, *entry.shape[1:]),
            batched=False,
            dtype=entry.dtype,
            is_read=entry.is_read,
        )
        for entry in interface.inputs
    )
    return Interface(inputs=inputs, output=interface.output, rows=rows)


def notes_of(interface: Interface, model: onnx.ModelProto, num_outputs: int) -> tuple[str, ...]:
    """List what a user should know about the file that was read."""
    graph, notes = model.graph, []
    if len(interface.parts) > 1:
        parts = ", ".join(f"{part.name!r} ({part.size})" for part in interface.parts)
        notes.append(f"the observation is {parts}, one behind the other")
    idle = [repr(entry.name) for entry in interface.inputs if not entry.is_read]
    if idle:
        notes.append(f"no action depends on {', '.join(idle)}, which may be anything")
    others = [entry.name for entry in graph.output if entry.name != interface.output]
    if others and interface.output.lower().split("_")[-1] in _VALUES:
        numbers = f"{num_outputs} number" + "s" * (num_outputs > 1)
        notes.append(
            f"output {interface.output!r} with {numbers} is taken for the actions, though its name "
            f"is that of a value function; --output may be {' or '.join(map(repr, others))}"
        )
    for key, names in _lists_of(model).items():
        if len(names) != num_outputs:
            notes.append(
                f"the file's metadata have {len(names)} entries in {key!r}, output "
                f"{interface.output!r} has {num_outputs}: is it the actions?"
            )
    if strange := len(model.metadata_props) - len(properties_of(model)):
        notes.append(f"{strange} of its metadata are not UTF-8 text and are left out")
    return tuple(notes)


def _lists_of(model: onnx.ModelProto) -> dict[str, list[str]]:
    """Return the per-action metadata that rsl_rl and mjlab write into a file, by key."""
    return {
        key: text.split(",")
        for key, text in properties_of(model).items()
        if key in _PER_ACTION and "," in text
    }


def feeds(interface: Interface, observations: np.ndarray) -> Mapping[str, np.ndarray]:
    """Arrange observations as the inputs of a runtime.

    Args:
        interface: The file's inputs and output.
        observations: Shape (rows, obs_dim), as many as a call takes.
    """
    rows = len(observations)
    parts = iter(np.split(observations, np.cumsum([part.size for part in interface.parts]), axis=1))
    fed = {}
    for entry in interface.inputs:
        own_rows = entry.batched or interface.rows > 1
        shape = (rows, *entry.shape[1:]) if own_rows else entry.shape
        values = next(parts) if entry.is_read else np.zeros(math.prod(shape))
        fed[entry.name] = values.astype(entry.dtype).reshape(shape)
    return fed


def _input(entry: onnx.ValueInfoProto, name: str, is_read: bool) -> Input:
    """Return one input.

    Raises:
        InputError: If the actions depend on it and it is no vector of floats.
    """
    tensor = entry.type.tensor_type
    if is_read and tensor.elem_type not in FLOATS:
        known = {number: kind for kind, number in onnx.TensorProto.DataType.items()}
        kind = known.get(tensor.elem_type, tensor.elem_type)
        raise InputError(f"{name}: input {entry.name!r} must be FLOAT or DOUBLE, is {kind}")
    dims = list(tensor.shape.dim)
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else 1 for dim in dims)
    if is_read and (not shape or min(shape) < 1):
        raise InputError(f"{name}: input {entry.name!r} must name its size, has {list(shape)}")
    return Input(
        name=entry.name,
        shape=shape,
        batched=len(dims) > (1 if is_read else 0) and not dims[0].HasField("dim_value"),
        dtype=_dtype_name(tensor.elem_type),
        is_read=is_read,
    )


def _dtype_name(elem_type: int) -> str:
    try:
        return np.dtype(helper.tensor_dtype_to_np_dtype(elem_type)).name
    except (KeyError, TypeError):  # no type that a runtime can be fed
        return "object"


def _dims(entry: onnx.ValueInfoProto) -> list[int | None]:
    dims = entry.type.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]


def _shape_text(dims: list[int | None]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in dims) + "]"
