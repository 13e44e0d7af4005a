"""When sparsity rises during training, counted in optimiser updates."""

from dataclasses import dataclass

from surefoot.compress.masks import check_sparsity
from surefoot.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class CubicSchedule:
    """Sparsity target (1 - (1 - (t - start) / (end - start))^3) at update t, from start to end.

    Attributes:
        target: Sparsity from ``end`` on.
        start: Update at which pruning begins (end of the burn-in), counted from 0.
        end: Update at which the target is reached.
        interval: Updates between two changes of the masks.

    Reference:
        Zhu and Gupta 2017 (arXiv 1710.01878), equation 1.
    """

    target: float
    start: int
    end: int
    interval: int

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InputError: If the target is not in [0, 1), or the updates are not in order.
        """
        check_sparsity(self.target)
        if not 0 <= self.start < self.end:
            raise InputError(f"start must be in [0, end), got start {self.start}, end {self.end}")
        if self.interval < 1:
            raise InputError(f"interval must be at least 1, got {self.interval}")

    def fraction(self, update: int) -> float:
        """Return the share of the target that is reached at ``update``, from 0 to 1."""
        progress = (update - self.start) / (self.end - self.start)
        return 1 - (1 - min(max(progress, 0.0), 1.0)) ** 3

    def is_due(self, update: int) -> bool:
        """Whether the masks change at ``update``; the last change is at ``end``."""
        on_grid = self.start <= update <= self.end and (update - self.start) % self.interval == 0
        return on_grid or update == self.end
