"""PA-AD: a director learns where the action should go, a search finds the perturbation for it.

    maximise over delta   cos(mu(z + delta) - mu(z), p) + |mu(z + delta) - mu(z)|_2

p is the director's move, one number per actuator: far fewer than there are observations. For a
categorical head the move is the action that is to be played, and its margin is what is maximised.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from surefoot.envs.vector import Actions, BoxActions, DiscreteActions
from surefoot.policy import Array, CategoricalHead, Policy, Squash
from surefoot.train.ball import Ball, States
from surefoot.train.networks import mlp_from_layers
from surefoot.train.search import search_ball

Gradient = Callable[[Tensor], Tensor]


class Director:
    """From a direction of the action to the perturbation that moves it there.

    The search starts along the gradient of <mu, p>, so that nothing in it is random, and takes
    every step towards p. Public code steps away from it, which a learned director makes up for.

    Reference:
        Sun et al., "Who Is the Strongest Enemy?", ICLR 2022 (arXiv 2106.05087), equation 5.
    """

    def __init__(self, policy: Policy, ball: Ball, *, steps: int = 10, slack: float = 2.5) -> None:
        """Build the twin.

        Args:
            policy: As read back from the deployed file.
            ball: The perturbation set.
            steps: Gradient steps of the search.
            slack: Size of each, in units of epsilon / steps.
        """
        self.ball = ball
        self.gradients = steps
        self.moves: Actions
        if isinstance(policy.head, CategoricalHead):
            self.moves = DiscreteActions(policy.num_outputs)
            self._num_actions = policy.num_outputs
        else:
            one = np.ones(policy.num_outputs, np.float32)
            self.moves = BoxActions(-one, one)
            self._clips = policy.head.squash is Squash.CLIP
        self._step_size = slack * ball.epsilon / steps
        self._twin = mlp_from_layers(policy.layers, dtype=torch.float64)

    def __call__(self, state_ND: States, moves: Array) -> States:
        """Return the perturbed states that bring the action towards the moves."""
        state_BD = torch.from_numpy(state_ND.astype(np.float64))
        if isinstance(self.moves, DiscreteActions):
            target_B1 = torch.from_numpy(np.asarray(moves, np.int64))[:, None]
            direction_BM = torch.zeros(len(target_B1), self._num_actions, dtype=torch.float64)
            direction_BM.scatter_(1, target_B1, 1.0)
            output_gradient = _towards_choice(target_B1)
        else:
            clean_BM = self._twin(state_BD)
            wanted_BM = torch.from_numpy(moves.astype(np.float64))
            # An output that is clipped already moves no actuator if it goes farther out.
            counts_BM = ~(self._clips & (clean_BM.abs() > 1) & (clean_BM * wanted_BM > 0))
            direction_BM = wanted_BM * counts_BM
            output_gradient = _towards_direction(clean_BM, direction_BM, counts_BM)
        first_BD = self._twin.input_gradient(state_BD, lambda _: direction_BM)
        delta_BD = search_ball(
            lambda delta_BD: (
                self._twin.input_gradient(state_BD + delta_BD, output_gradient)
                if delta_BD.any()
                else first_BD
            ),
            torch.zeros_like(state_BD),
            epsilon=self.ball.epsilon,
            steps=self.gradients,
            step_size=self._step_size,
            norm=self.ball.norm,
        )
        return self.ball.perturbed(state_ND, delta_BD.numpy())

    def moves_of(self, state_ND: States, perturbed_ND: States) -> Array:
        """Return where the outputs went: directions of largest entry 1, or the choices."""
        clean, moved = (
            self._twin(torch.from_numpy(states.astype(np.float64))).numpy()
            for states in (state_ND, perturbed_ND)
        )
        if isinstance(self.moves, DiscreteActions):
            choices: Array = moved.argmax(axis=1)
            return choices
        change = moved - clean
        largest = np.abs(change).max(axis=1, keepdims=True)
        directions: Array = (change / np.maximum(largest, 1e-300)).astype(np.float32)
        return directions


def _towards_direction(clean_BM: Tensor, direction_BM: Tensor, counts_BM: Tensor) -> Gradient:
    """Return the gradient of cos(change, p) + |change|; zero where there is no change.

    Outputs that do not count are in neither of them.
    """
    unit_BM = torch.nn.functional.normalize(direction_BM, dim=1)

    def gradient(moved_BM: Tensor) -> Tensor:
        change_BM = (moved_BM - clean_BM) * counts_BM
        length_B1 = torch.linalg.vector_norm(change_BM, dim=1, keepdim=True).clamp_min(1e-300)
        along_BM = change_BM / length_B1
        cosine_B1 = (along_BM * unit_BM).sum(1, keepdim=True)
        # d cos = (p - cos u) / |change| with u the unit change; d |change| = u.
        return torch.addcdiv(along_BM, unit_BM - cosine_B1 * along_BM, length_B1) * counts_BM

    return gradient


def _towards_choice(target_B1: Tensor) -> Gradient:
    """Return the gradient of the target's lead over the best other action."""

    def gradient(moved_BM: Tensor) -> Tensor:
        rival_B1 = moved_BM.scatter(1, target_B1, -torch.inf).argmax(1, keepdim=True)
        gradient_BM = torch.zeros_like(moved_BM).scatter_(1, target_B1, 1.0)
        return gradient_BM.scatter_(1, rival_B1, -1.0)

    return gradient
