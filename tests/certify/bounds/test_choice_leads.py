"""No perturbed state shows a larger lead of another choice than is proved."""

from fractions import Fraction

import numpy as np
import pytest

from support.policies import linear_policy, random_policy
from surefoot.activation import Activation, RmsNorm
from surefoot.ball import Ball, Norm
from surefoot.certify.at_states import AtStates, Effort
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.bounds.choice_leads import PairBounds, may_be_made
from surefoot.certify.everywhere import Everywhere
from surefoot.policy import Array, CategoricalHead, Policy
from surefoot.quantities.base.proof import StateBounds
from surefoot.unknown import Unknown

FLOAT32 = ARITHMETICS["float32"]
ACTIVATIONS = (
    Activation.TANH,
    Activation.RELU,
    Activation.ELU,
    Activation.SILU,
    RmsNorm(0.25),
)


def chooser(matrix: list[list[float]], bias: list[float]) -> Policy:
    plain = linear_policy(matrix, bias=bias)
    head = CategoricalHead(num_actions=len(matrix))
    return Policy(normaliser=plain.normaliser, layers=plain.layers, head=head)


def proved(policy: Policy, states: Array, ball: Ball, alpha_steps: int = 0) -> Array:
    around = AtStates(
        Everywhere(policy, FLOAT32),
        states.astype(np.float32),
        Effort(alpha_steps=alpha_steps),
        Unknown("none"),
    )
    bounds = around.choice_lead(ball)
    assert isinstance(bounds, StateBounds)
    return bounds.values


def deployed_leads(policy: Policy, states: Array, moved: Array) -> Array:
    """The lead over what float32 chooses at each state, without any of the package's bounds."""
    here, there = policy.outputs_at(states), policy.outputs_at(moved)
    found = []
    for base, logits in zip(here, there, strict=True):
        made = int(np.argmax(base))
        others = [float(logit) for k, logit in enumerate(logits) if k != made]
        found.append(max(others) - float(logits[made]))
    return np.array(found)


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("alpha_steps", [0, 2])
@pytest.mark.parametrize("seed", range(10))
def test_no_perturbation_shows_a_larger_lead(seed: int, alpha_steps: int, norm: Norm) -> None:
    rng = np.random.default_rng(seed)
    activation = ACTIVATIONS[seed % len(ACTIVATIONS)]
    policy = random_policy(rng, [3, 6, 6, 4], activation, squash=None)
    ball = Ball(norm=norm, epsilon=float(10 ** rng.uniform(-3, 0)))
    states = rng.normal(size=(6, 3)).astype(np.float32)
    bounds = proved(policy, states, ball, alpha_steps)
    for _ in range(200):
        steps = ball.project(ball.outermost(rng.standard_normal(states.shape)) * rng.random())
        moved = ball.perturbed(states, steps)
        assert (deployed_leads(policy, states, moved) < bounds).all()


def test_the_lead_of_linear_logits_is_exact_but_for_rounding() -> None:
    """Under linf it is the margin and epsilon |w_k - w_c|_1, the worst choice counts."""
    weight = np.array([[1.0, -2.0], [0.5, 0.5], [-1.0, 0.25]])
    bias = np.array([0.5, 0.0, 0.25])
    policy = chooser(weight.tolist(), bias.tolist())
    state, epsilon = np.array([1.0, -1.0]), 0.25
    logits = weight @ state + bias
    best = int(logits.argmax())
    exact = max(
        logits[k] - logits[best] + epsilon * np.abs(weight[k] - weight[best]).sum()
        for k in range(3)
        if k != best
    )
    bound = proved(policy, state[None], Ball(norm=Norm.LINF, epsilon=epsilon))[0]
    assert exact < bound < exact + 1e-4


def test_a_choice_that_rounding_leaves_open_is_never_proved() -> None:
    """Two logits that are one number in float32: the runtime may choose either."""
    policy = chooser([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]], [0.0, 0.0, -50.0])
    bound = proved(policy, np.ones((1, 2)), Ball(norm=Norm.LINF, epsilon=1e-9))[0]
    assert bound > 0
    assert bound < 1e-3  # the third choice is far away and not counted


def test_a_controller_of_numbers_has_no_choices() -> None:
    rng = np.random.default_rng(0)
    policy = random_policy(rng, [3, 4, 2])
    around = AtStates(Everywhere(policy, FLOAT32), rng.normal(size=(2, 3)), Effort(), Unknown("-"))
    bounds = around.choice_lead(Ball(norm=Norm.LINF, epsilon=0.1))
    assert isinstance(bounds, Unknown)
    assert "its outputs are actions" in bounds.reason


@pytest.mark.parametrize("row", [-1.0, 0.0, 1.0, 1.0 + 2.0**-52])
@pytest.mark.parametrize("rounding", [0.0, 2.0**-56, 2.0**-54, 0.75 * 2.0**-54, 0.1])
def test_no_lead_in_deployed_arithmetic_attains_its_bound(row: float, rounding: float) -> None:
    """In exact arithmetic: float64 rounds the sum of a bound and a rounding, down as well as up."""
    bounds = PairBounds(np.full((1, 2, 2), row)).with_rounding(np.full((1, 2), rounding))
    for bound in bounds.flat:
        assert Fraction(float(bound)) > Fraction(row) + 2 * Fraction(rounding)


def test_of_two_logits_that_may_tie_either_is_chosen() -> None:
    tie = np.array([[[-np.inf, 0.0], [0.0, -np.inf]]])
    assert may_be_made(tie).tolist() == [[True, True]]
