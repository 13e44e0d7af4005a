"""What an attack may know and use: the controller's file, its task, and what was found before."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from surefoot.artifact import Json, from_json, to_json
from surefoot.attack.adversary import Adversary
from surefoot.attack.cost import Cost
from surefoot.attack.store import Store
from surefoot.ball import Ball, States
from surefoot.envs.vector import VectorEnv
from surefoot.policy import Array, Layer, Policy
from surefoot.train.train_config import Resume

Tell = Callable[[float, str], None]
"""Is told which share of the attack in progress is done, and what is going on; raises to stop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackTarget:
    """What is attacked.

    Attributes:
        policy: The controller's policy, as read back from the deployed file.
        ball: The perturbation set.
        make_env: Function from a number to that many environments of the task.
        store: Finished pieces of an earlier, interrupted attack.
        key: Everything that learned results depend on: controller, task, ball, versions.
        tell: Progress.
        query: The deployed controller: from states, (N, D), to its outputs.
        critics: Values of states that came with the controller, by name.
        resume: How a stopped training of an adversary resumes.
        others: Other controllers of the task, whose perturbations are tried on this one, by name.
        strongest: The adversary that did most harm so far, if there was any, and its name; one that
            answers to the state.
        constant: The constant perturbation that did most harm, if one was found, and its name.
        chosen: The variant of each attack so far that did most harm.
    """

    policy: Policy
    ball: Ball
    make_env: Callable[[int], VectorEnv]
    store: Store
    key: Json
    tell: Tell
    query: Callable[[States], Array]
    strongest: tuple[str, Adversary] | None = None
    constant: tuple[str, Adversary] | None = None
    chosen: Mapping[str, str] = field(default_factory=dict)
    critics: Mapping[str, tuple[Layer, ...]] = field(default_factory=dict)
    others: Mapping[str, Policy] = field(default_factory=dict)
    resume: Resume = "replay"

    def at(self, share: float, width: float) -> "AttackTarget":
        """Return the target for a part of an attack: its progress fills a slice of the whole."""
        tell = self.tell
        return replace(self, tell=lambda part, remark: tell(share + width * part, remark))


@dataclass(frozen=True, kw_only=True, slots=True)
class Variants:
    """The ways to run one attack; the strongest is reported.

    Attributes:
        adversaries: Adversaries by name.
        effort: Effort of making all of them.
        facts: Remarks on how they were made.
    """

    adversaries: Mapping[str, Adversary]
    effort: Cost = field(default_factory=Cost)
    facts: Mapping[str, Json] = field(default_factory=dict)


def pack(effort: Cost, facts: Mapping[str, Json], data: bytes) -> bytes:
    """Return a piece of a store: a line of JSON, then data."""
    head = to_json({"effort": effort.to_table(), "facts": dict(facts)}).replace(b"\n", b" ")
    return head + b"\n" + data


def unpack(piece: bytes) -> tuple[Cost, dict[str, Json], bytes]:
    """Return the value that :func:`pack` was given."""
    head, _, data = piece.partition(b"\n")
    table = from_json(head, "a stored piece")
    return Cost(**table["effort"]), table["facts"], data
