"""Biases stay the same for an episode, and what varies keeps to the rest of the ball."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from support.attacks import target_of
from support.environments import TargetEnv
from support.policies import draw_policy, file_of, linear_policy
from support.randomness import random_streams
from support.robots import robot_with
from surefoot.attack import suite
from surefoot.attack.adversary import Draw, NoAdversary, RandomAdversary
from surefoot.attack.attack_config import AttackConfig
from surefoot.attack.bias import BIAS, BiasedAdversary, bias_variants
from surefoot.attack.constant import ConstantAdversary
from surefoot.attack.suite import run_suite
from surefoot.ball import Ball, Norm, Randoms, States
from surefoot.config import build
from surefoot.errors import CheckError, InputError
from surefoot.misreading import Misreading, Perturbation
from surefoot.policy import GaussianHead
from surefoot.raw_units import ball_of
from surefoot.records import AttackRecord

ROBOT = robot_with("hip")
POLICY = draw_policy(np.random.default_rng(0), [3, 6, 1])
SAID: Perturbation = {
    "angle": Misreading(l2=0.02, bias=0.005),
    "gyro": Misreading(linf=0.5, bias=0.1),
}
BALL = ball_of(SAID, ROBOT, POLICY.normaliser)
STATE = np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)


def test_what_stays_and_what_varies_add_up_to_no_more_than_the_ball() -> None:
    assert BALL.groups == ((0, 1),)
    steady = BALL.steady.boundary(random_streams(200), 3)
    varying = BALL.varying.boundary(random_streams(200), 3)
    assert BALL.holds(steady + varying).all()
    np.testing.assert_allclose(BALL.steady.sides, [0.005, 0.005, 0.1], rtol=1e-6)
    assert BALL.varying.sides[2] == pytest.approx(0.5, rel=1e-4)
    # The ellipsoid is enlarged to hold a box besides: along its axes there is room for more.
    length = np.linalg.norm(varying[:, :2], axis=1)
    np.testing.assert_allclose(length, 0.02, rtol=1e-3)


def test_without_biases_all_of_a_ball_may_vary() -> None:
    whole = ball_of({"gyro": 0.5}, ROBOT, POLICY.normaliser)
    assert whole.varying == whole
    assert whole.steady.epsilon == 0
    plain = Ball(norm=Norm.L2, epsilon=0.3)
    assert plain.varying == plain


def test_a_bias_alone_leaves_nothing_that_varies() -> None:
    ball = ball_of({"gyro": Misreading(bias=0.1)}, ROBOT, POLICY.normaliser)
    assert ball.varying.sides[2] < 1e-5  # no more than the normaliser's own rounding
    assert ball.steady.sides[2] == pytest.approx(0.1, rel=1e-6)


def test_a_biased_adversary_stays_in_the_ball_and_its_biases_stay() -> None:
    target = target_of(
        POLICY,
        BALL,
        TargetEnv,
        strongest=("random", RandomAdversary(ball=BALL.varying, draw=Draw.BOUNDARY)),
        constant=("constant", ConstantAdversary(BALL, BALL.outermost(np.ones((1, 3)))[0])),
    )
    variants = bias_variants(target).adversaries
    assert "the best constant" in variants
    for adversary in variants.values():
        assert isinstance(adversary, BiasedAdversary)
        assert BALL.steady.holds(adversary.delta[None]).all()
        randoms = random_streams(40)
        for _ in range(3):
            seen = adversary.perturb(STATE, randoms)
            assert BALL.contains(STATE, seen).all()
            left = seen.astype(np.float64) - STATE - adversary.delta
            assert (np.abs(left) <= BALL.varying.sides + 1e-6).all()
        still = replace(adversary, inner=NoAdversary())
        moved = still.perturb(STATE, randoms).astype(np.float64) - STATE
        np.testing.assert_allclose(moved, np.tile(adversary.delta, (40, 1)), atol=1e-6)


@dataclass(frozen=True)
class _Wild(NoAdversary):
    """Moves states by more than may vary."""

    def perturb(self, state_ND: States, randoms: Randoms) -> States:
        del randoms
        return np.asarray(state_ND + np.float32(1))


def test_what_varies_by_more_than_it_may_is_stopped() -> None:
    adversary = BiasedAdversary(ball=BALL, delta=np.zeros(3), inner=_Wild())
    with pytest.raises(CheckError, match="varied by more than may vary"):
        adversary.perturb(STATE, random_streams(40))


def test_the_suite_varies_the_noise_alone_and_keeps_the_biases(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(suite, "make_env", lambda env_id, num, **_: TargetEnv(num))
    monkeypatch.setattr(suite, "describe_env", lambda *_: TargetEnv(1).spec)
    policy = linear_policy(np.array([[1.0, 0.0, 0.5]]))
    assert isinstance(policy.head, GaussianHead)
    ones = np.ones(1, np.float32)
    file = file_of(replace(policy, head=replace(policy.head, centre=ones, half_range=3 * ones)))
    config = AttackConfig(
        attacks=("random", BIAS),
        perturb={"gyro": Misreading(linf=0.1, bias=0.3)},
        episodes=3,
        selection_episodes=2,
        env_id="Target-v0",
    )
    report = run_suite(file, None, config, robot=ROBOT)
    record = build(AttackRecord, report.to_table(), "attack.json")
    assert record.ball == report.ball
    assert record.ball.biases is not None
    assert record.perturbation == "gyro 0.1 rad/s and a bias of 0.3 rad/s"
    step = 3 * 0.5  # half the range of the actuator times the weight
    noise, both = (record.attacks[name].max_deviation for name in ("random", BIAS))
    assert noise <= 0.1 * step * 1.001
    assert 0.3 * step * 0.999 < both <= 0.4 * step * 1.001
    with pytest.raises(InputError, match="perturb has no bias"):
        run_suite(file, None, replace(config, perturb={"gyro": 0.1}), robot=ROBOT)
