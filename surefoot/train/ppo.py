"""Proximal policy optimisation, with defences and pruning."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from surefoot.ball import Ball
from surefoot.errors import InputError
from surefoot.policy import Normaliser
from surefoot.robot import Robot
from surefoot.train.agent import Agent
from surefoot.train.defence_ball import full_ball, grown
from surefoot.train.defence_config import GrowingBall, LipschitzTarget, Ramp
from surefoot.train.defences import (
    convex_term,
    defence_term,
    natural_weight,
    perturbed_states,
)
from surefoot.train.distributions import Gaussian
from surefoot.train.lipschitz import LipschitzLimit
from surefoot.train.moments import Moments, normaliser_of
from surefoot.train.networks import TorchNetwork
from surefoot.train.pruning import Pruner
from surefoot.train.pruning_config import NoPruning
from surefoot.train.samples import Samples, surrogate
from surefoot.train.streams import Stream, numpy_stream
from surefoot.train.train_config import TrainConfig


class Ppo:
    """The update: optimiser, schedules and masks around an agent.

    The loss of a minibatch is, with r = pi(a|s) / pi_old(a|s), A the advantages normalised over
    the minibatch, and R the returns,

        -mean min(r A, clip(r, 1 - c, 1 + c) A)       surrogate
        + value_coefficient mean (V(s) - R)^2
        - entropy_coefficient H
        + what the defence adds (defences.py)

    Its gradients with respect to the outputs of the networks are written by hand; autograd costs
    two to three times as much on networks this small.

    Reference:
        Schulman et al. 2017 (arXiv 1707.06347), equation 9.
    """

    def __init__(
        self,
        agent: Agent,
        config: TrainConfig,
        *,
        minibatch_generator: torch.Generator,
        search_generator: torch.Generator,
        planned_updates: int | None = None,
        robot: Robot | None = None,
    ) -> None:
        """Start at update zero, with no momentum and dense networks.

        Args:
            agent: Is changed in place.
            config: The run.
            minibatch_generator: Source of the order of the samples.
            search_generator: Source of the searches inside a ball.
            planned_updates: Optimiser steps over which sparsity and a defence rise; all if not
                given.
            robot: Robot whose sensors the defence names; None for none.

        Raises:
            InputError: If the defence does not fit the actions of the task or its words the robot,
                or a network cannot be pruned as asked.
        """
        self.agent = agent
        self.config = config
        self._robot = robot
        self.look_through(normaliser_of(Moments.none(agent.spec.obs_dim), config.observation_clip))
        self.num_updates = 0
        self._planned_updates = planned_updates or config.num_updates
        defence, device = config.defence, agent.actor.parameters.device
        self.limit = (
            LipschitzLimit(defence, agent.spec, device)
            if isinstance(defence, LipschitzTarget)
            else None
        )
        self._minibatch_generator = minibatch_generator
        self._search_generator = search_generator
        self._networks: dict[str, TorchNetwork] = {"actor": agent.actor, "critic": agent.critic}
        self.pruners = self._make_pruners()
        self._trained = {
            name: self.pruners[name].trained if name in self.pruners else network.parameters
            for name, network in self._networks.items()
        }
        for name, network in self._networks.items():
            self._trained[name].grad = network.gradient
        groups: list[dict[str, Any]] = [{"params": list(self._trained.values())}]
        if isinstance(agent.distribution, Gaussian) and agent.distribution.learned:
            self._trained["log_std"] = agent.distribution.log_std
            groups.append({"params": [agent.distribution.log_std], "weight_decay": 0.0})
        self._optimiser = torch.optim.AdamW(
            groups,
            lr=config.learning_rate,
            eps=1e-5,
            weight_decay=config.weight_decay,
            fused=True,
        )

    def _make_pruners(self) -> dict[str, Pruner]:
        """Return a pruner for each network that is pruned.

        Raises:
            InputError: If one cannot be pruned as asked; the message says which.
        """
        config, pruners = self.config, {}
        if isinstance(config.pruning, NoPruning):
            return {}
        for number, (name, network) in enumerate(self._networks.items()):
            if config.pruning.target not in (name, "both"):
                continue
            generator = numpy_stream(config.seed, Stream.PRUNING, number)
            try:
                pruners[name] = Pruner(network, config.pruning, self._planned_updates, generator)
            except InputError as error:
                raise InputError(f"pruning of the {name}: {error}") from error
        return pruners

    @torch.inference_mode()
    def update(self, samples: Samples) -> dict[str, float]:
        """Run all epochs over a rollout and return the means of the parts of the loss."""
        parts: list[Tensor] = []
        for _ in range(self.config.epochs):
            minibatches = samples.minibatches(self.config.minibatch_size, self._minibatch_generator)
            parts.extend(self._step(minibatch) for minibatch in minibatches)
        surrogate, value_loss, regulariser, norm, joint = torch.stack(parts).mean(0).tolist()
        return {
            "surrogate": surrogate,
            "value_loss": value_loss,
            "regulariser": regulariser,
            "actor_gradient": norm,
            "joint_gradient": joint,
        }

    def _step(self, minibatch: Samples) -> Tensor:
        """Take one optimiser step.

        Returns:
            The parts of the loss, and the norms of the gradients before they are clipped: that of
            the actor, and that of both networks as one vector.
        """
        surrogate, distance = self._actor_gradient(minibatch)
        value_loss = self._critic_gradient(minibatch)
        for pruner in self.pruners.values():
            pruner.before_step()
        gradients = [network.gradient for network in self._networks.values()]
        if self.config.joint_gradient:
            norms = self._clip(gradients)
        else:
            norms = torch.cat([self._clip([gradient]) for gradient in gradients])
        for group in self._optimiser.param_groups:
            group["lr"] = self._learning_rate()
        self._optimiser.step()
        self.num_updates += 1
        for name, pruner in self.pruners.items():
            pruner.after_step(self.num_updates, self._optimiser.state[self._trained[name]])
        self.hold_limit(self.agent.actor.parameters, self._trained["actor"])
        joint = torch.linalg.vector_norm(norms)
        return torch.stack([surrogate, value_loss, distance, norms[0], joint])

    def _actor_gradient(self, minibatch: Samples) -> tuple[Tensor, Tensor]:
        """Write the gradient of the actor and its noise; return surrogate and defence term."""
        config, agent, ball = self.config, self.agent, self.ball()
        minibatch = minibatch.with_normalised_advantages()
        perturbed = perturbed_states(agent, config.defence, ball, minibatch, self._search_generator)
        # One pass for clean and perturbed states: two small ones cost more.
        trace = agent.actor.mlp.trace(torch.cat([minibatch.states, perturbed]))
        clean, disturbed = trace.output.tensor_split([len(minibatch.states)])

        natural = surrogate(agent.distribution, clean, minibatch, config.clip_range)
        defended = defence_term(agent, config.defence, minibatch, clean, disturbed)
        by_output, by_log_std = natural.by_output, natural.by_log_std
        if (weight := natural_weight(config.defence)) != 1:
            by_output = by_output * weight
            by_log_std = None if by_log_std is None else by_log_std * weight
        if by_log_std is not None and defended.by_log_std is not None:
            by_log_std = by_log_std + defended.by_log_std
        if config.entropy_coefficient:
            more, more_std = agent.distribution.entropy_gradient(clean)
            by_output -= config.entropy_coefficient * more
            if by_log_std is not None and more_std is not None:
                by_log_std -= config.entropy_coefficient * more_std
        by_all = defended.by_output
        by_all[: len(clean)] += by_output
        agent.actor.backward(trace, by_all)
        if by_log_std is not None:
            self._trained["log_std"].grad = by_log_std
        convex = convex_term(agent, config.defence, ball, self.progress(), minibatch)
        if convex is None:
            return natural.value, defended.value
        agent.actor.gradient.add_(convex[1])
        return natural.value, convex[0]

    def _critic_gradient(self, minibatch: Samples) -> Tensor:
        """Write the gradient of the critic; return the mean squared error."""
        critic, limit = self.agent.critic, self.config.value_clip
        trace = critic.mlp.trace(minibatch.states)
        values = trace.output[:, 0]
        error = values - minibatch.returns
        by_value = error
        if limit is not None:
            # max of the error and of the error of the clipped value, which is constant.
            change = (values - minibatch.values).clamp(-limit, limit)
            clipped_error = minibatch.values + change - minibatch.returns
            by_value = error * (error.abs() >= clipped_error.abs())
        scale = 2 * self.config.value_coefficient / len(values)
        critic.backward(trace, (by_value * scale)[:, None])
        return error.square().mean()

    def _clip(self, gradients: Sequence[Tensor]) -> Tensor:
        """Scale gradients, as one vector, to the largest norm allowed; return the norm of each."""
        norms = torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients])
        norm = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(norms)
        share = (self.config.max_grad_norm / (norm + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(share)
        return norms

    def hold_limit(self, parameters: Tensor, underneath: Tensor | None = None) -> None:
        """Bring parameters of the actor, or an average of them, under a Lipschitz target."""
        # What is not finite has no bound; the run stops at the end of this iteration.
        if self.limit is not None and bool(torch.isfinite(parameters).all()):
            self.limit.project(self.agent.actor, parameters, self.progress(), underneath)

    def is_at_full_strength(self) -> bool:
        """Whether the sparsity is the final one and the ramp of the defence is over."""
        is_sparse = all(self.num_updates >= entry.schedule.end for entry in self.pruners.values())
        defence = self.config.defence
        is_defended = not isinstance(defence, Ramp) or defence.ramp(self.progress()) == 1
        return is_sparse and is_defended

    def progress(self) -> float:
        """Return the share of the ramps that is done: 1 where a run was extended beyond them."""
        return min(1.0, self.num_updates / self._planned_updates)

    def look_through(self, normaliser: Normaliser) -> None:
        """Take the full ball of the defence as the states of another normaliser have it."""
        self._full_ball = full_ball(self.config, self._robot, normaliser)

    def ball(self) -> Ball:
        """Return the ball of the defence at this update: a share of the full one."""
        defence = self.config.defence
        if not isinstance(defence, GrowingBall):
            return self._full_ball
        return grown(self._full_ball, defence.strength(self.progress()))

    def _learning_rate(self) -> float:
        """Return the rate at this update: linear from the first to its annealed share."""
        done = self.num_updates / self.config.num_updates
        remaining = 1 - (1 - self.config.anneal_to) * done
        return self.config.learning_rate * remaining

    def is_finite(self) -> bool:
        """Whether every parameter is finite."""
        return all(bool(torch.isfinite(entry).all()) for entry in self._trained.values())

    def state_dict(self) -> dict[str, Any]:
        """Return parameters, momentum, masks and generators; schedules follow from the count."""
        return {
            "num_updates": self.num_updates,
            "parameters": {name: _numpy(entry) for name, entry in self._trained.items()},
            "momentum": {
                name: {key: _numpy(value) for key, value in self._optimiser.state[entry].items()}
                for name, entry in self._trained.items()
            },
            "pruners": {name: pruner.state_dict() for name, pruner in self.pruners.items()},
            "minibatch_generator": _numpy(self._minibatch_generator.get_state()),
            "search_generator": _numpy(self._search_generator.get_state()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a stored state."""
        self.num_updates = state["num_updates"]
        for name, entry in self._trained.items():
            entry.copy_(torch.from_numpy(state["parameters"][name]))
            self._optimiser.state[entry] = {
                key: torch.tensor(value, device=entry.device)
                for key, value in state["momentum"][name].items()
            }
        for name, pruner in self.pruners.items():
            pruner.load_state_dict(state["pruners"][name])
        self._minibatch_generator.set_state(torch.tensor(state["minibatch_generator"]))
        self._search_generator.set_state(torch.tensor(state["search_generator"]))


def _numpy(tensor: Tensor) -> Any:  # noqa: ANN401
    return tensor.cpu().numpy().copy()
