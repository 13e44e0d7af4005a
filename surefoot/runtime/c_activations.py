"""Activations of the generated C: their text, and a NumPy twin with the same bits.

Libraries differ in tanhf and expf; these are built from float32 addition, multiplication and
division alone, so that a PC and a microcontroller compute the same bits. Tanh is x P(x^2) / Q(x^2)
with P of degree 3 and Q of degree 4, fitted to the least error in float32 that nowhere exceeds 1;
|x| is clamped where it gives 1 - 5 * 2^-24. The others rest on

    expm1(-t) = 2^k expm1(r) + (2^k - 1),    r = k ln 2 - t,  |r| <= 0.35,

with ln 2 in two parts and the Taylor polynomial of degree 7, whose rest is below 2^-27.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from surefoot.activation import (
    Activation,
    AnyActivation,
    Array,
    Clamp,
    Elementwise,
    LeakyRelu,
    Mixed,
    OneActivation,
    Product,
    RmsNorm,
    ScaledElu,
    by_part,
)
from surefoot.runtime.arithmetic import ARITHMETIC_TAU, UNIT_ROUNDOFF, Grade
from surefoot.runtime.c_grades import graded_name, graded_text, graded_twin, is_graded
from surefoot.runtime.c_layer_text import float_literal

C_TAU = 8 * UNIT_ROUNDOFF
"""Bound on the error of these activations, SiLU and softplus times max(1, |x|). By exhaustion:
every float32 of magnitude 2^-40 to 32 was compared with float64; below and beyond, the formulas are
linear or saturated (``benchmarks/activation_error.py --stride 1``)."""

_CORE = """
/* 2^k expm1(r) + (2^k - less) with -t = k ln 2 + r: expm1(-t) for less = 1, exp(-t) for less = 0.
   t >= 0; beyond 87 the limit, which is nearer than 2e-38. Not t is clamped but k: behind
   `t < 87 ? t : 87` gcc splits the function in two, and then no loop over it is vectorised. */
static float exp_of_minus(float t, float less)
{
    const float m = (t * -1.44269502f) - 0.5f;
    const int32_t k = (m > -126.0f) ? (int32_t)m : -126; /* for NaN, too */
    const float n = (float)k;
    const float r = (-t - (n * 0.693359375f)) - (n * -2.12194442e-04f);
    const uint32_t bits = (uint32_t)(k + 127) << 23;
    float scale;
    float p = 1.98412701e-04f;
    p = (p * r) + 1.38888892e-03f;
    p = (p * r) + 8.33333377e-03f;
    p = (p * r) + 4.16666679e-02f;
    p = (p * r) + 1.66666672e-01f;
    p = (p * r) + 0.5f;
    p = ((p * r) * r) + r;
    (void)memcpy(&scale, &bits, sizeof scale);
    p = (scale * p) + (scale - less);
    return (t > 87.0f) ? (0.0f - less) : p;
}
"""

_TEXTS = {
    Activation.RELU: """
static float relu(float x)
{
    return 0.5f * (x + fabsf(x)); /* no branch, keeps NaN, exact up to 2^127 */
}
""",
    Activation.TANH: """
static inline float tanh_of(float x)
{
    const float c = (x < -7.67237616f) ? -7.67237616f : ((x > 7.67237616f) ? 7.67237616f : x);
    const float z = c * c;
    float p = (46.2342758f * z) + 11871.248f;
    float q = z + 962.19751f;
    p = (p * z) + 518968.406f;
    q = (q * z) + 95684.1172f;
    p = (p * z) + 4013210.25f;
    q = (q * z) + 1856698.38f;
    q = (q * z) + 4013211.5f;
    return (p * c) / q;
}
""",
    Activation.SIGMOID: """
static float sigmoid(float x)
{
    const float e = exp_of_minus(fabsf(x), 0.0f);
    return ((x < 0.0f) ? e : 1.0f) / (1.0f + e);
}
""",
    Activation.SILU: """
static float silu(float x)
{
    return x * sigmoid(x);
}
""",
    Activation.ELU: """
static float elu(float x)
{
    return (x > 0.0f) ? x : exp_of_minus(-x, 1.0f);
}
""",
    Activation.SOFTPLUS: """
static float softplus(float x)
{
    /* log(1 + e) = 2 artanh(s), s = e / (2 + e) <= 1/3; the rest of the series is below 2^-26 */
    const float e = exp_of_minus(fabsf(x), 0.0f);
    const float s = e / (2.0f + e);
    const float q = s * s;
    float p = 6.66666701e-02f;
    p = (p * q) + 7.69230798e-02f;
    p = (p * q) + 9.09090936e-02f;
    p = (p * q) + 1.11111112e-01f;
    p = (p * q) + 1.42857149e-01f;
    p = (p * q) + 2.00000003e-01f;
    p = (p * q) + 3.33333343e-01f;
    p = ((p * q) * s) + s;
    return (2.0f * p) + (0.5f * (x + fabsf(x)));
}
""",
}
_LEAKY_RELU = """
static inline float leaky_relu(float x, float alpha)
{
    return (x > 0.0f) ? x : (alpha * x);
}
"""
_SCALED_ELU = """
static inline float scaled_elu(float x, float alpha, float gamma)
{
    return gamma * ((x > 0.0f) ? x : (alpha * exp_of_minus(-x, 1.0f)));
}
"""
_CLAMP = """
static inline float clamp(float x, float low, float high)
{
    return (x < low) ? low : ((x > high) ? high : x); /* keeps NaN */
}
"""
_RMS_NORM = """
/* x / sqrt(mean(x^2) + epsilon): the reciprocal root is guessed from the bits of its argument,
   within 4 % of it, and four steps of Newton's method bring it to the precision of float32. */
static void rms_norm(float *x, size_t count, float epsilon)
{
    size_t i;
    uint32_t bits;
    float root;
    float half = 0.0f;
    for (i = 0u; i < count; ++i) {
        half += x[i] * x[i];
    }
    half = (half / (float)count) + epsilon;
    (void)memcpy(&bits, &half, sizeof bits);
    bits = 0x5f3759dfu - (bits >> 1);
    (void)memcpy(&root, &bits, sizeof root);
    half = 0.5f * half;
    for (i = 0u; i < 4u; ++i) {
        root = root * (1.5f - ((half * root) * root));
    }
    for (i = 0u; i < count; ++i) {
        x[i] = x[i] * root;
    }
}
"""
_PARAMETRIC = {
    LeakyRelu: _LEAKY_RELU,
    ScaledElu: _SCALED_ELU,
    Clamp: _CLAMP,
    RmsNorm: _RMS_NORM,
}
_NAMES = {Activation.TANH: "tanh_of"}


def c_tau(grade: Grade) -> float:
    """Return the bound on the error of these activations at a grade."""
    return C_TAU if grade is Grade.FULL else ARITHMETIC_TAU[f"float32-{grade}"]


def c_name(activation: Activation, grade: Grade) -> str:
    """Return the name of an activation's C function of one argument."""
    if is_graded(activation, grade):
        return graded_name(activation, grade)
    return _NAMES.get(activation, activation.value)


def c_call(activation: Elementwise, value: str, grade: Grade) -> str:
    """Return the C expression of an activation of ``value``."""
    match activation:
        case LeakyRelu(alpha):
            return f"leaky_relu({value}, {float_literal(alpha)})"
        case ScaledElu(alpha, gamma):
            return f"scaled_elu({value}, {float_literal(alpha)}, {float_literal(gamma)})"
        case Clamp(low, high):
            return f"clamp({value}, {float_literal(low)}, {float_literal(high)})"
        case _:
            return f"{c_name(activation, grade)}({value})"


def c_functions(used: set[OneActivation], grade: Grade) -> str:
    """Return the C text of the activations in ``used`` and of what they call."""
    kinds = {type(activation) for activation in used}
    plain = {
        activation
        for activation in used
        if isinstance(activation, Activation) and not is_graded(activation, grade)
    }
    text = _plain_functions(plain, with_core=ScaledElu in kinds) + graded_text(used, grade)
    return text + "".join(_PARAMETRIC[kind] for kind in _PARAMETRIC if kind in kinds)


def _plain_functions(used: set[Activation], *, with_core: bool) -> str:
    needed = set(used) - {Activation.IDENTITY}
    if Activation.SILU in needed:
        needed.add(Activation.SIGMOID)
    with_core = with_core or bool(needed - {Activation.RELU, Activation.TANH})
    core = _CORE if with_core else ""
    return core + "".join(_TEXTS[activation] for activation in _TEXTS if activation in needed)


def twin(activation: AnyActivation, x: Array, grade: Grade = Grade.FULL) -> Array:
    """Compute what the C function computes, bit for bit, along the last axis."""
    with np.errstate(under="ignore", invalid="ignore", over="ignore"):
        match activation:
            case Mixed():
                return by_part(partial(twin, grade=grade), activation, x)
            case Activation() if is_graded(activation, grade):
                return graded_twin(activation, x, grade)
            case ScaledElu(alpha, gamma):
                below = np.float32(alpha) * _exp_of_minus(-np.minimum(x, 0), 1)
                return np.asarray(np.float32(gamma) * np.where(x > 0, x, below))
            case RmsNorm(epsilon):
                return _rms_norm(x, np.float32(epsilon))
            case LeakyRelu() | Clamp() | Product():  # the policy's own formula, in float32
                return activation(x)
            case _:
                return _TWINS[activation](x)


def _exp_of_minus(t: Array, less: float) -> Array:
    f = np.float32
    m = t * f(-1.44269502) - f(0.5)
    k = np.where(m > f(-126), m, f(-126)).astype(np.int32)
    n = k.astype(np.float32)
    r = (-t - n * f(0.693359375)) - n * f(-2.12194442e-04)
    p: Array = np.full_like(r, f(1.98412701e-04))
    for c in (1.38888892e-03, 8.33333377e-03, 4.16666679e-02, 1.66666672e-01, 0.5):
        p = p * r + f(c)
    p = p * r * r + r
    scale = ((k + 127).astype(np.uint32) << np.uint32(23)).view(np.float32)
    return np.where(t > f(87), f(0) - f(less), scale * p + (scale - f(less)))


def _tanh(x: Array) -> Array:
    f = np.float32
    c = np.clip(x, f(-7.67237616), f(7.67237616))
    z = c * c
    p = f(46.2342758) * z + f(11871.248)
    for a in (518968.406, 4013210.25):
        p = p * z + f(a)
    q = z + f(962.19751)
    for b in (95684.1172, 1856698.38, 4013211.5):
        q = q * z + f(b)
    return np.asarray(p * c / q)


def _sigmoid(x: Array) -> Array:
    one = np.float32(1)
    e = _exp_of_minus(np.abs(x), 0)
    return np.where(x < 0, e, one) / (one + e)


def _softplus(x: Array) -> Array:
    f = np.float32
    e = _exp_of_minus(np.abs(x), 0)
    s = e / (f(2) + e)
    q = s * s
    p: Array = np.full_like(q, f(6.66666701e-02))
    for c in (7.69230798e-02, 9.09090936e-02, 1.11111112e-01, 1.42857149e-01, 0.2, 1 / 3):
        p = p * q + f(c)
    p = p * q * s + s
    return np.asarray(f(2) * p + f(0.5) * (x + np.abs(x)))


def _rms_norm(x: Array, epsilon: np.float32) -> Array:
    f = np.float32
    total = np.zeros(x.shape[:-1], np.float32)
    for number in range(x.shape[-1]):  # in the order of the neurons
        total += x[..., number] * x[..., number]
    square = total / f(x.shape[-1]) + epsilon
    root = (np.uint32(0x5F3759DF) - (square.view(np.uint32) >> np.uint32(1))).view(np.float32)
    for _ in range(4):
        root = root * (f(1.5) - f(0.5) * square * root * root)
    return np.asarray(x * root[..., None])


_TWINS: dict[Activation, Callable[[Array], Array]] = {
    Activation.IDENTITY: lambda x: x,
    Activation.RELU: lambda x: np.float32(0.5) * (x + np.abs(x)),
    Activation.TANH: _tanh,
    Activation.SIGMOID: _sigmoid,
    Activation.SILU: lambda x: x * _sigmoid(x),
    Activation.ELU: lambda x: np.where(x > 0, x, _exp_of_minus(-np.minimum(x, 0), 1)),
    Activation.SOFTPLUS: _softplus,
}
