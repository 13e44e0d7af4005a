"""A start for a learned adversary: the imitation of an attack that needs no learning.

N = environments, D = obs_dim.
"""

from collections.abc import Callable
from contextlib import closing

import numpy as np
import torch
from torch import Tensor

from surefoot.attack.adversary import Adversary
from surefoot.attack.regression import fit
from surefoot.envs.vector import DiscreteActions, VectorEnv
from surefoot.policy import Array, Policy
from surefoot.train.ball import States
from surefoot.train.game import Craft
from surefoot.train.networks import new_network
from surefoot.train.run import Run

_NUM_ENVS = 16
_NUM_STEPS = 600
_EPOCHS = 30


def imitate(
    run: Run,
    teacher: Adversary,
    policy: Policy,
    craft: Craft,
    make_env: Callable[[int], VectorEnv],
    seed: int,
) -> None:
    """Fit the actor of a run that has not begun to what an attack does along its own episodes.

    Args:
        run: Of the adversary.
        teacher: The attack.
        policy: The controller.
        craft: Whose moves are learned; choices among discrete ones are not imitated.
        make_env: Of the controller's task.
        seed: Of the episodes and of the fit.
    """
    if isinstance(craft.moves, DiscreteActions):
        return
    states, moves = map(torch.from_numpy, record_moves(teacher, policy, craft, make_env, seed))
    checkpoint = run.checkpoint()
    start = checkpoint.tree["ppo"]["parameters"]["actor"]
    sizes = (states.shape[1], *run.config.hidden, moves.shape[1])
    checkpoint.tree["ppo"]["parameters"]["actor"] = _fit(
        torch.from_numpy(start), sizes, states, moves, run
    )
    run.load_checkpoint(checkpoint)


def record_moves(
    teacher: Adversary,
    policy: Policy,
    craft: Craft,
    make_env: Callable[[int], VectorEnv],
    seed: int,
) -> tuple[States, Array]:
    """Return states along attacked episodes and the moves by which the teacher perturbed them.

    Args:
        teacher: The attack.
        policy: The controller.
        craft: Whose moves they are.
        make_env: Of the controller's task.
        seed: Of the episodes.
    """
    seeds = (np.random.SeedSequence(seed).generate_state(_NUM_ENVS) // 2).tolist()
    randoms = [np.random.default_rng(one) for one in seeds]
    states, moves = [], []
    with closing(make_env(_NUM_ENVS)) as env:
        obs = env.reset(seeds)
        for _ in range(_NUM_STEPS):
            state_ND = policy.state(obs, np.float32)
            perturbed_ND = teacher.perturb(state_ND, randoms)
            states.append(state_ND)
            moves.append(craft.moves_of(state_ND, perturbed_ND))
            obs = env.step(policy.head.select(policy.outputs_at(perturbed_ND))).obs
    return np.concatenate(states), np.concatenate(moves)


def _fit(
    start: Tensor, sizes: tuple[int, ...], states: Tensor, moves: Tensor, run: Run
) -> np.ndarray:
    """Return parameters that predict the moves with the least squared error."""
    generator = torch.Generator().manual_seed(run.config.seed)
    network = new_network(
        sizes,
        run.config.activation,
        output_gain=0.01,
        generator=generator,
        device=torch.device("cpu"),
    )
    network.parameters.copy_(start)
    fit(network, states, moves, epochs=_EPOCHS, generator=generator)
    return network.parameters.numpy().copy()
