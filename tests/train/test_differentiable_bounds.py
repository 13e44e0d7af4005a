from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from support.policies import random_policy
from support.training import linf
from surefoot.ball import Norm
from surefoot.certify.bounds import crown
from surefoot.certify.bounds.local_bounds import local_region
from surefoot.certify.bounds.region import network_of
from surefoot.policy import Activation, Policy
from surefoot.train.agent import twin
from surefoot.train.differentiable_bounds import _relax, crown_bounds, interval_bounds, mixed_bounds
from surefoot.train.networks import Mlp, forward, new_network

CPU = torch.device("cpu")
ACTIVATIONS = [entry for entry in Activation if entry is not Activation.IDENTITY]
RADII = [1e-6, 0.03, 0.3, 2.0]


def draw(
    activation: Activation, seed: int = 0, sizes: tuple[int, ...] = (4, 12, 9, 7, 3)
) -> tuple[Policy, Tensor]:
    rng = np.random.default_rng(seed)
    policy = random_policy(rng, sizes, activation)
    return policy, torch.from_numpy(rng.normal(size=(30, sizes[0])))


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_no_point_of_the_ball_leaves_the_bounds(activation: Activation, radius: float) -> None:
    policy, states = draw(activation)
    net = twin(policy, dtype=torch.float64)
    rng = np.random.default_rng(1)
    step = rng.uniform(-1, 1, (300, *states.shape))
    step[:200] = np.sign(step[:200])
    values = net(states + radius * torch.from_numpy(step))
    for beta in (0.0, 0.4, 1.0):
        bounds = mixed_bounds(net, states, linf(radius), beta)
        assert (values >= bounds.lower - 1e-12).all()
        assert (values <= bounds.upper + 1e-12).all()


def test_no_point_of_a_group_leaves_the_bounds() -> None:
    policy, states = draw(Activation.TANH)
    ball = replace(linf(0.3, (1.0, 0.2, 0.5, 0.9)), groups=((0, 3), (1, 2)))
    net, rng = twin(policy, dtype=torch.float64), np.random.default_rng(0)
    for beta in (0.0, 0.4, 1.0):
        bounds = mixed_bounds(net, states, ball, beta)
        box = mixed_bounds(net, states, replace(ball, groups=None), beta)
        assert (bounds.upper < box.upper).all()
        for _ in range(20):
            moved = states + torch.from_numpy(ball.outermost(rng.normal(size=states.shape)))
            values = net(moved)
            assert (values <= bounds.upper + 1e-12).all()
            assert (values >= bounds.lower - 1e-12).all()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_shares_of_sensors_are_the_ball_around_a_network_that_sees_as_much_less(
    activation: Activation,
) -> None:
    """|delta_i| <= share_i epsilon moves W delta as |delta_i| <= epsilon moves W diag(share)."""
    policy, states = draw(activation)
    shares = torch.linspace(0, 1, states.shape[1], dtype=torch.float64)
    net = twin(policy, dtype=torch.float64)
    for beta in (0.0, 0.4, 1.0):
        found = mixed_bounds(net, states, linf(0.3, tuple(shares.tolist())), beta)
        for state, lower, upper in zip(states, found.lower, found.upper, strict=True):
            scaled = (net.weights[0] * shares, *net.weights[1:])
            shift = net.weights[0] @ (state - shares * state)
            other = replace(net, weights=scaled, biases=(net.biases[0] + shift, *net.biases[1:]))
            expected = mixed_bounds(other, state[None], linf(0.3), beta)
            assert torch.allclose(lower, expected.lower[0], atol=1e-9)
            assert torch.allclose(upper, expected.upper[0], atol=1e-9)


@pytest.mark.parametrize(("dtype", "slack"), [(torch.float64, 1e-15), (torch.float32, 3e-7)])
@pytest.mark.parametrize("activation", Activation)
def test_an_activation_stays_between_its_lines_on_every_interval(
    activation: Activation, dtype: torch.dtype, slack: float
) -> None:
    """Wide and narrow ones, on either side of zero and across it; up to rounding."""
    sizes = [1e-6, 1e-3, 0.1, 0.5, 1.0, 1.2784645, 1.3, 2.0, 3.0, 5.0, 8.0, 20.0, 60.0]
    ends = [*(-size for size in reversed(sizes)), 0.0, *sizes]
    pairs = [(low, high) for low in ends for high in ends if low <= high]
    pairs += [(low, low + 1e-5) for low in ends]
    low, high = torch.tensor(pairs, dtype=dtype).t()
    lines = _relax(activation, low[None], high[None])
    shares = torch.linspace(0, 1, 2001, dtype=dtype)[:, None]
    x = torch.minimum(low + (high - low) * shares, high).double()
    middle = lines.slope.double() * x + lines.cut.double()
    spread = lines.slope_spread.double() * x + lines.cut_spread.double()
    beyond = (forward(activation, x) - middle).abs() - spread
    assert (beyond <= slack * torch.maximum(low.abs(), high.abs()).clamp(min=1)).all()


@pytest.mark.parametrize("gain", [0.0, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_bounds_and_gradient_are_finite_in_float32_at_dead_and_saturated_neurons(
    activation: Activation, gain: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    network = new_network(
        (5, 16, 12, 3), activation, output_gain=1.0, generator=generator, device=CPU
    )
    network.parameters.mul_(gain)
    network.mlp.weights[0][:5] = 0
    network.mlp.weights[1][:4] = 0
    states = torch.randn(20, 5, generator=generator)
    leaf = network.parameters.clone().requires_grad_()
    for epsilon in (1e-7, 0.1, 10.0):
        for beta in (0.0, 0.5, 1.0):
            bounds = mixed_bounds(network.views_of(leaf), states, linf(epsilon), beta)
            (gradient,) = torch.autograd.grad((bounds.upper - bounds.lower).square().sum(), leaf)
            assert torch.isfinite(bounds.upper).all()
            assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_bounds_are_those_of_the_certifier(activation: Activation, radius: float) -> None:
    policy, states = draw(activation)
    net, network = twin(policy, dtype=torch.float64), network_of(policy)
    region = local_region(states.numpy(), radius, Norm.LINF)
    found = interval_bounds(net, states, linf(radius)), crown_bounds(net, states, linf(radius))
    expected = crown.interval_bounds(network, region), crown.crown_bounds(network, region)
    for ours, theirs in zip(found, expected, strict=True):
        scale = float((ours.upper - ours.lower).max())
        if ours is found[1] and activation is Activation.SILU:
            # the certifier's lines around SiLU are the closer ones
            assert (ours.upper.numpy() >= theirs.upper - 1e-9 * scale - 1e-12).all()
            assert (ours.lower.numpy() <= theirs.lower + 1e-9 * scale + 1e-12).all()
            continue
        # the certifier charges rounding, and finds its tangents by bisection alone
        assert ours.lower.numpy() == pytest.approx(theirs.lower, abs=2e-3 * scale + 1e-9)
        assert ours.upper.numpy() == pytest.approx(theirs.upper, abs=2e-3 * scale + 1e-9)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_crown_is_never_looser_than_ibp_and_the_mixture_lies_between(
    activation: Activation,
) -> None:
    policy, states = draw(activation)
    net = twin(policy, dtype=torch.float64)
    tight, loose = crown_bounds(net, states, linf(0.2)), interval_bounds(net, states, linf(0.2))
    mixed = mixed_bounds(net, states, linf(0.2), 0.25)
    assert (tight.upper <= loose.upper + 1e-12).all()
    assert (tight.lower >= loose.lower - 1e-12).all()
    middle = 0.25 * loose.upper + 0.75 * tight.upper
    assert torch.allclose(mixed.upper, middle)
    assert (loose.upper - tight.upper).max() > 0.01
    assert torch.equal(mixed_bounds(net, states, linf(0.2), 0.0).upper, tight.upper)
    assert torch.equal(mixed_bounds(net, states, linf(0.2), 1.0).upper, loose.upper)


def test_a_relu_network_in_one_ball_has_the_bounds_that_are_worked_out_by_hand() -> None:
    # f(x) = relu(x) - relu(x - 1) on [-1, 2], radius 1.5 around .5; fractions as written
    net = Mlp(
        weights=(
            torch.tensor([[1.0], [1.0]], dtype=torch.float64),
            torch.tensor([[1.0, -1.0]], dtype=torch.float64),
        ),
        biases=(
            torch.tensor([0.0, -1.0], dtype=torch.float64),
            torch.tensor([0.0], dtype=torch.float64),
        ),
        activations=(Activation.RELU, Activation.IDENTITY),
    )
    state = torch.tensor([[0.5]], dtype=torch.float64)
    interval = interval_bounds(net, state, linf(1.5))
    assert (float(interval.lower), float(interval.upper)) == (-1.0, 2.0)
    # above: 2/3 (x + 1) - 0, at x = 2; below: x - 1/3 (x + 1), slope 2/3, at x = -1
    tight = crown_bounds(net, state, linf(1.5))
    assert float(tight.upper) == pytest.approx(float(Fraction(2)))
    assert float(tight.lower) == pytest.approx(float(Fraction(-1)))


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_gradient_is_that_of_finite_differences(activation: Activation, beta: float) -> None:
    policy, states = draw(activation, sizes=(3, 6, 5, 2))
    net = twin(policy, dtype=torch.float64)
    noise = torch.Generator().manual_seed(0)  # |w| of a pruned weight has two slopes
    leaves = [
        (tensor + 0.1 * torch.randn(tensor.shape, generator=noise)).requires_grad_()
        for tensor in (*net.weights, *net.biases)
    ]
    weights = torch.from_numpy(np.random.default_rng(2).normal(size=(2, 30, 2)))

    def value(tensors: list[Tensor]) -> Tensor:
        moved = Mlp(
            weights=tuple(tensors[:3]), biases=tuple(tensors[3:]), activations=net.activations
        )
        bounds = mixed_bounds(moved, states, linf(0.4), beta)
        return (weights[0] * bounds.lower + weights[1] * bounds.upper).sum()

    gradient = torch.autograd.grad(value(leaves), leaves)
    with torch.no_grad():
        for number, leaf in enumerate(leaves):
            step = torch.randn(
                leaf.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(number)
            )
            sides = [
                value([*leaves[:number], leaf + sign * 1e-6 * step, *leaves[number + 1 :]])
                for sign in (1, -1)
            ]
            slope = float(sides[0] - sides[1]) / 2e-6
            assert float((gradient[number] * step).sum()) == pytest.approx(slope, rel=1e-5)
