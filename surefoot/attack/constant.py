"""One perturbation for all steps of all episodes: a sensor that is calibrated wrongly.

No gradient, no critic and no learning of a policy: the perturbation is found by the cross-entropy
method on the return itself.

C = candidates of a generation, E = episodes of each, D = obs_dim.
"""

from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surefoot.attack.cost import Cost
from surefoot.attack.target import AttackTarget, Variants, pack, unpack
from surefoot.ball import Ball, Deltas, Randoms, States
from surefoot.envs.vector import Floats
from surefoot.train.evaluation import horizon_of
from surefoot.train.game import Direct, Game

CONSTANT = "constant"
_CANDIDATES, _EPISODES, _GENERATIONS = 24, 2, 10
_ELITE = 6
_SMOOTHING = 0.7
"""Weight of a generation's best in the next distribution."""


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
    """Minimise the mean return over normal directions, each as large as the ball allows.

    Reference:
        de Boer et al., "A tutorial on the cross-entropy method", Annals of Operations Research 134,
        2005, algorithm 4.2.
    """
    random = np.random.default_rng(seed)
    dim = target.policy.obs_dim
    # The same episodes in every generation: otherwise the best would be that of the easiest ones.
    seeds = random.integers(2**31, size=_EPISODES)
    mean_D, std_D = np.zeros(dim), np.ones(dim)
    best_D, least, history, effort = mean_D, np.inf, [], Cost()
    env, craft = target.make_env(_CANDIDATES * _EPISODES), Direct(target.ball, dim)
    with closing(Game(env, target.policy, craft)) as game:
        for number in range(_GENERATIONS):
            target.tell(number / _GENERATIONS, CONSTANT)
            draws_CD = mean_D + std_D * random.standard_normal((_CANDIDATES, dim))
            moves_CD = target.ball.outermost(draws_CD) / target.ball.epsilon
            returns_C, spent = _returns(game, moves_CD, seeds)
            effort += spent
            elite_ED = draws_CD[np.argsort(returns_C, kind="stable")[:_ELITE]]
            history.append(float(returns_C.min()))
            if history[-1] < least:
                least, best_D = history[-1], elite_ED[0]
            mean_D = _SMOOTHING * elite_ED.mean(axis=0) + (1 - _SMOOTHING) * mean_D
            std_D = _SMOOTHING * elite_ED.std(axis=0) + (1 - _SMOOTHING) * std_D
    found = target.ball.outermost(np.stack([best_D, mean_D]))
    return found, effort, {"least_return": history}


def _returns(game: Game, moves_CD: Deltas, seeds: NDArray[np.int64]) -> tuple[Floats, Cost]:
    """Return the mean return under each perturbation, on the same episodes for all."""
    num = len(moves_CD)
    game.reset(np.repeat(seeds, num).tolist())
    moves = np.tile(moves_CD, (_EPISODES, 1)).astype(np.float32)
    total, alive, num_steps = np.zeros(len(moves)), np.ones(len(moves), np.bool_), 0
    for _ in range(horizon_of(game)):
        result = game.step(moves)
        total -= np.where(alive, result.reward, 0.0)  # the game pays the adversary
        num_steps += int(alive.sum())
        alive &= ~(result.terminated | result.truncated)
        if not alive.any():
            break
    return total.reshape(_EPISODES, num).mean(axis=0), Cost(env_steps=num_steps)
