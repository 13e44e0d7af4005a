"""Adversaries that climb an objective of the controller's outputs by the gradient of its twin.

N = batch, D = obs_dim, M = num_outputs, K = steps, R = restarts, B = R N.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from surefoot.attack.cost import Cost
from surefoot.ball import Ball, Randoms, States
from surefoot.errors import InputError
from surefoot.policy import Layer
from surefoot.train.networks import mlp_from_layers
from surefoot.train.objectives import Best, ValueAndGradient
from surefoot.train.perturbation_search import noise_scale, search_ball, shares_of


class Objective(Protocol):
    """What is maximised: a function of a network's outputs at the perturbed states."""

    def around(self, state_BD: Tensor, clean_BM: Tensor) -> ValueAndGradient:
        """Return the objective of perturbations of the given states.

        Args:
            state_BD: The true states.
            clean_BM: Outputs at these, before squash and scale.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class AscentConfig:
    """How a search climbs; the defaults are those of the published MAD attack.

    Attributes:
        steps: Gradient steps K.
        slack: Step size in units of epsilon / K. At 1 a coordinate that starts with the wrong sign
            cannot reach the boundary; 2.5 gives it room.
        temperature: Temperature of the noise that is added to the gradient; 0 for none.
        restarts: Searches per state: one from the published start, the others uniform in the ball.
        keep_best: Keep the best iterate of all restarts instead of the last of the only one.
    """

    steps: int = 10
    slack: float = 1.0
    temperature: float = 1.0
    restarts: int = 1
    keep_best: bool = False

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InputError: If one does not hold, or several restarts have nothing that chooses.
        """
        for name in ("steps", "restarts"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.slack > 0:
            raise InputError(f"slack must be positive, got {self.slack}")
        if not self.temperature >= 0:
            raise InputError(f"temperature must be at least 0, got {self.temperature}")
        if self.restarts > 1 and not self.keep_best:
            raise InputError("keep_best must be set when restarts is above 1")


ONE_CLIMB = AscentConfig(slack=2.5, temperature=0.0, keep_best=True)
RESTARTS = replace(ONE_CLIMB, steps=20, restarts=5)
"""Without noise, with room to the boundary, and never worse than the best that was seen."""


class GradientAdversary:
    """The search for the worst perturbation, on a float64 twin of a network.

    In float64 the sign of a gradient does not depend on how many states are searched together.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        ball: Ball,
        objective: Objective,
        settings: AscentConfig,
    ) -> None:
        """Build the twin.

        Args:
            layers: Layers of the network: the controller's, as read back from the deployed file,
                or those of a critic.
            ball: The perturbation set.
            objective: Objective to maximise.
            settings: Settings of the search.
        """
        self.ball = ball
        self.settings = settings
        self._objective = objective
        self._twin = mlp_from_layers(layers, dtype=torch.float64)

    @property
    def effort(self) -> Cost:
        """What one state costs."""
        return Cost(gradients=self.settings.steps * self.settings.restarts)

    def perturb(self, state_ND: States, randoms: Randoms) -> States:
        """Return the states at which the search found the largest objective."""
        settings = self.settings
        start_BD, noise_KBD = self._draw(randoms, state_ND.shape[1])
        state_BD = torch.from_numpy(state_ND.astype(np.float64)).repeat(settings.restarts, 1)
        evaluate = self._objective.around(state_BD, self._twin(state_BD))
        best = Best(start_BD)
        noises = iter(noise_KBD)

        def gradient(delta_BD: Tensor) -> Tensor:
            def of_outputs(moved_BM: Tensor) -> Tensor:
                value_B, gradient_BM = evaluate(moved_BM)
                if settings.keep_best:
                    best.offer(delta_BD, value_B)
                return gradient_BM

            gradient_BD = self._twin.input_gradient(state_BD + delta_BD, of_outputs)
            return gradient_BD.add_(next(noises))

        delta_BD = search_ball(
            gradient,
            start_BD,
            epsilon=self.ball.epsilon,
            steps=settings.steps,
            step_size=self._step_size,
            norm=self.ball.norm,
            shares=shares_of(self.ball),
            groups=self.ball.groups,
        )
        if settings.keep_best:
            best.offer(delta_BD, evaluate(self._twin(state_BD + delta_BD))[0])
            delta_BD = best.of_restarts(settings.restarts)
        return self.ball.perturbed(state_ND, delta_BD.numpy())

    @property
    def _step_size(self) -> float:
        return self.settings.slack * self.ball.epsilon / self.settings.steps

    def _draw(self, randoms: Randoms, dim: int) -> tuple[Tensor, Tensor]:
        """Draw the starts, (B, D), and the scaled noise of every step, (K, B, D).

        The first start is a random sign of one step: the gradient of a distance is zero at zero.
        """
        settings, num = self.settings, len(randoms)
        first = replace(self.ball, epsilon=min(self._step_size, self.ball.epsilon))
        starts = [first.boundary(randoms, dim)]
        starts += [self.ball.uniform(randoms, dim) for _ in range(settings.restarts - 1)]
        shape = (settings.steps, settings.restarts, num, dim)
        noise = np.zeros(shape)
        if settings.temperature > 0:
            for row, random in enumerate(randoms):
                noise[:, :, row] = random.standard_normal((settings.steps, settings.restarts, dim))
            scale_K = [
                noise_scale(self._step_size, settings.temperature, number)
                for number in range(settings.steps)
            ]
            noise *= np.array(scale_K)[:, None, None, None]
        return (
            torch.from_numpy(np.concatenate(starts)),
            torch.from_numpy(noise.reshape(settings.steps, settings.restarts * num, dim)),
        )
