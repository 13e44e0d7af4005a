"""The arithmetics in which a controller may run, as models that a proof can count with."""

from dataclasses import dataclass

from surefoot.runtime.arithmetic import ARITHMETIC_TAU, TAU

SMALLEST = 2.0**-126
"""Smallest normal float32: what flush to zero loses."""

LARGEST = 2.0**127
"""Half the end of float32: ReLU and softplus in C add two numbers of the size of their input."""

HALF_LARGEST, HALF_SPACING = 65504.0, 2.0**-24
"""Largest half-precision number, and the distance of its subnormal numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arithmetic:
    """A model of the arithmetic in which a controller runs.

    Attributes:
        name: Name in certificates and runtimes.
        meaning: Description of what it covers.
        storage: Relative rounding of weights and layer inputs before they are multiplied; 0 for
            plain float32. Sums and all else are float32.
        half: Whether everything behind the state is kept in half precision between two operations.
        tau: Error of smooth activations, relative to the size of those that grow.
    """

    name: str
    meaning: str
    storage: float = 0.0
    half: bool = False
    tau: float = TAU


_ANY_ORDER = (
    "any order of summation, rounding to nearest, FMA allowed, "
    "float32 underflow gradual or flushed to zero"
)
ARITHMETICS = {
    "float32": Arithmetic(
        name="float32", meaning=f"float32 without TF32 or bfloat16 products, {_ANY_ORDER}"
    ),
    "tf32": Arithmetic(
        name="tf32", storage=2.0**-11, meaning=f"float32 with TF32 products, {_ANY_ORDER}"
    ),
    "float16": Arithmetic(
        name="float16",
        storage=2.0**-11,
        half=True,
        meaning="float16 weights, biases and values from the state on, float32 normaliser, sums "
        f"and activations, {_ANY_ORDER}, float16 underflow gradual",
    ),
} | {
    name: Arithmetic(
        name=name,
        tau=tau,
        meaning=f"float32 without TF32 or bfloat16 products, {_ANY_ORDER}, smooth activations "
        f"within {tau:.2g} as in generated C of that grade",
    )
    for name, tau in ARITHMETIC_TAU.items()
    if tau > TAU
}
