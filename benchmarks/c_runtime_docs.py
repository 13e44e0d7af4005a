"""The tables of docs/results/c-runtime.md, from what c_runtime.py measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from page_tables import replace_table, table

from surefoot.artifact import Json

DOCS = Path(__file__).parents[1] / "docs"
RATIOS = {
    "ONNX Runtime (bound memory) / C, called from Python, inference alone": "ratio_python_bound",
    "the same from observation to action, with the same checks": "ratio_python_whole",
    "ONNX Runtime (bound session alone, from Python) / C called from C": "ratio_called_from_c",
    "emx-onnx-cgen, dense / C, both called from C": "ratio_emx_from_c",
}
LAYOUT_RATIOS = {
    "scalar build (-O2, no vectorisation, no AVX): best dense / best sparse time": "scalar_us",
    "flash of constants: best dense / best sparse": "flash_bytes",
    "Cortex-M4 instructions under QEMU: best dense / best sparse": "cortex_m4_instructions",
    "the same, layouts of constant time alone": "cortex_m4_constant_time",
}
KINDS = (
    "relu, single weights",
    "relu, blocks",
    "tanh, single weights",
    "tanh, blocks",
    "coarse tanh, blocks",
)


def fill(result: Mapping[str, Json]) -> None:
    """Write every table into its page."""
    page = DOCS / "results" / "c-runtime.md"
    replace_table(page, "ratios", _machine(result) + "\n\n" + _ratios(result))
    replace_table(page, "layouts", _layouts(result))
    replace_table(page, "sparse", _sparse(result))
    replace_table(page, "bench", _machine(result) + "\n\n" + _bench(result["bench"]))


def _machine(result: Mapping[str, Json]) -> str:
    machine = result["machine"]
    libraries = ", ".join(f"{name} {version}" for name, version in machine["libraries"].items())
    return (
        f"Measured on: {machine['cpu']}, {machine['num_cpus']} CPUs, load average "
        f"{machine['load_average']:.1f}, {machine['kernel']}, Python {machine['python']}, "
        f"{libraries}."
    )


def _number(value: float | None, digits: int = 2) -> str:
    return "not measured" if value is None else f"{value:.{digits}f}"


def _ratios(result: Mapping[str, Json]) -> str:
    rows = [
        (words, *(_number(result[kind][key]) for kind in KINDS)) for words, key in RATIOS.items()
    ]
    rows += [
        (words, *(_number(result[kind]["ratios"].get(key)) for kind in KINDS))
        for words, key in LAYOUT_RATIOS.items()
    ]
    rows.append(
        (
            "microseconds of a call from C: ours / emx-onnx-cgen",
            *(_pair(result[kind], "from_c_us", "emx_from_c_us", ".2f") for kind in KINDS),
        )
    )
    emx = "emx_cortex_m4_instructions"
    rows.append(
        ("Cortex-M4 instructions of emx-onnx-cgen", *(_whole(result[kind][emx]) for kind in KINDS))
    )
    return table(("ratio", *KINDS), rows)


def _pair(entry: Mapping[str, Json], first: str, second: str, form: str) -> str:
    return f"{_said(entry[first], form)} / {_said(entry[second], form)}"


def _said(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"


def _whole(value: int | None) -> str:
    return "not measured" if value is None else str(value)


def _layouts(result: Mapping[str, Json]) -> str:
    """Return one table for each way of pruning; activations side by side."""
    kinds = {"Single weights": ("relu, single weights", "tanh, single weights")}
    kinds["In blocks of 8 rows"] = ("relu, blocks", "tanh, blocks", "coarse tanh, blocks")
    return "\n\n".join(
        f"{words}; {' / '.join(name.split(',')[0] for name in names)}:\n\n"
        f"{_layout_table([result[name]['layouts'] for name in names])}"
        for words, names in kinds.items()
    )


def _layout_table(measured: Sequence[Mapping[str, Json]]) -> str:
    rows = []
    for layout, first in measured[0].items():
        cells = [
            " / ".join(_said(of[layout][key], form) for of in measured)
            for key, form in (
                ("cortex_m4_instructions", "d"),
                ("cortex_m4_stack_bytes", "d"),
                ("scalar_us", ".2f"),
            )
        ]
        rows.append((layout, first["flash_bytes"], first["multiply_adds"], *cells))
    head = ("layout", "flash, bytes", "multiply-adds", "Cortex-M4 instructions")
    return table((*head, "stack, bytes", "scalar time, us"), rows)


def _sparse(result: Mapping[str, Json]) -> str:
    rows = [
        (density, entry["dense_bytes"], entry["sparse_bytes"], _number(entry["ratio"]))
        if entry["sparse_bytes"]
        else (density, entry["dense_bytes"], "refused", "")
        for density, entry in result["sparse_onnx"].items()
    ]
    return table(("density", "dense file, bytes", "sparse file, bytes", "ratio"), rows)


def _bench(bench: Mapping[str, Json]) -> str:
    backends = bench["backends"].items()
    keys = ("p50_us", "p90_us", "p99_us", "p999_us", "max_us")
    latency = [
        (
            f"`{name}`",
            _number(entry["inference"]["p50_us"], 1),
            *(_number(entry[key], 1) for key in keys),
            _number(entry["batches"]["256"]["p50_us"], 1),
            entry["size_bytes"],
            "unknown" if entry["memory_bytes"] is None else f"{entry['memory_bytes'] / 2**20:.1f}",
        )
        for name, entry in backends
    ]
    head = ("backend", "inference p50, us", "whole p50", "p90", "p99", "p99.9", "max")
    head += ("batch 256, p50", "bytes on disk (C: constants)", "memory with libraries, MiB")
    rates = next(iter(bench["backends"].values()))["paced"]
    misses = [
        (
            f"`{name}`",
            *(
                f"{entry['misses'][rate]} / {entry['misses_under_load'][rate]} of {paced['n']}"
                for rate, paced in rates.items()
            ),
        )
        for name, entry in backends
    ]
    return "\n\n".join(
        (
            table(head, latency),
            f'"Whole" is from observation to action with all checks, n = '
            f"{next(iter(bench['backends'].values()))['n']}; the timer itself takes "
            f"{bench['timer_floor_us']:.2f} us. Deadlines missed, as found / with a busy process "
            "on each core:",
            table(("backend", *(f"{rate} Hz" for rate in rates)), misses),
        )
    )
