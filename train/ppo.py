"""Proximal policy optimisation, with the state-adversarial regulariser and pruning.

B = samples of a rollout, M = samples of a minibatch, O = obs_dim.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from surefoot.train.agent import Agent
from surefoot.train.config import MagnitudePruning, StateAdversarial, TrainConfig
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
    """The update: optimiser, schedules and masks around an agent."""

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
        self._networks = (agent.actor_parameters(), agent.critic.parameters())
        parameters = self._parameters()
        self._optimiser = torch.optim.AdamW(
            [
                {"params": [p for p in parameters if p.ndim == 2]},
                {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
            eps=1e-5,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.pruners: dict[str, Pruner] = {}
        if isinstance(config.pruning, MagnitudePruning):
            for name in ("actor", "critic"):
                if config.pruning.target in (name, "both"):
                    weights = getattr(agent, name).weights
                    self.pruners[name] = Pruner(weights, config.pruning, config.num_updates)

    def update(self, samples: Samples) -> dict[str, Tensor]:
        """Run all epochs over a rollout and return means of the losses, still on the device."""
        losses: list[Tensor] = []
        for _ in range(self.config.epochs):
            for minibatch in samples.minibatches(
                self.config.minibatch_size, self._minibatch_generator
            ):
                losses.append(self._step(minibatch))
        surrogate, value, regulariser, norm = torch.stack(losses).mean(0).unbind()
        return {
            "surrogate": surrogate,
            "value_loss": value,
            "regulariser": regulariser,
            "actor_gradient": norm,
        }

    def _step(self, minibatch: Samples) -> Tensor:
        """Take one optimiser step on (M) samples."""
        config, agent = self.config, self.agent
        num_samples = len(minibatch.states)
        perturbed = self._perturbed_states(minibatch.states)
        # One pass for clean and perturbed states: two small ones cost more.
        outputs = agent.actor(torch.cat([minibatch.states, perturbed]))
        clean, disturbed = outputs[:num_samples], outputs[num_samples:]

        advantages = minibatch.advantages
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        ratio = torch.exp(
            agent.distribution.log_prob(clean, minibatch.actions) - minibatch.log_probs
        )
        clipped = ratio.clamp(1 - config.clip_range, 1 + config.clip_range)
        surrogate = -torch.minimum(advantages * ratio, advantages * clipped).mean()
        value_loss = self._value_loss(minibatch)
        loss = surrogate + config.value_coefficient * value_loss
        if config.entropy_coefficient:
            loss = loss - config.entropy_coefficient * agent.distribution.entropy(clean)
        regulariser = torch.zeros((), device=loss.device)
        if len(perturbed):
            reference = clean[: len(perturbed)].detach()
            regulariser = agent.distribution.squared_distance(reference, disturbed).mean()
            loss = loss + self._kappa * regulariser

        for group in self._optimiser.param_groups:
            group["lr"] = self._learning_rate()
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        for pruner in self.pruners.values():
            pruner.mask_gradients()
        # Each network on its own, so that a large regulariser does not slow the critic down.
        norms = [
            torch.nn.utils.clip_grad_norm_(network, config.max_grad_norm, foreach=True)
            for network in self._networks
        ]
        self._optimiser.step()
        self.num_updates += 1
        for pruner in self.pruners.values():
            pruner.apply(self.num_updates, self._optimiser)
        return torch.stack([surrogate, value_loss, regulariser, norms[0]]).detach()

    def _value_loss(self, minibatch: Samples) -> Tensor:
        values = self.agent.critic(minibatch.states)[:, 0]
        error = (values - minibatch.returns).square()
        if (limit := self.config.value_clip) is not None:
            change = (values - minibatch.values).clamp(-limit, limit)
            error = torch.maximum(error, (minibatch.values + change - minibatch.returns).square())
        return error.mean()

    def _perturbed_states(self, states: Tensor) -> Tensor:
        """Return the first states of a minibatch, moved to where the policy changes most."""
        defence = self.config.defence
        epsilon = self.epsilon()
        if not isinstance(defence, StateAdversarial) or epsilon == 0:
            return states[:0]
        states = states[: max(1, round(defence.fraction * len(states)))]
        actor, distribution = self.agent.actor, self.agent.distribution
        with torch.no_grad():
            clean = actor(states)

        def gradient(delta: Tensor) -> Tensor:
            """Of the mean of D^2 over the samples; the noise of SGLD is relative to it."""
            return actor.input_gradient(
                states + delta,
                lambda output: distribution.squared_distance_gradient(clean, output) / len(states),
            )

        delta = search_ball(
            gradient,
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
        return all(bool(torch.isfinite(parameter).all()) for parameter in self._parameters())

    def _parameters(self) -> list[Tensor]:
        return [parameter for network in self._networks for parameter in network]

    def state_dict(self) -> dict[str, Any]:
        """Return parameters, momentum, masks and generators; schedules follow from the count."""
        parameters = self._parameters()
        return {
            "num_updates": self.num_updates,
            "parameters": _by_number([parameter.detach() for parameter in parameters]),
            "optimiser": {
                key: _by_number([self._optimiser.state[parameter][key] for parameter in parameters])
                for key in ("step", "exp_avg", "exp_avg_sq")
                if key in self._optimiser.state[parameters[0]]
            },
            "masks": {name: pruner.state_dict() for name, pruner in self.pruners.items()},
            "minibatch_generator": self._minibatch_generator.get_state().numpy(),
            "search_generator": self._search_generator.get_state().numpy(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a stored state."""
        self.num_updates = state["num_updates"]
        for number, parameter in enumerate(self._parameters()):
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(state["parameters"][str(number)]))
            self._optimiser.state[parameter] = {
                key: torch.from_numpy(values[str(number)]).to(parameter.device)
                for key, values in state["optimiser"].items()
            }
        for name, pruner in self.pruners.items():
            pruner.load_state_dict(state["masks"][name])
        self._minibatch_generator.set_state(torch.from_numpy(state["minibatch_generator"]))
        self._search_generator.set_state(torch.from_numpy(state["search_generator"]))


def _by_number(tensors: list[Tensor]) -> dict[str, Any]:
    return {str(number): tensor.cpu().numpy().copy() for number, tensor in enumerate(tensors)}
