"""Recurrent actors as PyTorch writes and computes them, and single cells node by node."""

import io
import warnings

import numpy as np
import torch

from support.onnx_graphs import Array, Graph

SENSORS, HIDDEN, ACTIONS = 4, 5, 2


class Actor(torch.nn.Module):
    """One step of a GRU or LSTM and an MLP behind it, as rsl_rl exports it.

    Args:
        kind: "GRU" or "LSTM".
        num_layers: Cells one behind the other.
        seed: Draws the weights.
    """

    def __init__(self, kind: str, num_layers: int = 1, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.rnn = getattr(torch.nn, kind)(SENSORS, HIDDEN, num_layers)
        self.mlp = torch.nn.Sequential(
            torch.nn.Linear(HIDDEN, 6), torch.nn.ELU(), torch.nn.Linear(6, ACTIONS)
        )
        self.names = ["h", "c"] if kind == "LSTM" else ["h"]
        self.shape = (num_layers, 1, HIDDEN)

    def forward(self, obs: torch.Tensor, *memory: torch.Tensor) -> tuple[torch.Tensor, ...]:
        before = memory if len(memory) > 1 else memory[0]
        found, later = self.rnn(obs.unsqueeze(0), before)
        actions = self.mlp(found.squeeze(0))
        return (actions, *later) if len(memory) > 1 else (actions, later)

    def step(self, rows: Array) -> tuple[Array, Array]:
        """Actions and next memory of observations that end in the memory, in float64."""
        wide = self.double()
        obs, *parts = np.split(rows, [SENSORS + k * self._size for k in range(len(self.names))], 1)
        shape = (len(rows), self.shape[0], HIDDEN)
        memory = [torch.from_numpy(part.reshape(shape)).transpose(0, 1) for part in parts]
        with torch.no_grad():
            actions, *later = wide(
                torch.from_numpy(obs).double(), *(part.double().contiguous() for part in memory)
            )
        self.float()
        rest = [part.transpose(0, 1).reshape(len(rows), -1).numpy() for part in later]
        return actions.numpy(), np.concatenate(rest, axis=1)

    @property
    def _size(self) -> int:
        return self.shape[0] * HIDDEN

    @property
    def width(self) -> int:
        """Number of sensors, the memory among them."""
        return SENSORS + self._size * len(self.names)

    def file(self, *, dynamic: bool = False) -> bytes:
        """The file that torch.onnx.export writes."""
        memory = [torch.zeros(self.shape) for _ in self.names]
        inputs = ["obs", *(f"{name}_in" for name in self.names)]
        outputs = ["actions", *(f"{name}_out" for name in self.names)]
        axes = {name: {1: "N"} for name in (*inputs[1:], *outputs[1:])}
        axes |= {"obs": {0: "N"}, "actions": {0: "N"}}
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a batch of one, and of the exporter's age
            torch.onnx.export(
                self,
                (torch.zeros(1, SENSORS), *memory),
                buffer,
                input_names=inputs,
                output_names=outputs,
                dynamic_axes=axes if dynamic else None,
                dynamo=False,
                opset_version=17,
            )
        return buffer.getvalue()


def cell_file(kind: str, rng: np.random.Generator, **attributes: object) -> bytes:
    """One cell as an operator, with an affine map behind it."""
    gates = {"GRU": 3, "LSTM": 4, "RNN": 1}[kind] * HIDDEN
    graph = Graph()
    arrays = [rng.normal(size=(1, gates, width)) for width in (SENSORS, HIDDEN)]
    weights = [graph.constant(array) for array in (*arrays, rng.normal(size=(1, 2 * gates)))]
    x = graph.node("Unsqueeze", "obs", graph.whole(0))
    memory = ["h_in", *(["c_in"] if kind == "LSTM" else [])]
    _, *later = graph.nodes_of(
        kind, 1 + len(memory), x, *weights, "", *memory, hidden_size=HIDDEN, **attributes
    )
    named = [graph.node("Identity", each) for each in later]
    last = graph.node("Squeeze", later[0], graph.whole(0))
    actions = graph.dense(last, rng.normal(size=(ACTIONS, HIDDEN)).astype(np.float32))
    outputs = {actions: ("N", ACTIONS)} | dict.fromkeys(named, (1, "N", HIDDEN))
    inputs = {"obs": (1, SENSORS)} | dict.fromkeys(memory, (1, 1, HIDDEN))
    return graph.file(outputs, inputs)
