"""A converted TorchScript module acts as PyTorch runs it, on ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from rsl_rl.models import MLPModel
from tensordict import TensorDict
from torch import nn

from surefoot.convert import torchscript
from surefoot.onnx_file import policy_from_onnx
from surefoot.policy import Array

WIDTH = 6


class Exported(nn.Module):
    """What Isaac Lab's exporter writes: a normaliser and an actor."""

    def __init__(self, actor: nn.Module) -> None:
        super().__init__()
        self.actor = actor
        self.register_buffer("mean", torch.randn(1, WIDTH))
        self.register_buffer("std", torch.rand(1, WIDTH))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.actor((observations - self.mean) / (self.std + 0.01))

    @torch.jit.export
    def reset(self) -> None:
        """Do nothing."""


class Encoder(nn.Module):
    """A network of a part of the observation beside the rest, clipped."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(4, 3)
        self.act = nn.Linear(5, 2)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        latent = torch.tanh(self.encode(observations[:, :4]))
        both = torch.cat([latent, observations[:, 4:]], dim=-1)
        return torch.clamp(self.act(both), -1.0, 1.0)


def actor_of_rsl_rl() -> nn.Module:
    observation = TensorDict({"policy": torch.zeros(1, WIDTH)}, batch_size=[1])
    model = MLPModel(observation, {"actor": ["policy"]}, "actor", 2, [16, 8], "elu", True)
    for _ in range(5):
        drawn = TensorDict({"policy": 3 * torch.randn(32, WIDTH) + 1}, batch_size=[32])
        model.update_normalization(drawn)
    return model.as_jit()


def dense() -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, 16), nn.ELU(), nn.Linear(16, 2), nn.Tanh())


def saved(folder: Path, module: nn.Module) -> Path:
    path = folder / "policy.pt"
    torch.jit.script(module.eval()).save(path)
    return path


def observations() -> Array:
    return (3 * np.random.default_rng(1).normal(size=(1000, WIDTH))).astype(np.float32)


@pytest.mark.parametrize("kind", ["rsl_rl", "Isaac Lab", "traced", "encoder"])
@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_actions_are_those_of_the_module(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(0)
    makers = {"rsl_rl": actor_of_rsl_rl, "encoder": Encoder}
    module = makers[kind]() if kind in makers else Exported(dense())
    path = saved(tmp_path, module)
    if kind == "traced":
        torch.jit.trace(module, torch.zeros(1, WIDTH)).save(path)
    out = tmp_path / "policy.onnx"
    options = ["--observations", str(WIDTH)] if kind == "encoder" else []
    assert torchscript.main([str(path), *options, "--out", str(out)]) == 0
    with torch.no_grad():
        expected = torch.jit.load(path)(torch.from_numpy(observations())).numpy()
    (outputs,) = onnxruntime.InferenceSession(out).run(None, {"obs": observations()})
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-5)
    assert policy_from_onnx(out.read_bytes()).metadata["origin"]["algorithm"] == "TorchScript"


class Spectral(nn.Module):
    """What the exporter of PyTorch knows no operator for."""

    def __init__(self) -> None:
        super().__init__()
        self.actor = nn.Linear(WIDTH, 2)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.actor(torch.special.i0(observations))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.GRUCell(WIDTH, 8)
        self.actor = nn.Linear(8, 2)
        self.register_buffer("hidden", torch.zeros(1, 8))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        self.hidden = self.memory(observations, self.hidden)
        return self.actor(self.hidden)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_what_is_no_controller_is_refused_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.pt"
    text.write_text("nothing")
    softmax = nn.Sequential(nn.Linear(WIDTH, 2), nn.Softmax(dim=-1))
    frozen = tmp_path / "frozen.pt"
    torch.jit.freeze(torch.jit.script(dense().eval())).save(frozen)
    out = tmp_path / "policy.onnx"
    recurrent = tmp_path / "recurrent.pt"
    torch.jit.script(Recurrent()).save(recurrent)
    spectral = tmp_path / "spectral.pt"
    torch.jit.script(Spectral()).save(spectral)
    for path, said in (
        (spectral, "aten::i0"),
        (recurrent, "memory is a GRUCell"),
        (text, "cannot read"),
        (tmp_path / "missing.pt", "no such file"),
        (frozen, "--observations"),
        (saved(tmp_path, softmax), "Softmax"),
    ):
        assert torchscript.main([str(path), "--out", str(out)]) == 2
        captured = capfd.readouterr()
        assert captured.out == ""
        assert said in captured.err
        assert captured.err.count("\n") == 1
    assert not out.exists()
