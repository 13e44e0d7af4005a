"""Compression: which weights stay, how sparsity is spread over layers, and when it rises.

A score says how much each weight matters, an allocation how many each layer keeps, a schedule how
many at which update; a mask is their result: of single weights, of blocks of them (blocks.py), of
the 2:4 pattern (two_four.py) or of whole neurons, which are removed for real at the end
(neurons.py). NumPy only: `surefoot.train` applies masks to torch.

`compress_policy` compresses a finished policy in one shot (second_order.py: OBD, OBS, SparseGPT on
one layer; calibration.py: the states they look at; weights.py: weights of fewer bits).
"""

from surefoot.compress.allocations import (
    Allocation,
    erdos_renyi_kernel,
    kept_globally,
    uniform,
)
from surefoot.compress.blocks import left_whole
from surefoot.compress.calibration import calibration_states
from surefoot.compress.masks import Mask, keep_largest, num_kept
from surefoot.compress.one_shot import (
    Method,
    OneShotConfig,
    compress_policy,
    least_kept,
    num_weights,
)
from surefoot.compress.schedules import CubicSchedule
from surefoot.compress.scores import Seen, magnitude, never_return, random, saliency
from surefoot.compress.weights import WeightFormat, store_weights

__all__ = [
    "Allocation",
    "CubicSchedule",
    "Mask",
    "Method",
    "OneShotConfig",
    "Seen",
    "WeightFormat",
    "calibration_states",
    "compress_policy",
    "erdos_renyi_kernel",
    "keep_largest",
    "kept_globally",
    "least_kept",
    "left_whole",
    "magnitude",
    "never_return",
    "num_kept",
    "num_weights",
    "random",
    "saliency",
    "store_weights",
    "uniform",
]
