"""What is converted acts as rsl_rl's own actor acts, on ONNX Runtime."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from rsl_rl.models import MLPModel
from rsl_rl.runners import OnPolicyRunner
from tensordict import TensorDict

from surefoot.convert import rsl_rl
from surefoot.onnx_file import policy_from_onnx
from surefoot.policy import Array, GaussianHead

Config = dict[str, Any]
WIDTHS = {"policy": 5, "history": 4}
NUM_ACTIONS = 3
GAUSSIAN = {"class_name": "GaussianDistribution", "init_std": 0.5, "std_type": "scalar"}


class Task:
    """A vectorised environment of random observations, as rsl_rl wants it."""

    num_envs, num_actions, max_episode_length = 4, NUM_ACTIONS, 10
    device, cfg = "cpu", {}

    def __init__(self) -> None:
        self.episode_length_buf = torch.zeros(self.num_envs)

    def get_observations(self) -> TensorDict:
        parts = {name: 2 * torch.randn(self.num_envs, width) + 1 for name, width in WIDTHS.items()}
        return TensorDict(parts, batch_size=[self.num_envs])

    def step(
        self, actions: torch.Tensor
    ) -> tuple[TensorDict, torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        zeros = torch.zeros(self.num_envs)
        return self.get_observations(), -actions.square().sum(dim=1), zeros, {}


def config_of(**actor: object) -> Config:
    model = {"class_name": "MLPModel", "hidden_dims": [16, 8], "activation": "elu"}
    critic = {**model, "obs_normalization": True}
    gaussian = {"obs_normalization": True, "distribution_cfg": GAUSSIAN}
    return {
        "num_steps_per_env": 8,
        "save_interval": 100,
        "obs_groups": {"actor": ["policy", "history"], "critic": ["policy"]},
        "algorithm": {"class_name": "PPO"},
        "actor": {**model, **gaussian, **actor},
        "critic": critic,
    }


def trained(folder: Path, config: Config) -> tuple[Path, OnPolicyRunner]:
    """Train for two iterations, and return the checkpoint and its runner."""
    torch.manual_seed(0)
    runner = OnPolicyRunner(Task(), json.loads(json.dumps(config)))
    runner.learn(2)
    runner.save(str(folder / "model_2.pt"))
    (folder / "params").mkdir()
    (folder / "params" / "agent.yaml").write_text(yaml.dump(config))
    return folder / "model_2.pt", runner


def observations(count: int = 1000) -> Array:
    rng = np.random.default_rng(1)
    size = (count, sum(WIDTHS.values()))
    return (rng.normal(size=size) * rng.choice([1.0, 5.0], (count, 1))).astype(np.float32)


def act_inference(runner: OnPolicyRunner) -> Array:
    """What the runner's own inference policy says, from groups of observations."""
    policy: MLPModel = runner.get_inference_policy("cpu")
    parts = torch.from_numpy(observations()).split([*WIDTHS.values()], dim=1)
    given = TensorDict(dict(zip(WIDTHS, parts, strict=True)), batch_size=[len(parts[0])])
    with torch.inference_mode():
        return np.asarray(policy(given).numpy())


def converted(model: Path, *options: str) -> Path:
    out = model.parent / "policy.onnx"
    assert rsl_rl.main([str(model), *options, "--out", str(out)]) == 0
    return out


def on_onnx_runtime(out: Path) -> Array:
    (outputs,) = onnxruntime.InferenceSession(out).run(None, {"obs": observations()})
    return np.asarray(outputs)


@pytest.mark.parametrize(
    "actor",
    [
        {},
        {"obs_normalization": False},
        {"activation": "relu", "distribution_cfg": {**GAUSSIAN, "std_type": "log"}},
        {"distribution_cfg": {"class_name": "HeteroscedasticGaussianDistribution"}},
        {"distribution_cfg": {**GAUSSIAN, "class_name": "rsl_rl.modules:GaussianDistribution"}},
        {"class_name": "rsl_rl.models.MLPModel", "activation": "crelu"},
        {"hidden_dims": (16, 8), "activation": "swish"},  # a tuple of Python in the YAML
    ],
    ids=str,
)
def test_actions_are_those_of_the_inference_policy(tmp_path: Path, actor: Config) -> None:
    model, runner = trained(tmp_path, config_of(**actor))
    out = converted(model)
    np.testing.assert_allclose(on_onnx_runtime(out), act_inference(runner), rtol=0, atol=2e-6)


def test_the_file_says_what_made_it_and_what_it_observes(tmp_path: Path) -> None:
    model, _ = trained(tmp_path, config_of())
    metadata = policy_from_onnx(converted(model).read_bytes()).metadata
    assert metadata["origin"]["library"] == "rsl-rl-lib"
    assert metadata["origin"]["algorithm"] == "PPO"
    assert metadata["observation"]["groups"] == ["policy", "history"]
    assert metadata["observation"]["size"] == 9


@pytest.mark.parametrize("std_type", ["scalar", "log"])
def test_noise_is_that_of_the_distribution(tmp_path: Path, std_type: str) -> None:
    model, runner = trained(
        tmp_path, config_of(distribution_cfg={**GAUSSIAN, "std_type": std_type})
    )
    head = policy_from_onnx(converted(model).read_bytes()).policy.head
    assert isinstance(head, GaussianHead)
    assert head.std is not None
    actor = runner.alg.actor
    actor(runner.env.get_observations(), stochastic_output=True)
    np.testing.assert_allclose(head.std, actor.output_std[0].detach().numpy(), rtol=1e-6)


def test_a_configuration_may_be_json_and_lie_anywhere(tmp_path: Path) -> None:
    model, runner = trained(tmp_path, config_of())
    (tmp_path / "params" / "agent.yaml").unlink()
    config = tmp_path / "mine.json"
    config.write_text(json.dumps(config_of()))
    out = converted(model, "--config", str(config))
    np.testing.assert_allclose(on_onnx_runtime(out), act_inference(runner), rtol=0, atol=2e-6)


def test_clipping_of_the_environment_is_said_and_is_in_the_file_if_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, runner = trained(tmp_path, {**config_of(), "clip_actions": 0.1})
    plain = on_onnx_runtime(converted(model))
    assert "clipped actions to [-0.1, 0.1]" in capsys.readouterr().err
    assert np.abs(plain).max() > 0.1
    clipped = on_onnx_runtime(converted(model, "--clip-actions"))
    assert capsys.readouterr().err == ""
    np.testing.assert_allclose(clipped, act_inference(runner).clip(-0.1, 0.1), rtol=0, atol=2e-6)


def test_a_limit_that_the_configuration_does_not_say_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, _ = trained(tmp_path, config_of())
    assert "must be a positive number, is None" in refused(capsys, model, "--clip-actions")


# --- what is refused


def refused(capsys: pytest.CaptureFixture[str], model: Path, *options: str) -> str:
    """Return the one line of a refusal that leaves nothing behind."""
    capsys.readouterr()
    out = model.parent / "refused.onnx"
    assert rsl_rl.main([str(model), *options, "--out", str(out)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert not out.exists()
    return captured.err


@pytest.mark.parametrize(
    ("actor", "said"),
    [
        ({"distribution_cfg": {"class_name": "BetaDistribution"}}, "of a BetaDistribution"),
        ({"activation": "gelu"}, "GELU"),
        ({"class_name": "RNNModel", "rnn_hidden_dim": 8}, "of class RNNModel"),
    ],
)
def test_what_is_no_feed_forward_actor_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], actor: Config, said: str
) -> None:
    model, _ = trained(tmp_path, config_of(**actor))
    assert said in refused(capsys, model)


def test_a_checkpoint_of_an_older_version_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model_0.pt"
    torch.save({"model_state_dict": {}, "iter": 0}, model)
    assert "was written by an older rsl-rl-lib" in refused(capsys, model)


def test_a_configuration_of_another_actor_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, _ = trained(tmp_path, config_of())
    config = tmp_path / "other.json"
    config.write_text(json.dumps(config_of(hidden_dims=[16, 16])))
    assert "size mismatch" in refused(capsys, model, "--config", str(config))
    config.write_text(json.dumps({"policy": {"class_name": "ActorCritic"}}))
    assert "must have a class_name under 'actor'" in refused(capsys, model, "--config", str(config))
    (tmp_path / "params" / "agent.yaml").unlink()
    assert "--config must name" in refused(capsys, model)


def test_nothing_in_a_checkpoint_or_a_configuration_is_executed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "harm",)

    model, _ = trained(tmp_path, config_of())
    (tmp_path / "params" / "agent.yaml").write_text(
        f"actor: !!python/object/apply:pathlib.Path.touch [{tmp_path / 'harm'}]"
    )
    assert "must have a class_name under 'actor'" in refused(capsys, model)
    torch.save({"actor_state_dict": {}, "infos": Harm()}, model)
    assert "cannot read" in refused(capsys, model)
    assert not (tmp_path / "harm").exists()
