"""The task as an adversary plays it: it sees the state, chooses a perturbation, and wins -r.

N = environments, D = obs_dim. It is a `VectorEnv` like any other, so that `train` learns to attack
with the very code by which it learns to control. The controller is the policy of the deployed file
in the float32 of NumPy, within the rounding that `runtime_error` bounds of every backend; what was
learned is played against the deployed backend itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from surefoot.ball import Ball, States
from surefoot.envs.vector import Actions, BoxActions, EnvSpec, Floats, State, StepResult, VectorEnv
from surefoot.policy import Array, Policy


class Moves(Protocol):
    """What an adversary may do in the game; without chance."""

    @property
    def moves(self) -> Actions:
        """What the adversary chooses from."""

    @property
    def gradients(self) -> int:
        """Gradients of the controller that one move takes for each state."""

    def outputs(self, policy: Policy, state_ND: States, moves: Array) -> Array:
        """Return what the controller puts out at the states, (N, M), under the moves."""


class Craft(Moves, Protocol):
    """How a move in the game becomes a perturbation of the state."""

    @property
    def ball(self) -> Ball:
        """The perturbation set."""

    def __call__(self, state_ND: States, moves: Array) -> States:
        """Return perturbed states, each in the ball around its row of ``state_ND``."""

    def moves_of(self, state_ND: States, perturbed_ND: States) -> Array:
        """Return the moves that come closest to given perturbed states, float32."""


class Direct:
    """The move is the perturbation itself, in units of epsilon (SA-RL).

    In the l2 ball it is projected: moves beyond the sphere lead to the sphere.
    """

    gradients = 0

    def __init__(self, ball: Ball, obs_dim: int) -> None:
        self.ball = ball
        one = np.ones(obs_dim, np.float32)
        self.moves = BoxActions(-one, one)

    def __call__(self, state_ND: States, moves: Array) -> States:
        """Return z + epsilon move, see :class:`Craft`."""
        return self.ball.perturbed(state_ND, self.ball.epsilon * moves.astype(np.float64))

    def outputs(self, policy: Policy, state_ND: States, moves: Array) -> Array:
        """Return the outputs at the perturbed states, see :class:`Moves`."""
        return policy.outputs_at(self(state_ND, moves))

    def moves_of(self, state_ND: States, perturbed_ND: States) -> Array:
        """Return the perturbations in units of epsilon."""
        return (perturbed_ND - state_ND) / np.float32(self.ball.epsilon)


class Game:
    """Environments whose observations are states, whose actions are moves and whose reward is -r.

    Divergence under attack is an error of the inner environment and passes through.
    """

    def __init__(self, env: VectorEnv, policy: Policy, craft: Moves) -> None:
        """Take over an environment of the controller's task.

        Args:
            env: Is reset and stepped by the game from now on.
            policy: The controller's policy, as read back from the deployed file.
            craft: What the moves do.
        """
        self.spec: EnvSpec = replace(env.spec, obs_dim=policy.obs_dim, actions=craft.moves)
        self.num_envs = env.num_envs
        self.resumable = env.resumable
        self._env = env
        self._obs = np.zeros((env.num_envs, policy.obs_dim))
        self.face(policy, craft)

    def face(self, policy: Policy, craft: Moves) -> Floats:
        """Play on against another controller, in another ball; return the states as it has them."""
        self._policy, self._craft = with_fast_layers(policy), craft
        return self._see(self._obs)

    def reset(self, seeds: Sequence[int] | None = None) -> Floats:
        """Start an episode everywhere; see `VectorEnv.reset`."""
        return self._see(self._env.reset(seeds))

    def step(self, actions: NDArray[Any]) -> StepResult:
        """Let the controller act under the moves; see `VectorEnv.step`."""
        outputs = finite(self._craft.outputs(self._policy, self._state_ND, actions))
        result = self._env.step(self._policy.head.select(outputs))
        terminal = self._policy.state(result.terminal_obs, np.float32).astype(np.float64)
        return replace(
            result,
            obs=self._see(result.obs),
            reward=-result.reward,
            terminal_obs=terminal,
        )

    def state_dict(self) -> State:
        """Return everything that the future depends on."""
        return self._env.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> Floats:
        """Go back to a stored state; see `VectorEnv.load_state_dict`."""
        return self._see(self._env.load_state_dict(state))

    def close(self) -> None:
        """Release the simulations."""
        self._env.close()

    def _see(self, obs_NO: Floats) -> Floats:
        self._obs = obs_NO
        self._state_ND = self._policy.state(obs_NO, np.float32)
        return self._state_ND.astype(np.float64)


def finite(outputs_NM: Array) -> Array:
    """Return outputs with zeros for what is not finite: how one learns from a failed inference.

    Where episodes are reported, such an output is a failure of the controller.
    """
    sound = np.isfinite(outputs_NM)
    return outputs_NM if sound.all() else np.where(sound, outputs_NM, np.zeros_like(outputs_NM))


def with_fast_layers(policy: Policy) -> Policy:
    """Return the same policy in the memory order in which NumPy multiplies fastest."""
    layers = tuple(
        replace(layer, weight=np.asfortranarray(layer.weight, np.float32))
        for layer in policy.layers
    )
    return replace(policy, layers=layers)
