"""What a policy folder says about a compression: how it was made, and what it changed."""

from dataclasses import dataclass

from surefoot.artifact import Json
from surefoot.certify import ControlError, ControlLimit
from surefoot.compress import Allocation, Method, WeightFormat
from surefoot.config import to_table
from surefoot.unknown import Unknown


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperError:
    """The control error as published, which is no bound.

    Attributes:
        value: The published sum, action units (or logits).
        flaw: Why it is no bound.
        one_layer_constants: For each layer the published constant, a bound where that layer alone
            changes: action units (or logits) for a change of the matrix by 1, spectral norm. None
            where the activations are not as the paper has them.
        admissible_changes: For each layer the largest such change that it admits under the limit;
            None without a limit.
    """

    value: float
    flaw: str
    one_layer_constants: tuple[float, ...] | None = None
    admissible_changes: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlErrors:
    """How far the actions are from the original's, by domain.

    Attributes:
        units: Unit of an error, and of which output it is the error.
        visited: Error at the states that the original visits; None if none are known.
        own: Error at the states that the compressed policy visits; None if it was not played.
        box: Error over every state that the clip lets through.
        paper: Error bound as published, at the states that the original visits.
    """

    units: str
    visited: ControlError | Unknown | None
    own: ControlError | Unknown | None
    box: ControlError | Unknown
    paper: PaperError | None

    def to_table(self) -> dict[str, Json]:
        """Return it as JSON values."""
        return {
            "units": self.units,
            "arithmetic": "float32, rounding of both controllers included",
            "visited": _error_table(self.visited),
            "own": _error_table(self.own),
            "box": _error_table(self.box),
            "paper": None if self.paper is None else to_table(self.paper),
        }


def _error_table(error: ControlError | Unknown | None) -> Json:
    if isinstance(error, Unknown):
        return {"certified": None, "reason": error.reason}
    return None if error is None else error.to_table()


@dataclass(frozen=True, kw_only=True, slots=True)
class CleanReturns:
    """Mean returns without an adversary, over the same episodes.

    Attributes:
        original: Mean return of what was compressed.
        compressed: Mean return of the result.
        episodes: Number of episodes.
    """

    original: float
    compressed: float
    episodes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class OriginalPolicy:
    """What was compressed.

    Attributes:
        onnx_sha256: Digest of its file.
        weights_sha256: Digest of what it computes.
        sparsity: Share of its weights that are zero.
    """

    onnx_sha256: str
    weights_sha256: str
    sparsity: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Compression:
    """How a policy was compressed, and what that changed.

    Attributes:
        method: How the weights that went were chosen; None if none went.
        allocation: How the sparsity is spread over the layers; None if no weight went.
        refit: Whether the weights that stayed were fitted.
        block_rows: Rows of one column that stayed or went together; 1 for single weights.
        weights: The numbers that the weights are.
        kept_weights: Number of weights that are not zero.
        limit: The control error that was allowed, and where it is certified.
        errors: The control error by domain.
        changed_choices: Share of the visited states at which another action is chosen; None for
            actions that are not chosen, or without states.
        original: Policy from which it was made.
        calibration_states: Number of states that were looked at.
        clean_return: Returns of both; None where nothing was played.
    """

    method: Method | None
    allocation: Allocation | None
    refit: bool
    block_rows: int
    weights: WeightFormat
    kept_weights: int
    limit: ControlLimit
    errors: ControlErrors
    changed_choices: float | None
    original: OriginalPolicy
    calibration_states: int
    clean_return: CleanReturns | None

    def to_table(self) -> dict[str, Json]:
        """Return it as JSON values."""
        return {
            "method": self.method,
            "allocation": self.allocation,
            "refit": self.refit,
            "block_rows": self.block_rows,
            "weights": self.weights,
            "kept_weights": self.kept_weights,
            "max_control_error": self.limit.max_control_error,
            "over": self.limit.over,
            "control_error": self.errors.to_table(),
            "changed_choices": self.changed_choices,
            "original": to_table(self.original),
            "calibration_states": self.calibration_states,
            "clean_return": None if self.clean_return is None else to_table(self.clean_return),
        }
