"""What can be chosen about pruning while training.

Weights go a few at a time ("micro-pruning"), more at first than later: a cubic schedule between two
shares of the updates, followed by training under the final masks.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from surefoot.compress.allocations import MIN_DENSITY, Allocation, check_room
from surefoot.compress.blocks import BlockRows
from surefoot.compress.masks import check_sparsity
from surefoot.compress.scores import Score, Seen, magnitude, random, saliency
from surefoot.config import settle_choices
from surefoot.errors import InputError
from surefoot.ranges import require_at_least, require_order

PruningTarget = Literal["actor", "critic", "both"]


@dataclass(frozen=True, kw_only=True, slots=True)
class NoPruning:
    """Dense training."""

    kind: ClassVar[str] = "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class GradualPruning:
    """When the masks change, and of which networks: what every method is asked.

    Attributes:
        start: Share of the updates before the first change of the masks (burn-in).
        end: Share of the updates at which the final sparsity is reached.
        interval: Updates between two changes of the masks, 10 or 20 being smoother than 1; longer
            than the time between ``start`` and ``end``, it makes one large step at ``end``.
        target: Networks that are pruned. Only the actor is deployed; a pruned critic values
            states worse, and weakens the attacks that use it.
    """

    start: float = 0.25
    end: float = 0.75
    interval: int = 10
    target: PruningTarget = "both"

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InputError: If one does not hold.
        """
        settle_choices(self)
        require_at_least(self, 0, "start")
        require_at_least(self, 1, "interval")
        require_order(self, "start", "end")


@dataclass(frozen=True, kw_only=True, slots=True)
class SpreadPruning(GradualPruning):
    """To a sparsity that is given, and spread over layers.

    Attributes:
        sparsity: Final share of the units that are pruned, in [0, 1).
        allocation: How it is spread over layers.
        min_density: Share of each layer that `global` keeps at least, in [0, 1); the other
            allocations need no such floor.
    """

    sparsity: float
    allocation: Allocation = Allocation.ERK
    min_density: float = MIN_DENSITY

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InputError: If one does not hold.
        """
        GradualPruning.__post_init__(self)
        check_sparsity(self.sparsity)
        if not 0 <= self.min_density < 1:
            raise InputError(f"min_density must be in [0, 1), got {self.min_density}")
        if self.allocation == Allocation.GLOBAL:
            check_room(self.sparsity, self.min_density)


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightPruning(SpreadPruning):
    """Single weights become zero, biases stay: what every unstructured method is asked.

    A method is a ``kind`` and a ``score``.
    """

    def score(self, seen: Seen) -> Score:
        """Score each entry of a weight; larger means keep."""
        return magnitude(seen)


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomPruning(WeightPruning):
    """Prune weights in a random order: the baseline that knows nothing of them."""

    kind: ClassVar[str] = "random"

    def score(self, seen: Seen) -> Score:
        """Return a fixed order."""
        return random(seen)


@dataclass(frozen=True, kw_only=True, slots=True)
class MagnitudePruning(WeightPruning):
    """Prune the smallest weights."""

    kind: ClassVar[str] = "magnitude"


@dataclass(frozen=True, kw_only=True, slots=True)
class MagnitudeStePruning(WeightPruning):
    """Prune the smallest weights, but train all of them underneath the masks.

    The network computes with mask * weight, and its gradient moves the dense weights straight
    through the mask, so that a pruned weight may grow and return at the next change of the masks.
    """

    kind: ClassVar[str] = "magnitude_ste"


@dataclass(frozen=True, kw_only=True, slots=True)
class GradientPruning(WeightPruning):
    """What a method is asked whose score looks at `Seen.change`, the mean of |w dL/dw|.

    Attributes:
        memory: Share of the mean that is kept at each minibatch, in [0, 1): the mean is
            exponential, over about 1 / (1 - memory) minibatches.
    """

    memory: float = 0.98

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InputError: If one does not hold.
        """
        WeightPruning.__post_init__(self)
        if not 0 <= self.memory < 1:
            raise InputError(f"memory must be in [0, 1), got {self.memory}")


@dataclass(frozen=True, kw_only=True, slots=True)
class SaliencyPruning(GradientPruning):
    """Prune the weights without which the loss changes least, to first order: |w dL/dw|."""

    kind: ClassVar[str] = "saliency"

    def score(self, seen: Seen) -> Score:
        """Return |w dL/dw|."""
        return saliency(seen)


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockPruning(SpreadPruning):
    """Prune blocks: consecutive rows of one column, as processors like their zeros.

    Generated C loads an input once for a block and computes its rows side by side. A layer whose
    rows the blocks do not divide stays as it is, the outputs of most robots among them.

    Attributes:
        sparsity: Final share of all weights that are pruned, in [0, 1), those of layers that stay
            as they are included: the others make up for them, to one block.
        rows: Rows of a block.
        score: Kind of pruning of single weights that says how much each matters, and how it is
            trained; a block scores the sum of its weights.
    """

    kind: ClassVar[str] = "blocks"
    rows: BlockRows = 8
    score: Literal["random", "magnitude", "magnitude_ste", "saliency"] = "magnitude"

    def of_weights(self) -> WeightPruning:
        """Return the pruning of single weights that scores and trains them."""
        kinds = RandomPruning, MagnitudePruning, MagnitudeStePruning, SaliencyPruning
        return next(kind for kind in kinds if kind.kind == self.score)(sparsity=self.sparsity)


@dataclass(frozen=True, kw_only=True, slots=True)
class NeuronPruning(SpreadPruning):
    """Remove whole hidden neurons, least |(incoming, bias)|_2 |outgoing|_2 first.

    While training they are masked with all their ties; the policy that is evaluated and deployed
    has narrower hidden layers instead, and no zeros: its sparsity as a budget counts it is 0, what
    it saves is in its bytes.

    Attributes:
        sparsity: Final share of the hidden neurons that are removed, in [0, 1): of each hidden
            layer rounded to whole neurons, or of all together if the allocation is `global`.
        allocation: How it is spread over hidden layers. `global` compares neurons of all layers as
            they are, and takes most from the layer before the outputs, whose weights start small.
        min_density: Share of each hidden layer that `global` keeps at least, in [0, 1).
    """

    kind: ClassVar[str] = "neurons"
    allocation: Allocation = Allocation.UNIFORM
    min_density: float = 0.1

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InputError: If one does not hold.
        """
        SpreadPruning.__post_init__(self)
        if self.allocation == Allocation.ERK:
            raise InputError("allocation of neurons must be uniform or global, got erk")


@dataclass(frozen=True, kw_only=True, slots=True)
class TwoFourPruning(GradualPruning):
    """Prune the two smallest of every four consecutive weights of a row, as sparse hardware needs.

    A row whose length is no multiple of four counts as padded with zeros, so that of three weights
    that are left over one goes, of two or one none. The sparsity follows: close to one half.
    """

    kind: ClassVar[str] = "two_four"

    def score(self, seen: Seen) -> Score:
        """Return |w|."""
        return magnitude(seen)


Pruning = (
    NoPruning
    | RandomPruning
    | MagnitudePruning
    | MagnitudeStePruning
    | SaliencyPruning
    | BlockPruning
    | NeuronPruning
    | TwoFourPruning
)
