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
from surefoot.train.game import Craft, finite
from surefoot.train.networks import new_network
from surefoot.train.run import Run

Play = Callable[[States], States]
"""From states to perturbed ones."""

_NUM_ENVS = 16
_NUM_STEPS = 600
_EPOCHS = 20


def imitate(
    run: Run,
    teacher: Adversary,
    policy: Policy,
    craft: Craft,
    make_env: Callable[[int], VectorEnv],
    lessons: int,
) -> None:
    """Fit the actor of a run that has not begun to what an attack would do (DAgger).

    The first lesson is along the attack's own episodes. An imitation that errs comes to states
    that the attack never sees, so in every later lesson the imitation plays, and the attack tells
    what it would have done.

    Args:
        run: Of the adversary.
        teacher: The attack.
        policy: The controller.
        craft: Whose moves are learned; choices among discrete ones are not imitated.
        make_env: Of the controller's task.
        lessons: How many.

    Reference:
        Ross, Gordon and Bagnell, AISTATS 2011 (arXiv 1011.0686), algorithm 3.1.
    """
    if isinstance(craft.moves, DiscreteActions):
        return
    states: list[States] = []
    moves: list[Array] = []
    play: Play | None = None
    for lesson in range(lessons):
        seen, done = record_moves(
            teacher, policy, craft, make_env, run.config.seed + lesson, play=play
        )
        states.append(seen)
        moves.append(done)
        checkpoint = run.checkpoint()
        parameters = checkpoint.tree["ppo"]["parameters"]
        sizes = (seen.shape[1], *run.config.hidden, done.shape[1])
        parameters["actor"] = _fit(
            torch.from_numpy(parameters["actor"]),
            sizes,
            torch.from_numpy(np.concatenate(states)),
            torch.from_numpy(np.concatenate(moves)),
            run,
        )
        checkpoint.tree["average"]["parameters"] = parameters["actor"]
        run.load_checkpoint(checkpoint)
        play = _player(run.policy(), craft)


def _player(actor: Policy, craft: Craft) -> Play:
    """Return what perturbs states as an actor has learned it so far."""
    return lambda state_ND: craft(state_ND, actor.head.select(actor.outputs_at(state_ND)))


def record_moves(
    teacher: Adversary,
    policy: Policy,
    craft: Craft,
    make_env: Callable[[int], VectorEnv],
    seed: int,
    *,
    play: Play | None = None,
) -> tuple[States, Array]:
    """Return states along attacked episodes and the moves by which the teacher perturbs them.

    Args:
        teacher: The attack.
        policy: The controller.
        craft: Whose moves they are.
        make_env: Of the controller's task.
        seed: Of the episodes.
        play: What perturbs in the teacher's place, while it tells what it would do.
    """
    seeds = (np.random.SeedSequence(seed).generate_state(_NUM_ENVS) // 2).tolist()
    randoms = [np.random.default_rng(one) for one in seeds]
    states, moves = [], []
    with closing(make_env(_NUM_ENVS)) as env:
        obs = env.reset(seeds)
        for _ in range(_NUM_STEPS):
            state_ND = policy.state(obs, np.float32)
            taught_ND = teacher.perturb(state_ND, randoms)
            states.append(state_ND)
            moves.append(craft.moves_of(state_ND, taught_ND))
            perturbed_ND = play(state_ND) if play else taught_ND
            obs = env.step(policy.head.select(finite(policy.outputs_at(perturbed_ND)))).obs
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
