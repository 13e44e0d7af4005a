"""What a training leaves is read back as what it was.

Also of ``train/result.py``.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from support.policies import random_policy
from surefoot.artifact import sha256_hex
from surefoot.config import build
from surefoot.envs.vector import BoxActions, DiscreteActions, EnvSpec
from surefoot.errors import IntegrityError
from surefoot.onnx_file import load_policy
from surefoot.policy import Activation, Squash, weights_sha256
from surefoot.train.folder import critic_from_bytes, critic_to_bytes, save_trained
from surefoot.train.result import TrainResult
from surefoot.train.train_config import TrainConfig
from surefoot.visited import Visited


def made_result(discrete: bool = False) -> TrainResult:
    rng = np.random.default_rng(0)
    squash = None if discrete else Squash.CLIP
    actions = (
        DiscreteActions(2)
        if discrete
        else BoxActions(np.full(2, -0.4, np.float32), np.full(2, 0.4, np.float32))
    )
    return TrainResult(
        policy=random_policy(rng, (3, 8, 2), Activation.TANH, squash),
        critic=random_policy(rng, (3, 6, 5, 1), Activation.RELU).layers,
        curves={"step": [10.0, 20.0], "clean_return": [None, 3.5]},
        visited=Visited(
            independent=rng.normal(size=(4, 3)),
            steps=np.arange(4),
            num_discarded=2,
            pool=rng.normal(size=(9, 3)),
        ),
        config=TrainConfig(env_id="Test-v0", seed=7),
        spec=EnvSpec(
            env_id="Test-v0",
            obs_dim=3,
            actions=actions,
            dt_s=0.008,
            max_episode_steps=1000,
            packages={"mujoco": "3.17.0"},
        ),
        facts={"steps": 20},
        timing={"rollout": 1.0},
    )


@pytest.mark.parametrize("discrete", [False, True])
def test_a_saved_run_is_read_back_as_the_same_controller(tmp_path: Path, discrete: bool) -> None:
    result = made_result(discrete)
    data = save_trained(tmp_path / "policy", result)
    file, artifact = load_policy(tmp_path / "policy")
    assert weights_sha256(file.policy) == weights_sha256(result.policy)
    assert artifact.files["policy.onnx"] == data
    assert build(TrainConfig, artifact.facts["config"], "train") == result.config
    assert json.loads(artifact.files["curves.json"]) == result.curves
    visited = Visited.from_bytes(artifact.files["visited.npz"])
    assert np.array_equal(visited.independent, result.visited.independent)


def test_the_controller_says_in_full_precision_where_it_comes_from(tmp_path: Path) -> None:
    save_trained(tmp_path / "policy", made_result())
    metadata = load_policy(tmp_path / "policy")[0].metadata
    assert metadata["env"] == {"id": "Test-v0", "module": None, "packages": {"mujoco": "3.17.0"}}
    assert metadata["control"] == {"dt_s": 0.008, "max_episode_steps": 1000}
    assert metadata["observation"] == {"size": 3, "clip": 10.0}
    assert metadata["action"]["high"] == [float(np.float32(0.4))] * 2
    assert metadata["origin"]["seed"] == 7


def test_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_trained(tmp_path / name, made_result())
    for entry in (tmp_path / "one").iterdir():
        other = tmp_path / "two" / entry.name
        assert sha256_hex(entry.read_bytes()) == sha256_hex(other.read_bytes())


def test_a_critic_written_is_read_back() -> None:
    layers = made_result().critic
    for one, other in zip(critic_from_bytes(critic_to_bytes(layers)), layers, strict=True):
        assert np.array_equal(one.weight, other.weight)
        assert np.array_equal(one.bias, other.bias)
        assert one.activation is other.activation


@pytest.mark.parametrize("data", [b"", b"0123456789", b"\x02\0\0\0\0\0\0\0{}"])
def test_what_is_no_critic_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"critic\.safetensors"):
        critic_from_bytes(data)
