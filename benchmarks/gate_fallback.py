"""What a hopper may fall back to: its policy, at the reading cut to the ranges of the gate."""

from functools import cache
from pathlib import Path

import numpy as np

from surefoot.bundle import Bundle, open_bundle
from surefoot.policy import Array

BUNDLE = Path(__file__).parents[1] / "examples" / "hopper"


@cache
def _bundle() -> Bundle:
    return open_bundle(BUNDLE)


def at_the_limit(obs: Array) -> Array:
    """Return the policy's action at the nearest reading in range; that of its mean for NaN."""
    bundle = _bundle()
    assert bundle.gate is not None
    policy = bundle.controller.policy
    known = np.where(np.isfinite(obs), obs, policy.normaliser.mean)
    action: Array = policy.outputs(np.clip(known, *bundle.gate.gate.box)[None], np.float32)[0]
    return action
