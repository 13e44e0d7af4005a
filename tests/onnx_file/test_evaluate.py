"""Laws of `surefoot.onnx_file.evaluate`: constants are folded as ONNX Runtime folds them."""

from collections.abc import Callable

import numpy as np
import pytest

from support.onnx_graphs import Graph, on_runtime
from surefoot.errors import InputError
from surefoot.limits import MAX_OUTPUTS
from surefoot.onnx_file import ForeignFile, read_onnx

RNG = np.random.default_rng(0)
MATRIX = RNG.uniform(0.5, 2, (4, 3)).astype(np.float32)


def read(data: bytes) -> ForeignFile:
    file = read_onnx(data, "controller.onnx")
    assert isinstance(file, ForeignFile)
    return file


def modulo(graph: Graph, w: str) -> str:
    """Rows by index arithmetic: (0, 1, 2, 3) * 3 mod 4."""
    rows = graph.node(
        "Mod", graph.node("Mul", graph.whole(0, 1, 2, 3), graph.whole(3)), graph.whole(4)
    )
    return graph.node("Gather", w, rows, axis=0)


FOLDED: dict[str, Callable[[Graph, str], str]] = {
    "Exp": lambda g, w: g.node("Exp", w),
    "Log": lambda g, w: g.node("Log", w),
    "Pow": lambda g, w: g.node("Pow", w, g.constant(2.0)),
    "Reciprocal": lambda g, w: g.node("Reciprocal", w),
    "Tanh": lambda g, w: g.node("Tanh", w),
    "Softplus": lambda g, w: g.node("Softplus", w),
    "Where": lambda g, w: g.node(
        "Where", g.node("Greater", w, g.constant(1.0)), w, g.constant(0.5)
    ),
    "ReduceMean": lambda g, w: g.node("Sub", w, g.node("ReduceMean", w, axes=[0])),
    "MatMul": lambda g, w: g.node("MatMul", w, g.constant(np.eye(3) * 2)),
    "Range": lambda g, w: g.node(
        "Gather", w, g.node("Range", *[g.constant(k, np.int64) for k in (3, -1, -1)]), axis=0
    ),
    "Tile": lambda g, w: g.node(
        "Slice", g.node("Tile", w, g.whole(1, 2)), g.whole(1), g.whole(4), g.whole(1)
    ),
    "Pad": lambda g, w: g.node(
        "Pad", g.node("Slice", w, g.whole(0), g.whole(3)), g.whole(0, 0, 1, 0)
    ),
    "CumSum": lambda g, w: g.node("CumSum", w, g.constant(0, np.int64)),
    "Mod": modulo,
}


@pytest.mark.parametrize("name", FOLDED)
def test_whatever_the_operator_its_constants_are_those_of_onnx_runtime(name: str) -> None:
    graph = Graph()
    weight = FOLDED[name](graph, graph.constant(MATRIX))
    out = graph.node("MatMul", "obs", weight)
    data = graph.file({out: ("N", 3)}, {"obs": ("N", 4)})
    obs = RNG.normal(size=(20, 4)).astype(np.float32)
    expected = on_runtime(data, {"obs": obs})
    np.testing.assert_allclose(read(data).policy.outputs(obs), expected, rtol=1e-5, atol=1e-6)


LARGE: dict[str, Callable[[Graph], str]] = {
    "ConstantOfShape": lambda g: g.node("ConstantOfShape", g.whole(4, 10**12)),
    "Expand": lambda g: g.node("Expand", g.constant([[1.0]]), g.whole(4, 10**12)),
    "Tile": lambda g: g.node("Tile", g.constant(MATRIX), g.whole(1, 10**12)),
    "Pad": lambda g: g.node("Pad", g.constant(MATRIX), g.whole(0, 0, 0, 10**12)),
    "Range": lambda g: g.node("Range", *[g.constant(k) for k in (0.0, 1.0, 1e-12)]),
    "OneHot": lambda g: g.node(
        "OneHot", g.whole(0, 1, 2, 3), g.constant(10**12, np.int64), g.constant([0.0, 1.0])
    ),
    "Tile, none": lambda g: g.node("Tile", g.constant(MATRIX), g.whole(2**30, 0)),
    "MatMul": lambda g: g.node(
        "MatMul", g.constant(np.ones((2**14, 1))), g.constant(np.ones((1, 2**14)))
    ),
    "Gather": lambda g: g.node(
        "Gather", g.constant(np.ones((1, 2**14))), g.constant(np.zeros(2**14), np.int64), axis=0
    ),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_constant_of_terabytes_is_refused_before_it_is_made(name: str) -> None:
    graph = Graph()
    out = graph.node("MatMul", "obs", LARGE[name](graph))
    data = graph.file({out: ("N", "M")}, {"obs": ("N", 4)})
    op = name.partition(",")[0]
    with pytest.raises(InputError, match=f"'{op}'.*(more than is read|unknown shape)") as caught:
        read(data)
    assert "\n" not in str(caught.value)


def window(op: str, **attributes: int | list[int]) -> Callable[[Graph], str]:
    return lambda g: g.node(op, g.constant(np.ones((1, 1, 2))), **attributes)


BEYOND = 2**40
"""A size that no array has: whoever begins with it ends in another error."""

WIDE: dict[str, Callable[[Graph], str]] = {
    "AveragePool": window("AveragePool", kernel_shape=[BEYOND], pads=[BEYOND, 0], strides=[BEYOND]),
    "Conv": lambda g: g.node(
        *("Conv", g.constant(np.ones((1, 1, 2))), g.constant(np.ones((1, 1, 2)))),
        dilations=[BEYOND],
        pads=[BEYOND // 2] * 2,
    ),
    "MaxPool": window("MaxPool", kernel_shape=[BEYOND], pads=[BEYOND, 0], strides=[BEYOND]),
    "Resize": lambda g: g.node("Resize", g.constant(MATRIX), "", g.constant([1.0, 1e12])),
    "RoiAlign": lambda g: g.node(
        *("RoiAlign", g.constant(np.ones((1, 1, 2, 2))), g.constant(np.ones((1, 4))), g.whole(0)),
        sampling_ratio=2**30,
    ),
}
"""Constants that are small, and what lies between them is not."""


@pytest.mark.parametrize("name", WIDE)
def test_a_constant_that_takes_terabytes_on_the_way_is_refused_before(name: str) -> None:
    graph = Graph()
    out = graph.node("MatMul", "obs", WIDE[name](graph))
    data = graph.file({out: ("N", "M")}, {"obs": ("N", 4)})
    with pytest.raises(InputError, match=f"'{name}': not in the controller operator set"):
        read(data)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ((MAX_OUTPUTS, 1), f"must have at most {MAX_OUTPUTS} entries, has {2 * MAX_OUTPUTS}"),
        ((MAX_OUTPUTS // 2, 1), "all layers must have at most"),
        ((1, 10**12), "'Tile'.*more than is read"),
    ],
)
def test_sensors_that_are_repeated_without_end_are_refused(
    times: tuple[int, int], message: str
) -> None:
    graph = Graph()
    moved = graph.node("Tile", graph.cut("obs", 0, 2), graph.whole(*times))
    data = graph.file({graph.node("Flatten", moved, axis=0): (1, "M")}, {"obs": (1, 8192)})
    with pytest.raises(InputError, match=message):
        read(data)


@pytest.mark.parametrize("op", ["RandomNormal", "RandomUniform"])
def test_what_is_drawn_at_random_is_no_constant(op: str) -> None:
    graph = Graph()
    out = graph.node("MatMul", "obs", graph.node(op, shape=[4, 3]))
    data = graph.file({out: ("N", 3)}, {"obs": ("N", 4)})
    with pytest.raises(InputError, match=f"'{op}': not in the controller operator set"):
        read(data)


@pytest.mark.parametrize(
    "move",
    [
        lambda g, x: g.node("GatherElements", x, g.constant([[3, 0, 0]], np.int64), axis=1),
        lambda g, x: g.node("GatherND", x, g.constant([[[0, 2]], [[0, 1]]], np.int64)),
        lambda g, x: g.node("Tile", x, g.whole(1, 3)),
        lambda g, x: g.node(
            "Expand", g.node("Slice", x, g.whole(1), g.whole(2), g.whole(1)), g.whole(1, 5)
        ),
        lambda g, x: g.node("Slice", x, g.whole(-1), g.whole(-9), g.whole(1), g.whole(-1)),
        lambda g, x: g.node("Concat", x, g.cut(x, 1, 3), x, axis=1),
        lambda g, x: g.node("Concat", x, g.constant([[0.5, -2.0]]), "obs", axis=1),
        lambda g, x: g.nodes_of("Split", 2, x, g.whole(1, 3), axis=1)[1],
    ],
)
def test_moved_entries_are_those_that_onnx_runtime_moves(move: Callable[[Graph, str], str]) -> None:
    graph = Graph()
    moved = move(graph, graph.node("Tanh", "obs"))
    out = graph.node("Flatten", moved, axis=0)
    data = graph.file({out: (1, "M")}, {"obs": (1, 4)})
    obs = RNG.normal(size=(1, 4)).astype(np.float32)
    expected = on_runtime(data, {"obs": obs}).reshape(1, -1)
    np.testing.assert_allclose(read(data).policy.outputs(obs), expected, rtol=1e-6)
