"""Compressed policies of one original, how far each is from it, and the sparsest within a limit."""

from collections.abc import Callable
from dataclasses import dataclass

from surefoot.certificate import proved_text
from surefoot.certify import (
    ControlError,
    ControlLimit,
    Over,
    box_control_error,
    changed_choices,
    fewest_kept,
    paper_control_error,
    units_of,
    visited_control_error,
)
from surefoot.compress import (
    OneShotConfig,
    calibration_states,
    compress_policy,
    least_kept,
    num_weights,
)
from surefoot.config import build
from surefoot.errors import InputError
from surefoot.policy import Array, Policy
from surefoot.unknown import Unknown
from surefoot.visited import Visited
from surefoot.workflow.compression_record import ControlErrors, PaperError
from surefoot.workflow.listener import Listener


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CompressionSearch:
    """What compressed policies of one original share.

    Attributes:
        original: Policy to compress.
        states: States that it visits, normalised units, (n, obs_dim); or None.
        config: How it is compressed.
        limit: The control error that is allowed, and where it is certified.
    """

    original: Policy
    states: Array | None
    config: OneShotConfig
    limit: ControlLimit

    def make(self, num_kept: int) -> Policy:
        """Return the policy that keeps so many weights, as its file will hold it.

        Raises:
            InputError: If that many cannot be kept.
        """
        return compress_policy(self.original, self.states, num_kept, self.config)

    def sparsest(self, listener: Listener) -> Policy:
        """Return the policy of fewest weights that holds the limit.

        Raises:
            InputError: If none does that keeps all weights, or the limit cannot be certified.
        """
        limit, num_original = self.limit.max_control_error, num_weights(self.original)
        assert limit is not None
        made: dict[int, Policy] = {}
        found: dict[int, float] = {}

        def holds(num_kept: int) -> bool:
            made[num_kept] = self.make(num_kept)
            found[num_kept] = self._limited_error(made[num_kept]).certified
            update(len(found), f"{num_kept} weights: {found[num_kept]:.4g}")
            return found[num_kept] <= limit

        # The original first, then a bisection.
        with listener.progress("compress", (num_original - 1).bit_length() + 1) as update:
            least = least_kept(self.original, self.config.block_rows)
            kept = fewest_kept(holds, least, num_original)
        if kept is None:
            raise InputError(
                f"max_control_error must be at least {proved_text(found[num_original])}"
                f", the certified error when no weight is removed ({self.config.weights} weights, "
                f"rounding of both controllers), got {limit:g}"
            )
        return made[kept]

    def errors(self, policy: Policy, visited: Visited | None) -> ControlErrors:
        """Return the control errors of a compressed policy.

        Args:
            policy: The policy.
            visited: States that it visits itself, if they are known.
        """
        at_visited = paper = own = None
        if (states := self.states) is not None:
            at_visited = _if_certified(lambda: self._error_at(policy, states))
            paper = self._published(policy, states)
        if visited is not None:
            # It goes elsewhere than the original does, and may differ more from it there.
            its_own = calibration_states(policy, visited.pool, fits_weights=False)
            own = _if_certified(lambda: self._error_at(policy, its_own))
        return ControlErrors(
            units=units_of(policy),
            visited=at_visited,
            own=own,
            box=_if_certified(lambda: box_control_error(policy, self.original)),
            paper=paper,
        )

    def changed_choices(self, policy: Policy) -> float | None:
        """Return the share of the visited states at which a policy chooses another action."""
        return None if self.states is None else changed_choices(policy, self.original, self.states)

    def _limited_error(self, policy: Policy) -> ControlError:
        """Return the control error that the limit is about.

        Raises:
            InputError: If it cannot be certified.
        """
        if self.limit.over is Over.BOX:
            return box_control_error(policy, self.original)
        if self.states is None:
            raise InputError("over must be box where no visited states are known, got visited")
        return self._error_at(policy, self.states)

    def _error_at(self, policy: Policy, states: Array) -> ControlError:
        return visited_control_error(policy, self.original, states, self.limit.epsilon)

    def _published(self, policy: Policy, states: Array) -> PaperError | None:
        """Return the error as published, which is about affine layers and activations alone."""
        if not policy.is_elementwise:
            return None
        limit = self.limit.max_control_error
        printed = paper_control_error(policy, self.original, states, limit)
        return build(PaperError, printed, "the published error")


def _if_certified(error: Callable[[], ControlError]) -> ControlError | Unknown:
    """Return an error, or why it cannot be certified: without a clip nothing bounds the states."""
    try:
        return error()
    except InputError as refused:
        return Unknown(str(refused))
