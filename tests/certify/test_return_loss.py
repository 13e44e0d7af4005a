"""Value bounds against exact values of finite Markov decision processes."""

from collections.abc import Sequence

import numpy as np
import pytest

from surefoot.certify.return_loss import (
    CleanTv,
    average_bound,
    coupling_bound,
    finite_horizon_bound,
    measured_average_bound,
    measured_path_bound,
    paper_alpha_bound,
)
from surefoot.errors import InputError


def chain_gap(reward: float, discount: float, chance: float) -> float:
    return 2 * reward * chance / ((1 - discount) * (1 - discount * (1 - chance)))


@pytest.mark.parametrize(
    ("discount", "chance", "gap", "printed"),
    [(0.9, 1e-3, 0.198216, 0.182), (0.99, 1e-4, 1.980394, 1.980200)],
)
def test_a_two_state_chain_violates_the_published_alpha_and_attains_the_coupling_bound(
    discount: float, chance: float, gap: float, printed: float
) -> None:
    exact = chain_gap(1.0, discount, chance)
    alpha = paper_alpha_bound(chance, 1.0, discount)
    assert exact == pytest.approx(gap, abs=1e-6)
    assert alpha.bound == pytest.approx(printed, abs=1e-6)
    assert exact > alpha.bound
    assert not alpha.sound
    coupling = coupling_bound(chance, 2.0, discount)
    assert exact <= coupling.bound
    assert coupling.bound == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(
    ("tv", "coupling", "alpha"), [(0.01, 0.503, 0.990), (0.05, 0.840, 4.95), (0.2, 0.962, 19.8)]
)
def test_shares_of_the_trivial_bound(tv: float, coupling: float, alpha: float) -> None:
    sound, printed = coupling_bound(tv, 2.0, 0.99), paper_alpha_bound(tv, 1.0, 0.99)
    assert sound.bound / sound.trivial == pytest.approx(coupling, abs=1e-3)
    assert printed.bound / printed.trivial == pytest.approx(alpha, rel=1e-2)
    assert not sound.vacuous
    assert printed.vacuous == (alpha >= 1)


@pytest.mark.parametrize(("tv", "share"), [(1e-4, 0.04842), (1e-3, 0.36833), (1e-2, 0.90100)])
def test_shares_of_a_thousand_steps(tv: float, share: float) -> None:
    bound = finite_horizon_bound(tv, 2.0, 1000)
    assert bound.bound / bound.trivial == pytest.approx(share, abs=1e-5)


def test_certain_disagreement_says_nothing() -> None:
    assert coupling_bound(1.0, 1.0, 0.9).vacuous
    assert finite_horizon_bound(1.0, 1.0, 10).vacuous


def random_process(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    states, actions = int(rng.integers(2, 6)), int(rng.integers(2, 4))
    moves = rng.dirichlet(np.full(states, 0.4), size=(states, actions))
    rewards = rng.uniform(0, 1, (states, actions))
    policy = rng.dirichlet(np.full(actions, 0.5), size=states)
    other = rng.dirichlet(np.full(actions, 0.5), size=states)
    mix = 10.0 ** rng.uniform(-3, 0)
    return moves, rewards, policy, (1 - mix) * policy + mix * other


def path(tv_of_step: Sequence[float]) -> float:
    """min(H, sum_k (H - k) E[tv(s_k)]): what is lost at most where rewards span 1."""
    left = np.arange(len(tv_of_step), 0, -1)
    return min(float(len(tv_of_step)), float(left @ np.asarray(tv_of_step)))


def test_no_bound_is_violated_on_random_processes() -> None:
    rng = np.random.default_rng(0)
    trials = 0
    for _ in range(1000):
        moves, rewards, policy, attacked = random_process(rng)
        discount, horizon = float(rng.uniform(0.5, 0.99)), int(rng.integers(1, 30))
        start = rng.dirichlet(np.ones(len(moves)))
        tv_of_state = np.abs(policy - attacked).sum(axis=1) / 2
        tv = float(tv_of_state.max())
        steps = [np.einsum("sa,sat->st", law, moves) for law in (policy, attacked)]
        gains = [(law * rewards).sum(axis=1) for law in (policy, attacked)]
        discounted = [
            start @ np.linalg.solve(np.eye(len(moves)) - discount * step, gain)
            for step, gain in zip(steps, gains, strict=True)
        ]
        gap = discounted[0] - discounted[1]
        visits = (1 - discount) * start @ np.linalg.inv(np.eye(len(moves)) - discount * steps[0])
        assert gap <= coupling_bound(tv, 1.0, discount).bound + 1e-12
        assert gap <= average_bound(float(visits @ tv_of_state), 1.0, discount).bound + 1e-12
        sums, tvs = [0.0, 0.0], []
        laws = [start, start]
        for _ in range(horizon):
            tvs.append(float(laws[0] @ tv_of_state))
            sums = [total + law @ gain for total, law, gain in zip(sums, laws, gains, strict=True)]
            laws = [law @ step for law, step in zip(laws, steps, strict=True)]
        gap = sums[0] - sums[1]
        assert gap <= finite_horizon_bound(tv, 1.0, horizon).bound + 1e-12
        assert gap <= path(tvs) + 1e-12
        trials += 4
    print(f"{trials} bounds checked")


def test_the_average_bound_holds_for_adversaries_that_depend_on_the_time() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        moves, rewards, policy, _ = random_process(rng)
        discount, start = float(rng.uniform(0.5, 0.9)), rng.dirichlet(np.ones(len(moves)))
        clean, attacked, losses, mean_tv = start, start, 0.0, 0.0
        # At every step another law; the state's largest TV over all steps is what is bounded.
        others = [
            policy + 0.1 * (rng.dirichlet(np.ones(policy.shape[1]), len(moves)) - policy)
            for _ in range(60)
        ]
        tv = np.max([np.abs(policy - other).sum(axis=1) / 2 for other in others], axis=0)
        for t, other in enumerate(others):
            gain = [(law * rewards).sum(axis=1) for law in (policy, other)]
            losses += discount**t * (clean @ gain[0] - attacked @ gain[1])
            mean_tv += (1 - discount) * discount**t * float(clean @ tv)
            clean = clean @ np.einsum("sa,sat->st", policy, moves)
            attacked = attacked @ np.einsum("sa,sat->st", other, moves)
        bound = average_bound(mean_tv + discount ** len(others), 1.0, discount).bound
        assert losses <= bound + 1e-12


def test_bounds_from_clean_episodes_cover_the_exact_ones_as_often_as_they_say() -> None:
    rng, delta, rounds = np.random.default_rng(2), 0.1, 300
    horizon, discount, span = 12, 0.5, 2.0
    misses = np.zeros(2)
    for _ in range(rounds):
        moves, _, policy, attacked = random_process(rng)
        tv_of_state = np.abs(policy - attacked).sum(axis=1) / 2
        step = np.einsum("sa,sat->st", policy, moves)
        laws = [rng.dirichlet(np.ones(len(moves)))]
        for _ in range(horizon - 1):
            laws.append(laws[-1] @ step)
        exact = np.array([law @ tv_of_state for law in laws])
        loss = span * path(exact)
        weights = (1 - discount) * discount ** np.arange(horizon)
        average = span / (1 - discount) ** 2 * float((weights * exact).sum())
        steps = rng.choice(horizon, size=40, p=np.arange(horizon, 0, -1) / 78)
        states = [rng.choice(len(moves), p=laws[k] / laws[k].sum()) for k in steps]
        clean = CleanTv(
            steps=steps,
            values=tv_of_state[states],
            largest=float(tv_of_state.max()),
            horizon=horizon,
        )
        measured = measured_path_bound(clean, span, delta)
        misses[0] += measured.bound < loss - 1e-9
        measured = measured_average_bound(clean, span, discount, delta)
        misses[1] += measured.bound < min(average, measured.trivial) - 1e-9
    # Three standard deviations above the allowed share.
    assert (misses / rounds <= delta + 3 * np.sqrt(delta * (1 - delta) / rounds)).all()


def test_clean_episodes_that_never_disagree_prove_a_loss_that_shrinks_with_their_number() -> None:
    def bound(count: int) -> float:
        steps = np.random.default_rng(0).integers(0, 20, count)
        clean = CleanTv(steps=steps, values=np.zeros(count), largest=0.1, horizon=20)
        found = measured_path_bound(clean, 1.0, 0.05)
        assert not found.vacuous
        return found.bound

    assert 0 < bound(1000) < 0.2 * bound(100) < 0.2 * 20


def test_the_path_bound_is_a_sum_because_the_product_form_is_violated() -> None:
    # mathematics.md, 8.5: gap 1.5; E[tv] is 1/2 at both steps.
    assert path([0.5, 0.5]) == pytest.approx(1.5)
    product = 0.5 + (1 - 0.5 * (0.5 * 1 + 0.5 * 0.0) - 0.0)
    assert product == pytest.approx(1.25)


@pytest.mark.parametrize("tv", [-0.1, 1.1, np.nan])
def test_a_total_variation_outside_the_unit_interval_is_refused(tv: float) -> None:
    with pytest.raises(InputError, match="total_variation must be in"):
        coupling_bound(tv, 1.0, 0.9)


def test_a_discount_of_one_is_refused() -> None:
    with pytest.raises(InputError, match="discount must be in"):
        coupling_bound(0.1, 1.0, 1.0)
