"""A start for a learned adversary: the imitation of an attack that needs no learning.

N = environments, D = obs_dim.
"""

from collections.abc import Callable
from contextlib import closing

import numpy as np
import torch

from surefoot.attack.adversary import Adversary
from surefoot.attack.cost import Cost
from surefoot.attack.regression import MINIBATCH, choice_loss, fit, squared_loss
from surefoot.ball import States
from surefoot.envs.vector import DiscreteActions, VectorEnv
from surefoot.policy import Array, Policy
from surefoot.train.game import Craft, finite
from surefoot.train.networks import new_network
from surefoot.train.rollout import Singles
from surefoot.train.training_run import Run

Play = Callable[[States], States]
"""From states to perturbed ones."""

_NUM_ENVS = 16
_NUM_STEPS = 600
_EPOCHS = 20


def imitation(
    run: Run,
    teacher: Adversary,
    policy: Policy,
    craft: Craft,
    make_env: Callable[[int], VectorEnv],
    lessons: int,
) -> Singles:
    """Return the parameters of an actor that does what an attack would do (DAgger).

    The first lesson is along the attack's own episodes. An imitation that errs comes to states
    that the attack never sees, so in every later lesson the imitation plays, and the attack tells
    what it would have done.

    Args:
        run: Training of the adversary, not begun; is left with the imitation as its actor.
        teacher: The attack.
        policy: The controller.
        craft: Function whose moves are learned.
        make_env: Makes environments of the controller's task.
        lessons: How many.

    Reference:
        Ross, Gordon and Bagnell, AISTATS 2011 (arXiv 1011.0686), algorithm 3.1.
    """
    states: list[States] = []
    moves: list[Array] = []
    play: Play | None = None
    for lesson in range(lessons):
        seen, done = record_moves(
            teacher, policy, craft, make_env, run.config.seed + lesson, play=play
        )
        states.append(seen)
        moves.append(done)
        run.take_actor(_fit(run, craft, np.concatenate(states), np.concatenate(moves)))
        play = _player(run.policy(), craft)
    return _actor(run)


def effort_of(teacher: Adversary, craft: Craft, lessons: int) -> Cost:
    """Return the cost of an imitation: the teacher speaks at every step, the pupil plays most."""
    num_steps = _NUM_ENVS * _NUM_STEPS
    updates = _EPOCHS * sum(-(-num_steps * number // MINIBATCH) for number in range(1, lessons + 1))
    return Cost(
        env_steps=num_steps * lessons,
        gradients=num_steps * (lessons - 1) * craft.gradients,
        updates=updates,
    ) + teacher.effort.times(num_steps * lessons)


def _actor(run: Run) -> Singles:
    parameters: Singles = run.checkpoint().tree["ppo"]["parameters"]["actor"]
    return parameters


def _player(actor: Policy, craft: Craft) -> Play:
    """Return the function that perturbs states as an actor has learned to so far."""
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
        craft: Function whose moves they are.
        make_env: Makes environments of the controller's task.
        seed: Seed of the episodes.
        play: Adversary that perturbs while the teacher says what it would do; None for the teacher.
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


def _fit(run: Run, craft: Craft, states: States, moves: Array) -> Singles:
    """Return parameters that predict the moves: least squares, or the most likely choices."""
    discrete = isinstance(craft.moves, DiscreteActions)
    num_outputs = craft.moves.num if isinstance(craft.moves, DiscreteActions) else craft.moves.dim
    generator = torch.Generator().manual_seed(run.config.seed)
    network = new_network(
        (states.shape[1], *run.config.hidden, num_outputs),
        run.config.activation,
        output_gain=0.01,
        generator=generator,
        device=torch.device("cpu"),
    )
    network.parameters.copy_(torch.from_numpy(_actor(run)))
    fit(
        network,
        torch.from_numpy(states),
        torch.from_numpy(moves),
        epochs=_EPOCHS,
        generator=generator,
        loss=choice_loss if discrete else squared_loss,
    )
    return network.parameters.numpy().copy()
