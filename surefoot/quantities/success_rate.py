"""How often attacks leave the robot up."""

from surefoot.errors import InputError
from surefoot.quantities.base.measurement import Limits, MeasuredFile, Measurement, Value
from surefoot.quantities.base.quantity import MeasuredQuantity, Need, Topic
from surefoot.unknown import Unknown


class SuccessRate(MeasuredQuantity):
    """The share of episodes under attack that end without a failure."""

    name = "success_rate"
    unit = ""
    meaning = "share of episodes under attack that end without a failure"
    claim = "at least a share {value} of the episodes ended without a failure"
    topic = Topic.ATTACK
    needs = frozenset({"epsilon", "norm", "confidence"})
    at_most = False

    def of_file(self, need: Need, file: MeasuredFile, delta: float) -> Value | Limits | Unknown:
        """Return the limits of the lowest rate over the attacks that were run."""
        entries = file.measurements(self.name, need.ball)
        return entries if isinstance(entries, Unknown) else file.rate_limits(entries, delta)

    def check(self, entry: Measurement) -> None:
        """Check that a measurement is a share of its episodes.

        Raises:
            InputError: If it is not.
        """
        super().check(entry)
        check_rate(entry)


def check_rate(entry: Measurement) -> None:
    """Check that a measurement is a share of its episodes.

    Raises:
        InputError: If it names no episodes, or is none of their shares.
    """
    if entry.episodes is None or entry.episodes < 1:
        raise InputError(f"{entry.quantity} needs its episodes, got {entry.episodes}")
    successes = entry.value * entry.episodes
    if not 0 <= entry.value <= 1 or abs(successes - round(successes)) > 1e-6:
        raise InputError(
            f"{entry.quantity} must be a share of {entry.episodes} episodes, got {entry.value}"
        )


SUCCESS_RATE = SuccessRate()
