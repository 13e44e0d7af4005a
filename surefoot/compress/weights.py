"""Weights of fewer bits: another policy, which needs a certificate of its own.

The canonical file holds them as float32 numbers, which is what every backend computes with.

* float16: each weight is the nearest half-precision number.
* int8: each row becomes whole steps, at most 127, of a step that has 16 significant bits; so every
  product of a step count and its step is a float32 exactly. Generated C stores the counts as
  ``int8_t``, with the same bits as a result.
"""

from dataclasses import replace
from enum import StrEnum

import numpy as np

from surefoot.errors import InputError
from surefoot.policy import Array, Policy

MAX_STEP = 127
"""Largest magnitude of an 8-bit weight in steps of its row, as ``runtime.c_layers`` finds it."""

_STEP_BITS = 16
_LARGEST_HALF = 65504.0


class WeightFormat(StrEnum):
    """The numbers that a weight may be."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"


def store_weights(policy: Policy, weights: WeightFormat) -> Policy:
    """Return the policy with every weight rounded to a format; biases and the rest stay.

    Zeros stay zeros, and a weight that is small enough becomes one. An 8-bit weight moves by at
    most about half a step: 1/254 of the largest of its row.

    Raises:
        InputError: If a weight exceeds the largest half-precision number.
    """
    rounded = {
        WeightFormat.FLOAT32: _float32,
        WeightFormat.FLOAT16: _float16,
        WeightFormat.INT8: _int8,
    }[weights]
    layers = []
    for layer in policy.layers:
        weight = rounded(layer.weight)
        if layer.is_weight is not None:
            weight = np.where(layer.is_weight, weight, layer.weight)
        layers.append(replace(layer, weight=weight))
    return replace(policy, layers=tuple(layers))


def _float32(weight: Array) -> Array:
    return weight.astype(np.float32)


def _float16(weight: Array) -> Array:
    largest = float(np.abs(weight).max())
    if largest > _LARGEST_HALF:
        raise InputError(f"float16 weights must be at most {_LARGEST_HALF:g}, got {largest:g}")
    return weight.astype(np.float16).astype(np.float32)


def _int8(weight: Array) -> Array:
    weight = weight.astype(np.float64)
    largest = np.abs(weight).max(axis=1, keepdims=True)
    steps = _round_up(np.where(largest > 0, largest / MAX_STEP, 1.0))
    # A step rounded up by less than 2^-15 leaves the largest of a row at 127 steps, by which the
    # generator of C finds the step again.
    return (np.rint(weight / steps) * steps).astype(np.float32)


def _round_up(steps: Array) -> Array:
    """Return steps with 16 significant bits, never smaller."""
    mantissa, exponent = np.frexp(steps)
    return np.asarray(np.ldexp(np.ceil(np.ldexp(mantissa, _STEP_BITS)), exponent - _STEP_BITS))
