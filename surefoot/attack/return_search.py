"""What to do to a controller for a whole episode, found on the return itself.

No gradient, no critic and no learning of a policy: the cross-entropy method alone.

C = candidates of a generation, E = episodes of each, N = C E, K = numbers of a candidate.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surefoot.attack.cost import Cost
from surefoot.attack.target import AttackTarget
from surefoot.envs.vector import Floats
from surefoot.policy import Array
from surefoot.train.evaluation import horizon_of
from surefoot.train.game import Game, Moves

_CANDIDATES, _EPISODES, _GENERATIONS = 24, 2, 10
_ELITE = 6
_SMOOTHING = 0.7
"""Weight of a generation's best in the next distribution."""

MovesAt = Callable[[Floats], Array]
"""From the states of all candidates, (E, C, D), to their moves, (E, C, M)."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LeastReturn:
    """What a search for the least return found.

    Attributes:
        best: Candidate with the least return, (K,).
        mean: Mean of the last generation, (K,).
        history: Least return of each generation.
        effort: Cost of the search.
    """

    best: Floats
    mean: Floats
    history: list[float]
    effort: Cost


def always(moves_CM: Array) -> MovesAt:
    """Return the same moves at every step."""
    return lambda state_ECD: np.broadcast_to(moves_CM, (*state_ECD.shape[:2], moves_CM.shape[1]))


def minimise_return(
    target: AttackTarget,
    craft: Moves,
    moves_of: Callable[[Floats], MovesAt],
    dim: int,
    seed: int,
    name: str,
) -> LeastReturn:
    """Minimise the mean return over what candidates do, from normal draws of their numbers.

    Args:
        target: Controller and task under attack.
        craft: What the moves do.
        moves_of: From the numbers of all candidates, (C, K), to their moves.
        dim: K.
        seed: Seed of the candidates and of the episodes.
        name: Remark beside the progress.

    Reference:
        de Boer et al., "A tutorial on the cross-entropy method", Annals of Operations Research 134,
        2005, algorithm 4.2.
    """
    random = np.random.default_rng(seed)
    # The same episodes in every generation: otherwise the best would be that of the easiest ones.
    seeds = random.integers(2**31, size=_EPISODES)
    mean_K, std_K = np.zeros(dim), np.ones(dim)
    best_K, least, history, effort = mean_K, np.inf, [], Cost()
    env = target.make_env(_CANDIDATES * _EPISODES)
    with closing(Game(env, target.policy, craft)) as game:
        for number in range(_GENERATIONS):
            target.tell(number / _GENERATIONS, name)
            draws_CK = mean_K + std_K * random.standard_normal((_CANDIDATES, dim))
            returns_C, spent = _returns(game, moves_of(draws_CK), seeds)
            effort += spent
            elite_EK = draws_CK[np.argsort(returns_C, kind="stable")[:_ELITE]]
            history.append(float(returns_C.min()))
            if history[-1] < least:
                least, best_K = history[-1], elite_EK[0]
            mean_K = _SMOOTHING * elite_EK.mean(axis=0) + (1 - _SMOOTHING) * mean_K
            std_K = _SMOOTHING * elite_EK.std(axis=0) + (1 - _SMOOTHING) * std_K
    return LeastReturn(best=best_K, mean=mean_K, history=history, effort=effort)


def _returns(game: Game, moves_at: MovesAt, seeds: NDArray[np.int64]) -> tuple[Floats, Cost]:
    """Return the mean return under each candidate, on the same episodes for all."""
    num = game.num_envs
    state_ND = game.reset(np.repeat(seeds, num // len(seeds)).tolist())
    total, alive, num_steps = np.zeros(num), np.ones(num, np.bool_), 0
    for _ in range(horizon_of(game)):
        moves = moves_at(state_ND.reshape(len(seeds), -1, state_ND.shape[1]))
        result = game.step(moves.reshape(num, -1).astype(np.float32))
        total -= np.where(alive, result.reward, 0.0)  # the game pays the adversary
        num_steps += int(alive.sum())
        alive &= ~(result.terminated | result.truncated)
        state_ND = result.obs
        if not alive.any():
            break
    return total.reshape(len(seeds), -1).mean(axis=0), Cost(env_steps=num_steps)
