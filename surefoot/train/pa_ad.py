"""PA-AD: a director learns where the action should go, a search finds the perturbation for it.

    maximise over delta   <mu(z + delta) - mu(z), p> / |p|

p is the director's move, one number per actuator: far fewer than there are observations. For a
categorical head the move is the action that is to be played, and its margin is what is maximised.

Published is cos(change, p) + |change|. In a small ball the length is small beside the cosine, which
then buys its last percents with up to a third of the way: what is maximised here is their product.
"""

import numpy as np
import torch
from torch import Tensor

from surefoot.ball import Ball, States
from surefoot.envs.vector import Actions, BoxActions, DiscreteActions
from surefoot.policy import Array, CategoricalHead, Policy, Squash
from surefoot.train.networks import mlp_from_layers
from surefoot.train.objectives import Best, ValueAndGradient, lead
from surefoot.train.perturbation_search import search_ball, shares_of


class Director:
    """From a direction of the action to the perturbation that moves it there.

    The search starts at the state itself, so that nothing in it is random, takes every step towards
    p, and keeps the best of its iterates. Public code steps away from p, which a learned director
    makes up for.

    Reference:
        Sun et al., "Who Is the Strongest Enemy?", ICLR 2022 (arXiv 2106.05087), equation 5.
    """

    def __init__(self, policy: Policy, ball: Ball, *, steps: int = 4, slack: float = 2.0) -> None:
        """Build the twin.

        Args:
            policy: The controller's policy, as read back from the deployed file.
            ball: The perturbation set.
            steps: Gradient steps of the search. On trained policies four reach what twenty do, up
                to 0.3 %: the way along p is nearly a linear function of the perturbation.
            slack: Size of each, in units of epsilon / steps.
        """
        self.ball = ball
        self.gradients = steps
        self.moves: Actions
        if isinstance(policy.head, CategoricalHead):
            self.moves = DiscreteActions(policy.num_outputs)
        else:
            one = np.ones(policy.num_outputs, np.float32)
            self.moves = BoxActions(-one, one)
            self._clips = policy.head.squash is Squash.CLIP
        self._step_size = slack * ball.epsilon / steps
        self._twin = mlp_from_layers(policy.layers, dtype=torch.float64)

    def __call__(self, state_ND: States, moves: Array) -> States:
        """Return the perturbed states that bring the action towards the moves."""
        state_BD = torch.from_numpy(state_ND.astype(np.float64))
        evaluate = self._progress(state_BD, moves)
        best = Best(torch.zeros_like(state_BD))

        def gradient(delta_BD: Tensor) -> Tensor:
            def of_outputs(moved_BM: Tensor) -> Tensor:
                value_B, gradient_BM = evaluate(moved_BM)
                best.offer(delta_BD, value_B)
                return gradient_BM

            return self._twin.input_gradient(state_BD + delta_BD, of_outputs)

        last_BD = search_ball(
            gradient,
            torch.zeros_like(state_BD),
            epsilon=self.ball.epsilon,
            steps=self.gradients,
            step_size=self._step_size,
            norm=self.ball.norm,
            shares=shares_of(self.ball),
            groups=self.ball.groups,
        )
        best.offer(last_BD, evaluate(self._twin(state_BD + last_BD))[0])
        return self.ball.perturbed(state_ND, best.delta_BD.numpy())

    def outputs(self, policy: Policy, state_ND: States, moves: Array) -> Array:
        """Return the outputs at the perturbed states, see `game.Moves`."""
        return policy.outputs_at(self(state_ND, moves))

    def _progress(self, state_BD: Tensor, moves: Array) -> ValueAndGradient:
        """Return the search objective that the moves ask for."""
        if isinstance(self.moves, DiscreteActions):
            return lead(torch.from_numpy(np.asarray(moves, np.int64))[:, None])
        clean_BM = self._twin(state_BD)
        wanted_BM = torch.from_numpy(moves.astype(np.float64))
        # An output that is clipped already moves no actuator if it goes farther out.
        counts_BM = ~(self._clips & (clean_BM.abs() > 1) & (clean_BM * wanted_BM > 0))
        return _along(clean_BM, wanted_BM * counts_BM)

    def moves_of(self, state_ND: States, perturbed_ND: States) -> Array:
        """Return the moves of the outputs: directions whose largest entry is 1, or the choices."""
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


def _along(clean_BM: Tensor, direction_BM: Tensor) -> ValueAndGradient:
    """Return the objective: the distance of the outputs along a direction."""
    unit_BM = torch.nn.functional.normalize(direction_BM, dim=1)
    return lambda moved_BM: (((moved_BM - clean_BM) * unit_BM).sum(1), unit_BM)
