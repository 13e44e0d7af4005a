"""The C function of a layer that is stored in blocks.

Its sums have names of their own: gcc and clang make vectors of them at -O2 as at -O3, where gcc
keeps an array of sums in memory at -O2.
"""

from string import Template

from surefoot.runtime.c_layers import BLOCK_ROWS, CLayer, c_type


def block_function(layer: CLayer, last: str) -> str:
    """Return the C function of a layer: y = last(W x + b).

    Args:
        layer: In blocks, with at least one.
        last: Function that is applied to each output, or "".
    """
    rows = BLOCK_ROWS[layer.layout]
    whole = layer.fan_out - layer.fan_out % rows
    loops = [_loop(layer, last, 0, whole, rows)] if whole else []
    if whole < layer.fan_out:
        loops.append(_loop(layer, last, whole, layer.fan_out, layer.fan_out - whole))
    return Template(_FUNCTION + "".join(loops) + "}\n").substitute(
        function=f"layer_{layer.number}",
        count=f"layer_{layer.number}_count[i / {rows}u]",
        value=f"layer_{layer.number}_value",
        index=f"layer_{layer.number}_index",
        weights=c_type(layer.values),
        indices="" if layer.indices is None else c_type(layer.indices),
        skip=_SKIP if layer.skip else "",
    )


def _loop(layer: CLayer, last: str, start: int, stop: int, lanes: int) -> str:
    """Return the loop over groups of ``lanes`` outputs."""
    name, numbers = f"layer_{layer.number}", range(lanes)
    step = "" if layer.steps is None else f" * {name}_step[i + {{0}}u]"
    weight = f"((float)w[{{0}}]{step})" if step else "w[{0}]"
    return Template(_LOOP).safe_substitute(
        start=f"{start}u",
        stop=f"{stop}u",
        lanes=f"{lanes}u",
        sums=_lines(8, [f"float s{n} = {name}_bias[i + {n}u];" for n in numbers]),
        adds=_lines(12, [f"s{n} += {weight.format(n)} * v;" for n in numbers]),
        stores=_lines(8, [f"y[i + {n}u] = {last}(s{n});" for n in numbers]),
    )


def _lines(indent: int, statements: list[str]) -> str:
    return ("\n" + " " * indent).join(statements)


_FUNCTION = """
static void $function(const float *restrict x, float *restrict y)
{
    size_t i;
    const $weights *w = $value;
    const $indices *k = $index;
"""

_LOOP = """    for (i = $start; i < $stop; i += $lanes) {
        const $indices *const end = k + $count;
        $sums
        for (; k != end; ++k, w += $lanes) {
            const float v = x[*k];$skip
            $adds
        }
        $stores
    }
"""

_SKIP = """
            if (v == 0.0f) {
                continue;
            }"""
