"""A policy that was evaluated while training, and may be the result."""

from collections.abc import Mapping
from dataclasses import dataclass

from surefoot.artifact import Json
from surefoot.policy import Policy


@dataclass(frozen=True, slots=True)
class EvaluatedPolicy:
    """A policy that may be the result.

    Attributes:
        policy: The policy.
        step: Environment steps when it was evaluated.
        clean_return: Its mean clean return.
        screened_return: Its least mean return under the attacks of a screen; None without one.
    """

    policy: Policy
    step: int
    clean_return: float
    screened_return: float | None

    @property
    def merit(self) -> float:
        """What the best policy has most of."""
        return self.clean_return if self.screened_return is None else self.screened_return

    def facts(self) -> dict[str, Json]:
        """Return what the manifest of a policy, and a checkpoint, say about it."""
        screened = {} if self.screened_return is None else {"screened_return": self.screened_return}
        return {"clean_return": self.clean_return, "step": self.step, **screened}

    @classmethod
    def from_facts(cls, policy: Policy, facts: Mapping[str, Json]) -> "EvaluatedPolicy":
        """Return what :meth:`facts` is about."""
        return cls(policy, facts["step"], facts["clean_return"], facts.get("screened_return"))
