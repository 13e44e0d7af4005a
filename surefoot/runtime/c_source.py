"""A controller as C99 for PCs and microcontrollers: the only module that writes it.

    policy.h     sizes, ranges, digest, and what may be called
    policy.c     constants, layers, self-test: no allocation, no operating system, no libm
    policy_main.c  a program for a PC: self-test, time of a call, observations in, actions out

The same policy and configuration give the same bytes. All arithmetic is float32 in a fixed order,
so that every compiler that keeps IEEE 754 gives the same bits as :func:`twin_outputs`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from string import Template

import numpy as np

from surefoot.activation import AnyActivation, Mixed, OneActivation, Product, RmsNorm, parts_of
from surefoot.errors import InputError
from surefoot.policy import (
    Activation,
    Array,
    CategoricalHead,
    GaussianHead,
    Layer,
    Memory,
    Policy,
    Squash,
    weights_sha256,
)
from surefoot.runtime.arithmetic import Grade
from surefoot.runtime.c_activations import c_call, c_functions, c_name, c_tau, twin
from surefoot.runtime.c_layer_text import array, constants, float_literal, function, stores_once
from surefoot.runtime.c_layers import (
    CLayer,
    CLayerReport,
    Layout,
    Machine,
    lay_out,
    padded,
)
from surefoot.runtime.c_layout_choice import choose_layout
from surefoot.runtime.c_templates import GUARDS, HEADER, MAIN, SOURCE
from surefoot.version import __version__

SOURCE_FILE, HEADER_FILE, MAIN_FILE = "policy.c", "policy.h", "policy_main.c"
NUM_VECTORS = 16
_FUSED = {
    Machine.MICROCONTROLLER: (Activation.RELU, Activation.TANH),
    Machine.PC: (Activation.RELU,),  # a loop over tanh alone is vectorised
}


@dataclass(frozen=True, kw_only=True, slots=True)
class CConfig:
    """How the C is laid out, on which no bit depends, and how exact its activations are.

    Attributes:
        machine: Machine for which the layouts are chosen.
        layout: One layout for every layer instead of a choice for each.
        activations: How exact tanh and sigmoid are. A grade below full needs a certificate of the
            arithmetic of its name, such as float32-coarse.
        constant_time: Do the same operations whatever the observation; else inputs of a layer that
            are zero behind a ReLU are skipped.
    """

    machine: Machine = Machine.MICROCONTROLLER
    layout: Layout | None = None
    constant_time: bool = False
    activations: Grade = Grade.FULL


@dataclass(frozen=True, kw_only=True, slots=True)
class CReport:
    """What generated C takes.

    Attributes:
        layers: Storage and work of each layer.
        flash_bytes: Size of all constants.
        ram_bytes: Size of the state that a caller holds.
        multiply_adds: Multiply-adds of the worst case.
        constant_time: Whether the time of a call is the same for every observation.
    """

    layers: tuple[CLayerReport, ...]
    flash_bytes: int
    ram_bytes: int
    multiply_adds: int
    constant_time: bool


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CSource:
    """Generated C.

    Attributes:
        files: Name to content.
        report: What it takes.
    """

    files: dict[str, bytes]
    report: CReport


_DEFAULT = CConfig()


def c_source(policy: Policy, config: CConfig = _DEFAULT) -> CSource:
    """Return a policy as C99.

    Args:
        policy: Its arrays are float32 by value.
        config: How it is laid out.

    Raises:
        InputError: If a layer is too large for 32-bit indices.
    """
    layers = [_laid_out(policy, number, config) for number in range(1, len(policy.layers) + 1)]
    widths = [policy.obs_dim, *(layer.fan_out for layer in layers)]
    buffers = (padded(max(widths[0::2])), padded(max(widths[1::2])))
    report = _report(policy, layers, buffers)
    values = _header_values(policy, report, buffers, config)
    header = Template(HEADER).substitute(values)
    source = Template(SOURCE).substitute(
        guards=GUARDS,
        constants=_head_constants(policy) + "".join(map(constants, layers)),
        functions=c_functions(_used(policy), config.activations)
        + "".join(_functions(policy, layers, config)),
        normalise=_normalise(policy),
        forward=_forward(policy, layers, config),
        vectors=_vectors(policy, config.activations),
        num_vectors=f"{NUM_VECTORS}u",
    )
    texts = {HEADER_FILE: header, SOURCE_FILE: source, MAIN_FILE: MAIN}
    return CSource(files={name: text.encode() for name, text in texts.items()}, report=report)


def twin_outputs(policy: Policy, obs: Array, grade: Grade = Grade.FULL) -> Array:
    """Compute what the C computes, bit for bit, shape (batch, num_outputs), float32.

    Args:
        policy: Its arrays are float32 by value.
        obs: Shape (batch, obs_dim), raw units, finite.
        grade: Grade of its activations.
    """
    with np.errstate(over="ignore"):
        return twin_outputs_at(policy, policy.state(obs, np.float32), grade)


def twin_outputs_at(policy: Policy, state: Array, grade: Grade = Grade.FULL) -> Array:
    """Compute what the C computes at states, bit for bit; see :func:`twin_outputs`."""
    hidden = state.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for layer in policy.layers:
            weight = layer.weight.astype(np.float32)
            total = np.repeat(layer.bias.astype(np.float32)[None], len(hidden), axis=0)
            for number in range(weight.shape[1]):  # in the order of the inputs
                total += weight[:, number] * hidden[:, number, None]
            hidden = twin(layer.activation, total, grade)
        if not isinstance(policy.head, GaussianHead):
            return hidden
        squashed = twin(Activation.TANH, hidden, grade) if _is_tanh(policy) else hidden
        if policy.head.squash is Squash.CLIP:
            squashed = np.clip(hidden, np.float32(-1), np.float32(1))
        half_range, centre = policy.head.half_range, policy.head.centre
        return squashed * half_range.astype(np.float32) + centre.astype(np.float32)


def _laid_out(policy: Policy, number: int, config: CConfig) -> CLayer:
    layer = policy.layers[number - 1]
    # Only a ReLU gives zeros often enough that asking pays.
    after_relu = number > 1 and policy.layers[number - 2].activation is Activation.RELU
    skip = after_relu and not config.constant_time
    if config.layout is not None:
        return lay_out(layer, number, config.layout, skip=skip)
    return choose_layout(layer, number, config.machine, skip=skip)


def _is_tanh(policy: Policy) -> bool:
    return isinstance(policy.head, GaussianHead) and policy.head.squash is Squash.TANH


def _used(policy: Policy) -> set[OneActivation]:
    used = {function for layer in policy.layers for function in parts_of(layer.activation)}
    return used | ({Activation.TANH} if _is_tanh(policy) else set())


def _report(policy: Policy, layers: Sequence[CLayer], buffers: tuple[int, int]) -> CReport:
    vectors = 2 * policy.obs_dim * 4
    if isinstance(policy.head, GaussianHead):
        vectors += 2 * policy.num_outputs * 4
    return CReport(
        layers=tuple(layer.report() for layer in layers),
        flash_bytes=sum(layer.flash_bytes for layer in layers) + vectors,
        ram_bytes=4 * (sum(buffers) + policy.num_outputs + 1 + _memory_size(policy)),
        multiply_adds=sum(len(layer.values) for layer in layers),
        constant_time=not any(layer.skip for layer in layers),
    )


def _memory_size(policy: Policy) -> int:
    return 0 if policy.memory is None else policy.memory.size


def _memory_texts(policy: Policy) -> dict[str, str]:
    """Return what the header says of a memory, nothing where there is none."""
    size = _memory_size(policy)
    if not size:
        return {"num_memory": "", "memory": ""}
    return {
        "num_memory": f"#define POLICY_NUM_MEMORY {size} /* the last observations */\n",
        "memory": "    float memory[POLICY_NUM_MEMORY]; /* the last ones of the next call */\n",
    }


def _header_values(
    policy: Policy, report: CReport, buffers: tuple[int, int], config: CConfig
) -> dict[str, str]:
    layers = [
        f" *   layer {number}: {entry.fan_in} -> {entry.fan_out}, {entry.layout}, "
        f"{entry.weights}, {entry.multiply_adds} multiply-adds, {entry.flash_bytes} bytes"
        for number, entry in enumerate(report.layers, start=1)
    ]
    if config.activations is not Grade.FULL:
        layers.append(f" *   tanh and sigmoid within {c_tau(config.activations):.2g}")
    time = "the same for every observation" if report.constant_time else "depends on zeros"
    return {
        "version": __version__,
        "digest": weights_sha256(policy),
        "num_obs": str(policy.obs_dim),
        "num_actions": str(policy.num_outputs),
        "start": _start(policy),
        **_memory_texts(policy),
        "even": str(buffers[0]),
        "odd": str(buffers[1]),
        "layers": "\n".join(layers),
        "flash": str(report.flash_bytes),
        "ram": str(report.ram_bytes),
        "multiply_adds": str(report.multiply_adds),
        "time": f"{time} (layouts for a {config.machine})",
        "observations": "\n".join(_observation_lines(policy)),
        "actions": "\n".join(_action_lines(policy)),
    }


def _start(policy: Policy) -> str:
    """Return the first discrete action as a constant of C, where 2147483648 is no int."""
    start = policy.head.start if isinstance(policy.head, CategoricalHead) else 0
    return str(start) if start >= 0 else f"({start + 1} - 1)"


def _observation_lines(policy: Policy) -> list[str]:
    normaliser = policy.normaliser
    lines = [" *   observation: mean, scale, range in which it is not clipped"]
    for number in range(policy.obs_dim):
        mean, scale = float(normaliser.mean[number]), float(normaliser.scale[number])
        low, high = mean - normaliser.clip * scale, mean + normaliser.clip * scale
        lines.append(f" *   {number}: {mean:.9g}, {scale:.9g}, [{low:.6g}, {high:.6g}]")
    return lines


def _action_lines(policy: Policy) -> list[str]:
    if not isinstance(policy.head, GaussianHead):
        return [" *   outputs are logits; policy_choice() gives the action that they choose"]
    lines = [" *   action: range"]
    for number in range(policy.num_outputs):
        centre = float(policy.head.centre[number])
        reach = float(policy.head.half_range[number])
        bounded = policy.head.squash is not Squash.IDENTITY
        text = f"[{centre - reach:.6g}, {centre + reach:.6g}]" if bounded else "unbounded"
        lines.append(f" *   {number}: {text}")
    return lines


def _head_constants(policy: Policy) -> str:
    normaliser = policy.normaliser
    unit = ("obs_scale", normaliser.scale)
    if normaliser.factor is not None:
        unit = ("obs_factor", normaliser.factor)
    parts = [("obs_mean", normaliser.mean), unit]
    if isinstance(policy.head, GaussianHead):
        parts += [("half_range", policy.head.half_range), ("centre", policy.head.centre)]
    return "".join(array(name, part.astype(np.float32) + np.float32(0)) for name, part in parts)


def _normalise(policy: Policy) -> str:
    normaliser = policy.normaliser
    unit = "/ obs_scale[i]" if normaliser.factor is None else "* obs_factor[i]"
    z = f"        const float z = (obs[i] - obs_mean[i]) {unit};\n"
    if not np.isfinite(normaliser.clip):
        return f"{z}        s->even[i] = z;"
    limit = float_literal(float(np.float32(normaliser.clip)))
    return f"{z}        s->even[i] = (z < -{limit}) ? -{limit} : ((z > {limit}) ? {limit} : z);"


def _fused(layer: CLayer, activation: AnyActivation, config: CConfig) -> str:
    """Return the activation that a layer applies to its sums itself, as a C function, or ""."""
    if not isinstance(activation, Activation) or not stores_once(layer):
        return ""
    fused = activation in _FUSED[config.machine]
    return c_name(activation, config.activations) if fused else ""


def _functions(policy: Policy, layers: Sequence[CLayer], config: CConfig) -> Iterator[str]:
    for layer, source in zip(layers, policy.layers, strict=True):
        yield function(layer, _fused(layer, source.activation, config))


def _forward(policy: Policy, laid_out: Sequence[CLayer], config: CConfig) -> str:
    lines, buffers = [], ("s->even", "s->odd")
    for number, layer in enumerate(policy.layers, start=1):
        source, target = buffers[(number - 1) % 2], buffers[number % 2]
        lines.append(f"    layer_{number}({source}, {target});")
        if not _fused(laid_out[number - 1], layer.activation, config):
            lines += _activated(layer, target, config.activations)
        if policy.memory is not None:
            lines += _remembered(policy.memory, number, target)
    value = f"{buffers[len(policy.layers) % 2]}[i]"
    if isinstance(policy.head, GaussianHead):
        squashed = value
        if policy.head.squash is Squash.TANH:
            squashed = f"{c_name(Activation.TANH, config.activations)}({value})"
        elif policy.head.squash is Squash.CLIP:
            squashed = f"(({value} < -1.0f) ? -1.0f : (({value} > 1.0f) ? 1.0f : {value}))"
        value = f"({squashed} * half_range[i]) + centre[i]"
    return "\n".join(lines + _loop("0u", "POLICY_NUM_ACTIONS", f"actions[i] = {value};"))


def _remembered(memory: Memory, number: int, target: str) -> Iterator[str]:
    """Yield the loops that keep what a layer gives of the next memory, one for each run."""
    pairs = list(zip(*memory.of_layer(number), strict=True))
    follows = [(place - 1, neuron - 1) for place, neuron in pairs]
    starts = [k for k in range(len(pairs)) if not k or follows[k] != pairs[k - 1]]
    for first, last in pairwise([*starts, len(pairs)]):
        place, neuron = pairs[first]
        statement = f"s->memory[i + {place}u] = {target}[i + {neuron}u];"
        yield from _loop("0u", f"{last - first}u", statement)


def _activated(layer: Layer, target: str, grade: Grade) -> Iterator[str]:
    """Yield the loops that apply the activation of a layer, one for each function."""
    activation, whole = layer.activation, slice(0, layer.bias.size)
    parts = activation.places() if isinstance(activation, Mixed) else [(activation, whole)]
    for one, neurons in parts:
        if isinstance(one, RmsNorm):
            start, count = neurons.start, neurons.stop - neurons.start
            yield f"    rms_norm(&{target}[{start}u], {count}u, {float_literal(one.epsilon)});"
        elif isinstance(one, Product):
            half = (neurons.stop - neurons.start) // 2
            statement = f"{target}[i] = {target}[i] * {target}[i + {half}u];"
            yield from _loop(f"{neurons.start}u", f"{neurons.start + half}u", statement)
        elif one is not Activation.IDENTITY:
            value = f"{target}[i]"
            statement = f"{value} = {c_call(one, value, grade)};"
            yield from _loop(f"{neurons.start}u", f"{neurons.stop}u", statement)


def _loop(start: str, stop: str, statement: str) -> list[str]:
    return [f"    for (i = {start}; i < {stop}; ++i) {{", f"        {statement}", "    }"]


def _vectors(policy: Policy, grade: Grade) -> str:
    """Return the observations of the self-test and what they must lead to, bit for bit.

    Raises:
        InputError: If the policy overflows on one of them.
    """
    rng = np.random.default_rng(0)
    limit = min(policy.normaliser.clip, 10.0)
    state = rng.uniform(-1.2 * limit, 1.2 * limit, (NUM_VECTORS, policy.obs_dim))
    state[NUM_VECTORS // 2 :] = rng.normal(0, 1, state[NUM_VECTORS // 2 :].shape)
    state[0] = 0
    obs = (state * policy.normaliser.scale + policy.normaliser.mean).astype(np.float32)
    expected = twin_outputs(policy, obs, grade)
    if not np.isfinite(expected).all():
        raise InputError("the policy overflows float32 within its range: it has no C form")
    return array("test_obs", obs + np.float32(0)) + array("test_actions", expected)
