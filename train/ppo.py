"""Proximal policy optimisation, with the state-adversarial regulariser and pruning.

B = samples of a rollout, M = samples of a minibatch, P = those of them that are regularised,
O = obs_dim, A = number of outputs of the actor.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from surefoot.train.agent import Agent
from surefoot.train.config import MagnitudePruning, TrainConfig
from surefoot.train.defence_config import StateAdversarial
from surefoot.train.distributions import Gaussian
from surefoot.train.networks import Network
from surefoot.train.pruning import Pruner
from surefoot.train.search import SA_TEMPERATURE, corner_start, search_ball


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Samples:
    """What the update learns from; one row per step.

    Attributes:
        states: Shape (B, O).
        actions: Before squash and scale, (B, A), or choices, (B,).
        log_probs: Of the actions under the policy that played them, (B,).
        values: Predicted before the update, (B,).
        advantages: Shape (B,).
        returns: What the critic is to predict, (B,).
    """

    states: Tensor
    actions: Tensor
    log_probs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor

    def minibatches(self, size: int, generator: torch.Generator) -> Iterator["Samples"]:
        """Yield all samples once, in random minibatches."""
        device = self.states.device
        order = torch.randperm(len(self.states), generator=generator, device=device)
        columns = {
            field.name: getattr(self, field.name)[order].split(size) for field in fields(self)
        }
        for number in range(len(columns["states"])):
            yield Samples(**{name: parts[number] for name, parts in columns.items()})


class Ppo:
    """The update: optimiser, schedules and masks around an agent.

    The loss of a minibatch is, with r = pi(a|s) / pi_old(a|s), A the advantages normalised over
    the minibatch, R the returns and s' the worst states in the ball around s,

        -mean min(r A, clip(r, 1 - c, 1 + c) A)       surrogate
        + value_coefficient mean (V(s) - R)^2
        - entropy_coefficient H
        + kappa mean D^2(pi(.|s), pi(.|s'))           s', pi(.|s) and sigma taken as constant

    Its gradients with respect to the outputs of the networks are written by hand; autograd costs
    two to three times as much on networks this small.

    Reference:
        Schulman et al. 2017 (arXiv 1707.06347), equation 9; Zhang et al. 2020 (arXiv 2003.08938).
    """

    def __init__(
        self,
        agent: Agent,
        config: TrainConfig,
        *,
        minibatch_generator: torch.Generator,
        search_generator: torch.Generator,
    ) -> None:
        """Start at update zero, with no momentum and dense networks."""
        self.agent = agent
        self.config = config
        self.num_updates = 0
        self._minibatch_generator = minibatch_generator
        self._search_generator = search_generator
        self._networks: dict[str, Network] = {"actor": agent.actor, "critic": agent.critic}
        self._trained = {name: network.parameters for name, network in self._networks.items()}
        for network in self._networks.values():
            network.parameters.grad = network.gradient
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
        self.pruners = {
            name: Pruner(network, config.pruning, config.num_updates)
            for name, network in self._networks.items()
            if isinstance(config.pruning, MagnitudePruning)
            and config.pruning.target in (name, "both")
        }

    @torch.inference_mode()
    def update(self, samples: Samples) -> dict[str, float]:
        """Run all epochs over a rollout and return the means of the parts of the loss."""
        parts: list[Tensor] = []
        for _ in range(self.config.epochs):
            minibatches = samples.minibatches(self.config.minibatch_size, self._minibatch_generator)
            parts.extend(self._step(minibatch) for minibatch in minibatches)
        surrogate, value_loss, regulariser, norm = torch.stack(parts).mean(0).tolist()
        return {
            "surrogate": surrogate,
            "value_loss": value_loss,
            "regulariser": regulariser,
            "actor_gradient": norm,
        }

    def _step(self, minibatch: Samples) -> Tensor:
        """Take one optimiser step; return surrogate, value loss, D^2 and the actor's gradient."""
        surrogate, distance = self._actor_gradient(minibatch)
        value_loss = self._critic_gradient(minibatch)
        for pruner in self.pruners.values():
            pruner.mask_gradient()
        # Each network on its own, so that a large regulariser does not slow the critic down.
        norms = [self._clip(network.gradient) for network in self._networks.values()]
        for group in self._optimiser.param_groups:
            group["lr"] = self._learning_rate()
        self._optimiser.step()
        self.num_updates += 1
        for name, pruner in self.pruners.items():
            pruner.apply(self.num_updates, self._optimiser.state[self._trained[name]])
        return torch.stack([surrogate, value_loss, distance, norms[0]])

    def _actor_gradient(self, minibatch: Samples) -> tuple[Tensor, Tensor]:
        """Write the gradient of the actor and its noise; return surrogate and mean D^2."""
        config, actor, distribution = self.config, self.agent.actor, self.agent.distribution
        size = len(minibatch.states)
        perturbed = self._perturbed_states(minibatch.states)
        # One pass for clean and perturbed states: two small ones cost more.
        trace = actor.mlp.trace(torch.cat([minibatch.states, perturbed]))
        clean, disturbed = trace.output[:size], trace.output[size:]

        advantages = minibatch.advantages - minibatch.advantages.mean()
        advantages = advantages / (advantages.norm() / (size - 1) ** 0.5 + 1e-8)
        log_prob = distribution.log_prob(clean, minibatch.actions)
        ratio = torch.exp(log_prob.value - minibatch.log_probs)
        gain = ratio * advantages
        clipped_gain = ratio.clamp(1 - config.clip_range, 1 + config.clip_range) * advantages
        # d(r A) = r A d(log pi); where the clipped one is the smaller, it is constant.
        weight_M1 = (gain * (gain <= clipped_gain) / -size)[:, None]
        by_output = log_prob.by_output * weight_M1
        by_log_std = None
        if log_prob.by_log_std is not None:
            by_log_std = (log_prob.by_log_std * weight_M1).sum(0)
        if config.entropy_coefficient:
            more, more_std = distribution.entropy_gradient(clean)
            by_output -= config.entropy_coefficient * more
            if by_log_std is not None and more_std is not None:
                by_log_std -= config.entropy_coefficient * more_std

        distance = torch.zeros((), device=clean.device)
        if len(perturbed):
            reference = clean[: len(perturbed)]
            distance = distribution.squared_distance(reference, disturbed).mean()
            by_disturbed = distribution.squared_distance_gradient(
                reference, self._kappa / len(perturbed)
            )(disturbed)
            by_output = torch.cat([by_output, by_disturbed])
        actor.backward(trace, by_output)
        if by_log_std is not None:
            self._trained["log_std"].grad = by_log_std
        return -torch.minimum(gain, clipped_gain).mean(), distance

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

    def _clip(self, gradient: Tensor) -> Tensor:
        """Scale a gradient to the largest norm that is allowed; return its norm before."""
        norm: Tensor = torch.linalg.vector_norm(gradient)
        gradient.mul_((self.config.max_grad_norm / (norm + 1e-6)).clamp(max=1.0))
        return norm

    def _perturbed_states(self, states: Tensor) -> Tensor:
        """Return the first states of a minibatch moved to where the policy changes most, (P, O)."""
        defence = self.config.defence
        epsilon = self.epsilon()
        if not isinstance(defence, StateAdversarial) or epsilon == 0:
            return states[:0]
        states = states[: max(1, round(defence.fraction * len(states)))]
        actor, distribution = self.agent.actor.mlp, self.agent.distribution
        # Of the mean over the samples: the noise of SGLD is relative to it.
        output_gradient = distribution.squared_distance_gradient(actor(states), 1 / len(states))
        delta = search_ball(
            lambda delta: actor.input_gradient(states + delta, output_gradient),
            corner_start(states, epsilon / defence.inner_steps, self._search_generator),
            epsilon=epsilon,
            steps=defence.inner_steps,
            temperature=SA_TEMPERATURE,
            generator=self._search_generator,
        )
        return states + delta

    @property
    def _kappa(self) -> float:
        defence = self.config.defence
        return defence.kappa if isinstance(defence, StateAdversarial) else 0.0

    def progress(self) -> float:
        """Return the share of all updates that is done."""
        return self.num_updates / self.config.num_updates

    def epsilon(self) -> float:
        """Return the radius of the defence at this update: a linear ramp."""
        defence = self.config.defence
        if not isinstance(defence, StateAdversarial) or defence.kappa == 0:
            return 0.0
        length = defence.ramp_end - defence.ramp_start
        return defence.epsilon * min(max((self.progress() - defence.ramp_start) / length, 0), 1)

    def _learning_rate(self) -> float:
        """Return the rate at this update: linear from the first to its annealed share."""
        remaining = 1 - (1 - self.config.anneal_to) * self.progress()
        return self.config.learning_rate * remaining

    def is_finite(self) -> bool:
        """Return whether every parameter is finite."""
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
