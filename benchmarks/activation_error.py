"""Worst error of each runtime's smooth activations in float32, against float64: what TAU is from.

    python benchmarks/activation_error.py --stride 1 --out activation_error.json

Stride 1 visits every float32 of magnitude 2^-40 to 32, both signs: some 750 million, a few minutes
each. Below, the functions are linear to within float32; beyond, saturated or linear. Errors are in
units of 2^-24, for SiLU and softplus divided by max(1, |x|). "c" is the NumPy twin of the generated
C, which has its bits; "c-fine" and "c-coarse" are tanh and sigmoid of lower grades, which must not
leave the range of the function either. Run it once per ONNX Runtime build and instruction set.
"""

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from scipy.special import expit

from surefoot.policy import Activation, Array
from surefoot.runtime.arithmetic import TAU, UNIT_ROUNDOFF, Grade
from surefoot.runtime.c_activations import C_TAU, c_tau, twin
from surefoot.runtime.c_grades import is_graded
from surefoot.runtime.machine import machine_facts

Function = Callable[[Array], Array]
REAL: dict[Activation, Function] = {
    Activation.TANH: np.tanh,
    Activation.SIGMOID: expit,
    Activation.SILU: lambda x: x * expit(x),
    Activation.ELU: lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    Activation.SOFTPLUS: lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
}
GROWING = (Activation.SILU, Activation.SOFTPLUS)
BLOCK = 1 << 20
LOWER = {"c-fine": Grade.FINE, "c-coarse": Grade.COARSE}
RUNTIMES = ("numpy", "onnx", "c", *LOWER)


def onnx_activation(activation: Activation) -> Function:
    """Return the activation as ONNX Runtime computes it on one thread."""
    kind = onnx.TensorProto.FLOAT
    name = "Sigmoid" if activation is Activation.SILU else activation.value.capitalize()
    nodes = [onnx.helper.make_node(name, ["x"], ["y"])]
    if activation is Activation.SILU:
        nodes.append(onnx.helper.make_node("Mul", ["x", "y"], ["z"]))
    graph = onnx.helper.make_graph(
        nodes,
        "activation",
        [onnx.helper.make_tensor_value_info("x", kind, ["N"])],
        [onnx.helper.make_tensor_value_info(nodes[-1].output[0], kind, ["N"])],
    )
    opset = onnx.helper.make_opsetid("", 17)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda x: session.run(None, {"x": x})[0]


def worst_error(activation: Activation, function: Function, stride: int) -> dict[str, float]:
    """Return the largest error in units of 2^-24, where it is, and the largest magnitude."""
    low, high = (int(bits) for bits in np.float32([2.0**-40, 32]).view(np.uint32))
    worst, place, reach = 0.0, 0.0, 0.0
    for start in range(low, high, BLOCK * stride):
        bits = np.arange(start, min(start + BLOCK * stride, high), stride, dtype=np.uint32)
        for x in (bits.view(np.float32), -bits.view(np.float32)):
            exact, found = REAL[activation](x.astype(np.float64)), function(x).astype(np.float64)
            error = np.abs(found - exact) / UNIT_ROUNDOFF
            if activation in GROWING:
                error /= np.maximum(1, np.abs(x))
            reach = max(reach, float(np.abs(found).max()))
            if error.max() > worst:
                worst, place = float(error.max()), float(x[error.argmax()])
    return {"error": worst, "at": place, "largest_value": reach}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stride", type=int, default=97)
    parser.add_argument("--activation", choices=[entry.value for entry in REAL], action="append")
    parser.add_argument("--runtime", choices=RUNTIMES, action="append")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    result = {
        "stride": arguments.stride,
        "allowed": TAU / UNIT_ROUNDOFF,
        "allowed_c": C_TAU / UNIT_ROUNDOFF,
        **{f"allowed_{name}": c_tau(grade) / UNIT_ROUNDOFF for name, grade in LOWER.items()},
        "worst": {},
    }
    for name in arguments.activation or [entry.value for entry in REAL]:
        activation = Activation(name)
        functions = {
            "numpy": activation,
            "onnx": onnx_activation(activation),
            "c": partial(twin, activation),
        }
        functions |= {
            runtime: partial(twin, activation, grade=grade)
            for runtime, grade in LOWER.items()
            if is_graded(activation, grade)
        }
        result["worst"][name] = {
            runtime: worst_error(activation, functions[runtime], arguments.stride)
            for runtime in arguments.runtime or functions
            if runtime in functions
        }
        print(name, result["worst"][name], file=sys.stderr)
    result["machine"] = machine_facts()
    text = json.dumps(result, indent=2) + "\n"
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
