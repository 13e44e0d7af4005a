"""Laws of `surefoot.onnx_file`: the file computes the policy, and nothing else can be read.

Also of ``onnx_file/controller.py``, ``onnx_file/folder.py``, ``onnx_file/graph.py`` and
``onnx_file/read.py``.
"""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from support.policies import random_policy
from surefoot.errors import InputError, IntegrityError
from surefoot.onnx_file import (
    INPUT,
    OUTPUT,
    POLICY_FILE,
    STATE,
    cut_at_state,
    load_policy,
    policy_from_onnx,
    policy_to_onnx,
    read_path,
    save_policy,
)
from surefoot.policy import (
    Activation,
    Array,
    CategoricalHead,
    Normaliser,
    Policy,
    Squash,
    weights_sha256,
)

HIDDEN = [activation for activation in Activation if activation is not Activation.IDENTITY]
EVERY_KIND = [
    (activation, squash, clip)
    for activation in Activation
    for squash in (*Squash, None)
    for clip in (10.0, math.inf)
]


def on_runtime(data: bytes, values: Array, name: str = INPUT) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run([OUTPUT], {name: values.astype(np.float32)})[0]


# --- the file is the policy ------------------------------------------------------------------


@pytest.mark.parametrize(("activation", "squash", "clip"), EVERY_KIND)
def test_onnx_runtime_and_the_onnx_reference_compute_the_policy(
    activation: Activation, squash: Squash | None, clip: float
) -> None:
    rng = np.random.default_rng(1)
    policy = random_policy(rng, (5, 16, 8, 3), activation, squash, clip)
    data = policy_to_onnx(policy)
    obs = rng.normal(0, 3, (50, 5)).astype(np.float32)
    expected = policy.outputs(obs)
    np.testing.assert_allclose(on_runtime(data, obs), expected, rtol=2e-5, atol=2e-5)
    reference = ReferenceEvaluator(onnx.load_model_from_string(data)).run(None, {INPUT: obs})[0]
    np.testing.assert_allclose(reference, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(("activation", "squash", "clip"), EVERY_KIND)
def test_writing_then_reading_is_the_identity(
    activation: Activation, squash: Squash | None, clip: float
) -> None:
    policy = random_policy(np.random.default_rng(2), (5, 6, 4, 3), activation, squash, clip)
    metadata = {"env": {"id": "Hopper-v5", "dt": 0.1 + 0.2}, "note": 'ünï "quoted"\n'}
    data = policy_to_onnx(policy, metadata)
    file = policy_from_onnx(data)
    assert file.data == data
    assert weights_sha256(file.policy) == weights_sha256(policy)
    assert file.metadata["weights_sha256"] == weights_sha256(policy)
    assert {key: file.metadata[key] for key in metadata} == metadata
    assert policy_to_onnx(file.policy, file.metadata) == data


@pytest.mark.parametrize("start", [-1, 0, 7])
def test_the_number_of_the_first_choice_is_read_back_and_held_by_the_digest(start: int) -> None:
    policy = random_policy(np.random.default_rng(2), (5, 6, 3), squash=None)
    head = CategoricalHead(num_actions=3, start=start)
    data = policy_to_onnx(dataclasses.replace(policy, head=head))
    file = policy_from_onnx(data)
    assert file.policy.head == head
    assert policy_to_onnx(file.policy, file.metadata) == data
    for other in {-1, 0, 1, 7} - {start}:
        more = f', "start": {other}' if other else ""
        text = '{"kind": "categorical", "num_actions": 3' + more + "}"
        with pytest.raises(IntegrityError, match="which is not that of its weights"):
            policy_from_onnx(forged(data, "surefoot.head", text))


@pytest.mark.parametrize("start", ["0", "true", "1.0", '"1"', "null", "[1]"])
def test_a_first_choice_that_is_no_written_number_is_refused(start: str) -> None:
    data = policy_to_onnx(random_policy(np.random.default_rng(2), (5, 6, 3), squash=None))
    text = '{"kind": "categorical", "num_actions": 3, "start": ' + start + "}"
    with pytest.raises(InputError, match=r"'surefoot\.head' does not fit the graph"):
        policy_from_onnx(forged(data, "surefoot.head", text))


def multiplying(policy: Policy, rng: np.random.Generator) -> Policy:
    """Return the policy with a normaliser that multiplies, as brax and JAX write it."""
    factor = rng.uniform(0.3, 3, policy.obs_dim).astype(np.float32)
    mean, clip = policy.normaliser.mean, policy.normaliser.clip
    return dataclasses.replace(policy, normaliser=Normaliser.multiplying(mean, factor, clip))


@pytest.mark.parametrize("clip", [5.0, math.inf])
def test_a_normaliser_that_multiplies_is_written_as_it_computes(clip: float) -> None:
    rng = np.random.default_rng(7)
    sizes, tanh = (5, 6, 3), Activation.TANH
    policy = multiplying(random_policy(rng, sizes, tanh, Squash.IDENTITY, clip), rng)
    data = policy_to_onnx(policy)
    file = policy_from_onnx(data)
    assert policy_to_onnx(file.policy, file.metadata) == data
    assert weights_sha256(file.policy) == weights_sha256(policy)
    np.testing.assert_array_equal(file.policy.normaliser.scale, policy.normaliser.scale)
    obs = rng.normal(0, 3, (200, 5)).astype(np.float32)
    state = (obs - policy.normaliser.mean) * policy.normaliser.factor
    expected = np.clip(state, -clip, clip)
    np.testing.assert_array_equal(file.policy.state(obs, np.float32), expected)
    whole, cut = on_runtime(data, obs), on_runtime(cut_at_state(data), expected, STATE)
    np.testing.assert_array_equal(whole, cut)


def test_multiplying_and_dividing_are_two_policies() -> None:
    policy = random_policy(np.random.default_rng(8), (4, 6, 2))
    powers = np.array([0.25, 0.5, 2.0, 4.0], np.float32)
    mean, clip = policy.normaliser.mean, policy.normaliser.clip
    normalisers = (
        Normaliser(mean=mean, scale=1 / powers, clip=clip),
        Normaliser.multiplying(mean, powers, clip),
    )
    both = [dataclasses.replace(policy, normaliser=normaliser) for normaliser in normalisers]
    obs = np.random.default_rng(9).normal(0, 3, (50, 4)).astype(np.float32)
    np.testing.assert_array_equal(*[each.outputs(obs, np.float32) for each in both])
    assert weights_sha256(both[0]) != weights_sha256(both[1])


def test_a_normaliser_does_not_divide_and_multiply() -> None:
    rng = np.random.default_rng(10)
    model = onnx.load_model_from_string(policy_to_onnx(random_policy(rng, (4, 6, 2))))
    model.graph.node[2].input[0] = "twice"
    model.graph.node.insert(2, helper.make_node("Mul", ["div_1", "obs_scale"], ["twice"]))
    with pytest.raises(InputError, match="'Mul': does not fit normaliser"):
        policy_from_onnx(model.SerializeToString())


def test_every_array_is_read_back_bit_for_bit_and_pruned_weights_as_plus_zero() -> None:
    policy = random_policy(np.random.default_rng(3), (5, 16, 3))
    layers = tuple(
        dataclasses.replace(layer, weight=np.where(layer.weight == 0, -0.0, layer.weight))
        for layer in policy.layers
    )
    read = policy_from_onnx(policy_to_onnx(dataclasses.replace(policy, layers=layers))).policy
    for mine, theirs in zip(policy.layers, read.layers, strict=True):
        assert mine.weight.tobytes() == theirs.weight.tobytes()
        assert mine.bias.tobytes() == theirs.bias.tobytes()
    assert read.sparsity == policy.sparsity > 0


def test_the_dtype_that_holds_a_policy_does_not_change_its_file() -> None:
    policy = random_policy(np.random.default_rng(4), (4, 6, 2))
    layers = tuple(
        dataclasses.replace(layer, weight=layer.weight.astype(np.float64))
        for layer in policy.layers
    )
    assert policy_to_onnx(dataclasses.replace(policy, layers=layers)) == policy_to_onnx(policy)


@pytest.mark.parametrize("value", [0.1, 1e300])
def test_a_value_that_float32_cannot_hold_is_refused(value: float) -> None:
    policy = random_policy(np.random.default_rng(5), (4, 2))
    weight = policy.layers[0].weight.astype(np.float64)
    weight[0, 1] = value
    layers = (dataclasses.replace(policy.layers[0], weight=weight),)
    with pytest.raises(InputError, match=r"weight_1 must hold float32 values, got .*; rounding"):
        policy_to_onnx(dataclasses.replace(policy, layers=layers))


def test_metadata_that_json_cannot_hold_are_refused() -> None:
    with pytest.raises(InputError, match="metadata must be JSON values"):
        policy_to_onnx(random_policy(np.random.default_rng(6), (4, 2)), {"dt": math.nan})


def test_names_shapes_and_versions_are_those_that_are_promised() -> None:
    model = onnx.load_model_from_string(
        policy_to_onnx(random_policy(np.random.default_rng(7), (4, 2)))
    )
    assert [value.name for value in model.graph.input] == ["obs"]
    assert [value.name for value in model.graph.output] == ["actions"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    assert (model.ir_version, model.opset_import[0].version) == (8, 17)


# --- the graph from the state on -------------------------------------------------------------


@pytest.mark.parametrize("squash", [*Squash, None])
@pytest.mark.parametrize("clip", [1.0, math.inf])
def test_the_graph_cut_at_the_state_is_the_tail_of_the_file_bit_for_bit(
    squash: Squash | None, clip: float
) -> None:
    rng = np.random.default_rng(8)
    policy = random_policy(rng, (5, 16, 3), Activation.TANH, squash, clip)
    data, obs = policy_to_onnx(policy), rng.normal(0, 3, (50, 5))
    state = policy.state(obs, np.float32)
    assert np.array_equal(on_runtime(cut_at_state(data), state, STATE), on_runtime(data, obs))


def test_a_perturbed_state_is_not_clipped_again() -> None:
    rng = np.random.default_rng(9)
    policy = random_policy(rng, (5, 16, 3), squash=Squash.IDENTITY, clip=1.0)
    beyond = rng.choice([-1.5, 1.5], (20, 5))
    outputs = on_runtime(cut_at_state(policy_to_onnx(policy)), beyond, STATE)
    np.testing.assert_allclose(outputs, policy.outputs_at(beyond), rtol=2e-5, atol=2e-5)
    clipped = policy.outputs_at(np.clip(beyond, -1, 1))
    assert np.abs(outputs - clipped).max() > 1e-2


def test_only_a_canonical_file_is_cut() -> None:
    data = policy_to_onnx(random_policy(np.random.default_rng(10), (4, 6, 2)))

    def rename(model: onnx.ModelProto, old: str, new: str) -> None:
        for node in model.graph.node:
            for names in (node.input, node.output):
                names[:] = [new if name == old else name for name in names]

    def state_is_elsewhere(model: onnx.ModelProto) -> None:
        rename(model, STATE, "other")
        rename(model, next(n.output[0] for n in model.graph.node if n.op_type == "Gemm"), STATE)

    def state_is_not_scaled_yet(model: onnx.ModelProto) -> None:
        rename(model, STATE, "other")
        rename(model, first(model, "Sub").output[0], STATE)

    changes = (
        lambda model: rename(model, STATE, "other"),
        state_is_elsewhere,
        state_is_not_scaled_yet,
    )
    for change in changes:
        with pytest.raises(InputError, match="no tensor 'state' after a normaliser"):
            cut_at_state(edited(data, change))
    with pytest.raises(InputError, match="not a valid ONNX file"):
        cut_at_state(b"no file")


# --- folders ---------------------------------------------------------------------------------


def test_saving_then_loading_a_policy_folder_is_the_identity(tmp_path: Path) -> None:
    policy = random_policy(np.random.default_rng(11), (4, 6, 2))
    facts, inputs, extra = {"steps": 7}, {"dense": "0" * 64}, {"curves.json": b"{}"}
    data = save_policy(tmp_path / "policy", policy, facts=facts, inputs=inputs, extra_files=extra)
    file, artifact = load_policy(tmp_path / "policy")
    assert file.data == data == policy_to_onnx(policy)
    assert (artifact.facts, artifact.inputs) == (facts, inputs)
    assert artifact.files["curves.json"] == b"{}"
    for path in (tmp_path, tmp_path / "policy", tmp_path / "policy" / POLICY_FILE):
        assert read_path(path).data == data


def test_a_policy_folder_with_a_missing_truncated_or_tampered_file_is_refused(
    tmp_path: Path,
) -> None:
    data = save_policy(tmp_path, random_policy(np.random.default_rng(12), (4, 6, 2)))
    (tmp_path / POLICY_FILE).write_bytes(data[:-1])
    with pytest.raises(IntegrityError, match=f"{POLICY_FILE} is not the file"):
        load_policy(tmp_path)
    (tmp_path / POLICY_FILE).write_bytes(data[:500] + bytes([data[500] ^ 1]) + data[501:])
    with pytest.raises(IntegrityError, match=f"{POLICY_FILE} is not the file"):
        read_path(tmp_path)
    (tmp_path / POLICY_FILE).unlink()
    with pytest.raises(IntegrityError, match=f"{POLICY_FILE} is missing"):
        load_policy(tmp_path)


def test_a_path_that_holds_no_controller_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.onnx"):
        with pytest.raises(InputError, match=r"is not a run, policy folder, bundle or \.onnx file"):
            read_path(path)


# --- what is refused -------------------------------------------------------------------------


Edit = Callable[[onnx.ModelProto], object]


def edited(data: bytes, change: Edit) -> bytes:
    """Return a file with one thing changed and no metadata of ours, as a stranger would send it."""
    model = onnx.load_model_from_string(data)
    model.producer_name = "somebody"
    del model.metadata_props[:]
    change(model)
    return model.SerializeToString()


def constant(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def set_constant(name: str, array: ArrayLike) -> Edit:
    def change(model: onnx.ModelProto) -> None:
        tensor = numpy_helper.from_array(np.asarray(array, np.float32), name)
        constant(model, name).CopyFrom(tensor)

    return change


def first(model: onnx.ModelProto, op: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == op)


def set_attribute(op: str, name: str, value: float) -> Edit:
    def change(model: onnx.ModelProto) -> None:
        kept = [entry for entry in first(model, op).attribute if entry.name != name]
        del first(model, op).attribute[:]
        first(model, op).attribute.extend([*kept, helper.make_attribute(name, value)])

    return change


def set_metadata(key: str, text: str) -> Edit:
    def change(model: onnx.ModelProto) -> None:
        entry = model.metadata_props.add()
        entry.key, entry.value = f"surefoot.{key}", text

    return change


def softmax(model: onnx.ModelProto) -> None:
    node = first(model, "Tanh")
    node.op_type = "Softmax"


def custom_domain(model: onnx.ModelProto) -> None:
    first(model, "Tanh").domain = "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def external_data(model: onnx.ModelProto) -> None:
    tensor = constant(model, "weight_1")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"


def short_data(model: onnx.ModelProto) -> None:
    tensor = constant(model, "bias_1")
    tensor.ClearField("raw_data")
    tensor.float_data.extend([1.0])


def double_weight(model: onnx.ModelProto) -> None:
    weight = numpy_helper.to_array(constant(model, "weight_1")).astype(np.float64)
    constant(model, "weight_1").CopyFrom(numpy_helper.from_array(weight, "weight_1"))


def second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("command", TensorProto.FLOAT, ["N", 4]))


def second_output(model: onnx.ModelProto) -> None:
    info = helper.make_tensor_value_info(STATE, TensorProto.FLOAT, ["N", 4])
    model.graph.output.append(info)


def constant_as_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("bias_1", TensorProto.FLOAT, [6]))


def constant_named_as_the_input(model: onnx.ModelProto) -> None:
    """The reader would see the mean; a runtime subtracts the observation from itself."""
    mean = numpy_helper.to_array(constant(model, "obs_mean"))
    constant(model, "obs_mean").CopyFrom(numpy_helper.from_array(mean[None], INPUT))
    first(model, "Sub").input[1] = INPUT


def add_two_values(model: onnx.ModelProto) -> None:
    first(model, "Add").input[1] = first(model, "Mul").input[0]


def output_before_the_end(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = first(model, "Mul").output[0]


def no_bias(model: onnx.ModelProto) -> None:
    del first(model, "Gemm").input[2]


def gate_by_another_value(model: onnx.ModelProto) -> None:
    """x * sigmoid(y) instead of SiLU's x * sigmoid(x)."""
    position = [node.op_type for node in model.graph.node].index("Tanh")
    tanh = model.graph.node[position]
    value = tanh.input[0]
    product = helper.make_node("Mul", [value, "gate"], [tanh.output[0]])
    tanh.op_type, tanh.input[0], tanh.output[0] = "Sigmoid", "bias_1", "gate"
    model.graph.node.insert(position + 1, product)


def activation_before_the_layers(model: onnx.ModelProto) -> None:
    first(model, "Div").op_type = "Relu"
    del first(model, "Relu").input[1]


def squash_to_two(model: onnx.ModelProto) -> None:
    set_constant("clip_6_low", -2.0)(model)
    set_constant("clip_6_high", 2.0)(model)


def dimension(of: str, size: int) -> Edit:
    def change(model: onnx.ModelProto) -> None:
        value = getattr(model.graph, of)[0]
        value.type.tensor_type.shape.dim[1].dim_value = size

    return change


def integer_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64


def opset(version: int) -> Edit:
    def change(model: onnx.ModelProto) -> None:
        model.opset_import[0].version = version

    return change


def weight_with(value: float) -> Edit:
    def change(model: onnx.ModelProto) -> None:
        weight = np.array(numpy_helper.to_array(constant(model, "weight_2")))
        weight[0, 0] = value
        set_constant("weight_2", weight)(model)

    return change


STRANGE = [
    ("softmax", softmax, "node 4 'Softmax': not in the controller operator set"),
    ("custom domain", custom_domain, "node 4 'Tanh': not in the controller operator set"),
    ("nan weight", weight_with(np.nan), "constant 'weight_2' must be finite, has NaN"),
    ("infinite weight", weight_with(-np.inf), "constant 'weight_2' must be finite, has NaN"),
    (
        "shortened bias",
        set_constant("bias_1", [0.0] * 5),
        r"bias must have shape \(6,\), got \(5,\)",
    ),
    ("narrow weight", set_constant("weight_1", np.ones((6, 3))), r"shape \[N, 3\], got \[0, 4\]"),
    (
        "layers that do not fit",
        set_constant("weight_2", np.ones((2, 5))),
        r"layer 2 must take 6 inputs, its weight has shape \(2, 5\)",
    ),
    ("weight of three dimensions", set_constant("weight_1", np.ones((6, 4, 1))), "two dimensions"),
    (
        "mean over the batch",
        set_constant("obs_mean", np.zeros((4, 1))),
        r"node 0 'Sub': constant must have 4 entries, has shape \(4, 1\)",
    ),
    ("mean of three dimensions", set_constant("obs_mean", np.zeros((1, 1, 4))), r"\(1, 1, 4\)"),
    ("clip by a vector", set_constant("clip_2_low", [-10.0] * 4), "node 2 'Clip': must have"),
    ("lopsided clip", set_constant("clip_2_low", -9.0), r"symmetric, got \[-9.0, 10.0\]"),
    ("scale of zero", set_constant("obs_scale", [1.0, 0, 1, 1]), "scale must be positive, got 0"),
    ("squash to [-2, 2]", squash_to_two, r"'Clip': the squash of an action must clip to \[-1, 1\]"),
    ("two inputs", second_input, "must have one input and one output, has 2 and 1"),
    ("two outputs", second_output, "must have one input and one output, has 1 and 2"),
    ("constant that can be overridden", constant_as_input, "one input and one output, has 2"),
    ("constant named as the input", constant_named_as_the_input, "'obs' is a constant as well"),
    ("external data", external_data, "weight_1"),
    ("data too short", short_data, "tensor name: bias_1"),
    ("double weight", double_weight, r"'weight_1' must be FLOAT \(1\), has type 11"),
    ("sum of two values", add_two_values, "'Add': every input but the first must be a constant"),
    ("output before the end", output_before_the_end, "the chain must end in the output"),
    ("no bias", no_bias, "'Gemm': must have a weight and a bias"),
    ("gate by another value", gate_by_another_value, "'Sigmoid': must take the result of the node"),
    ("activation first", activation_before_the_layers, "does not fit normaliser, layers"),
    ("transposed weight", set_attribute("Gemm", "transB", 0), "transB = 0 is not read"),
    ("transposed input", set_attribute("Gemm", "transA", 1), "transA = 1 is not read"),
    ("alpha", set_attribute("Gemm", "alpha", 2.0), "alpha = 2.0 is not read"),
    ("beta", set_attribute("Gemm", "beta", 0.5), "beta = 0.5 is not read"),
    ("input size", dimension("input", 5), r"input must be float32 of shape \[N, 4\], got \[0, 5\]"),
    ("huge input", dimension("input", 2**45), r"input must be float32 of shape \[N, 4\]"),
    ("output size", dimension("output", 3), r"output must be float32 of shape \[N, 2\]"),
    ("output type", integer_output, r"output must be float32 of shape \[N, 2\]"),
    ("old opset", opset(9), "ONNX file"),
    ("unknown opset", opset(99), r"opset must be 11 to 26, got \[99\]"),
    ("training graph", lambda model: model.training_info.add(), "training graphs"),
    ("head of another kind", set_metadata("head", '{"kind": "beta"}'), "'surefoot.head' does not"),
    ("std of another size", set_metadata("head", '{"kind": "gaussian", "std": [0.1]}'), "head"),
    ("std in words", set_metadata("head", '{"kind": "gaussian", "std": ["a", "b"]}'), "head"),
    ("start of actuators", set_metadata("head", '{"kind": "gaussian", "start": 1}'), "head"),
    (
        "logits that are squashed",
        set_metadata("head", '{"kind": "categorical", "num_actions": 2}'),
        "logits of a categorical head must not be transformed",
    ),
]


def one_line(error: InputError | IntegrityError) -> bool:
    return bool(str(error)) and "\n" not in str(error)


@pytest.mark.parametrize(
    ("change", "message"), [pytest.param(*case[1:], id=case[0]) for case in STRANGE]
)
def test_what_is_no_controller_is_refused_by_name_in_one_line(change: Edit, message: str) -> None:
    policy = random_policy(np.random.default_rng(13), (4, 6, 2), Activation.TANH)
    with pytest.raises(InputError, match=message) as caught:
        policy_from_onnx(edited(policy_to_onnx(policy), change), "it.onnx")
    assert one_line(caught.value)


def test_an_elu_of_another_slope_is_refused() -> None:
    data = policy_to_onnx(random_policy(np.random.default_rng(13), (4, 6, 2), Activation.ELU))
    policy_from_onnx(edited(data, set_attribute("Elu", "alpha", 1.0)))
    with pytest.raises(InputError, match=r"'Elu': attribute alpha = 2\.0 is not read"):
        policy_from_onnx(edited(data, set_attribute("Elu", "alpha", 2.0)))


@pytest.mark.parametrize("head", [None, '{"kind": "gaussian", "std": null}'])
def test_a_stranger_s_file_that_names_no_noise_has_none(head: str | None) -> None:
    ours = policy_to_onnx(random_policy(np.random.default_rng(14), (3, 4, 2)))
    change = set_metadata("head", head) if head else lambda model: None
    policy = policy_from_onnx(edited(ours, change)).policy
    assert policy.head.std is None
    written = policy_from_onnx(policy_to_onnx(policy))
    assert written.policy.head.std is None
    assert weights_sha256(written.policy) == weights_sha256(policy)
    noisy = dataclasses.replace(policy, head=dataclasses.replace(policy.head, std=np.ones(2)))
    assert weights_sha256(noisy) != weights_sha256(policy)


def test_a_stranger_s_file_without_metadata_is_read_with_its_graph_alone() -> None:
    policy = random_policy(np.random.default_rng(14), (4, 6, 2))
    file = policy_from_onnx(edited(policy_to_onnx(policy), lambda model: None))
    obs = np.random.default_rng(15).normal(size=(9, 4))
    assert np.array_equal(file.policy.outputs(obs), policy.outputs(obs))
    assert file.metadata == {}


def test_scalars_and_rows_broadcast_as_onnx_says() -> None:
    policy = random_policy(np.random.default_rng(16), (4, 6, 2))

    def change(model: onnx.ModelProto) -> None:
        set_constant("obs_mean", 0.5)(model)
        set_constant("obs_scale", [[1.0, 2.0, 3.0, 4.0]])(model)

    data = edited(policy_to_onnx(policy), change)
    obs = np.random.default_rng(17).normal(size=(9, 4)).astype(np.float32)
    outputs = policy_from_onnx(data).policy.outputs(obs)
    np.testing.assert_allclose(outputs, on_runtime(data, obs), rtol=2e-5, atol=2e-5)


def forged(data: bytes, key: str, text: str) -> bytes:
    model = onnx.load_model_from_string(data)
    for entry in model.metadata_props:
        if entry.key == key:
            entry.value = text
    return model.SerializeToString()


@pytest.mark.parametrize("text", ['"' + "0" * 64 + '"', '"a\\nb"', "[1]", "{}"])
def test_a_forged_weights_digest_is_refused(text: str) -> None:
    data = policy_to_onnx(random_policy(np.random.default_rng(18), (4, 2)))
    with pytest.raises(IntegrityError, match=r"names weights_sha256 .*its weights") as caught:
        policy_from_onnx(forged(data, "surefoot.weights_sha256", text))
    assert one_line(caught.value)


@pytest.mark.parametrize("text", ["", "{", "NaN", "1" * 5000, "[" * 100_000, '{"a": 1, "a": 2}'])
def test_damaged_metadata_are_refused(text: str) -> None:
    data = policy_to_onnx(random_policy(np.random.default_rng(19), (4, 2)), {"env": {}})
    with pytest.raises(IntegrityError, match=r"metadata 'surefoot\.env' is not valid") as caught:
        policy_from_onnx(forged(data, "surefoot.env", text))
    assert one_line(caught.value)


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused(garbage: bytes) -> None:
    with pytest.raises(InputError, match="not a valid ONNX file") as caught:
        policy_from_onnx(garbage)
    assert one_line(caught.value)


# --- damage ----------------------------------------------------------------------------------


def reads_the_same_or_is_refused(data: bytes, digest: str) -> bool:
    """Return whether it reads as the same policy; any other policy or exception fails the test."""
    try:
        file, message = policy_from_onnx(data), "read"
    except (InputError, IntegrityError) as error:
        file, message = None, str(error)
    assert message
    assert "\n" not in message
    assert file is None or weights_sha256(file.policy) == digest
    return file is not None


DAMAGED = [(Activation.SILU, Squash.CLIP), (Activation.ELU, Squash.TANH), (Activation.RELU, None)]


@pytest.mark.parametrize(("activation", "squash"), DAMAGED)
def test_a_flipped_byte_anywhere_reads_the_same_or_is_refused(
    activation: Activation, squash: Squash | None
) -> None:
    policy = random_policy(np.random.default_rng(21), (2, 2, 2), activation, squash)
    data, digest = policy_to_onnx(policy, {"env": {"id": "x"}}), weights_sha256(policy)
    outcomes = [
        reads_the_same_or_is_refused(data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :], digest)
        for at in range(len(data))
        for flip in (1 << at % 8, 1 << (3 * at + 5) % 8)  # each bit of a byte in its turn
    ]
    # Both happen: names of nodes mean nothing, weights and structure do.
    assert 0 < np.mean(outcomes) < 0.5


@pytest.mark.parametrize(("activation", "squash"), DAMAGED)
def test_a_truncated_file_is_refused_at_every_length(
    activation: Activation, squash: Squash | None
) -> None:
    policy = random_policy(np.random.default_rng(22), (2, 2, 2), activation, squash)
    data = policy_to_onnx(policy, {"env": {"id": "x"}})
    for length in range(len(data)):
        assert not reads_the_same_or_is_refused(data[:length], ""), length


@settings(max_examples=300)
@given(st.data())
def test_bytes_replaced_removed_or_inserted_read_the_same_or_are_refused(
    data: st.DataObject,
) -> None:
    activation, squash = data.draw(st.sampled_from(DAMAGED))
    policy = random_policy(np.random.default_rng(23), (2, 2, 2), activation, squash)
    whole = policy_to_onnx(policy)
    at = data.draw(st.integers(0, len(whole)))
    removed = data.draw(st.integers(0, 40))
    mutant = whole[:at] + data.draw(st.binary(max_size=12)) + whole[at + removed :]
    reads_the_same_or_is_refused(mutant, weights_sha256(policy))


@pytest.mark.parametrize(("activation", "squash"), DAMAGED[:2])
def test_whatever_is_read_of_a_damaged_stranger_is_what_onnx_runtime_computes(
    activation: Activation, squash: Squash
) -> None:
    rng = np.random.default_rng(24)
    policy = random_policy(rng, (2, 2, 2), activation, squash)
    data, obs = edited(policy_to_onnx(policy), lambda model: None), rng.normal(size=(4, 2))
    read = 0
    for at, flip in enumerate(1 << rng.integers(8, size=len(data))):
        damaged = data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :]
        try:
            file = policy_from_onnx(damaged)
        except InputError:
            continue
        name = onnx.load_model_from_string(damaged).graph.input[0].name
        session = onnxruntime.InferenceSession(damaged, providers=["CPUExecutionProvider"])
        outputs = session.run(None, {name: obs.astype(np.float32)})[0]
        # Damaged exponents overflow float32, in both.
        with np.errstate(over="ignore", invalid="ignore"):
            expected = file.policy.outputs(obs, np.float32)
        np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-4)
        read += 1
    assert read > 100
