"""The C text of a layer: its constant arrays, and the function that computes y = W x + b."""

from string import Template

import numpy as np

from surefoot.policy import Array
from surefoot.runtime.c_block_text import block_function
from surefoot.runtime.c_layers import BLOCK_ROWS, LANES, CLayer, Layout, c_type, padded


def constants(layer: CLayer) -> str:
    """Return the C text of a layer's arrays."""
    prefix = f"layer_{layer.number}"
    parts = [array(f"{prefix}_bias", layer.bias)]
    if len(layer.values):  # an array of length zero is not ISO C
        parts.append(array(f"{prefix}_value", layer.values))
        for name, table in (
            ("step", layer.steps),
            ("index", layer.indices),
            ("count", layer.counts),
            ("order", layer.order),
        ):
            if table is not None:
                parts.append(array(f"{prefix}_{name}", table))
    return "".join(parts)


def stores_once(layer: CLayer) -> bool:
    """Whether each output is complete when it is stored, so that a ReLU may go with it."""
    by_output = (Layout.DENSE_ROWS, Layout.CSR, *BLOCK_ROWS)
    return layer.layout in by_output and len(layer.values) > 0


def function(layer: CLayer, last: str = "") -> str:
    """Return the C function of a layer: y = W x + b.

    Args:
        layer: The layer.
        last: Function that is applied to each output; only where :func:`stores_once`.
    """
    if layer.layout in BLOCK_ROWS and len(layer.values):
        return block_function(layer, last)
    prefix = f"layer_{layer.number}"
    parts = ("bias", "value", "step", "index", "count", "order")
    names = {name: f"{prefix}_{name}" for name in parts}

    def weight(value: str, output: str) -> str:
        return value if layer.steps is None else f"((float){value} * {names['step']}[{output}])"

    by_rows = layer.layout is Layout.DENSE_ROWS
    outputs = [f"i + {lane}u" for lane in range(LANES)]
    target = "y[{}]" if by_rows else f"y[{names['order']}[{{}}]]"
    values = [
        f"{names['value']}[k + {lane * layer.fan_in}u]" if by_rows else f"w[{lane}]"
        for lane in range(LANES)
    ]
    sources = ["v" if by_rows else f"x[k[{lane}]]" for lane in range(LANES)]
    lanes = {
        "sums": [f"float s{n} = {names['bias']}[{o}];" for n, o in enumerate(outputs)],
        "adds": [f"s{n} += {weight(values[n], outputs[n])} * {sources[n]};" for n in range(LANES)],
        "stores": [f"{target.format(o)} = {last}(s{n});" for n, o in enumerate(outputs)],
    }
    body = _BODIES[layer.layout] if len(layer.values) else _BIAS_ONLY
    skip = _SKIPS[layer.layout] if layer.skip and len(layer.values) else ""
    whole = layer.fan_out - layer.fan_out % LANES
    if layer.layout is Layout.DENSE_ROWS and len(layer.values):
        body += (_WHOLE_ROWS if whole else "    i = 0u;\n") + _REST_OF_ROWS
    return Template(_FUNCTION + body.replace("$skip", skip) + "}\n").substitute(
        names,
        **{key: ("\n" + _INDENTS[key]).join(lines) for key, lines in lanes.items()},
        lanes=f"{LANES}u",
        others=f"{LANES - 1}u",
        function=prefix,
        last=last,
        weights=c_type(layer.values),
        indices="" if layer.indices is None else c_type(layer.indices),
        weight=weight(
            f"{names['value']}[k]",
            "i" if layer.layout is not Layout.CSC else f"{names['index']}[k]",
        ),
        fan_in=f"{layer.fan_in}u",
        fan_out=f"{layer.fan_out}u",
        whole=f"{whole}u",
        room=f"{padded(layer.fan_out)}u",
    )


def array(name: str, numbers: Array) -> str:
    """Return the definition of a constant array, its numbers as they round-trip."""
    literal = float_literal if numbers.dtype == np.float32 else _integer_literal
    suffix = "u" if numbers.dtype.kind == "u" else ""
    items = [literal(number, suffix) for number in numbers.reshape(-1).tolist()]
    lines = ["    " + ", ".join(items[start : start + 8]) for start in range(0, len(items), 8)]
    kind = c_type(numbers)
    return f"\nstatic const {kind} {name}[{len(items)}] = {{\n" + ",\n".join(lines) + "\n};\n"


def float_literal(number: float, _: str = "") -> str:
    """Return a float32 as a C literal: nine significant digits are enough to read it back."""
    text = f"{number:.9g}"
    if "." not in text and "e" not in text:
        text += ".0"
    return text + "f"


def _integer_literal(number: int, suffix: str) -> str:
    return f"{number}{suffix}"


_FUNCTION = """
static void $function(const float *restrict x, float *restrict y)
{
    size_t i;
"""

_BIAS_ONLY = """    (void)x;
    for (i = 0u; i < $fan_out; ++i) {
        y[i] = $bias[i];
    }
"""

_BODIES = {
    Layout.DENSE_ROWS: """    size_t j;
    size_t k = 0u;
""",
    Layout.DENSE_COLUMNS: """    size_t j;
    size_t k = 0u;
    for (i = 0u; i < $fan_out; ++i) {
        y[i] = $bias[i];
    }
    for (j = 0u; j < $fan_in; ++j) {
        const float v = x[j];$skip
        for (i = 0u; i < $fan_out; ++i) {
            y[i] += $weight * v;
            ++k;
        }
    }
""",
    Layout.CSR: """    const $weights *w = $value;
    const $indices *k = $index;
    for (i = 0u; i < $room; i += $lanes) {
        const $weights *const end = w + ($lanes * (size_t)$count[i / $lanes]);
        $sums
        for (; w != end; w += $lanes, k += $lanes) {
            $adds
        }
        $stores
    }
""",
    Layout.CSC: """    size_t j;
    size_t k = 0u;
    for (i = 0u; i < $fan_out; ++i) {
        y[i] = $bias[i];
    }
    for (j = 0u; j < $fan_in; ++j) {
        const size_t end = k + $count[j];
        const float v = x[j];$skip
        for (; k < end; ++k) {
            y[$index[k]] += $weight * v;
        }
    }
""",
}

_INDENTS = {"sums": " " * 8, "adds": " " * 12, "stores": " " * 8}

_WHOLE_ROWS = """    for (i = 0u; i < $whole; i += $lanes) {
        $sums
        for (j = 0u; j < $fan_in; ++j) {
            const float v = x[j];
            $adds
            ++k;
        }
        k += $others * $fan_in;
        $stores
    }
"""

_REST_OF_ROWS = """    for (; i < $fan_out; ++i) {
        float sum = $bias[i];
        for (j = 0u; j < $fan_in; ++j) {
            sum += $weight * x[j];
            ++k;
        }
        y[i] = $last(sum);
    }
"""

_SKIPS = {
    Layout.DENSE_COLUMNS: """
        if (v == 0.0f) {
            k += $fan_out;
            continue;
        }""",
    Layout.CSC: """
        if (v == 0.0f) {
            k = end;
            continue;
        }""",
}
