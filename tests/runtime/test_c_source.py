"""Generated C: every layout, compiler and machine computes the bits of the NumPy twin.

Also of ``runtime/c_templates.py``.
"""

import itertools
import platform
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from support.policies import random_policy
from support.recurrent import SENSORS, Actor
from surefoot.compress import WeightFormat, store_weights
from surefoot.errors import InputError
from surefoot.export.footprint import footprint
from surefoot.export.parity import parity_observations
from surefoot.onnx_file import read_onnx
from surefoot.policy import (
    Activation,
    CategoricalHead,
    GaussianHead,
    Layer,
    Normaliser,
    Policy,
    Squash,
)
from surefoot.policy import weights_sha256 as digest_of
from surefoot.runtime.arithmetic import runtime_error
from surefoot.runtime.c_activations import C_TAU
from surefoot.runtime.c_layers import Layout, Machine
from surefoot.runtime.c_source import CConfig, CSource, c_source, twin_outputs

CORTEX_M4 = Path(__file__).parents[2] / "examples" / "cortex_m4"
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow")
SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
LAYOUTS = [None, *Layout]


def needs(*tools: str) -> pytest.MarkDecorator:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


COMPILERS = [pytest.param(name, marks=needs(name)) for name in ("gcc", "clang")]


def run(*command: Path | str, cwd: Path, stdin: str = "") -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
    return done.stdout


def write(folder: Path, source: CSource) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in source.files.items():
        (folder / name).write_bytes(data)
    return folder


def compiled(folder: Path, compiler: str, *flags: str) -> Path:
    """Compile the harness of a folder; return the path of the program."""
    files = ("policy.c", "policy_main.c", "-DPOLICY_SELF_TEST", "-ffp-contract=off")
    run(compiler, *STRICT, *flags, *files, "-o", "policy", cwd=folder)
    return folder / "policy"


def answers(program: Path, obs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what the harness makes of observations, (batch, num_outputs)."""
    text = "\n".join(" ".join(f"{value:.9g}" for value in row) for row in obs)
    lines = run(program, "-", cwd=program.parent, stdin=text).splitlines()
    return np.array([[float(word) for word in line.split()] for line in lines], np.float32)


def same_bits(a: NDArray[np.float32], b: NDArray[np.float32]) -> np.bool_:
    return a.shape == b.shape and (a.view(np.uint32) == b.view(np.uint32)).all()


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("clip", [5.0, np.inf])
def test_a_normaliser_that_multiplies_gives_the_bits_of_the_twin(
    tmp_path: Path, compiler: str, clip: float
) -> None:
    rng = np.random.default_rng(0)
    policy = random_policy(rng, (5, 8, 3), Activation.RELU, Squash.CLIP, clip)
    factor = rng.uniform(0.1, 3, 5).astype(np.float32)
    normaliser = Normaliser.multiplying(policy.normaliser.mean, factor, clip)
    policy = replace(policy, normaliser=normaliser)
    program = compiled(write(tmp_path, c_source(policy)), compiler)
    obs = rng.normal(0, 5, (100, 5)).astype(np.float32)
    assert same_bits(answers(program, obs), twin_outputs(policy, obs))


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("activation", Activation)
def test_strict_c99_under_sanitizers_gives_the_bits_of_the_twin_in_every_layout(
    tmp_path: Path, compiler: str, activation: Activation
) -> None:
    rng = np.random.default_rng(3)
    # What one compiler is not given, the other is: a layout, a squash and a clip.
    some = list(Activation).index(activation) + (2 if compiler == "clang" else 0)
    squash, layout = [*Squash, None][some % 4], LAYOUTS[some % len(LAYOUTS)]
    clip = np.inf if some // 2 % 2 else 10.0
    policy = random_policy(rng, (7, 13, 10, 3), activation, squash, clip)
    obs = parity_observations(policy, rng, 50)
    obs = obs[np.isfinite(twin_outputs(policy, obs)).all(axis=1)]
    source = c_source(policy, CConfig(layout=layout, constant_time=some % 2 == 0))
    program = compiled(write(tmp_path / "c", source), compiler, *SANITIZED)
    assert "same bits (0), largest difference 0" in run(program, cwd=tmp_path)
    assert same_bits(answers(program, obs), twin_outputs(policy, obs))


@needs("gcc")
@pytest.mark.parametrize(
    ("activation", "flags"),
    [
        (Activation.RELU, ("-O0",)),
        (Activation.TANH, ("-O2", "-fno-tree-vectorize")),
        (Activation.RELU, ("-O3",)),
    ],
)
def test_layouts_machines_and_optimisation_do_not_change_a_bit(
    tmp_path: Path, activation: Activation, flags: tuple[str, ...]
) -> None:
    rng = np.random.default_rng(5)
    policy = random_policy(rng, (9, 24, 17, 6), activation, Squash.TANH)
    obs = parity_observations(policy, rng, 100)
    expected = twin_outputs(policy, obs)
    for layout, machine, constant in itertools.product(LAYOUTS, Machine, (False, True)):
        if layout is not None and machine is Machine.PC:
            continue  # the machine only chooses
        if layout in (Layout.DENSE_ROWS, Layout.CSR) and not constant:
            continue  # which skip nothing anyway
        source = c_source(policy, CConfig(layout=layout, machine=machine, constant_time=constant))
        program = compiled(write(tmp_path / "c", source), "gcc", *flags)
        assert same_bits(answers(program, obs), expected), (layout, machine, constant)


def test_the_twin_is_the_policy_within_the_bound_of_the_generated_c() -> None:
    rng = np.random.default_rng(6)
    for activation, squash in itertools.product(Activation, [*Squash, None]):
        policy = random_policy(rng, (11, 40, 3), activation, squash)
        obs = parity_observations(policy, rng, 300)
        bound = runtime_error(policy, state_limit=10.0, tau=C_TAU)
        error = np.abs(twin_outputs(policy, obs).astype(np.float64) - policy.outputs(obs))
        assert (error <= bound).all()
        assert (error > 0).any()


def test_the_same_policy_gives_the_same_bytes_and_another_one_another_digest() -> None:
    first, second = (random_policy(np.random.default_rng(seed), (4, 8, 2)) for seed in (0, 1))
    assert c_source(first).files == c_source(first).files
    header = c_source(first).files["policy.h"].decode()
    assert digest_of(first) in header
    assert digest_of(first) not in c_source(second).files["policy.h"].decode()
    # No date and no path.
    assert not re.search(r"20\d\d-\d\d|/home/|/tmp/", header)


def test_the_header_says_ranges_and_sizes_that_hold() -> None:
    policy = random_policy(np.random.default_rng(0), (4, 8, 2), squash=Squash.TANH)
    source = c_source(policy)
    header = source.files["policy.h"].decode()
    assert "#define POLICY_NUM_OBS 4\n" in header
    for centre, reach in zip(policy.head.centre, policy.head.half_range, strict=True):
        assert f"[{centre - reach:.6g}, {centre + reach:.6g}]" in header
    outputs = twin_outputs(policy, np.random.default_rng(1).normal(0, 9, (500, 4)))
    assert (np.abs(outputs - policy.head.centre) <= policy.head.half_range * (1 + 1e-6)).all()


@needs("gcc")
def test_reported_flash_and_ram_are_what_the_compiler_needs(tmp_path: Path) -> None:
    for seed, layout in enumerate(LAYOUTS):
        policy = random_policy(np.random.default_rng(seed), (9, 31, 18, 5), Activation.RELU)
        source = c_source(policy, CConfig(layout=layout))
        folder = write(tmp_path / str(seed), source)
        run("gcc", *STRICT, "-O0", "-c", "policy.c", cwd=folder)
        symbols = run("nm", "-S", "policy.o", cwd=folder).splitlines()
        sizes = [int(line.split()[1], 16) for line in symbols if " r " in line]
        assert sum(sizes) == source.report.flash_bytes
        probe = (
            '#include "policy.h"\n#include <stdio.h>\n'
            'int main(void) { (void)printf("%zu", sizeof(policy_state)); return 0; }\n'
        )
        (folder / "probe.c").write_text(probe)
        run("gcc", *STRICT, "probe.c", "-o", "probe", cwd=folder)
        assert int(run(folder / "probe", cwd=folder)) == source.report.ram_bytes


def test_multiply_adds_are_the_weights_that_are_not_zero_or_all_of_them() -> None:
    policy = random_policy(np.random.default_rng(2), (9, 31, 18, 5), Activation.RELU)
    weights = sum(layer.weight.size for layer in policy.layers)
    non_zeros = sum(int((layer.weight != 0).sum()) for layer in policy.layers)
    counted = {
        layout: c_source(policy, CConfig(layout=layout)).report.multiply_adds for layout in Layout
    }
    assert counted[Layout.DENSE_ROWS] == counted[Layout.DENSE_COLUMNS] == weights
    assert counted[Layout.CSC] == non_zeros
    for layout in (Layout.CSR, Layout.BLOCKS_8, Layout.BLOCKS_4):
        assert non_zeros <= counted[layout] < weights


def in_blocks(rows: int, weights: WeightFormat, activation: Activation) -> Policy:
    """Return a policy of whose blocks a quarter stays; the last outputs are fewer than a block."""
    rng = np.random.default_rng(rows)
    policy = random_policy(rng, (9, 32, 24, 5), activation, Squash.TANH)
    layers = []
    for layer in policy.layers:
        blocks = rng.random((-(-layer.weight.shape[0] // rows), layer.weight.shape[1])) < 0.25
        kept = np.repeat(blocks, rows, axis=0)[: layer.weight.shape[0]]
        # None so small that 8 bits would make it zero.
        weight = rng.uniform(0.1, 0.5, kept.shape) * rng.choice([-1, 1], kept.shape) * kept
        layers.append(replace(layer, weight=weight.astype(np.float32) + np.float32(0)))
    return store_weights(replace(policy, layers=tuple(layers)), weights)


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("rows", [4, 8])
def test_blocks_have_the_bits_of_the_twin_under_sanitizers_and_hold_no_zero(
    tmp_path: Path, compiler: str, rows: int
) -> None:
    # What one compiler is not given, the other is.
    is_int8 = (compiler == "clang") == (rows == 8)
    weights = WeightFormat.INT8 if is_int8 else WeightFormat.FLOAT32
    policy = in_blocks(rows, weights, Activation.RELU)
    layout = Layout.BLOCKS_8 if rows == 8 else Layout.BLOCKS_4
    source = c_source(policy, CConfig(layout=layout))
    assert source.report.multiply_adds == sum(entry.non_zeros for entry in source.report.layers)
    kinds = {entry.weights for entry in source.report.layers}
    assert kinds == {"int8_t" if is_int8 else "float"}
    program = compiled(write(tmp_path / "c", source), compiler, *SANITIZED)
    obs = parity_observations(policy, np.random.default_rng(0), 30)
    assert same_bits(answers(program, obs), twin_outputs(policy, obs))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads x86-64 assembly")
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize(("level", "rows"), [("-O2", 8), ("-O2", 4), ("-O3", 8)])
def test_compilers_make_vectors_of_the_sums_of_a_block(
    tmp_path: Path, compiler: str, level: str, rows: int
) -> None:
    """Four floats are a vector of every x86-64, so that a block has a quarter of its products."""
    policy = in_blocks(rows, WeightFormat.FLOAT32, Activation.TANH)
    layout = Layout.BLOCKS_8 if rows == 8 else Layout.BLOCKS_4
    source = c_source(policy, CConfig(layout=layout, machine=Machine.PC))
    folder = write(tmp_path / "c", source)
    run(compiler, *STRICT, level, "-ffp-contract=off", "-S", "policy.c", cwd=folder)
    products = (folder / "policy.s").read_text().count("mulps")
    assert products >= sum(width // rows > 1 for width in (32, 24)) * rows // 4


DIALECTS = {
    "gcc": ("", "-std=c99", "-std=c17", "-std=gnu17"),
    "clang": ("", "-std=c99", "-std=gnu17"),
    "g++": ("-xc++", "-xc++ -std=c++98", "-xc++ -std=c++20"),
    "clang++": ("-xc++", "-xc++ -std=c++98", "-xc++ -std=c++20"),
}
"""How people compile who have not read the header."""


@pytest.mark.parametrize(
    ("compiler", "dialect"),
    [
        pytest.param(name, dialect, marks=needs(name))
        for name, dialects in DIALECTS.items()
        for dialect in dialects
    ],
)
def test_no_dialect_and_no_processor_changes_a_bit(
    tmp_path: Path, compiler: str, dialect: str
) -> None:
    policy = random_policy(np.random.default_rng(7), (9, 24, 17, 5), squash=Squash.TANH)
    folder = write(tmp_path / "c", c_source(policy, CConfig(machine=Machine.PC)))
    files = ("policy.c", "policy_main.c", "-DPOLICY_SELF_TEST", "-o", "policy")
    for level in ("-O2", "-O3"):
        run(compiler, *dialect.split(), level, "-march=native", *files, cwd=folder)
        assert "same bits (0), largest difference 0" in run(folder / "policy", cwd=folder)


@needs("gcc")
def test_half_precision_that_is_evaluated_as_itself_does_not_stop_the_compiler(
    tmp_path: Path,
) -> None:
    """FLT_EVAL_METHOD is 16 then, in the dialects of GNU; floats are computed as floats."""
    folder = write(tmp_path / "c", c_source(random_policy(np.random.default_rng(0), (4, 8, 2))))
    supported = subprocess.run(
        ["gcc", "-mavx512fp16", "-E", "-dM", "-xc", "/dev/null"],
        capture_output=True,
        text=True,
        check=False,
    )
    if "__FLT_EVAL_METHOD__ 16" not in supported.stdout:
        pytest.skip("this gcc knows no AVX512-FP16")
    run("gcc", "-O2", "-mavx512fp16", "-c", "policy.c", cwd=folder)


CPP_CALLER = r"""
#include "policy.h"
#include <cstdio>
int main()
{
    static policy_state state;
    float largest = 1.0f;
    const int code = policy_self_test(&state, &largest);
    std::printf("%d %g", code, largest);
    return policy_choice(state.last);
}
"""


@pytest.mark.parametrize(
    ("c", "cpp"),
    [
        pytest.param(c, cpp, marks=needs(c, cpp))
        for c, cpp in (("gcc", "g++"), ("clang", "clang++"), ("gcc", "clang++"))
    ],
)
def test_cpp_links_with_what_c_compiled(tmp_path: Path, c: str, cpp: str) -> None:
    folder = write(tmp_path / "c", c_source(random_policy(np.random.default_rng(0), (4, 8, 2))))
    (folder / "caller.cpp").write_text(CPP_CALLER)
    run(c, *STRICT, "-O2", "-DPOLICY_SELF_TEST", "-c", "policy.c", cwd=folder)
    warnings = ("-Wall", "-Wextra", "-Werror", "-pedantic", "-DPOLICY_SELF_TEST")
    run(cpp, "-std=c++11", *warnings, "caller.cpp", "policy.o", "-o", "caller", cwd=folder)
    assert run(folder / "caller", cwd=folder) == "0 0"


@pytest.mark.parametrize(
    "flag",
    [
        "-ffast-math",
        "-Ofast",
        "-mfpmath=387",
        "-funsafe-math-optimizations",
        "-ffinite-math-only",
        "-freciprocal-math",
    ],
)
@needs("gcc")
def test_arithmetic_that_voids_the_certificate_does_not_compile(tmp_path: Path, flag: str) -> None:
    folder = write(tmp_path / "c", c_source(random_policy(np.random.default_rng(0), (4, 8, 2))))
    done = subprocess.run(
        ["gcc", "-m64", "-std=c99", flag, "-c", "policy.c"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "certificate would be void" in done.stderr or "FLT_EVAL_METHOD" in done.stderr


HOLD = r"""
#include "policy.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
static policy_state state;
int main(void)
{
    const float good[POLICY_NUM_OBS] = {0.5f};
    float bad[POLICY_NUM_OBS] = {0.0f};
    float actions[POLICY_NUM_ACTIONS] = {7.0f};
    float first[POLICY_NUM_ACTIONS];
    bad[POLICY_NUM_OBS - 1] = NAN;
    (void)printf("%d ", policy_actions_or_hold(&state, bad, actions));
    (void)printf("%d ", policy_actions(&state, bad, actions));
    (void)printf("%d ", policy_actions_at_state(&state, bad, actions));
    (void)printf("%d ", actions[0] == 7.0f);
    (void)printf("%d ", policy_actions_or_hold(&state, good, first));
    bad[POLICY_NUM_OBS - 1] = -INFINITY;
    (void)printf("%d ", policy_actions_or_hold(&state, bad, actions));
    (void)printf("%d\n", memcmp(actions, first, sizeof first) == 0);
    return 0;
}
"""


@pytest.mark.parametrize("compiler", COMPILERS)
def test_a_bad_observation_is_rejected_with_a_code_or_holds_the_last_action(
    tmp_path: Path, compiler: str
) -> None:
    policy = random_policy(np.random.default_rng(0), (4, 8, 2))
    folder = write(tmp_path / "c", c_source(policy))
    (folder / "hold.c").write_text(HOLD)
    run(compiler, *STRICT, "-O2", "policy.c", "hold.c", "-o", "hold", cwd=folder)
    assert run(folder / "hold", cwd=folder).split() == ["1", "1", "1", "1", "0", "2", "1"]


CHOICE = r"""
#include "policy.h"
#include <stdio.h>
int main(void)
{
    const float outputs[3][POLICY_NUM_ACTIONS] = {
        {2.0f, 1.0f, 2.0f}, {0.0f, 1.0f, 1.0f}, {1.0f, 2.0f, 3.0f}};
    int i;
    for (i = 0; i < 3; ++i) {
        (void)printf("%d ", policy_choice(outputs[i]));
    }
    return 0;
}
"""


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("start", [-(2**31), -1, 0, 7])
def test_the_choice_in_c_is_that_of_the_head(tmp_path: Path, compiler: str, start: int) -> None:
    policy = random_policy(np.random.default_rng(0), (4, 8, 3), squash=None)
    policy = replace(policy, head=CategoricalHead(num_actions=3, start=start))
    folder = write(tmp_path / "c", c_source(policy))
    (folder / "choice.c").write_text(CHOICE)
    run(compiler, *STRICT, "-O2", "policy.c", "choice.c", "-o", "choice", cwd=folder)
    outputs = np.float32([[2, 1, 2], [0, 1, 1], [1, 2, 3]])
    chosen = [int(word) for word in run(folder / "choice", cwd=folder).split()]
    assert chosen == policy.head.select(outputs).tolist()


@needs("gcc")
def test_a_damaged_constant_fails_the_self_test(tmp_path: Path) -> None:
    folder = write(tmp_path / "c", c_source(random_policy(np.random.default_rng(0), (4, 8, 2))))
    text = (folder / "policy.c").read_text()
    number = re.search(r"layer_2_value\[\d+\] = \{\s+(\S+),", text)[1]
    (folder / "policy.c").write_text(text.replace(number, "0.25f", 1))
    compiled(folder, "gcc", "-O2")
    done = subprocess.run([folder / "policy"], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "FAILED (4)" in done.stdout


@needs("gcc")
def test_layers_without_weights_rows_without_weights_and_one_neuron_compile(tmp_path: Path) -> None:
    def layer(
        weight: list[list[float] | list[int]], activation: Activation = Activation.RELU
    ) -> Layer:
        weight = np.float32(weight)
        return Layer(weight=weight, bias=np.float32([0.5] * len(weight)), activation=activation)

    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    policy = Policy(
        normaliser=Normaliser(mean=np.zeros(2, np.float32), scale=np.ones(2, np.float32), clip=5.0),
        layers=(
            layer([[0, 0], [0, 0], [0, 2]]),
            layer([[0, 0, 0]]),
            layer([[3.0]]),
            layer([[-2.0]], Activation.IDENTITY),
        ),
        head=GaussianHead(std=one, squash=Squash.IDENTITY, centre=zero, half_range=one),
    )
    obs = np.float32([[1, 2], [-1, -2]])
    for number, layout in enumerate(LAYOUTS):
        folder = write(tmp_path / str(number), c_source(policy, CConfig(layout=layout)))
        program = compiled(folder, "gcc", *SANITIZED)
        assert same_bits(answers(program, obs), twin_outputs(policy, obs))
    # relu(3 * relu(0 + 1/2) + 1/2) = 2, and -2 * 2 + 1/2.
    assert (twin_outputs(policy, obs) == -3.5).all()


def test_a_policy_that_overflows_within_its_range_has_no_c_form() -> None:
    policy = random_policy(np.random.default_rng(0), (4, 2), squash=Squash.IDENTITY)
    huge = replace(policy.layers[0], weight=np.full((2, 4), 1e38, np.float32))
    with pytest.raises(InputError, match="overflows float32 within its range"):
        c_source(replace(policy, layers=(huge,)))


def emulated(folder: Path) -> tuple[int, list[list[str]]]:
    """Compile for a Cortex-M4, run it under QEMU; return bytes of stack and the words of calls."""
    run(
        *("arm-none-eabi-gcc", *STRICT, "-O2", "-ffp-contract=off", "-mcpu=cortex-m4", "-mthumb"),
        *("-mfloat-abi=hard", "-mfpu=fpv4-sp-d16", "--specs=rdimon.specs", "-nostartfiles"),
        *("-T", CORTEX_M4 / "link.ld", "-DPOLICY_SELF_TEST", "-I", folder),
        *("policy.c", CORTEX_M4 / "main.c", "-o", "policy.elf"),
        cwd=folder,
    )
    out = run(
        *("qemu-system-arm", "-M", "mps2-an386", "-cpu", "cortex-m4", "-nographic"),
        *("-semihosting-config", "enable=on,target=native", "-icount", "shift=6"),
        *("-kernel", "policy.elf"),
        cwd=folder,
    )
    first, stack, *calls = out.splitlines()
    assert first == "self-test 0"
    return int(stack.removeprefix("stack ")), [line.split() for line in calls]


def stimuli(num: int, width: int) -> NDArray[np.float32]:
    """Return the observations that the program for the Cortex-M4 makes."""
    seed, rows = 1, np.zeros((num, width), np.float32)
    for row, column in itertools.product(range(num), range(width)):
        seed = (seed * 1664525 + 1013904223) % 2**32
        rows[row, column] = 3 * (np.float32(seed >> 8) / np.float32(8388608) - np.float32(1))
    return rows


@needs("arm-none-eabi-gcc", "qemu-system-arm")
@pytest.mark.parametrize("activation", [Activation.RELU, Activation.TANH, Activation.SOFTPLUS])
def test_a_cortex_m4_computes_the_same_bits_with_fewer_instructions_where_sparse(
    tmp_path: Path, activation: Activation
) -> None:
    rng = np.random.default_rng(8)
    policy = random_policy(rng, (11, 48, 48, 3), activation, Squash.TANH)
    layers = []
    for layer in policy.layers:
        kept = rng.random(layer.weight.shape) < 0.1
        layers.append(replace(layer, weight=np.where(kept, layer.weight, np.float32(0))))
    policy = replace(policy, layers=tuple(layers))
    expected = twin_outputs(policy, stimuli(8, 11))
    instructions = {}
    for layout in (None, Layout.DENSE_ROWS, Layout.DENSE_COLUMNS):
        source = c_source(policy, CConfig(layout=layout))
        stack, calls = emulated(write(tmp_path / str(layout), source))
        bound = footprint(source.files)["cortex-m4"]
        assert 0 < stack <= bound["stack_bytes"]
        assert bound["flash_bytes"] > source.report.flash_bytes
        bits = np.array([[int(word, 16) for word in call[7:]] for call in calls], np.uint32)
        assert (bits == expected.view(np.uint32)).all()
        assert all(call[3] == "0" for call in calls)
        instructions[layout] = max(int(call[5]) for call in calls)
    assert instructions[None] < min(instructions[layout] for layout in instructions if layout)


@needs("arm-none-eabi-gcc", "qemu-system-arm")
@pytest.mark.parametrize("weights", [WeightFormat.FLOAT32, WeightFormat.INT8])
def test_a_cortex_m4_runs_blocks_with_fewer_instructions_than_single_weights(
    tmp_path: Path, weights: WeightFormat
) -> None:
    policy = in_blocks(8, weights, Activation.RELU)
    expected = twin_outputs(policy, stimuli(8, 9))
    instructions = {}
    for layout in (Layout.BLOCKS_8, Layout.CSR):
        source = c_source(policy, CConfig(layout=layout, constant_time=True))
        _, calls = emulated(write(tmp_path / layout, source))
        bits = np.array([[int(word, 16) for word in call[7:]] for call in calls], np.uint32)
        assert (bits == expected.view(np.uint32)).all()
        instructions[layout] = max(int(call[5]) for call in calls)
    assert instructions[Layout.BLOCKS_8] < instructions[Layout.CSR]


LOOP = """
#include <stdio.h>
#include <string.h>
#include "policy.h"
int main(void)
{
    static policy_state s;
    float obs[POLICY_NUM_OBS] = {0};
    float actions[POLICY_NUM_ACTIONS];
    const size_t first = POLICY_NUM_OBS - POLICY_NUM_MEMORY;
    while (scanf("%f %f %f %f", &obs[0], &obs[1], &obs[2], &obs[3]) == 4) {
        if (policy_actions(&s, obs, actions) != POLICY_OK) {
            return 1;
        }
        printf("%.9g %.9g\\n", (double)actions[0], (double)actions[1]);
        memcpy(&obs[first], s.memory, sizeof s.memory);
    }
    return 0;
}
"""


@needs("gcc")
def test_generated_c_carries_a_memory_from_step_to_step(tmp_path: Path) -> None:
    actor = Actor("LSTM")
    file = read_onnx(actor.file(), "actor.onnx")
    for name, content in c_source(file.policy).files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "loop.c").write_text(LOOP)
    run("gcc", *STRICT, "policy.c", "loop.c", "-o", "loop", cwd=tmp_path)
    observations = np.random.default_rng(0).normal(size=(6, SENSORS)).astype(np.float32)
    lines = "\n".join(" ".join(map(str, row)) for row in observations.tolist())
    printed = run(tmp_path / "loop", cwd=tmp_path, stdin=lines).splitlines()
    found = np.array([line.split() for line in printed], np.float64)
    memory = np.zeros((1, actor.width - SENSORS))
    for obs, actions in zip(observations, found, strict=True):
        expected, memory = actor.step(np.concatenate([obs[None], memory], axis=1))
        np.testing.assert_allclose(actions, expected[0], rtol=0, atol=1e-5)
