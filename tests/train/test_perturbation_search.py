import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from support.policies import random_policy
from support.training import linf, seeded
from surefoot.ball import Ball, Norm
from surefoot.policy import Activation, GaussianHead, Policy
from surefoot.train.agent import twin
from surefoot.train.distributions import Gaussian
from surefoot.train.perturbation_search import (
    SA_TEMPERATURE,
    corner_start,
    farthest_perturbation,
    radius,
    search_ball,
    shares_of,
    uniform_start,
)


def distance_objective(
    policy: Policy, states: Tensor, dtype: torch.dtype = torch.float32
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """D^2 at perturbations, and its gradient, for a policy with a Gaussian head."""
    net = twin(policy, dtype=dtype)
    law = Gaussian(log_std=torch.tensor(np.log(policy.head.std), dtype=dtype), learned=False)
    clean = net(states)
    gradient = law.squared_distance_gradient(clean)
    return (
        lambda delta: law.squared_distance(clean, net(states + delta)),
        lambda delta: net.input_gradient(states + delta, gradient),
    )


@given(st.floats(1e-6, 10), st.sampled_from([torch.float32, torch.float64]))
def test_the_radius_is_the_largest_number_that_is_not_above_epsilon(
    epsilon: float, dtype: torch.dtype
) -> None:
    found = torch.tensor(radius(epsilon, dtype), dtype=dtype)
    assert float(found) <= epsilon < float(torch.nextafter(found, torch.tensor(torch.inf)))


@given(
    st.floats(1e-3, 1),
    st.integers(1, 12),
    st.floats(0.1, 3),
    st.sampled_from([0.0, SA_TEMPERATURE, 1.0]),
    st.integers(0, 1000),
)
def test_a_perturbation_never_leaves_the_ball(
    epsilon: float, steps: int, slack: float, temperature: float, seed: int
) -> None:
    slope = torch.randn(6, 4, generator=seeded(seed))
    for start in (corner_start, uniform_start):
        delta = search_ball(
            lambda delta: slope * torch.sin(delta / epsilon + 1),
            start(slope, 2 * epsilon, seeded(seed)),
            epsilon=epsilon,
            steps=steps,
            step_size=slack * epsilon,
            temperature=temperature,
            generator=seeded(seed),
        )
        assert float(delta.abs().max()) <= epsilon


def test_signed_steps_reach_the_maximum_of_a_linear_function() -> None:
    slope = torch.tensor([[3.0, -0.1, 1.0]])
    delta = search_ball(lambda delta: slope, torch.zeros(1, 3), epsilon=0.3, steps=4)
    assert delta.tolist()[0] == pytest.approx([0.3, -0.3, 0.3])


def test_normalised_steps_reach_the_maximum_of_a_linear_function_in_the_l2_ball() -> None:
    slope = torch.tensor([[3.0, 4.0]])
    delta = search_ball(lambda delta: slope, torch.zeros(1, 2), epsilon=0.5, steps=4, norm=Norm.L2)
    assert delta.tolist()[0] == pytest.approx([0.3, 0.4])


def test_the_gradient_of_the_distance_is_exactly_zero_at_the_clean_state() -> None:
    policy = random_policy(np.random.default_rng(0), (5, 8, 8, 2), Activation.TANH)
    states = torch.randn(7, 5, generator=seeded())
    _, gradient = distance_objective(policy, states)
    assert (gradient(torch.zeros_like(states)) == 0).all()
    # hence a search from there goes nowhere, and a corner start does not
    stuck = search_ball(gradient, torch.zeros_like(states), epsilon=0.1, steps=5)
    assert (stuck == 0).all()
    moved = search_ball(gradient, corner_start(states, 0.02, seeded()), epsilon=0.1, steps=5)
    assert (moved != 0).all()


@pytest.mark.parametrize("temperature", [0.0, SA_TEMPERATURE])
def test_random_perturbations_search_and_bound_are_a_sandwich(temperature: float) -> None:
    rng = np.random.default_rng(1)
    policy = random_policy(rng, (5, 16, 16, 2), Activation.TANH)
    states = torch.from_numpy(rng.normal(size=(50, 5)))
    value, gradient = distance_objective(policy, states, torch.float64)
    start = corner_start(states, 0.01, seeded())
    found = value(
        search_ball(
            gradient,
            start,
            epsilon=0.1,
            steps=10,
            temperature=temperature,
            generator=seeded(),
        )
    )
    sampled = torch.stack(
        [value(uniform_start(states, 0.1, seeded(seed))) for seed in range(20)]
    ).amax(0)
    product = np.eye(5)
    for layer in policy.layers:
        product = np.abs(layer.weight.astype(float)) @ product
    assert isinstance(policy.head, GaussianHead)
    bound = np.sum((0.1 * product.sum(1) / policy.head.std) ** 2)
    assert (found <= bound).all()
    assert (found > sampled).double().mean() > 0.9
    assert (found > value(start)).double().mean() > 0.9


@pytest.mark.parametrize("spread", [1, 50])  # of the actions; where it is large, noise decides
def test_the_farthest_perturbation_is_that_of_sa_ppo_line_by_line(spread: int) -> None:
    """By training.md 2.1, its gradient by autograd."""
    rng = np.random.default_rng(3)
    policy = random_policy(rng, (5, 16, 16, 2), Activation.TANH)
    states = torch.from_numpy(rng.normal(size=(40, 5)))
    epsilon, steps, seed = 0.1, 10, 7
    std = spread * torch.from_numpy(policy.head.std)
    *hidden, last = [
        (torch.from_numpy(layer.weight).double(), torch.from_numpy(layer.bias))
        for layer in policy.layers
    ]

    def mean(state: Tensor) -> Tensor:
        for weight, bias in hidden:
            state = torch.tanh(state @ weight.T + bias)
        return state @ last[0].T + last[1]

    generator, step = seeded(seed), epsilon / steps
    signs = torch.randint(2, states.shape, generator=generator, dtype=states.dtype) * 2 - 1
    noise = torch.empty(steps, *states.shape, dtype=states.dtype).normal_(generator=generator)
    moved = states + signs * step
    for i in range(steps):
        moved = moved.detach().requires_grad_()
        distance = (((mean(moved) - mean(states)) / std) ** 2).sum(1).mean()
        (gradient,) = torch.autograd.grad(distance, moved)
        scale = math.sqrt(2 * step * SA_TEMPERATURE) / (i + 2)
        moved = moved + step * torch.sign(gradient + scale * noise[i])
        moved = torch.clamp(moved, states - epsilon, states + epsilon)
    found = farthest_perturbation(
        twin(policy, dtype=torch.float64),
        Gaussian(log_std=std.log(), learned=False),
        states,
        linf(epsilon),
        steps=steps,
        generator=seeded(seed),
    )
    assert found.numpy() == pytest.approx((moved - states).detach().numpy(), abs=1e-12)
    if spread == 1:
        value, _ = distance_objective(policy, states, torch.float64)
        corners = [value(corner_start(states, epsilon, seeded(seed))) for seed in range(30)]
        assert float(value(found).mean()) > max(float(corner.mean()) for corner in corners)


def test_equal_generators_give_equal_perturbations() -> None:
    slope = torch.randn(5, 3, generator=seeded(1))

    def search(seed: int) -> Tensor:
        generator = seeded(seed)
        return search_ball(
            lambda delta: slope + delta,
            corner_start(slope, 0.1, generator),
            epsilon=1.0,
            steps=5,
            temperature=1.0,
            generator=generator,
        )

    assert torch.equal(search(3), search(3))
    assert not torch.equal(search(3), search(4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_reach_the_maximum_of_a_linear_function_on_the_ellipsoid_of_a_group(
    dtype: torch.dtype,
) -> None:
    ball = Ball(norm=Norm.LINF, epsilon=0.075, sensors=(1.0, 0.3, 0.01, 0.7), groups=((0, 2, 1),))
    slope = torch.randn(6, 4, generator=seeded(0), dtype=dtype)
    delta = search_ball(
        lambda delta: slope,
        corner_start(slope, 0.075, seeded(1)),
        epsilon=0.075,
        steps=60,
        step_size=0.02,
        shares=shares_of(ball),
        groups=ball.groups,
    ).numpy()
    length = np.linalg.norm(delta[:, :3] / ball.sides[:3], axis=1)
    assert (length <= 1 + 4 * np.finfo(delta.dtype).eps).all()
    reached = (delta * slope.numpy()).sum(axis=1)
    best = (ball.outermost(slope.numpy()) * slope.numpy()).sum(axis=1)
    assert (reached >= 0.999 * best).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_sensor_moves_by_more_than_its_share_and_each_reaches_it(dtype: torch.dtype) -> None:
    ball = Ball(norm=Norm.LINF, epsilon=0.075, sensors=(1.0, 0.3, 1e-7, 0.0))
    slope = torch.randn(6, 4, generator=seeded(0), dtype=dtype)
    start = corner_start(slope, 0.075, seeded(1))
    delta = search_ball(
        lambda delta: slope,
        start,
        epsilon=0.075,
        steps=3,
        step_size=0.1,
        shares=shares_of(ball),
    )
    found = delta.numpy()
    assert ball.holds(found.astype(np.float64)).all()
    np.testing.assert_allclose(np.abs(found), np.tile(ball.sides, (6, 1)), rtol=1e-6)
    assert (np.sign(found[:, :3]) == np.sign(slope.numpy()[:, :3])).all()
