"""How often the robot does its task: what a user's predicate says of whole episodes."""

from surefoot.quantities.base.measurement import (
    Episodes,
    Limits,
    MeasuredFile,
    Measurement,
    Value,
)
from surefoot.quantities.base.quantity import MeasuredQuantity, Need, Topic
from surefoot.unknown import Unknown


class TaskSuccess(MeasuredQuantity):
    """The share of episodes that succeed, by the user's predicate; under attack if one is named."""

    name = "task_success"
    unit = ""
    meaning = "share of episodes that succeed by the user's predicate"
    claim = "the task was done in at least a share {value} of the episodes"
    topic = Topic.TASK
    needs = frozenset({"confidence"})
    takes = frozenset({"epsilon", "norm", "perturb"})
    at_most = False
    is_rate = True

    def of_file(self, need: Need, file: MeasuredFile, delta: float) -> Value | Limits | Unknown:
        """Return the limits of the rate, the lowest one if there are several attacks."""
        entries = file.measurements(self.name, need.ball)
        return entries if isinstance(entries, Unknown) else file.rate_limits(entries, delta)

    def of_episodes(self, episodes: Episodes) -> Measurement | None:
        """Return the share that succeeded, where there was a predicate."""
        if episodes.successes is None or episodes.moves_actions:
            return None
        return episodes.rate(self.name, episodes.successes)


TASK_SUCCESS = TaskSuccess()
