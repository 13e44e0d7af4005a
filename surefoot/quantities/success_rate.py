"""How often attacks leave the robot up."""

from surefoot.quantities.base.measurement import (
    Episodes,
    Limits,
    MeasuredFile,
    Measurement,
    Value,
)
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
    takes = frozenset({"perturb"})
    at_most = False
    is_rate = True

    def of_file(self, need: Need, file: MeasuredFile, delta: float) -> Value | Limits | Unknown:
        """Return the limits of the lowest rate over the attacks that were run."""
        entries = file.measurements(self.name, need.ball)
        return entries if isinstance(entries, Unknown) else file.rate_limits(entries, delta)

    def of_episodes(self, episodes: Episodes) -> Measurement | None:
        """Return the share that survived an attack."""
        if not episodes.attacks_observations:
            return None
        return episodes.rate(self.name, episodes.survived)


SUCCESS_RATE = SuccessRate()
