"""Random streams with known seeds."""

import numpy as np


def random_streams(num: int, seed: int = 0) -> list[np.random.Generator]:
    """One stream per row."""
    return [np.random.default_rng([seed, row]) for row in range(num)]
