"""Laws of `surefoot.onnx_file.normalisation`: every form of a normalisation is one and the same."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from support.onnx_graphs import Graph, RandomController, on_runtime
from surefoot.activation import RmsNorm
from surefoot.errors import InputError
from surefoot.onnx_file import ForeignFile, policy_from_onnx, policy_to_onnx, read_onnx
from surefoot.policy import weights_sha256
from surefoot.runtime.agreement import check_agreement
from surefoot.runtime.arithmetic import runtime_error_at

RNG = np.random.default_rng(0)
W, B = RNG.normal(size=(8, 4)).astype(np.float32), RNG.normal(size=8).astype(np.float32)
LAST = RNG.normal(size=(2, 8)).astype(np.float32)
GAIN, OFFSET = RNG.uniform(0.5, 2, 8).astype(np.float32), RNG.normal(size=8).astype(np.float32)
EPSILON = float(np.float32(1e-5))
Form = Callable[[Graph, str], str]


def read(data: bytes) -> ForeignFile:
    file = read_onnx(data, "controller.onnx")
    assert isinstance(file, ForeignFile)
    return file


def controller(norm: Form, opset: int = 17) -> bytes:
    """A layer, a normalisation, tanh and a layer."""
    graph = Graph(opset)
    hidden = graph.node("Tanh", norm(graph, graph.dense("obs", W, B)))
    return graph.file({graph.dense(hidden, LAST): ("N", 2)}, {"obs": ("N", 4)})


def operator(graph: Graph, x: str) -> str:
    gain, offset = graph.constant(GAIN), graph.constant(OFFSET)
    return graph.node("LayerNormalization", x, gain, offset, axis=-1, epsilon=EPSILON)


def mean_of(graph: Graph, x: str) -> str:
    if graph.opset < 18:
        return graph.node("ReduceMean", x, axes=[-1])
    return graph.node("ReduceMean", x, graph.whole(-1))


def squared(graph: Graph, x: str) -> str:
    return graph.node("Mul", x, x)


def to_the_power(graph: Graph, x: str) -> str:
    return graph.node("Pow", x, graph.constant(2.0))


def rooted(graph: Graph, x: str) -> str:
    return graph.node("Pow", x, graph.constant(0.5))


def written_out(
    square: Form = to_the_power, root: Form | None = None, *, inverse: bool = False
) -> Form:
    """The operators that exporters write for one normalisation."""

    def norm(graph: Graph, x: str) -> str:
        x = graph.node("Sub", x, mean_of(graph, x))
        shifted = graph.node("Add", mean_of(graph, square(graph, x)), graph.constant(EPSILON))
        divisor = graph.node("Sqrt", shifted) if root is None else root(graph, shifted)
        if inverse:
            x = graph.node("Mul", graph.node("Reciprocal", divisor), x)
        else:
            x = graph.node("Div", x, divisor)
        scaled = graph.node("Mul", x, graph.constant(GAIN))
        return graph.node("Add", scaled, graph.constant(OFFSET))

    return norm


FORMS = {
    "power": (written_out(), 17),
    "product": (written_out(squared), 17),
    "power of a half": (written_out(to_the_power, rooted), 17),
    "reciprocal": (written_out(squared, inverse=True), 17),
    "axes as input": (written_out(), 18),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_policy_of_the_operator(form: str) -> None:
    norm, opset = FORMS[form]
    whole, other = read(controller(operator)), read(controller(norm, opset))
    assert weights_sha256(other.policy) == weights_sha256(whole.policy)
    for file in (whole, other):
        check_agreement(file, num_inputs=500)


def test_what_pytorch_exports_is_what_it_computes() -> None:
    torch.manual_seed(0)
    actor = torch.nn.Sequential(
        torch.nn.Linear(5, 16), torch.nn.LayerNorm(16), torch.nn.SiLU(), torch.nn.Linear(16, 2)
    )
    graph = Graph()
    layers = [layer for layer in actor if isinstance(layer, torch.nn.Linear)]
    norm = actor[1]
    assert isinstance(norm, torch.nn.LayerNorm)
    arrays = [part.detach().numpy() for layer in layers for part in (layer.weight, layer.bias)]
    constants = [graph.constant(part.detach().numpy()) for part in (norm.weight, norm.bias)]
    x = graph.dense("obs", arrays[0], arrays[1])
    x = graph.node("LayerNormalization", x, *constants, axis=-1, epsilon=float(norm.eps))
    x = graph.node("Mul", x, graph.node("Sigmoid", x))
    last = graph.dense(x, arrays[2], arrays[3])
    policy = read(graph.file({last: ("N", 2)}, {"obs": ("N", 5)})).policy
    obs = torch.randn(100, 5)
    expected = actor.double()(obs.double()).detach().numpy()
    assert np.abs(policy.outputs(obs.numpy()) - expected).max() < 1e-6


def test_a_root_mean_square_alone_is_read_without_centring() -> None:
    def norm(graph: Graph, x: str) -> str:
        mean = graph.node("ReduceMean", graph.node("Mul", x, x), axes=[-1])
        return graph.node(
            "Div", x, graph.node("Sqrt", graph.node("Add", mean, graph.constant(1.0)))
        )

    policy = read(controller(norm)).policy
    assert [layer.activation for layer in policy.layers[:1]] == [RmsNorm(1.0)]


def test_rows_of_a_tensor_are_normalised_each_by_itself() -> None:
    graph = Graph()
    rows = graph.node("Reshape", graph.dense("obs", W, B), graph.whole(-1, 2, 4))
    gain, offset = graph.constant(GAIN[:4]), graph.constant(OFFSET[:4])
    x = graph.node("LayerNormalization", rows, gain, offset, axis=-1)
    x = graph.node("Reshape", x, graph.whole(-1, 8))
    data = graph.file({graph.dense(x, LAST): ("N", 2)}, {"obs": ("N", 4)})
    file = read(data)
    obs = RNG.normal(size=(50, 4)).astype(np.float32)
    found = on_runtime(data, {"obs": obs})
    bound = runtime_error_at(file.policy, file.policy.state(obs))
    assert (np.abs(found - file.policy.outputs(obs)) <= bound).all()


def test_random_controllers_with_normalisations_are_what_the_runtime_computes() -> None:
    known = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        file = read(RandomController(rng, norms=0.7).branched(4)[0])
        canonical = policy_to_onnx(file.policy)
        policy = policy_from_onnx(canonical).policy
        assert weights_sha256(policy) == weights_sha256(file.policy)
        normaliser = policy.normaliser
        obs = (normaliser.mean + normaliser.scale * rng.normal(size=(50, 4))).astype(np.float32)
        exact = policy.outputs(obs)
        for data, read_policy in ((file.data, file.policy), (canonical, policy)):
            error = np.abs(on_runtime(data, {"obs": obs}) - exact)
            bound = runtime_error_at(read_policy, policy.state(obs))
            assert (error <= bound).all()
            known += int(np.isfinite(bound).all())
    assert known > 90


def no_root(graph: Graph, x: str) -> str:
    return graph.node("Div", x, graph.node("ReduceMean", graph.node("Mul", x, x), axes=[-1]))


def no_epsilon(graph: Graph, x: str) -> str:
    mean = graph.node("ReduceMean", graph.node("Mul", x, x), axes=[-1])
    return graph.node("Div", x, graph.node("Sqrt", mean))


def other_vector(graph: Graph, x: str) -> str:
    mean = graph.node("ReduceMean", graph.node("Mul", x, x), axes=[-1])
    root = graph.node("Sqrt", graph.node("Add", mean, graph.constant(1.0)))
    return graph.node("Div", graph.node("Tanh", x), root)


def times_root(graph: Graph, x: str) -> str:
    mean = graph.node("ReduceMean", graph.node("Mul", x, x), axes=[-1])
    root = graph.node("Sqrt", graph.node("Add", mean, graph.constant(1.0)))
    return graph.node("Mul", x, root)


def over_reciprocal(graph: Graph, x: str) -> str:
    mean = graph.node("ReduceMean", graph.node("Mul", x, x), axes=[-1])
    root = graph.node("Sqrt", graph.node("Add", mean, graph.constant(1.0)))
    return graph.node("Div", x, graph.node("Reciprocal", root))


def cubed(graph: Graph, x: str) -> str:
    return graph.node("Pow", x, graph.constant(3.0))


def square(graph: Graph, x: str) -> str:
    return graph.node("Mul", x, x)


def tiny_epsilon(graph: Graph, x: str) -> str:
    return graph.node("LayerNormalization", x, graph.constant(GAIN), axis=-1, epsilon=0.0)


def one_number(graph: Graph, x: str) -> str:
    cut = graph.cut(x, 0, 1)
    one = graph.node("LayerNormalization", cut, graph.constant(np.ones(1)), axis=-1)
    return graph.node("Concat", one, graph.cut(x, 1, 8), axis=1)


REFUSED = {
    "divides two values that depend on the observation": (
        no_root,
        no_epsilon,
        other_vector,
        over_reciprocal,
    ),
    "but for a square or a root": (cubed,),
    r"but for a normalisation x / sqrt\(mean": (square, times_root),
    r"epsilon must be in \[2\^-60, 2\^20\]": (tiny_epsilon,),
    "normalises a single number": (one_number,),
}


@pytest.mark.parametrize(
    ("reason", "form"), [(reason, form) for reason, forms in REFUSED.items() for form in forms]
)
def test_what_is_no_normalisation_is_refused_by_name(reason: str, form: Form) -> None:
    with pytest.raises(InputError, match=reason) as raised:
        read(controller(form))
    assert str(raised.value).count("\n") == 0
    assert "node" in str(raised.value)


def test_a_mean_alone_is_an_affine_map() -> None:
    graph = Graph()
    mean = graph.node("ReduceMean", "obs", axes=[1], keepdims=1)
    data = graph.file({graph.node("Concat", mean, "obs", axis=1): ("N", 5)}, {"obs": ("N", 4)})
    obs = RNG.normal(size=(20, 4)).astype(np.float32)
    policy = read(data).policy
    bound = runtime_error_at(policy, policy.state(obs))
    assert (np.abs(on_runtime(data, {"obs": obs}) - policy.outputs(obs)) <= bound).all()


def test_centring_is_no_weight() -> None:
    policy = read(controller(operator)).policy
    assert sum(layer.weights.size for layer in policy.layers) == W.size + LAST.size
