"""Tanh and sigmoid of the generated C at a lower price, with a NumPy twin of the same bits.

Tanh is x P(x^2) / Q(x^2) of lower degree than in full, fitted to the least error in float32, and
exactly 1 or -1 beyond the place where that errs as much; sigmoid is (1 + tanh(x / 2)) / 2. Neither
leaves the range of the function that it stands for.
"""

from dataclasses import dataclass

import numpy as np

from surefoot.activation import Activation, Array, OneActivation
from surefoot.runtime.arithmetic import Grade


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fit:
    """A rational function.

    Attributes:
        numerator: Coefficients of P, those of the highest powers first.
        denominator: Coefficients of Q behind its first, which is 1.
        limit: Square beyond which it is 1 or -1.
    """

    numerator: tuple[float, ...]
    denominator: tuple[float, float]
    limit: float


_FITS = {
    Grade.FINE: _Fit(
        numerator=(0.0509520508, 8.13750839, 80.6223679),
        denominator=(34.9628143, 80.642067),
        limit=27.4575977,
    ),
    Grade.COARSE: _Fit(
        numerator=(13.1067476, 164.000687), denominator=(67.2081223, 164.264053), limit=18.1476021
    ),
}


def is_graded(activation: OneActivation, grade: Grade) -> bool:
    """Whether an activation has a form of its own at a grade."""
    return grade in _FITS and activation in (Activation.TANH, Activation.SIGMOID)


def graded_name(activation: Activation, grade: Grade) -> str:
    """Return the name of the C function of an activation at a grade."""
    return f"{activation.value}_{grade}"


def graded_text(used: set[OneActivation], grade: Grade) -> str:
    """Return the C text of the activations in ``used`` that have a form at a grade."""
    graded = {activation for activation in used if is_graded(activation, grade)}
    if not graded:
        return ""
    text = _tanh_text(grade)
    return text + (_sigmoid_text(grade) if Activation.SIGMOID in graded else "")


def graded_twin(activation: OneActivation, x: Array, grade: Grade) -> Array:
    """Compute what the C function computes at a grade, bit for bit."""
    if activation is Activation.TANH:
        return _tanh(x, _FITS[grade])
    half = np.float32(0.5)
    return half + half * _tanh(half * x, _FITS[grade])


def _tanh(x: Array, fit: _Fit) -> Array:
    f = np.float32
    z = x * x
    p: Array = np.full_like(x, f(fit.numerator[0]))
    for coefficient in fit.numerator[1:]:
        p = p * z + f(coefficient)
    q = (z + f(fit.denominator[0])) * z + f(fit.denominator[1])
    return np.where(z > f(fit.limit), np.where(x < 0, f(-1), f(1)), p * x / q)


def _tanh_text(grade: Grade) -> str:
    fit = _FITS[grade]
    p = f"{fit.numerator[0]:.9g}f"
    for coefficient in fit.numerator[1:]:
        p = f"(({p} * z) + {coefficient:.9g}f)"
    first, last = fit.denominator
    return f"""
static inline float {graded_name(Activation.TANH, grade)}(float x)
{{
    const float z = x * x;
    const float p = {p} * x;
    const float q = ((z + {first:.9g}f) * z) + {last:.9g}f;
    const float t = p / q; /* not finite for large x, where it is not used */
    return (z > {fit.limit:.9g}f) ? ((x < 0.0f) ? -1.0f : 1.0f) : t;
}}
"""


def _sigmoid_text(grade: Grade) -> str:
    return f"""
static inline float {graded_name(Activation.SIGMOID, grade)}(float x)
{{
    return 0.5f + (0.5f * {graded_name(Activation.TANH, grade)}(0.5f * x));
}}
"""
