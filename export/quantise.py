"""Weights on a grid of 8 bits: another policy, which needs a certificate of its own.

Each row of each weight becomes whole steps, at most 127, of a step that has 16 significant bits;
so every product of a step count and its step is a float32 exactly. The canonical file holds these
products, and every backend computes them; generated C stores the counts as ``int8_t``, with the
same bits as a result.
"""

from dataclasses import replace

import numpy as np

from surefoot.policy import Array, Layer, Policy
from surefoot.runtime.c_layers import MAX_STEP

_STEP_BITS = 16


def quantise_policy(policy: Policy) -> Policy:
    """Return the policy with every weight rounded to 8 bits; biases and the rest stay.

    Zeros stay zeros. The error of a weight is at most half a step: 1/254 of the largest of its row.
    """
    layers = tuple(replace(layer, weight=_quantised(layer)) for layer in policy.layers)
    return replace(policy, layers=layers)


def _quantised(layer: Layer) -> Array:
    weight = layer.weight.astype(np.float64)
    largest = np.abs(weight).max(axis=1, keepdims=True)
    steps = _round_up(np.where(largest > 0, largest / MAX_STEP, 1.0))
    units = np.rint(weight / steps)
    # The largest of a row must be 127 steps, by which the generator of C finds the step again.
    place = np.abs(weight).argmax(axis=1)[:, None]
    ends = np.sign(np.take_along_axis(weight, place, axis=1)) * MAX_STEP
    np.put_along_axis(units, place, ends, axis=1)
    return (units * steps).astype(np.float32)


def _round_up(steps: Array) -> Array:
    """Return steps with 16 significant bits, never smaller."""
    mantissa, exponent = np.frexp(steps)
    return np.asarray(np.ldexp(np.ceil(np.ldexp(mantissa, _STEP_BITS)), exponent - _STEP_BITS))
