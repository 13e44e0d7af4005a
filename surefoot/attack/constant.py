"""One perturbation for all steps of all episodes: a sensor that is calibrated wrongly.

No gradient, no critic and no learning of a policy: the perturbation is found by the cross-entropy
method on the return itself.

C = candidates of a generation, D = obs_dim.
"""

from dataclasses import dataclass

import numpy as np

from surefoot.attack.cost import Cost
from surefoot.attack.return_search import MovesAt, always, minimise_return
from surefoot.attack.target import AttackTarget, Variants, pack, unpack
from surefoot.ball import Ball, Deltas, Randoms, States
from surefoot.envs.vector import Floats
from surefoot.train.game import Direct

CONSTANT = "constant"


@dataclass(frozen=True, slots=True, eq=False)
class ConstantAdversary:
    """Adds the same perturbation to every state.

    Attributes:
        ball: The perturbation set.
        delta: The perturbation, (D,).
    """

    ball: Ball
    delta: Deltas

    @property
    def effort(self) -> Cost:
        """Nothing."""
        return Cost()

    def perturb(self, state_ND: States, randoms: Randoms) -> States:
        """Return the states plus the perturbation."""
        del randoms
        return self.ball.perturbed(state_ND, np.broadcast_to(self.delta, state_ND.shape))


def constant_variants(target: AttackTarget) -> Variants:
    """Return the perturbation under which the controller returned least, and the mean of the last.

    Args:
        target: Controller and task under attack.
    """
    key = [target.key, CONSTANT]
    piece = target.store.get(CONSTANT, key)
    if piece is None:
        found, effort, facts = _search(target, seed=0)
        piece = pack(effort, facts, found.tobytes())
        target.store.put(CONSTANT, key, piece)
    effort, facts, data = unpack(piece)
    deltas = np.frombuffer(data, np.float64).reshape(2, -1)
    names = ("best candidate", "mean of the last generation")
    return Variants(
        adversaries={
            name: ConstantAdversary(target.ball, delta.copy())
            for name, delta in zip(names, deltas, strict=True)
        },
        effort=effort,
        facts={"search": facts},
    )


def _search(target: AttackTarget, seed: int) -> tuple[Deltas, Cost, dict[str, list[float]]]:
    """Minimise the mean return over normal directions, each as large as the ball allows."""
    craft = Direct(target.ball, target.policy.obs_dim)

    def moves_of(draws_CD: Floats) -> MovesAt:
        return always(target.ball.outermost(draws_CD) / target.ball.epsilon)

    found = minimise_return(target, craft, moves_of, target.policy.obs_dim, seed, CONSTANT)
    moved = target.ball.outermost(np.stack([found.best, found.mean]))
    return moved, found.effort, {"least_return": found.history}
