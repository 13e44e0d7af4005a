"""Random networks of every kind, and a search for any input that violates any claim.

``SUREFOOT_TRIALS=10000 pytest -s tests/certify/test_soundness.py`` looks longer.
"""

import os
from collections.abc import Callable, Iterator

import numpy as np

from surefoot.budget import Norm
from surefoot.certify.chain import action_chain
from surefoot.certify.global_bounds import closed_form_bounds
from surefoot.certify.lipsdp import semidefinite_bounds
from surefoot.certify.local_bounds import local_bounds, local_region
from surefoot.certify.rounding import ARITHMETICS, rounding_bound, state_bound
from surefoot.policy import Activation, Array, Policy, Squash

TRIALS = int(os.environ.get("SUREFOOT_TRIALS", "300"))
POINTS, STATES = 25, 6


def draw_trial(
    draw_policy: Callable[..., Policy], number: int
) -> tuple[Policy, Array, Array, float, Norm]:
    """A network with weights from tiny to huge, states, perturbations, their size and norm."""
    rng = np.random.default_rng(number)
    sizes = [int(rng.integers(1, 7)) for _ in range(int(rng.integers(2, 5)))]
    policy = draw_policy(
        rng,
        sizes,
        list(Activation)[number % len(Activation)],
        gain=float(10 ** rng.uniform(-2, 2)),
        bias=float(10 ** rng.uniform(-2, 2)),
        sparsity=float(rng.random() * 0.7),
        squash=list(Squash)[number % len(Squash)],
        half_range=float(10 ** rng.uniform(-1, 1)),
    )
    size = 10 ** rng.uniform(-2, 1)
    states = np.clip(rng.normal(0, size, (STATES, sizes[0])), -10, 10).astype(np.float32)
    epsilon, norm = float(10 ** rng.uniform(-4, 0.5)), list(Norm)[number % len(Norm)]
    step = rng.standard_normal((POINTS, STATES, sizes[0]))
    if norm is Norm.LINF:
        step = np.sign(step)
    else:
        step /= np.linalg.norm(step, axis=2, keepdims=True)
    step *= np.where(rng.random((POINTS, 1, 1)) < 0.6, 1.0, rng.random((POINTS, 1, 1)))
    return policy, states.astype(np.float64), step * epsilon * (1 - 1e-14), epsilon, norm


def violations(
    policy: Policy, states: Array, step: Array, epsilon: float, norm: Norm, *, semidefinite: bool
) -> Iterator[tuple[str, int, int]]:
    """Yield claim, number of checks and number of violations."""
    moved = (states + step).reshape(-1, policy.obs_dim)
    outputs = policy.outputs_at(moved).reshape(POINTS, STATES, -1)
    change = np.abs(outputs - policy.outputs_at(states))
    # The search itself computes in plain float64.
    slack = 1e-11 * (1 + np.abs(outputs).max() + np.abs(policy.network(moved)).max())
    local = local_bounds(policy, local_region(states, epsilon, norm)).action
    yield "local", change.size, int((change > local + slack).sum())
    chain = action_chain(policy)
    for name, rows in closed_form_bounds(chain).deviations(epsilon, norm).items():
        yield name, change.size, int((change > rows + slack).sum())
    if semidefinite:
        found = semidefinite_bounds(chain, iterations=10, row_iterations=3)
        sizes, lengths = np.linalg.norm(step, axis=2), np.linalg.norm(change, axis=2)
        for name, proof in (("eclipse_fast", found.fast), ("lipsdp", found.whole)):
            if proof is not None:
                bad = (lengths > proof.bound * sizes + slack).sum()
                yield name, lengths.size, int(bad)
        for output, row in enumerate(found.rows):
            if row is not None:
                bad = (change[..., output] > row.bound * sizes + slack).sum()
                yield "lipsdp of one actuator", sizes.size, int(bad)
    rounding = rounding_bound(policy, state_bound(policy, epsilon), ARITHMETICS["float32"])
    if not isinstance(rounding, str):
        single = moved.astype(np.float32)
        exact = policy.outputs_at(single.astype(np.float64))
        error = np.abs(policy.outputs_at(single).astype(np.float64) - exact)
        yield "rounding", error.size, int((error > rounding.action).sum())


def test_no_input_violates_any_claim(draw_policy: Callable[..., Policy]) -> None:
    checks, found = 0, []
    for number in range(TRIALS):
        trial = draw_trial(draw_policy, number)
        for name, count, bad in violations(*trial, semidefinite=number % 5 == 0):
            checks += count
            if bad:
                found.append((number, name, bad))
    print(f"{TRIALS} networks, {checks} checks, {len(found)} violated claims")
    assert not found
