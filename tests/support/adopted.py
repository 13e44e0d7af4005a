"""Controllers of others that say in their metadata what robot they are for."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from support.onnx_graphs import Graph

MJLAB = {
    "run_path": "robots/velocity/42",
    "joint_names": "hip,knee",
    "joint_stiffness": "20.000,21.500",
    "joint_damping": "0.500,0.600",
    "default_joint_pos": "0.100,-0.200",
    "command_names": "twist",
    "observation_names": "base_ang_vel,joint_pos",
    "observation_history_lengths": "1,3",
    "action_scale": "0.250,0.500",
}
"""What mjlab's and whole_body_tracking's exporters write, for two joints."""


def written_actor(
    path: Path,
    properties: Mapping[str, str] | None = None,
    *,
    num_sensors: int = 4,
    num_actions: int = 2,
    scale: list[float] | None = None,
) -> Path:
    """A plain actor with a normaliser and a clip; its actions may be scaled at the end."""
    rng, graph = np.random.default_rng(0), Graph()
    centred = graph.node("Sub", "obs", graph.constant(rng.normal(size=num_sensors)))
    state = graph.node("Div", centred, graph.constant(rng.uniform(0.5, 2, num_sensors)))
    clipped = graph.node("Clip", state, graph.constant(-5.0), graph.constant(5.0))
    first = graph.dense(clipped, rng.normal(size=(8, num_sensors)) / 2, rng.normal(size=8))
    hidden = graph.node("Elu", first)
    out = graph.dense(hidden, rng.normal(size=(num_actions, 8)) / 3, rng.normal(size=num_actions))
    if scale is not None:
        out = graph.node("Mul", graph.node("Tanh", out), graph.constant(scale))
    model = graph.model({out: ("N", num_actions)}, {"obs": ("N", num_sensors)})
    onnx.helper.set_model_props(model, dict(properties or {}))
    path.write_bytes(model.SerializeToString())
    return path
