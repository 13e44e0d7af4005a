"""Random streams: one seed per run, one independent stream per purpose."""

from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """What a stream is for. The numbers are part of what a seed means: never reuse one."""

    INITIALISATION = 0
    ACTIONS = 1
    MINIBATCHES = 2
    SEARCH = 3
    ENVIRONMENTS = 4
    EVALUATION = 5
    VISITED = 6
    PRUNING = 7
    SAMPLED = 8
    ADVERSARY = 9
    BIASES = 10
    COLLECTION = 11
    SCREEN = 12
    TRIALS = 13


def numpy_stream(seed: int, stream: Stream, *index: int) -> np.random.Generator:
    """Return the NumPy generator of a purpose; ``index`` numbers further independent ones."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, *index)))


def torch_stream(seed: int, stream: Stream, device: torch.device) -> torch.Generator:
    """Return the PyTorch generator of a purpose."""
    generator = torch.Generator(device)
    generator.manual_seed(int(numpy_stream(seed, stream).integers(2**63)))
    return generator


def env_seeds(generator: np.random.Generator, num: int) -> list[int]:
    """Return ``num`` seeds for environments."""
    return [int(seed) for seed in generator.integers(2**31, size=num)]
