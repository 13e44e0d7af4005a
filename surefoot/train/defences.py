"""What a defence does to the update: where it perturbs the states, and what it adds to the loss.

M = samples of a minibatch, P = those of them that are perturbed, O = obs_dim, A = outputs.
"""

from dataclasses import replace
from typing import TypeGuard

import torch
from torch import Tensor

from surefoot.ball import Ball
from surefoot.train.agent import Agent
from surefoot.train.defence_config import (
    AdversarialReturn,
    BoundedAdversarialReturn,
    ConvexStateAdversarial,
    Defence,
    DisturbedEpisodes,
    GrowingBall,
    StateAdversarial,
)
from surefoot.train.differentiable_bounds import mixed_bounds
from surefoot.train.perturbation_search import (
    farthest_perturbation,
    search_ball,
    shared_out,
    shares_of,
    uniform_start,
)
from surefoot.train.samples import ActorTerm, Samples, surrogate


def _searches(
    defence: Defence,
) -> TypeGuard[StateAdversarial | AdversarialReturn | DisturbedEpisodes]:
    """Whether a defence searches for a state in its ball."""
    if isinstance(defence, DisturbedEpisodes):
        return defence.kappa > 0
    return isinstance(defence, StateAdversarial | AdversarialReturn)


def perturbed_states(
    agent: Agent, defence: Defence, ball: Ball, minibatch: Samples, generator: torch.Generator
) -> Tensor:
    """Return the first states of a minibatch, moved to where the defence fears them, (P, O).

    Args:
        agent: The agent that is updated; only read.
        defence: Objective and length of the search.
        ball: The ball at this update; a point for no state at all.
        minibatch: Samples with normalised advantages.
        generator: Source of the random starts and noise.
    """
    if ball.epsilon == 0 or not _searches(defence):
        return minibatch.states[:0]
    part = _regularised(defence, minibatch)
    actor, distribution = agent.actor.mlp, agent.distribution
    if isinstance(defence, (StateAdversarial, DisturbedEpisodes, BoundedAdversarialReturn)):
        delta = farthest_perturbation(
            actor,
            distribution,
            part.states,
            ball,
            steps=defence.inner_steps,
            generator=generator,
        )
    else:
        clip_range, shares = agent.config.clip_range, shares_of(ball)
        delta = search_ball(
            lambda delta: actor.input_gradient(
                part.states + delta,
                lambda outputs: surrogate(distribution, outputs, part, clip_range).by_output,
            ),
            shared_out(uniform_start(part.states, ball.epsilon, generator), shares),
            epsilon=ball.epsilon,
            steps=defence.inner_steps,
            shares=shares,
        )
    return part.states + delta


def defence_term(
    agent: Agent, defence: Defence, minibatch: Samples, clean_MA: Tensor, disturbed_PA: Tensor
) -> ActorTerm:
    """Build the term that the defence adds to the actor's loss, a function of the outputs.

    SA, and disturbed episodes with a kappa, add kappa D^2(pi(.|s), pi(.|s')), in which pi(.|s) and
    sigma are constant; ARPO and BARPO add L_rob, the surrogate with pi(a|s') over the old pi(a|s),
    where s' = s for samples that are not perturbed. s' is constant in all of them.

    Args:
        agent: The agent that is updated.
        defence: The defence of the run.
        minibatch: Samples with normalised advantages.
        clean_MA: Outputs at the states.
        disturbed_PA: Outputs at the perturbed states, which are those of the first samples.

    Returns:
        Value (of SA without kappa), and the gradient by the clean and then the disturbed outputs,
        (M + P, A).
    """
    num, distribution = len(disturbed_PA), agent.distribution
    no_change = torch.zeros_like(clean_MA)
    if isinstance(defence, AdversarialReturn):
        seen_MA = torch.cat([disturbed_PA, clean_MA[num:]])
        robust = surrogate(distribution, seen_MA, minibatch, agent.config.clip_range)
        by_clean, by_disturbed = robust.by_output.clone(), robust.by_output[:num]
        by_clean[:num] = 0.0
        return replace(robust, by_output=torch.cat([by_clean, by_disturbed]))
    if num == 0 or not isinstance(defence, (StateAdversarial, DisturbedEpisodes)):
        return ActorTerm(torch.zeros((), device=clean_MA.device), no_change)
    reference = clean_MA[:num]
    slope = distribution.squared_distance_gradient(reference, defence.kappa / num)
    distance = distribution.squared_distance(reference, disturbed_PA).mean()
    return ActorTerm(distance, torch.cat([no_change, slope(disturbed_PA)]))


def natural_weight(defence: Defence) -> float:
    """Return the weight of the natural surrogate, which ARPO and BARPO count as guidance."""
    return defence.guidance if isinstance(defence, AdversarialReturn) else 1.0


def convex_term(
    agent: Agent, defence: Defence, ball: Ball, progress: float, minibatch: Samples
) -> tuple[Tensor, Tensor] | None:
    """Return the convex relaxation of max D^2 and its gradient by the actor's parameters.

    u_j = max(|lower_j - mu_j|, |upper_j - mu_j|) and R = mean sum_j (u_j / sigma_j)^2 for Gaussian
    actions; sigma is constant. By autograd, for CROWN has no short gradient by hand.

    Args:
        agent: The agent that is updated; only read.
        defence: The defence of the run.
        ball: The ball at this update.
        progress: Share of the training that is done.
        minibatch: Its first states are regularised.

    Returns:
        R, and the gradient of kappa R, shape of the actor's parameters; None without this defence
        or while its ball is a point.
    """
    if not isinstance(defence, ConvexStateAdversarial) or ball.epsilon == 0:
        return None
    part = _regularised(defence, minibatch)
    with torch.inference_mode(False), torch.enable_grad():
        parameters = agent.actor.parameters.clone().requires_grad_()
        actor, states = agent.actor.views_of(parameters), part.states.clone()
        bounds = mixed_bounds(actor, states, ball, defence.ramp(progress))
        distance = agent.distribution.squared_distance_bound(
            actor(states), bounds.lower, bounds.upper
        ).mean()
        (gradient,) = torch.autograd.grad(defence.kappa * distance, parameters)
    return distance.detach(), gradient


def _regularised(defence: GrowingBall, minibatch: Samples) -> Samples:
    """Return the share of a minibatch that is perturbed."""
    return minibatch.first(max(1, round(defence.fraction * len(minibatch.states))))
