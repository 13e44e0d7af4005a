"""How the canonical file of a controller compares with the file of others that it was made from.

Both run on ONNX Runtime. Each is within its own rounding bound of the rebuilt policy in real
arithmetic, so that they differ by at most the sum of the two.
"""

from dataclasses import dataclass

import numpy as np

from surefoot.artifact import Json
from surefoot.errors import CheckError
from surefoot.onnx_file import INPUT, OUTPUT, ControllerFile, Input, Interface
from surefoot.runtime.agreement import (
    LARGEST_STATE,
    agreement_observations,
    bound_at,
    by_size,
    runner_of,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class CanonicalDifference:
    """What a canonical file computes otherwise than the file that it was made from.

    Attributes:
        num_inputs: Observations that were compared.
        num_equal: Observations at which every output is the same number.
        largest: Largest difference of an output at states up to 128, action units.
        share: Largest difference as a share of what the two rounding bounds allow.
    """

    num_inputs: int
    num_equal: int
    largest: float
    share: float

    @property
    def is_none(self) -> bool:
        """Whether no observation shows a difference."""
        return self.num_equal == self.num_inputs

    def to_table(self) -> dict[str, Json]:
        """Return it as JSON values."""
        return {
            "num_inputs": self.num_inputs,
            "num_equal": self.num_equal,
            "largest_difference": self.largest,
            "largest_share_of_bound": self.share,
        }


def check_canonical(
    original: ControllerFile, canonical: ControllerFile, *, num_inputs: int = 10_000, seed: int = 0
) -> CanonicalDifference:
    """Compare a canonical file with the one that it was made from, both on ONNX Runtime.

    Args:
        original: A file that anybody wrote.
        canonical: The canonical file of its policy.
        num_inputs: Number of random, extreme and boundary observations, beside 96 huge ones.
        seed: Seed of the random ones.

    Raises:
        CheckError: If an output differs by more than the rounding of both explains.
    """
    policy, interface = original.policy, _interface_of(original)
    observations = agreement_observations(policy, num_inputs, np.random.default_rng(seed))
    first = runner_of(original.data, interface)(observations).astype(np.float64)
    second = runner_of(canonical.data, _interface_of(canonical), interface)(observations)
    with np.errstate(invalid="ignore"):  # of two infinities
        error = np.abs(first - second)
    equal = (first == second) | (np.isnan(first) & np.isnan(second))
    largest = share = 0.0
    for limit, rows in by_size(policy, observations):
        chosen = observations[rows]
        bounds = [bound_at(file.policy, limit, chosen) for file in (original, canonical)]
        bound = (bounds[0] + bounds[1]) * (1 + 1e-6)
        known = np.isfinite(bound).all(axis=1)  # elsewhere float32 may overflow, in either file
        if not known.any():
            continue
        found, bound = error[rows][known], bound[known]
        if not (found <= bound).all():
            worst = float(found.max())
            raise CheckError(
                f"the canonical file is not the original: they differ by {worst:.3g}, rounding "
                f"explains {bound.max():.3g}"
            )
        if limit <= LARGEST_STATE:
            largest = max(largest, float(found.max()))
        share = max(share, float((found / bound).max()))
    return CanonicalDifference(
        num_inputs=len(observations),
        num_equal=int(equal.all(axis=1).sum()),
        largest=largest,
        share=share,
    )


def _interface_of(file: ControllerFile) -> Interface:
    if file.origin is not None:
        return file.origin.interface
    shape = (1, file.policy.obs_dim)
    only = Input(name=INPUT, shape=shape, batched=True, dtype="float32", is_read=True)
    return Interface(inputs=(only,), output=OUTPUT)
