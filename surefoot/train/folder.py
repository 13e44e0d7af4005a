"""The policy folder of a trained policy: what certify, export and attack read.

policy/policy.onnx            the controller itself
policy/critic.safetensors     the critic, for attacks that use it
policy/visited.npz            observations along clean episodes
policy/curves.json            learning curves
policy/robot.toml             the robot, if it is described
policy/manifest.json          configuration, counts, versions, digests
"""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load, save

from surefoot.artifact import Json, from_json, to_json
from surefoot.config import config_sha256, to_table
from surefoot.envs.vector import BoxActions
from surefoot.errors import IntegrityError
from surefoot.onnx_file import save_policy
from surefoot.policy import Activation, Layer
from surefoot.robot import ROBOT_FILE, Robot
from surefoot.run_folder import CRITIC_FILE, CURVES_FILE
from surefoot.train.result import TrainResult
from surefoot.version import __version__
from surefoot.visited import VISITED_FILE


def save_trained(folder: Path, result: TrainResult, robot: Robot | None = None) -> bytes:
    """Write the policy folder of a run and return the bytes of `policy.onnx`.

    Args:
        folder: Where it goes.
        result: What was trained.
        robot: Description of the robot; None for none.

    Raises:
        InputError: If the folder is not ours or cannot be written.
    """
    return save_policy(
        folder,
        result.policy,
        metadata=controller_metadata(result),
        facts={**result.facts, "config": to_table(result.config)},
        extra_files={
            CRITIC_FILE: critic_to_bytes(result.critic),
            VISITED_FILE: result.visited.to_bytes(),
            CURVES_FILE: to_json(dict(result.curves)),
            **({} if robot is None else {ROBOT_FILE: robot.text.encode()}),
        },
    )


def controller_metadata(result: TrainResult) -> dict[str, Json]:
    """Return the metadata of `policy.onnx`: units, task and origin."""
    spec = result.spec
    action: dict[str, Json]
    if isinstance(spec.actions, BoxActions):
        action = {"low": spec.actions.low.tolist(), "high": spec.actions.high.tolist()}
    else:
        action = {"num": spec.actions.num}
    return {
        "observation": {"size": spec.obs_dim, "clip": result.policy.normaliser.clip},
        "action": action,
        "control": {"dt_s": spec.dt_s, "max_episode_steps": spec.max_episode_steps},
        "env": {
            "id": spec.env_id,
            "module": result.config.env_module,
            "packages": spec.packages,
        },
        "origin": {
            "code": __version__,
            "config_sha256": config_sha256(result.config),
            "seed": result.config.seed,
        },
    }


def critic_to_bytes(layers: tuple[Layer, ...]) -> bytes:
    """Return the content of `critic.safetensors`."""
    arrays = {}
    for number, layer in enumerate(layers, start=1):
        arrays[f"weight_{number}"] = layer.weight.copy(order="C")
        arrays[f"bias_{number}"] = layer.bias
    return save(arrays, metadata={"activation": layers[0].activation.value})


def critic_from_bytes(data: bytes) -> tuple[Layer, ...]:
    """Read `critic.safetensors` back.

    Raises:
        IntegrityError: If it is not what :func:`critic_to_bytes` writes.
    """
    try:
        arrays = load(data)
        # A safetensors file begins with the length of its JSON header, 8 bytes little-endian.
        header = from_json(data[8 : 8 + int.from_bytes(data[:8], "little")], CRITIC_FILE)
        activation = Activation(header["__metadata__"]["activation"])
        num_layers = len(arrays) // 2
        return tuple(
            Layer(
                weight=arrays[f"weight_{number}"],
                bias=arrays[f"bias_{number}"],
                activation=activation if number < num_layers else Activation.IDENTITY,
            )
            for number in range(1, num_layers + 1)
        )
    except (SafetensorError, KeyError, ValueError) as error:
        raise IntegrityError(f"{CRITIC_FILE} does not hold a critic: {error}") from error
