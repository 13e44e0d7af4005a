"""What is converted acts as the agents of CleanRL's scripts act, on ONNX Runtime.

The agents are written here as those scripts write them; they are no package.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from surefoot.convert import cleanrl
from surefoot.onnx_file import policy_from_onnx
from surefoot.policy import Array, CategoricalHead, GaussianHead

WIDTH, ACTIONS = 6, 2
MEAN, VAR = np.linspace(-1, 1, WIDTH), np.linspace(0.2, 3, WIDTH)


def tanh_network(num_outputs: int) -> nn.Sequential:
    hidden = nn.Linear(WIDTH, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh()
    return nn.Sequential(*hidden, nn.Linear(64, num_outputs))


class PpoContinuous(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.critic = tanh_network(1)
        self.actor_mean = tanh_network(ACTIONS)
        self.actor_logstd = nn.Parameter(torch.tensor([[-0.5, 0.25]]))

    def act(self, x: torch.Tensor) -> torch.Tensor:
        return self.actor_mean(x)


class PpoDiscrete(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.critic = tanh_network(1)
        self.actor = tanh_network(4)

    def act(self, x: torch.Tensor) -> torch.Tensor:
        return torch.distributions.Categorical(logits=self.actor(x)).probs.argmax(dim=1)


class Dqn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        hidden = nn.Linear(WIDTH, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU()
        self.network = nn.Sequential(*hidden, nn.Linear(84, 3))

    def act(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x).argmax(dim=1)


class Squashed(nn.Module):
    """The actor of SAC, and that of TD3 and DDPG."""

    def __init__(self, last: str) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(WIDTH, 32), nn.Linear(32, 32)
        self.add_module(last, nn.Linear(32, ACTIONS))
        if last == "fc_mean":
            self.fc_logstd = nn.Linear(32, ACTIONS)
        self.last = last
        self.register_buffer("action_scale", torch.tensor([2.0, 0.3]))
        self.register_buffer("action_bias", torch.tensor([0.5, -0.1]))

    def act(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.fc2(torch.relu(self.fc1(x))))
        return torch.tanh(self.get_submodule(self.last)(x)) * self.action_scale + self.action_bias


class OwnAgent(nn.Module):
    """An agent as a user changed it: other activations, and spaces asked of the environments."""

    def __init__(self, envs: SimpleNamespace) -> None:
        super().__init__()
        width = int(np.prod(envs.single_observation_space.shape))
        num = int(np.prod(envs.single_action_space.shape))
        self.actor_mean = nn.Sequential(nn.Linear(width, 16), nn.SiLU(), nn.Linear(16, num))
        self.actor_logstd = nn.Parameter(torch.zeros(1, num))


class Wider(OwnAgent):
    """A class that is not that of the model."""

    def __init__(self, envs: SimpleNamespace) -> None:
        super().__init__(envs)
        self.actor_mean[0] = nn.Linear(WIDTH, 32)


AGENTS = {
    "PPO": PpoContinuous,
    "DQN": Dqn,
    "SAC": lambda: Squashed("fc_mean"),
    "TD3": lambda: Squashed("fc_mu"),
}


def observations() -> Array:
    return (3 * np.random.default_rng(1).normal(size=(1000, WIDTH))).astype(np.float32)


def normalised() -> torch.Tensor:
    """What NormalizeObservation and the clip behind it make of the observations."""
    states = np.clip((observations() - MEAN) / np.sqrt(VAR + 1e-8), -10, 10)
    return torch.from_numpy(states.astype(np.float32))


def saved(folder: Path, agent: nn.Module) -> Path:
    path = folder / "agent.cleanrl_model"
    torch.save(agent.state_dict(), path)
    return path


def statistics(folder: Path) -> str:
    path = folder / "rms.npz"
    np.savez(path, mean=MEAN, var=VAR)
    return str(path)


def converted(model: Path, *options: str) -> tuple[Path, Array]:
    """Return the file, and what it says to the observations on ONNX Runtime."""
    out = model.parent / "policy.onnx"
    assert cleanrl.main([str(model), *options, "--out", str(out)]) == 0
    (outputs,) = onnxruntime.InferenceSession(out).run(None, {"obs": observations()})
    return out, np.asarray(outputs)


def test_actions_of_ppo_are_normalised_and_clipped_as_its_environment_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    agent = PpoContinuous()
    options = [
        "--statistics",
        statistics(tmp_path),
        "--low",
        "-0.1",
        "-0.2",
        "--high",
        "0.1",
        "0.1",
    ]
    out, outputs = converted(saved(tmp_path, agent), *options)
    with torch.no_grad():
        expected = np.clip(agent.act(normalised()).numpy(), [-0.1, -0.2], [0.1, 0.1])
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-6)
    assert (np.abs(expected) == 0.1).any()
    head = policy_from_onnx(out.read_bytes()).policy.head
    assert isinstance(head, GaussianHead)
    np.testing.assert_allclose(head.noise, np.exp([-0.5, 0.25]) / [0.1, 0.15], rtol=1e-6)


def test_a_class_says_which_activations_stand_between_the_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    spaces = SimpleNamespace(shape=(WIDTH,)), SimpleNamespace(shape=(ACTIONS,))
    names = "single_observation_space", "single_action_space"
    agent = OwnAgent(SimpleNamespace(**dict(zip(names, spaces, strict=True))))
    model = saved(tmp_path, agent)
    _, outputs = converted(model, "--agent", f"{__name__}:OwnAgent")
    with torch.no_grad():
        expected = agent.actor_mean(torch.from_numpy(observations())).numpy()
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("OwnAgent", "--agent must be module:Class, got 'OwnAgent'"),
        (f"{__name__}:Nobody", "has no such class of torch.nn.Module"),
        (f"{__name__}:Wider", "size mismatch"),
        ("no_such_module:Agent", "no_such_module is not installed"),
    ],
)
def test_a_class_that_is_not_that_of_the_model_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], agent: str, words: str
) -> None:
    weights = {"actor_logstd": torch.zeros(1, ACTIONS)}
    for number, (rows, columns) in {0: (16, WIDTH), 2: (ACTIONS, 16)}.items():
        weights[f"actor_mean.{number}.weight"] = torch.zeros(rows, columns)
        weights[f"actor_mean.{number}.bias"] = torch.zeros(rows)
    model, out = tmp_path / "agent.cleanrl_model", tmp_path / "policy.onnx"
    torch.save(weights, model)
    assert cleanrl.main([str(model), "--agent", agent, "--out", str(out)]) in (2, 5)
    assert words in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("algorithm", ["PPO", "SAC", "TD3"])
def test_actions_are_those_of_the_agent(tmp_path: Path, algorithm: str) -> None:
    torch.manual_seed(0)
    agent = AGENTS[algorithm]()
    out, outputs = converted(saved(tmp_path, agent))
    with torch.no_grad():
        expected = agent.act(torch.from_numpy(observations())).numpy()
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-5)
    assert policy_from_onnx(out.read_bytes()).metadata["origin"]["algorithm"] == algorithm


@pytest.mark.parametrize("make", [PpoDiscrete, Dqn])
def test_choices_are_those_of_the_agent(tmp_path: Path, make: type[Dqn]) -> None:
    torch.manual_seed(0)
    agent = make()
    out, outputs = converted(saved(tmp_path, agent))
    ranked = np.sort(outputs, axis=1)
    decided = ranked[:, -1] - ranked[:, -2] > 1e-5
    assert decided.mean() > 0.95
    with torch.no_grad():
        chosen = agent.act(torch.from_numpy(observations())).numpy()
    assert (outputs.argmax(axis=1) == chosen)[decided].all()
    assert isinstance(policy_from_onnx(out.read_bytes()).policy.head, CategoricalHead)


def test_the_actor_of_several_saved_networks_is_the_first(tmp_path: Path) -> None:
    torch.manual_seed(0)
    actor, critic = Squashed("fc_mu"), nn.Linear(3, 1)
    path = tmp_path / "agent.cleanrl_model"
    torch.save((actor.state_dict(), critic.state_dict(), critic.state_dict()), path)
    _, outputs = converted(path)
    with torch.no_grad():
        expected = actor.act(torch.from_numpy(observations())).numpy()
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-5)


def test_what_the_model_does_not_hold_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    converted(saved(tmp_path, PpoContinuous()))
    said = capsys.readouterr().err
    assert all(word in said for word in ("Tanh was taken", "NormalizeObservation", "ClipAction"))


def refused(capsys: pytest.CaptureFixture[str], model: Path, *options: str) -> str:
    """Return the one line of a refusal that leaves nothing behind."""
    capsys.readouterr()
    out = model.parent / "refused.onnx"
    assert cleanrl.main([str(model), *options, "--out", str(out)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert not out.exists()
    return captured.err


def test_models_of_other_scripts_are_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = nn.ModuleDict({"network": nn.Sequential(nn.Conv2d(4, 32, 8)), "actor": nn.Linear(5, 2)})
    assert "network.0 must be an affine layer" in refused(capsys, saved(tmp_path, image))
    c51 = Dqn()
    c51.register_buffer("atoms", torch.zeros(51))
    assert "C51" in refused(capsys, saved(tmp_path, c51))
    assert "must be a model of CleanRL" in refused(capsys, saved(tmp_path, nn.Linear(2, 2)))
    path = tmp_path / "list.cleanrl_model"
    torch.save([1, 2], path)
    assert "must hold a state_dict" in refused(capsys, path)
    path.write_text("nothing")
    assert "cannot read" in refused(capsys, path)


def test_statistics_and_ranges_that_do_not_fit_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = saved(tmp_path, PpoContinuous())
    assert "given together" in refused(capsys, model, "--low", "-1")
    three = ["--low", "1", "2", "3", "--high", "4", "5", "6"]
    assert "1 or 2 numbers" in refused(capsys, model, *three)
    path = tmp_path / "other.npz"
    np.savez(path, mean=MEAN, var=VAR[1:])
    assert "6 numbers as mean and as var" in refused(capsys, model, "--statistics", str(path))
    np.savez(path, mean=np.array([None] * WIDTH), var=VAR)
    assert "is no file of numpy.savez" in refused(capsys, model, "--statistics", str(path))
    np.savez(path, mean=MEAN, var=VAR * np.nan)
    assert "scale" in refused(capsys, model, "--statistics", str(path))


def test_nothing_in_a_model_is_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Harm:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "harm",)

    path = tmp_path / "agent.cleanrl_model"
    torch.save({"actor.0.weight": Harm()}, path)
    assert "cannot read" in refused(capsys, path)
    assert not (tmp_path / "harm").exists()
