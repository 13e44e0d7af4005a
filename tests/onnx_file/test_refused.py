"""What `surefoot.onnx_file.foreign` does not understand is named in one line, and is not read."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import ArrayLike
from onnx import FunctionProto, TensorProto, ValueInfoProto, helper, numpy_helper

from support.onnx_graphs import Graph
from surefoot.errors import InputError
from surefoot.limits import MAX_FIELDS, MAX_NODES, MAX_SCALARS, MAX_SENSORS
from surefoot.onnx_file import read_onnx
from surefoot.policy import Squash


def graph_file(
    nodes: list[onnx.NodeProto],
    constants: Mapping[str, ArrayLike] | None = None,
    *,
    inputs: list[ValueInfoProto] | None = None,
    outputs: tuple[str, ...] = ("y",),
    opset: int = 17,
    functions: Sequence[FunctionProto] = (),
) -> bytes:
    """Return a file with these nodes from x [1, 4]; constants by name."""
    if inputs is None:
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])]
    graph = helper.make_graph(
        nodes,
        "net",
        inputs,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["a", "b"]) for name in outputs],
        [
            numpy_helper.from_array(np.asarray(array), name)
            for name, array in (constants or {}).items()
        ],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=functions)
    return model.SerializeToString()


W = {"w": np.ones((4, 2), np.float32)}
MATMUL = helper.make_node("MatMul", ["x", "w"], ["h"], name="first")


def after_matmul(
    op: str,
    inputs: tuple[str, ...] = ("h",),
    constants: Mapping[str, ArrayLike] | None = None,
    **settings_: float,
) -> bytes:
    node = helper.make_node(op, list(inputs), ["y"], name="last", **settings_)
    return graph_file([MATMUL, node], {**W, **(constants or {})})


def inputs_of(*shapes: list[int | str], kind: int = TensorProto.FLOAT) -> list[ValueInfoProto]:
    return [helper.make_tensor_value_info(f"x{n or ''}", kind, s) for n, s in enumerate(shapes)]


LAST = r"node 1 '{}' \(last\): "
REFUSED = {
    "softmax": (after_matmul("Softmax"), LAST.format("Softmax") + "not in the controller"),
    "hardswish": (after_matmul("HardSwish"), LAST.format("HardSwish") + "not in the controller"),
    "square": (after_matmul("Mul", ("h", "h")), LAST.format("Mul") + "not in .* but for a norm"),
    "square root": (after_matmul("Sqrt"), LAST.format("Sqrt") + "not in .* but for a norm"),
    "exponential": (
        after_matmul("Exp"),
        LAST.format("Exp") + "not in the controller operator set, but for exp",
    ),
    "inverse": (
        after_matmul("Div", ("c", "h"), {"c": np.float32(1)}),
        LAST.format("Div") + "divides by the observation",
    ),
    "by zero": (
        after_matmul("Div", ("h", "c"), {"c": np.float32(0)}),
        LAST.format("Div") + "divides by the observation, or by zero",
    ),
    "half": (after_matmul("Cast", to=TensorProto.FLOAT16), "casts the observation to FLOAT16"),
    "one-sided clip": (
        after_matmul("Min", ("h", "c"), {"c": np.float32(3)}),
        LAST.format("Min") + "a clip needs two finite limits",
    ),
    "empty clip": (
        after_matmul("Clip", ("h", "c", "c"), {"c": np.float32(3)}),
        LAST.format("Clip") + "a limit must be below the upper one, got 3.0, 3.0",
    ),
    "negative slope": (
        after_matmul("LeakyRelu", alpha=-0.5),
        LAST.format("LeakyRelu") + r"LeakyRelu alpha must be in \[0, 1\]",
    ),
    "many slopes": (
        after_matmul("PRelu", ("h", "c"), {"c": np.float32([0.1, 0.2])}),
        "must have one slope for all",
    ),
    "two outputs": (
        graph_file([MATMUL, helper.make_node("Relu", ["h"], ["y"])], W, outputs=("h", "y")),
        r"more than one output; choose the actions among 'h' \[\?, \?\], 'y' \[.*\] with --output",
    ),
    "integers": (
        graph_file(
            [helper.make_node("Cast", ["x"], ["f"], to=1), helper.make_node("Relu", ["f"], ["y"])],
            inputs=inputs_of([1, 4], kind=TensorProto.INT64),
        ),
        "input 'x' must be FLOAT or DOUBLE, is INT64",
    ),
    "unnamed sizes": (
        graph_file(
            [MATMUL, helper.make_node("Relu", ["h"], ["y"])], W, inputs=inputs_of(["N", "M"])
        ),
        r"node 0 'MatMul' \(first\): 1 entries do not fit weights of shape \(2, 4\)",
    ),
    "no observation": (
        graph_file([helper.make_node("Identity", ["w"], ["y"])], W),
        "output 'y' does not depend on the observation",
    ),
    "nan": (
        graph_file([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": W["w"] * np.nan}),
        "constant 'w' must hold numbers, has NaN",
    ),
    "infinite weights": (
        graph_file([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": W["w"] * np.inf}),
        "node 0 'MatMul': takes a constant that is not finite",
    ),
    "infinity by a constant expression": (
        graph_file(
            [
                helper.make_node("Mul", ["w", "w"], ["v"], name="square"),
                helper.make_node("MatMul", ["x", "v"], ["y"]),
            ],
            {"w": W["w"] * np.float32(3e38)},
        ),
        r"node 0 'Mul' \(square\): makes a constant that is not finite",
    ),
    "a constant of terabytes": (
        graph_file(
            [
                helper.make_node("ConstantOfShape", ["s"], ["v"], name="huge"),
                helper.make_node("MatMul", ["x", "v"], ["y"]),
            ],
            {"s": np.array([4, 10**12], np.int64)},
        ),
        r"node 0 'ConstantOfShape' \(huge\): makes a tensor of shape",
    ),
    "wrong shapes": (
        graph_file([helper.make_node("MatMul", ["x", "w"], ["y"], name="only")], {"w": W["w"].T}),
        r"node 0 'MatMul' \(only\): 4 entries do not fit weights of shape \(4, 2\)",
    ),
    "a cycle": (
        graph_file(
            [
                helper.make_node("Add", ["x", "b"], ["a"]),
                helper.make_node("Relu", ["a"], ["b"]),
                helper.make_node("Relu", ["b"], ["y"]),
            ]
        ),
        "is not a valid ONNX file",
    ),
    "the same name twice": (
        graph_file([MATMUL, MATMUL, helper.make_node("Relu", ["h"], ["y"])], W),
        "is not a valid ONNX file",
    ),
    "a foreign domain": (
        graph_file([helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")]),
        "of domain 'com.microsoft' are not read: adopt the original, which ONNX Runtime did not",
    ),
    "opset 5": (
        graph_file([helper.make_node("Tanh", ["x"], ["y"])], opset=5),
        "opset must be 6 to",
    ),
    "a wide convolution": (
        graph_file(
            [helper.make_node("Conv", ["x", "w"], ["y"], name="only", pads=[1, 1])],
            {"w": np.ones((2, 4, 3), np.float32)},
            inputs=inputs_of([1, 4, 5]),
        ),
        "kernel of size 1",
    ),
    "a double that float32 cannot hold": (
        graph_file(
            [
                helper.make_node("Cast", ["x"], ["d"], to=TensorProto.DOUBLE),
                helper.make_node("Mul", ["d", "c"], ["e"], name="only"),
                helper.make_node("Cast", ["e"], ["y"], to=TensorProto.FLOAT),
            ],
            {"c": np.float64(0.1)},
        ),
        r"node 1 'Mul' \(only\): holds float64 numbers that float32 cannot hold",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_understood_is_refused_by_name_in_one_line(case: str) -> None:
    data, message = REFUSED[case]
    with pytest.raises(InputError, match=message) as caught:
        read_onnx(data, "controller.onnx")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("controller.onnx")


def test_constants_in_other_files_are_refused() -> None:
    model = onnx.load_model_from_string(graph_file([MATMUL], W, outputs=("h",)))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    with pytest.raises(InputError) as caught:
        read_onnx(model.SerializeToString(), "controller.onnx")
    assert "\n" not in str(caught.value)


def test_a_function_of_the_file_s_own_is_refused_even_under_a_known_name() -> None:
    body = [helper.make_node("Neg", ["a"], ["b"])]
    function = helper.make_function(
        "own", "Relu", ["a"], ["b"], body, [helper.make_opsetid("", 17)]
    )
    data = graph_file([helper.make_node("Relu", ["x"], ["y"], domain="own")], functions=[function])
    model = onnx.load_model_from_string(data)
    model.opset_import.append(helper.make_opsetid("own", 1))
    with pytest.raises(InputError, match="domain 'own' are not read"):
        read_onnx(model.SerializeToString(), "controller.onnx")
    for domain in ("", "ai.onnx"):
        model.functions[0].domain = domain
        model.graph.node[0].domain = ""
        with pytest.raises(InputError):
            read_onnx(model.SerializeToString(), "controller.onnx")


def test_only_what_the_chosen_output_needs_is_read() -> None:
    nodes = [
        MATMUL,
        helper.make_node("Softmax", ["h"], ["value"]),
        helper.make_node("Tanh", ["h"], ["actions"]),
    ]
    data = graph_file(nodes, W, outputs=("value", "actions"))
    file = read_onnx(data, "controller.onnx", "actions")
    assert file.policy.head.squash is Squash.TANH
    assert file.interface.output == "actions"
    with pytest.raises(InputError, match="node 1 'Softmax'"):
        read_onnx(data, "controller.onnx", "value")
    with pytest.raises(InputError, match="no output 'mean'"):
        read_onnx(data, "controller.onnx", "mean")


def test_a_sparse_constant_is_checked_and_read() -> None:
    values = numpy_helper.from_array(np.float32([1, 2, 3]), "w")
    model = onnx.load_model_from_string(graph_file([MATMUL], W, outputs=("h",)))
    del model.graph.initializer[:]
    for indices, good in (([1, 4, 6], True), ([4, 1, 6], False), ([1, 4, 8], False)):
        sparse = helper.make_sparse_tensor(
            values, numpy_helper.from_array(np.array(indices, np.int64)), [4, 2]
        )
        del model.graph.sparse_initializer[:]
        model.graph.sparse_initializer.append(sparse)
        if good:
            file = read_onnx(model.SerializeToString(), "controller.onnx")
            expected = np.zeros(8)
            expected[indices] = [1, 2, 3]
            np.testing.assert_array_equal(file.policy.layers[0].weight.T.reshape(-1), expected)
        else:
            with pytest.raises(InputError):
                read_onnx(model.SerializeToString(), "controller.onnx")


def test_a_double_precision_file_of_float32_numbers_is_read() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(4, 2)).astype(np.float32).astype(np.float64)
    nodes = [
        helper.make_node("Cast", ["x"], ["d"], to=TensorProto.DOUBLE),
        helper.make_node("MatMul", ["d", "w"], ["e"]),
        helper.make_node("Tanh", ["e"], ["f"]),
        helper.make_node("Cast", ["f"], ["y"], to=TensorProto.FLOAT),
    ]
    data = graph_file(nodes, {"w": weight})
    file = read_onnx(data, "controller.onnx")
    obs = rng.normal(size=(20, 4)).astype(np.float32)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    expected = [session.run(None, {"x": row[None]})[0][0] for row in obs]
    np.testing.assert_allclose(expected, file.policy.outputs(obs), atol=1e-6)


@pytest.mark.parametrize("op", ["Max", "Min"])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_extreme_of_any_number_of_constants_is_that_of_onnx_runtime(
    op: str, count: int
) -> None:
    rng = np.random.default_rng(count)
    given = {f"c{k}": rng.normal(size=(4, 2)).astype(np.float32) for k in range(count)}
    # Behind a node of its own, so that the arrays are not those of the file.
    nodes = [helper.make_node("Neg", [name], [f"{name}n"]) for name in given]
    nodes.append(helper.make_node(op, [f"{name}n" for name in given], ["w"]))
    nodes.append(helper.make_node("MatMul", ["x", "w"], ["y"]))
    data = graph_file(nodes, given)
    obs = rng.normal(size=(5, 4)).astype(np.float32)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    expected = [session.run(None, {"x": row[None]})[0][0] for row in obs]
    policy = read_onnx(data, "controller.onnx").policy
    np.testing.assert_allclose(expected, policy.outputs(obs), atol=1e-5)


def test_names_of_several_lines_and_types_that_do_not_exist_are_refused_in_one_line() -> None:
    model = onnx.load_model_from_string(after_matmul("Softmax"))
    model.graph.node[1].name = "two\nlines"
    with pytest.raises(InputError, match="node 1 'Softmax'") as caught:
        read_onnx(model.SerializeToString(), "controller.onnx")
    assert "\n" not in str(caught.value)
    model.graph.input[0].type.tensor_type.elem_type = 99
    with pytest.raises(InputError) as caught:
        read_onnx(model.SerializeToString(), "controller.onnx")
    assert "\n" not in str(caught.value)


def test_a_graph_of_a_million_nodes_is_refused_before_it_is_checked() -> None:
    graph = Graph()
    x = "obs"
    for _ in range(MAX_NODES + 1):
        x = graph.node("Relu", x)
    # So many nodes have so many fields, which are counted before anything is parsed.
    with pytest.raises(InputError, match=f"more than the {MAX_FIELDS} fields allowed"):
        read_onnx(graph.file({x: ("N", 4)}, {"obs": ("N", 4)}), "controller.onnx")


def test_a_part_that_is_not_read_must_hold_numbers_as_well() -> None:
    graph = Graph()
    actions = graph.dense("obs", np.ones((2, 4)))
    value = graph.dense("obs", np.full((1, 4), np.nan))
    data = graph.file({actions: ("N", 2), value: ("N", 1)}, {"obs": ("N", 4)})
    with pytest.raises(InputError, match="must hold numbers, has NaN"):
        read_onnx(data, "controller.onnx", actions)


@pytest.mark.parametrize("op", ["LayerNormalization", "GRU", "LSTM", "Softmax", "HardSwish"])
def test_an_unknown_operator_of_another_output_does_not_matter(op: str) -> None:
    graph = Graph()
    actions, strange = graph.dense("obs", np.ones((2, 4))), graph.name()
    graph.nodes.append(
        helper.make_node(op, ["obs"] * (3 if op in ("GRU", "LSTM") else 1), [strange])
    )
    if op == "LayerNormalization":
        graph.nodes[-1].input.append(graph.constant(np.ones(4)))
    data = graph.file({actions: ("N", 2), strange: ("N", 4)}, {"obs": ("N", 4)})
    assert read_onnx(data, "controller.onnx", actions).policy.num_outputs == 2


@pytest.mark.parametrize(
    ("size", "copies", "message"),
    [
        (MAX_SENSORS + 1, 1, f"must have at most {MAX_SENSORS} sensors, has {MAX_SENSORS + 1}"),
        (2**12, 2**7, "'Expand'.* more than is read"),
        (2**12, 2**5, f"computes more than {MAX_SCALARS} numbers"),
    ],
)
def test_more_numbers_than_a_controller_has_are_refused(
    size: int, copies: int, message: str
) -> None:
    graph = Graph()
    x = graph.node("Expand", "obs", graph.whole(copies, size))
    x = graph.node("Tanh", graph.node("Tanh", x))
    data = graph.file({x: ("N", "M")}, {"obs": (1, size)})
    with pytest.raises(InputError, match=message):
        read_onnx(data, "controller.onnx")


@pytest.mark.parametrize(
    ("op", "hint"),
    [
        ("Softmax", "choose the logits before it with --output"),
        ("RandomNormalLike", "choose the deterministic output with --output"),
        ("RNN", "of recurrent cells GRU and LSTM are read"),
        ("QuantizeLinear", "it is quantised, adopt the float32 original"),
    ],
)
def test_what_others_files_have_is_refused_with_what_to_do(op: str, hint: str) -> None:
    inputs = ("h",) * {"RNN": 3, "QuantizeLinear": 2}.get(op, 1)
    with pytest.raises(InputError, match=f"{op}.*not in the controller operator set: .*{hint}"):
        read_onnx(after_matmul(op, inputs), "controller.onnx")
