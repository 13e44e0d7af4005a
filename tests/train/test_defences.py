import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from support.training import BOX, drawn_samples, linf, new_ppo, seeded
from surefoot.envs.vector import Actions, DiscreteActions
from surefoot.train.defence_config import (
    AdversarialReturn,
    BoundedAdversarialReturn,
    ConvexStateAdversarial,
    Defence,
    StateAdversarial,
)
from surefoot.train.defences import convex_term, perturbed_states
from surefoot.train.differentiable_bounds import mixed_bounds
from surefoot.train.distributions import Categorical, Gaussian
from surefoot.train.perturbation_search import uniform_start
from surefoot.train.ppo import Ppo
from surefoot.train.samples import surrogate
from surefoot.train.train_config import LearnedNoise, TrainConfig

CONFIG = TrainConfig(
    env_id="Test-v0",
    total_steps=640,
    num_envs=4,
    rollout_steps=16,
    minibatch_size=64,
    hidden=(16, 16),
    noise=LearnedNoise(initial=0.5),
)
ARMS = [
    AdversarialReturn(epsilon=0.2),
    AdversarialReturn(epsilon=0.2, guidance=0.7),
    BoundedAdversarialReturn(epsilon=0.2, guidance=0.0),
    BoundedAdversarialReturn(epsilon=0.2, guidance=0.7),
]


def make_ppo(
    defence: Defence,
    actions: Actions = BOX,
) -> Ppo:
    return new_ppo(replace(CONFIG, defence=defence), actions)


def gradient_of(
    defence: Defence,
    actions: Actions,
) -> tuple[float, Tensor]:
    ppo = make_ppo(defence, actions)
    ppo.num_updates = ppo.config.num_updates // 2
    samples = drawn_samples(ppo)
    value, _ = ppo._actor_gradient(samples)
    log_std = ppo.agent.distribution.log_std.grad if actions is BOX else torch.zeros(1)
    return float(value), torch.cat([ppo.agent.actor.gradient, log_std])


@pytest.mark.parametrize("actions", [BOX, DiscreteActions(2)])
@pytest.mark.parametrize("arm", ARMS)
def test_in_a_ball_of_no_size_the_arms_are_a_multiple_of_ppo(
    arm: Defence, actions: Actions
) -> None:
    plain = StateAdversarial(epsilon=0.0, kappa=1.0)
    value, gradient = gradient_of(plain, actions)
    tiny = replace(arm, epsilon=1e-9)  # the search runs, and finds nothing but s
    for ball in (replace(arm, epsilon=0.0), tiny):
        found_value, found = gradient_of(ball, actions)
        assert found_value == pytest.approx(value)
        expected = (arm.guidance + 1) * gradient.numpy()
        assert found.numpy() == pytest.approx(expected, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("actions", [BOX, DiscreteActions(2)])
def test_arpo_finds_a_larger_loss_than_random_states_and_than_barpo(actions: Actions) -> None:
    ppo = make_ppo(ARMS[0], actions)
    # all of pi_old: a ratio beyond its clip has no gradient to follow
    samples = drawn_samples(ppo, 256, ratio_spread=0.0).with_normalised_advantages()

    def loss(states: Tensor) -> float:
        outputs = ppo.agent.actor.mlp(states)
        return float(surrogate(ppo.agent.distribution, outputs, samples, 0.2).value)

    found = [
        perturbed_states(ppo.agent, arm, linf(0.2), samples, seeded(0))
        for arm in (ARMS[0], ARMS[2])
    ]
    for states in found:
        assert float((states - samples.states).abs().max()) <= 0.2 + 1e-6
    random = [
        loss(samples.states + uniform_start(samples.states, 0.2, seeded(seed)))
        for seed in range(30)
    ]
    arpo, barpo = (loss(states) for states in found)
    assert arpo > max(random)
    assert arpo > barpo
    assert arpo > loss(samples.states)
    one_step = replace(ARMS[0], inner_steps=1)
    assert arpo > loss(perturbed_states(ppo.agent, one_step, linf(0.2), samples, seeded(0)))


def test_barpo_is_attacked_where_sa_is_regularised() -> None:
    ppo = make_ppo(ARMS[2])
    samples = drawn_samples(ppo)
    states = [
        perturbed_states(ppo.agent, defence, linf(0.2), samples, seeded(3))
        for defence in (ARMS[2], StateAdversarial(epsilon=0.2, kappa=1.0))
    ]
    assert torch.equal(*states)


@pytest.mark.parametrize("arm", ARMS)
def test_only_the_share_that_was_asked_for_is_attacked(
    arm: Defence,
) -> None:
    ppo = make_ppo(arm)
    samples = drawn_samples(ppo).with_normalised_advantages()
    moved = perturbed_states(ppo.agent, replace(arm, fraction=0.25), linf(0.2), samples, seeded(0))
    assert len(moved) == 16
    assert (moved != samples.states[:16]).any(1).all()


@pytest.mark.parametrize("actions", [BOX, DiscreteActions(2)])
@pytest.mark.parametrize("arm", ARMS)
def test_samples_that_are_not_attacked_count_at_their_own_states(
    arm: Defence, actions: Actions
) -> None:
    # The law of a share p: p of the robust loss of the first samples, and the natural loss of all
    # others; by autograd on the definition, in which s' is constant.
    arm = replace(arm, fraction=0.25)
    ppo = make_ppo(arm, actions)
    ppo.num_updates = ppo.config.num_updates // 2
    samples = drawn_samples(ppo).with_normalised_advantages()
    seen = samples.states.clone()
    seen[:16] = perturbed_states(ppo.agent, arm, ppo.ball(), samples, seeded(2))
    parameters = ppo.agent.actor.parameters.clone().requires_grad_()
    network = ppo.agent.actor.views_of(parameters)

    def loss(states: Tensor) -> Tensor:
        law = ppo.agent.distribution
        ratio = (law.log_prob(network(states), samples.actions).value - samples.log_probs).exp()
        clipped = ratio.clamp(0.8, 1.2)
        return -torch.minimum(ratio * samples.advantages, clipped * samples.advantages).mean()

    whole = loss(seen) + arm.guidance * loss(samples.states)
    (expected,) = torch.autograd.grad(whole, parameters)
    ppo._actor_gradient(samples)
    assert ppo.agent.actor.gradient.numpy() == pytest.approx(expected.numpy(), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("actions", [BOX, DiscreteActions(2)])
@pytest.mark.parametrize("progress", [0.25, 0.5, 1.0])
def test_the_convex_bound_is_above_what_the_search_finds(actions: Actions, progress: float) -> None:
    convex = ConvexStateAdversarial(epsilon=0.2, kappa=0.5, ramp_end=0.8)
    ppo = make_ppo(convex, actions)
    samples = drawn_samples(ppo)
    found = perturbed_states(
        ppo.agent,
        StateAdversarial(epsilon=0.2, kappa=1.0),
        linf(0.2 * convex.ramp(progress)),
        samples,
        seeded(0),
    )
    actor, distribution = ppo.agent.actor.mlp, ppo.agent.distribution
    distance = distribution.squared_distance(actor(samples.states), actor(found)).mean()
    ball = linf(0.2 * convex.ramp(progress))
    bound, _ = convex_term(ppo.agent, convex, ball, progress, samples)
    assert 0 < float(distance) <= float(bound)


@pytest.mark.parametrize(("progress", "beta"), [(0.2, 0.25), (0.4, 0.5), (0.8, 1.0), (0.9, 1.0)])
def test_the_share_of_ibp_rises_with_the_radius(progress: float, beta: float) -> None:
    convex = ConvexStateAdversarial(epsilon=0.2, kappa=0.5, ramp_end=0.8)
    ppo = make_ppo(convex)
    samples = drawn_samples(ppo)
    found, _ = convex_term(ppo.agent, convex, linf(0.2 * beta), progress, samples)
    actor, distribution = ppo.agent.actor.mlp, ppo.agent.distribution
    bounds = mixed_bounds(actor, samples.states, linf(0.2 * beta), beta)
    clean = actor(samples.states)
    expected = distribution.squared_distance_bound(clean, bounds.lower, bounds.upper).mean()
    assert float(found) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("actions", [BOX, DiscreteActions(2)])
def test_the_gradient_of_the_convex_bound_is_added_to_that_of_ppo(actions: Actions) -> None:
    convex = ConvexStateAdversarial(epsilon=0.2, kappa=0.5, fraction=0.25)
    _, plain = gradient_of(StateAdversarial(epsilon=0.0, kappa=1.0), actions)
    _, found = gradient_of(convex, actions)
    ppo = make_ppo(convex, actions)
    samples = drawn_samples(ppo)
    ball = linf(0.2 * convex.ramp(0.5))
    value, extra = convex_term(ppo.agent, convex, ball, 0.5, samples)
    assert torch.allclose(found[: len(extra)], plain[: len(extra)] + extra, rtol=1e-4, atol=1e-6)
    # along its gradient the bound rises as the gradient says; kappa is in the gradient alone
    ppo.agent.actor.parameters.add_(extra, alpha=1e-2 / float(extra.norm()))
    raised, _ = convex_term(ppo.agent, convex, ball, 0.5, samples)
    rise = 1e-2 * float(extra.norm()) / convex.kappa
    assert float(raised - value) == pytest.approx(rise, rel=0.1)
    assert convex_term(ppo.agent, convex, linf(0.0), 0.0, samples) is None


def test_a_bound_on_the_distance_is_reached_by_one_of_the_outputs_between() -> None:
    generator = seeded(5)
    clean, lower, width = torch.randn(3, 200, 3, generator=generator, dtype=torch.float64)
    lower, upper = clean - lower.abs(), clean + width.abs()
    gauss = Gaussian(log_std=torch.randn(3, generator=generator), learned=False)
    for law in (gauss, Categorical(num_actions=3)):
        bound = law.squared_distance_bound(clean, lower, upper)
        corners = [
            law.squared_distance(clean, torch.where(torch.tensor(corner), upper, lower))
            for corner in itertools.product([False, True], repeat=3)
        ]
        largest = torch.stack(corners).amax(0)  # D^2 is convex in the second outputs
        assert (largest <= bound * (1 + 1e-12)).all()
        if law is gauss:
            assert torch.allclose(largest, bound)
