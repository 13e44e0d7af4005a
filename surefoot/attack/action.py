"""An adversary on the actions: everything that a proof does not exclude.

If no reading in the ball moves actuator j by more than d_j, every attack on the observations is one
on the actions in the box of the d_j. The strongest of the box leaves the robot no more than the
strongest attack on its observations: what a search finds here is how far the proof reaches.

N = batch, D = obs_dim, M = num_outputs, C = candidates of a generation.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from surefoot.artifact import Json
from surefoot.attack.cost import Cost
from surefoot.attack.learned import learn_adversary
from surefoot.attack.learned_attacks import fresh_settings
from surefoot.attack.proved_deviation import CertifiedBox
from surefoot.attack.return_search import LeastReturn, MovesAt, always, minimise_return
from surefoot.attack.target import AttackTarget, pack, unpack
from surefoot.ball import States
from surefoot.envs.vector import Floats
from surefoot.onnx_file import policy_from_onnx
from surefoot.policy import Array, Policy
from surefoot.records import ACTION
from surefoot.train.action_box import ActionBox, Outputs


@dataclass(frozen=True, slots=True, eq=False)
class ActionAdversary:
    """Moves the actions of the deployed controller within a box.

    Attributes:
        box: How far each action may be moved.
        moves: Function from the true states, (N, D), to moves in units of the box, (N, M).
    """

    box: ActionBox
    moves: Callable[[States], Array]

    @property
    def effort(self) -> Cost:
        """Nothing: there is no inner search."""
        return Cost()

    def moved(self, state_ND: States, outputs_NM: Outputs) -> Outputs:
        """Return the moved actions, each in the box around its row of ``outputs_NM``."""
        return self.box.moved(outputs_NM, self.moves(state_ND))


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionVariants:
    """The ways to attack the actions in one box; the strongest is reported.

    Attributes:
        adversaries: Adversaries by name.
        effort: Effort of making all of them.
        facts: Remarks on how they were made.
    """

    adversaries: Mapping[str, ActionAdversary]
    effort: Cost = field(default_factory=Cost)
    facts: Mapping[str, Json] = field(default_factory=dict)


def action_variants(
    target: AttackTarget, certified: CertifiedBox, total_steps: int
) -> ActionVariants:
    """Return the adversaries of a box: steady, bang-bang and learned.

    A steady one moves every actuator by its limit, always the same way. A bang-bang one, as optimal
    control of a linear system is, does so too, but chooses the way by the side of a plane on which
    the state lies. A learned one chooses any move of the box by a network.

    Args:
        target: Controller and task under attack.
        certified: The box.
        total_steps: Environment steps of the training.
    """
    box = ActionBox(target.policy, certified.limits)
    name = f"{ACTION}, {certified.scope}"
    steady = _search(target.at(0.0, 0.15), box, _steady, target.policy.num_outputs, name)
    planes = target.policy.num_outputs * (target.policy.obs_dim + 1)
    bang_bang = _search(target.at(0.15, 0.15), box, _bang_bang, planes, name)
    actor, effort, training = _learned(target.at(0.3, 0.7), box, total_steps, name)
    return ActionVariants(
        adversaries={
            "steady": ActionAdversary(box, _played(_steady, steady.best)),
            "bang-bang": ActionAdversary(box, _played(_bang_bang, bang_bang.best)),
            "bang-bang, mean of the last generation": ActionAdversary(
                box, _played(_bang_bang, bang_bang.mean)
            ),
            "learned": ActionAdversary(box, _ActorMoves(actor)),
        },
        effort=steady.effort + bang_bang.effort + effort,
        facts={
            "search": {"steady": steady.history, "bang-bang": bang_bang.history},
            "training": training,
        },
    )


def _steady(draws_CM: Floats) -> MovesAt:
    return always(np.sign(draws_CM))


def _bang_bang(draws_CK: Floats) -> MovesAt:
    """Return, for each actuator, the sign of an affine function of the state."""

    def moves_at(state_ECD: Floats) -> Array:
        planes_CMK = draws_CK.reshape(len(draws_CK), -1, state_ECD.shape[2] + 1)
        slopes_CMD, offsets_CM = planes_CMK[..., :-1], planes_CMK[..., -1]
        return np.asarray(np.sign(np.einsum("cmd,ecd->ecm", slopes_CMD, state_ECD) + offsets_CM))

    return moves_at


def _played(candidate: Callable[[Floats], MovesAt], numbers_K: Floats) -> Callable[[States], Array]:
    """Return the moves of one candidate at any number of states."""
    moves_at = candidate(numbers_K[None])
    return lambda state_ND: moves_at(state_ND.astype(np.float64)[:, None])[:, 0]


@dataclass(frozen=True, slots=True)
class _ActorMoves:
    """The mean moves of a trained actor."""

    policy: Policy

    def __call__(self, state_ND: States) -> Array:
        # In float64 a move does not depend on how many states come together.
        return self.policy.outputs_at(state_ND.astype(np.float64))


def _search(
    target: AttackTarget,
    box: ActionBox,
    candidate: Callable[[Floats], MovesAt],
    dim: int,
    name: str,
) -> LeastReturn:
    """Search the moves of one kind, unless that was done before."""
    key: Json = [target.key, list(box.limits), candidate.__name__]
    piece = target.store.get(ACTION, key)
    if piece is None:
        found = minimise_return(target, box, candidate, dim, 0, name)
        numbers = np.stack([found.best, found.mean])
        piece = pack(found.effort, {"least_return": found.history}, numbers.tobytes())
        target.store.put(ACTION, key, piece)
    effort, facts, data = unpack(piece)
    best, mean = np.frombuffer(data, np.float64).reshape(2, dim)
    return LeastReturn(best=best, mean=mean, history=facts["least_return"], effort=effort)


def _learned(
    target: AttackTarget, box: ActionBox, total_steps: int, name: str
) -> tuple[Policy, Cost, dict[str, Json]]:
    """Train a director of the actions, unless that was done before."""
    settings = fresh_settings(target, total_steps)
    key: Json = [target.key, ACTION, list(box.limits), asdict(settings)]
    piece = target.store.get(ACTION, key)
    with TemporaryDirectory() as spare:
        if piece is None:
            learned = learn_adversary(
                target.policy,
                box,
                settings,
                target.make_env,
                checkpoints=target.store.scratch(ACTION, key) or Path(spare),
                on_share=lambda share: target.tell(share, f"{name}, learned"),
            )
            piece = pack(learned.effort, learned.facts, learned.actor)
            target.store.put(ACTION, key, piece)
    target.store.discard(ACTION, key)
    effort, facts, actor = unpack(piece)
    return policy_from_onnx(actor).policy, effort, facts
