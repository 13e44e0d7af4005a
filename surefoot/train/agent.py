"""What is trained: actor, critic and exploration noise, and its way to a `Policy`."""

from dataclasses import dataclass

import numpy as np
import torch

from surefoot.envs.vector import DiscreteActions, EnvSpec, rounded_down
from surefoot.policy import CategoricalHead, GaussianHead, Head, Normaliser, Policy, Squash
from surefoot.train.distributions import Categorical, Distribution, Gaussian
from surefoot.train.networks import Mlp, TorchNetwork, mlp_from_layers, new_network
from surefoot.train.streams import Stream, torch_stream
from surefoot.train.train_config import FixedNoise, LearnedNoise, TrainConfig

_TANH_EXCESS = np.float64(2.0**-21)
"""Twice what tanh exceeds 1 by on ONNX Runtime 1.31, tried on every float32 from 1/2 to 32."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Agent:
    """Two separate networks and the law of the actions.

    Attributes:
        actor: Network from states to means or logits.
        critic: Network from states to values, in units of the normalised reward.
        distribution: Distribution of the actions around the actor's output.
        spec: The task.
        config: The run.
    """

    actor: TorchNetwork
    critic: TorchNetwork
    distribution: Distribution
    spec: EnvSpec
    config: TrainConfig

    def head(self) -> Head:
        """Return the head that is deployed; float32 like the file that will hold it."""
        actions = self.spec.actions
        if isinstance(actions, DiscreteActions):
            return CategoricalHead(num_actions=actions.num, start=actions.start)
        assert isinstance(self.distribution, Gaussian)
        half_range = actions.half_range
        if self.config.squash is Squash.TANH:
            half_range = rounded_down(half_range * (1 - _TANH_EXCESS))
        return GaussianHead(
            std=np.exp(self.distribution.log_std.cpu().numpy().astype(np.float64)),
            squash=self.config.squash,
            centre=actions.centre,
            half_range=half_range,
        )

    def policy(self, normaliser: Normaliser, network: Mlp | None = None) -> Policy:
        """Return the deterministic policy of this moment, or that of another network."""
        layers = (network or self.actor.mlp).to_layers()
        return Policy(normaliser=normaliser, layers=layers, head=self.head())


def new_agent(config: TrainConfig, spec: EnvSpec, device: torch.device) -> Agent:
    """Return an untrained agent for a task."""
    generator = torch_stream(config.seed, Stream.INITIALISATION, torch.device("cpu"))
    discrete = isinstance(spec.actions, DiscreteActions)
    num_outputs = (
        spec.actions.num if isinstance(spec.actions, DiscreteActions) else spec.actions.dim
    )
    actor = new_network(
        (spec.obs_dim, *config.hidden, num_outputs),
        config.activation,
        output_gain=0.01,
        generator=generator,
        device=device,
    )
    critic = new_network(
        (spec.obs_dim, *config.critic_hidden, 1),
        config.activation,
        output_gain=1.0,
        generator=generator,
        device=device,
    )
    return Agent(
        actor=actor,
        critic=critic,
        distribution=(
            Categorical(num_actions=num_outputs)
            if discrete
            else _new_gaussian(config, num_outputs, device)
        ),
        spec=spec,
        config=config,
    )


def twin(
    policy: Policy, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Mlp:
    """Return the differentiable twin of a policy's network: states (B, O) to outputs (B, M)."""
    return mlp_from_layers(policy.layers, device=device, dtype=dtype)


def _new_gaussian(config: TrainConfig, num_actuators: int, device: torch.device) -> Gaussian:
    noise = config.noise
    std = noise.sigma if isinstance(noise, FixedNoise) else noise.initial
    log_std = torch.full((num_actuators,), float(np.log(std)), device=device)
    return Gaussian(log_std=log_std, learned=isinstance(noise, LearnedNoise))
