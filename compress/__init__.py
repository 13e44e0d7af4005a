"""Compression: which weights stay, how sparsity is spread over layers, and when it rises.

A score says how much each weight matters, an allocation how many each layer keeps, a schedule how
many at which update; a mask is their result. NumPy only: `surefoot.train` applies masks to torch.
"""

from surefoot.compress.allocations import erdos_renyi_kernel, kept_globally, uniform
from surefoot.compress.masks import Mask, keep_largest, num_kept
from surefoot.compress.schedules import CubicSchedule
from surefoot.compress.scores import magnitude, never_return, random

__all__ = [
    "CubicSchedule",
    "Mask",
    "erdos_renyi_kernel",
    "keep_largest",
    "kept_globally",
    "magnitude",
    "never_return",
    "num_kept",
    "random",
    "uniform",
]
