"""The tables of docs/results/c-runtime.md, from what c_runtime.py measured."""

from collections.abc import Mapping
from pathlib import Path

from page_tables import replace_table, table

from surefoot.artifact import Json

DOCS = Path(__file__).parents[1] / "docs"
RATIOS = {
    "ONNX Runtime (bound memory) / C, called from Python, inference alone": "ratio_python_bound",
    "the same from observation to action, with the same checks": "ratio_python_whole",
    "ONNX Runtime (bound session alone, from Python) / C called from C": "ratio_called_from_c",
}
LAYOUT_RATIOS = {
    "scalar build (-O2, no vectorisation, no AVX): best dense / best sparse time": "scalar_us",
    "flash of constants: best dense / best sparse": "flash_bytes",
    "Cortex-M4 instructions under QEMU: best dense / best sparse": "cortex_m4_instructions",
    "the same, layouts of constant time alone (rows / CSR)": "cortex_m4_constant_time",
}


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
    kinds = ("relu", "tanh")
    rows = [
        (words, *(_number(result[kind][key]) for kind in kinds)) for words, key in RATIOS.items()
    ]
    rows += [
        (words, *(_number(result[kind]["ratios"].get(key)) for kind in kinds))
        for words, key in LAYOUT_RATIOS.items()
    ]
    return table(("ratio", "ReLU", "tanh"), rows)


def _layouts(result: Mapping[str, Json]) -> str:
    rows = []
    for layout, relu in result["relu"]["layouts"].items():
        both = (relu, result["tanh"]["layouts"][layout])
        cells = [
            " / ".join("-" if entry[key] is None else f"{entry[key]:{form}}" for entry in both)
            for key, form in (
                ("cortex_m4_instructions", "d"),
                ("cortex_m4_stack_bytes", "d"),
                ("scalar_us", ".2f"),
            )
        ]
        rows.append((layout, relu["flash_bytes"], relu["multiply_adds"], *cells))
    head = ("layout", "flash, bytes", "multiply-adds", "Cortex-M4 instructions, ReLU / tanh")
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
