"""What is converted acts as Stable-Baselines3 itself acts, on ONNX Runtime."""

import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import onnxruntime
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import TQC, RecurrentPPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3, HerReplayBuffer
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from surefoot.convert import sb3
from surefoot.onnx_file import policy_from_onnx
from surefoot.policy import Array, CategoricalHead, GaussianHead, Policy

WIDTH = 5
LOW, HIGH = np.array([-1.0, -0.5], np.float32), np.array([3.0, 2.1], np.float32)
BOX = spaces.Box(LOW, HIGH)
CHOICE = spaces.Discrete(4)
CONTINUOUS = (PPO, A2C, SAC, TD3, DDPG, TQC)


class Task(gym.Env[Array, Any]):
    """Random observations, whatever is done."""

    def __init__(
        self, actions: spaces.Space[Any], observations: spaces.Space[Any] | None = None
    ) -> None:
        self.action_space = actions
        self.observation_space = observations or spaces.Box(-np.inf, np.inf, (WIDTH,))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: Array) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), 0.0, False, False, {}


def saved(
    folder: Path,
    algorithm: type[BaseAlgorithm] = PPO,
    actions: spaces.Space[Any] = BOX,
    observations: spaces.Space[Any] | None = None,
    *,
    policy: str = "MlpPolicy",
    statistics: bool = True,
    **options: object,
) -> tuple[Path, Path | None]:
    """Save a model whose weights and statistics are random, and return where they lie."""
    env = DummyVecEnv([lambda: Task(actions, observations)])
    rng = np.random.default_rng(0)
    model = algorithm(policy, env, device="cpu", seed=0, **options)
    torch.manual_seed(0)
    for parameter in model.policy.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.save(folder / "model.zip")
    if not statistics:
        return folder / "model.zip", None
    normalize = VecNormalize(env, clip_obs=5.0)
    normalize.obs_rms.mean = rng.normal(size=WIDTH)
    normalize.obs_rms.var = rng.uniform(0.1, 4.0, WIDTH)
    normalize.save(str(folder / "statistics.pkl"))
    return folder / "model.zip", folder / "statistics.pkl"


def converted(folder: Path, model: Path, statistics: Path | None) -> Path:
    out = folder / "policy.onnx"
    options = [] if statistics is None else ["--normalize", str(statistics)]
    assert sb3.main([str(model), *options, "--out", str(out)]) == 0
    return out


def policy_of(out: Path) -> Policy:
    return policy_from_onnx(out.read_bytes()).policy


def observations(count: int = 1000) -> Array:
    rng = np.random.default_rng(1)
    return (rng.normal(size=(count, WIDTH)) * rng.choice([1.0, 8.0], (count, 1))).astype(np.float32)


def on_onnx_runtime(out: Path, obs: Array) -> Array:
    (outputs,) = onnxruntime.InferenceSession(out).run(None, {"obs": obs})
    return np.asarray(outputs)


def predicted(
    algorithm: type[BaseAlgorithm], model: Path, statistics: Path | None, task: gym.Env[Any, Any]
) -> Array:
    """What the library's own files, loaded by the library, say to the observations."""
    obs = observations()
    if statistics is not None:
        obs = VecNormalize.load(str(statistics), DummyVecEnv([lambda: task])).normalize_obs(obs)
    actions, _ = algorithm.load(model, device="cpu").predict(obs, deterministic=True)
    return np.asarray(actions)


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("algorithm", CONTINUOUS)
def test_actions_are_those_of_predict(
    tmp_path: Path, algorithm: type[BaseAlgorithm], statistics: bool
) -> None:
    files = saved(tmp_path, algorithm, statistics=statistics)
    out = converted(tmp_path, *files)
    expected = predicted(algorithm, *files, Task(BOX))
    np.testing.assert_allclose(on_onnx_runtime(out, observations()), expected, rtol=0, atol=1e-5)
    metadata = policy_from_onnx(out.read_bytes()).metadata
    assert metadata["origin"]["algorithm"] == algorithm.__name__
    np.testing.assert_allclose(metadata["action"]["low"], LOW, atol=1e-6)
    np.testing.assert_allclose(metadata["action"]["high"], HIGH, atol=1e-6)


@pytest.mark.parametrize("algorithm", [PPO, A2C, DQN])
def test_choices_are_those_of_predict(tmp_path: Path, algorithm: type[BaseAlgorithm]) -> None:
    files = saved(tmp_path, algorithm, CHOICE)
    out = converted(tmp_path, *files)
    outputs = on_onnx_runtime(out, observations())
    ranked = np.sort(outputs, axis=1)
    decided = ranked[:, -1] - ranked[:, -2] > 1e-4
    assert decided.mean() > 0.9
    expected = predicted(algorithm, *files, Task(CHOICE))
    assert (outputs.argmax(axis=1) == expected)[decided].all()
    assert isinstance(policy_of(out).head, CategoricalHead)


@pytest.mark.parametrize(
    ("algorithm", "options"),
    [
        (PPO, {"use_sde": True, "policy_kwargs": {"squash_output": True}}),
        (A2C, {"use_sde": True}),
        (SAC, {"use_sde": True}),
        (SAC, {"use_sde": True, "policy_kwargs": {"clip_mean": 0.0}}),
        (PPO, {"policy_kwargs": {"net_arch": []}}),
        (PPO, {"policy_kwargs": {"share_features_extractor": False}}),
        (TD3, {"policy_kwargs": {"net_arch": [7]}}),
    ],
)
def test_every_form_of_an_actor_acts_as_predict(
    tmp_path: Path, algorithm: type[BaseAlgorithm], options: dict[str, Any]
) -> None:
    files = saved(tmp_path, algorithm, **options)
    out = converted(tmp_path, *files)
    expected = predicted(algorithm, *files, Task(BOX))
    np.testing.assert_allclose(on_onnx_runtime(out, observations()), expected, rtol=0, atol=1e-5)


GOALS = spaces.Dict(
    {
        "observation": spaces.Box(-9, 9, (3,)),
        "achieved_goal": spaces.Box(-9, 9, (1,)),
        "desired_goal": spaces.Box(-9, 9, (1,)),
    }
)


def as_goals(obs: Array) -> dict[str, Array]:
    """Split observations as the space orders its parts: by their names."""
    names = ["achieved_goal", "desired_goal", "observation"]
    return dict(zip(names, np.split(obs, [1, 2], axis=1), strict=True))


@pytest.mark.parametrize("keys", [None, ["achieved_goal", "desired_goal", "observation"]])
@pytest.mark.parametrize("algorithm", [PPO, SAC])
def test_parts_of_an_observation_by_name_are_joined_in_their_order(
    tmp_path: Path, algorithm: type[BaseAlgorithm], keys: list[str] | None
) -> None:
    options = {"replay_buffer_class": HerReplayBuffer, "buffer_size": 1000}
    model, _ = saved(
        tmp_path,
        algorithm,
        observations=GOALS,
        policy="MultiInputPolicy",
        statistics=False,
        **(options if algorithm is SAC else {}),
    )
    env = DummyVecEnv([lambda: Task(BOX, GOALS)])
    normalize, rng = VecNormalize(env, norm_obs_keys=keys), np.random.default_rng(0)
    for statistics in normalize.obs_rms.values():
        statistics.mean, statistics.var = rng.normal(size=(2, *statistics.mean.shape)) ** 2
    normalize.save(str(tmp_path / "statistics.pkl"))
    out = converted(tmp_path, model, tmp_path / "statistics.pkl")
    given = normalize.normalize_obs(as_goals(observations()))
    library = algorithm.load(model, env=Task(BOX, GOALS), device="cpu")
    expected, _ = library.predict(given, deterministic=True)
    np.testing.assert_allclose(on_onnx_runtime(out, observations()), expected, rtol=0, atol=1e-5)
    parts = policy_from_onnx(out.read_bytes()).metadata["observation"]["parts"]
    assert parts == {"achieved_goal": 1, "desired_goal": 1, "observation": 3}


def test_statistics_of_some_parts_only_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"observations": GOALS, "policy": "MultiInputPolicy", "statistics": False}
    model, _ = saved(tmp_path, **options)
    env = DummyVecEnv([lambda: Task(BOX, GOALS)])
    statistics = tmp_path / "statistics.pkl"
    VecNormalize(env, norm_obs_keys=["observation"]).save(str(statistics))
    assert "must be of all observations" in refused(
        tmp_path, capsys, model, "--normalize", statistics
    )


@pytest.mark.parametrize(
    "activation",
    ["ReLU", "ELU", "SELU", "LeakyReLU", "SiLU", "Sigmoid", "Softplus", "Hardtanh", "ReLU6"],
)
def test_every_activation_acts_as_predict(tmp_path: Path, activation: str) -> None:
    function = getattr(torch.nn, activation)
    files = saved(tmp_path, policy_kwargs={"activation_fn": function})
    out = converted(tmp_path, *files)
    expected = predicted(PPO, *files, Task(BOX))
    np.testing.assert_allclose(on_onnx_runtime(out, observations()), expected, rtol=0, atol=1e-5)


def test_noise_is_in_units_of_the_squashed_mean(tmp_path: Path) -> None:
    """What is sampled is clip(mean + std n) in both, so that std is divided by the half range."""
    model, statistics = saved(tmp_path)
    head = policy_of(converted(tmp_path, model, statistics)).head
    assert isinstance(head, GaussianHead)
    log_std = PPO.load(model, device="cpu").policy.log_std.detach().numpy()
    np.testing.assert_allclose(head.std, np.exp(log_std) / ((HIGH - LOW) / 2), rtol=1e-6)


def test_a_model_that_saw_raw_observations_says_that_nothing_clips_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    converted(tmp_path, *saved(tmp_path, statistics=False))
    assert "without --normalize" in capsys.readouterr().err


def test_what_is_printed_says_how_far_the_file_is_from_the_library(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    converted(tmp_path, *saved(tmp_path))
    out = capsys.readouterr().out
    assert "5-64-64-2 tanh, squash clip, states clipped to 5" in out
    assert "1,000 observations: largest difference" in out


# --- what is refused


def refused(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Return the one line of a refusal that leaves nothing behind."""
    capsys.readouterr()
    before = sorted(folder.iterdir())
    out = folder / "refused.onnx"
    assert sb3.main([*map(str, arguments), "--out", str(out)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert sorted(folder.iterdir()) == before
    return captured.err


IMAGE = spaces.Box(0, 255, (3, 36, 36), np.uint8)
PICTURES = spaces.Dict({"eye": IMAGE, "joints": spaces.Box(-1, 1, (3,))})
CHOICES = spaces.Dict({"mode": spaces.Discrete(2), "joints": spaces.Box(-1, 1, (3,))})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"policy": "CnnPolicy", "observations": IMAGE}, "made by NatureCNN"),
        ({"policy": "MultiInputPolicy", "observations": PICTURES}, "'eye' must be the features"),
        ({"policy": "MultiInputPolicy", "observations": CHOICES}, "'mode' must be a Box"),
        ({"observations": spaces.Discrete(3)}, "must be a Box, got Discrete"),
        ({"actions": spaces.MultiDiscrete([2, 3])}, "must be Box or Discrete, are MultiDiscrete"),
        ({"policy_kwargs": {"activation_fn": torch.nn.GELU}}, "GELU(approximate='none') is no"),
        (
            {"algorithm": RecurrentPPO, "policy": "MlpLstmPolicy"},
            "policies of class RecurrentActorCriticPolicy",
        ),
    ],
)
def test_what_is_no_controller_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, Any], said: str
) -> None:
    model, _ = saved(tmp_path, **options, statistics=False)
    assert said in refused(tmp_path, capsys, model)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("1.8.0", "pip install 'stable-baselines3==1.8.0'"),
        ("1.8'; reboot; '", "must name a version of stable-baselines3, got"),
    ],
)
def test_a_model_of_another_version_says_which_one_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], written: str, said: str
) -> None:
    old = tmp_path / "old.zip"
    with zipfile.ZipFile(old, "w") as target:
        target.writestr("_stable_baselines3_version", written)
    told = refused(tmp_path, capsys, old)
    assert said in told
    assert ("pip" in told) == written.startswith("1.8.0")


def test_a_file_that_is_no_model_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.zip"
    text.write_text("no archive")
    assert "is no model of Stable-Baselines3" in refused(tmp_path, capsys, text)
    assert "no such file" in refused(tmp_path, capsys, tmp_path / "missing.zip")


def test_a_damaged_model_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, _ = saved(tmp_path)
    damaged = tmp_path / "damaged.zip"
    with zipfile.ZipFile(model) as source, zipfile.ZipFile(damaged, "w") as target:
        for name in source.namelist():
            target.writestr(name, b"" if name == "policy.pth" else source.read(name))
    assert "cannot read" in refused(tmp_path, capsys, damaged)


def test_statistics_of_other_observations_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    _, statistics = saved(tmp_path / "other")
    model, _ = saved(tmp_path, observations=spaces.Box(-1, 1, (3,)), statistics=False)
    said = refused(tmp_path, capsys, model, "--normalize", statistics)
    assert f"cannot read {statistics}" in said


def test_a_file_of_somebody_else_is_not_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, _ = saved(tmp_path)
    out = tmp_path / "notes.txt"
    out.write_text("mine")
    assert sb3.main([str(model), "--out", str(out)]) == 2
    assert out.read_text() == "mine"
    assert capsys.readouterr().err.count("\n") == 1
