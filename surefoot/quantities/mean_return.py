"""What the robot earns: its mean return, clean and under attack."""

from surefoot.quantities.base.measurement import (
    Episodes,
    Limits,
    MeasuredFile,
    Measurement,
    Value,
)
from surefoot.quantities.base.quantity import MeasuredQuantity, Need, Topic
from surefoot.unknown import Unknown


class MeanReturn(MeasuredQuantity):
    """The lowest mean return; with a confidence it counts by its lower limit."""

    unit = "reward units"
    at_most = False
    of_returns = True

    def of_file(self, need: Need, file: MeasuredFile, delta: float) -> Value | Limits | Unknown:
        """Return the lowest mean, or its limits where a confidence is asked for."""
        entries = file.measurements(self.name, need.ball)
        if isinstance(entries, Unknown):
            return entries
        worst = max(entries, key=lambda entry: entry.failures)
        if worst.failures:
            return Unknown(
                f"{worst.failures} episodes failed under {worst.source}: they have no return"
            )
        if need.confidence is not None:
            return file.mean_limits(entries, delta)
        lowest = min(entries, key=lambda entry: entry.value)
        return Value(value=lowest.value, method="measurement", source=lowest.source)


class AttackedReturn(MeanReturn):
    """The lowest mean return over the attacks that were run."""

    name = "attacked_return"
    meaning = "lowest mean return over the attacks that were run"
    claim = "the mean return under the strongest attack that was run is {at_least}{value}"
    topic = Topic.ATTACK
    needs = frozenset({"epsilon", "norm"})
    takes = frozenset({"confidence", "perturb"})

    def of_episodes(self, episodes: Episodes) -> Measurement | None:
        """Return the mean return under an attack."""
        return episodes.mean_return(self.name) if episodes.attacks_observations else None


class UnexcludedReturn(MeanReturn):
    """The lowest mean return under moves of the actions that a certificate does not exclude.

    If the moves are those that are certified everywhere, no attack on the observations is stronger
    than the strongest of them.
    """

    name = "unexcluded_return"
    meaning = "lowest mean return over the searched moves of the actions that no proof excludes"
    claim = "the mean return under the worst moves of the actions found is {at_least}{value}"
    topic = Topic.ATTACK
    needs = frozenset({"epsilon", "norm"})
    takes = frozenset({"confidence", "perturb"})

    def of_episodes(self, episodes: Episodes) -> Measurement | None:
        """Return the mean return under moves of the actions."""
        return episodes.mean_return(self.name) if episodes.moves_actions else None


class CleanReturn(MeanReturn):
    """The mean return without an adversary."""

    name = "clean_return"
    meaning = "mean return without an adversary"
    claim = "the mean return without an adversary is {at_least}{value}"
    topic = Topic.TASK
    takes = frozenset({"confidence"})

    def of_episodes(self, episodes: Episodes) -> Measurement | None:
        """Return the mean return of clean episodes."""
        return episodes.mean_return(self.name) if episodes.ball is None else None


ATTACKED_RETURN, CLEAN_RETURN = AttackedReturn(), CleanReturn()
UNEXCLUDED_RETURN = UnexcludedReturn()
