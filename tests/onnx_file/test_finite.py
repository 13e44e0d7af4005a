"""Laws of `surefoot.onnx_file.finite`: zero times what is finite is zero, and nothing else."""

import numpy as np
import pytest

from support.onnx_graphs import Graph, on_runtime
from surefoot.errors import InputError
from surefoot.onnx_file import ForeignFile, read_onnx

RNG = np.random.default_rng(0)


def sampled(activation: str, *, clip: bool = False, limit: float | None = None) -> bytes:
    """mean + exp(log_std) * 0, as SB3's SAC writes its deterministic action."""
    graph, weights = Graph(), lambda *shape: RNG.normal(size=shape).astype(np.float32)
    state = "obs"
    if clip:
        state = graph.node("Clip", "obs", graph.constant(-10.0), graph.constant(10.0))
    hidden = graph.node(activation, graph.dense(state, weights(8, 4), weights(8)))
    mean = graph.dense(hidden, weights(2, 8), weights(2))
    log_std = graph.dense(hidden, weights(2, 8), weights(2))
    if limit is not None:
        log_std = graph.node("Clip", log_std, graph.constant(-20.0), graph.constant(limit))
    noise = graph.node("Mul", graph.node("Exp", log_std), graph.constant(np.zeros((1, 2))))
    out = graph.node("Tanh", graph.node("Add", mean, noise))
    return graph.file({out: ("N", 2)}, {"obs": ("N", 4)})


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (sampled("Tanh"), 1e30),
        (sampled("Relu", limit=2.0), 1e30),
        (sampled("Relu", clip=True, limit=2.0), 3e38),
    ],
)
def test_a_noise_that_is_finite_is_no_noise(data: bytes, size: float) -> None:
    file = read_onnx(data, "controller.onnx")
    assert isinstance(file, ForeignFile)
    for scale in (1.0, 1e3, size):
        obs = np.clip(scale * RNG.normal(size=(50, 4)), -size, size).astype(np.float32)
        outputs = on_runtime(data, {"obs": obs})
        assert np.isfinite(outputs).all()
        if scale < size:
            np.testing.assert_allclose(outputs, file.policy.outputs(obs), atol=1e-4)


@pytest.mark.parametrize(
    "data", [sampled("Relu"), sampled("Softplus"), sampled("Relu", limit=89.0)]
)
def test_a_noise_that_may_be_infinite_may_be_nan(data: bytes) -> None:
    with pytest.raises(InputError, match=r"multiplied by zero is not known to be finite.*--output"):
        read_onnx(data, "controller.onnx")
    obs = np.full((1, 4), np.float32(1e4)) * RNG.choice([-1, 1], (200, 1, 4))
    assert any(np.isnan(on_runtime(data, {"obs": row})).any() for row in obs)


def test_an_exponential_that_counts_is_refused_by_name() -> None:
    graph = Graph()
    out = graph.node("Exp", graph.dense("obs", np.ones((2, 4), np.float32)))
    with pytest.raises(InputError, match=r"'Exp': not in the controller operator set, but for exp"):
        read_onnx(graph.file({out: ("N", 2)}, {"obs": ("N", 4)}), "controller.onnx")
