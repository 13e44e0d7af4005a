"""What is attacked is what is configured, or else what was proved; in raw units or normalised."""

from dataclasses import replace

import numpy as np
import pytest

from support.policies import draw_policy, file_of
from support.randomness import random_streams
from support.robots import robot_with
from surefoot.attack.adversary import random_variants
from surefoot.attack.attack_config import AttackConfig
from surefoot.attack.blackbox import CornerSearch, Oracle, SpsaSearch, SquareSearch
from surefoot.attack.constant import ConstantAdversary
from surefoot.attack.mad import mad_variants
from surefoot.attack.perturbation_set import Configured, perturbation_set
from surefoot.attack.proved_deviation import certified_deviation
from surefoot.attack.push import push_variants
from surefoot.ball import Ball, Norm, States
from surefoot.budget import Budget, Requirement
from surefoot.certificate import Certificate
from surefoot.certify import CertifyConfig, Evidence, certify_policy
from surefoot.config import build, parse_toml
from surefoot.envs.vector import Floats
from surefoot.errors import InputError
from surefoot.misreading import Misreading, Perturbation
from surefoot.onnx_file import ControllerFile
from surefoot.raw_units import ball_of
from surefoot.robot import Robot
from surefoot.train.defence_ball import full_ball
from surefoot.train.defence_config import StateAdversarial
from surefoot.train.train_config import TrainConfig

ROBOT = robot_with("hip")
SIZES = {"angle": 0.02, "gyro": 0.5}
NOTHING = Configured(epsilon=None, norm=Norm.LINF, perturb=None)
FAST = CertifyConfig(search_states=4, search_steps=2, lipsdp_iterations=2, lipsdp_per_actuator=0)


@pytest.fixture(scope="module", name="file")
def _file() -> ControllerFile:
    return file_of(draw_policy(np.random.default_rng(0), [3, 6, 1]))


@pytest.fixture(scope="module", name="certificate")
def _certificate(file: ControllerFile) -> Certificate:
    budget = Budget.parse("""
    [[require]]
    quantity = "action_deviation"
    perturb = { angle = 0.02, gyro = 0.5 }
    scope = "everywhere"
    at_most = 50.0
    """)
    return certify_policy(file, budget, Evidence(robot=ROBOT), FAST)


def test_without_a_configuration_the_attack_is_what_was_proved(
    file: ControllerFile, certificate: Certificate
) -> None:
    found = perturbation_set(file.policy, certificate, NOTHING, None)
    assert found.ball == certificate.budget.requirements[0].ball
    assert found.readings == {"angle": "0.02 rad", "gyro": "0.5 rad/s"}
    assert found.ball == ball_of(SIZES, ROBOT, file.policy.normaliser)


def test_the_proof_about_a_ball_holds_attacks_in_it_and_in_no_other(
    file: ControllerFile, certificate: Certificate
) -> None:
    proved = certificate.budget.requirements[0].perturbation
    bound = certificate.findings[0].certified
    assert certified_deviation(certificate, proved) == bound
    assert certified_deviation(certificate, replace(proved, epsilon=proved.epsilon / 2)) == bound
    whole = certified_deviation(certificate, Ball(norm=Norm.LINF, epsilon=proved.epsilon))
    assert whole is None or bound is None or whole > bound


def test_raw_units_are_those_of_the_robot(file: ControllerFile, certificate: Certificate) -> None:
    asked = replace(NOTHING, perturb="noise")
    for known, robot in ((certificate, None), (None, ROBOT)):
        found = perturbation_set(file.policy, known, asked, robot)
        assert found.ball == ball_of({"angle": 0.02}, ROBOT, file.policy.normaliser)
    with pytest.raises(InputError, match="none is described"):
        perturbation_set(file.policy, None, asked, None)


def far(state_ND: States, clean_NM: Floats, moved_NM: Floats) -> Floats:
    """Harm that is the larger the farther the outputs move."""
    return np.asarray(np.abs(moved_NM - clean_NM).sum(axis=1))


def test_every_adversary_keeps_errors_of_a_group_within_their_length(file: ControllerFile) -> None:
    sizes: Perturbation = {"angle": Misreading(l2=0.02), "gyro": 0.5}
    ball = perturbation_set(file.policy, None, replace(NOTHING, perturb=sizes), ROBOT).ball
    assert ball.groups == ((0, 1),)
    state = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    oracle = Oracle(ball=ball, query=file.policy.outputs_at, harm=far)
    for adversary in (
        *random_variants(ball).values(),
        *mad_variants(file.policy, ball).values(),
        *push_variants(file.policy, ball).values(),
        CornerSearch(oracle=oracle),
        SquareSearch(oracle=oracle),
        SpsaSearch(oracle=oracle),
        ConstantAdversary(ball, ball.outermost(np.ones((1, 3)))[0]),
    ):
        found = adversary.perturb(state, random_streams(20))
        assert ball.contains(state, found).all()
        moved = np.linalg.norm((found - state)[:, :2] / ball.sides[:2], axis=1)
        assert moved.max() > 0.5


def test_a_proof_about_a_length_holds_attacks_in_it_and_no_attack_on_each(
    file: ControllerFile,
) -> None:
    budget = Budget.parse("""
    [[require]]
    quantity = "action_deviation"
    perturb = { angle = { l2 = 0.02 }, gyro = 0.5 }
    scope = "everywhere"
    at_most = 50.0
    """)
    certificate = certify_policy(file, budget, Evidence(robot=ROBOT), FAST)
    ball = perturbation_set(file.policy, certificate, NOTHING, None).ball
    proved = certificate.findings[0].certified
    assert ball.groups == ((0, 1),)
    assert certified_deviation(certificate, ball) == proved
    each = certified_deviation(certificate, replace(ball, groups=None))
    assert each is None or proved is None or each > proved


RATED = Robot.parse(
    "control_period_s = 0.01\n"
    + ROBOT.text.replace("noise = 0.02", "noise = 0.02\nbias = 0.01\nmax_rate = 3.0")
)
WRITTEN = (
    'perturb = "noise+bias"',
    'perturb = { angle = 0.02, gyro = "0.5 rad/s" }',
    "perturb = { angle = { l2 = 0.02, bias = 0.01 }, gyro = { linf = 0.5 } }",
    "perturb = { angle = { linf = 0.02, delay = 2 } }",
)


@pytest.mark.parametrize("written", WRITTEN)
def test_budget_defence_and_attack_mean_the_same_by_the_same_words(
    file: ControllerFile, written: str
) -> None:
    table, policy = parse_toml(written, "a test"), file.policy
    asked = build(AttackConfig, table, "attack").perturbation
    attacked = perturbation_set(policy, None, asked, RATED).ball
    defence = build(StateAdversarial, table | {"kappa": 0.1}, "train.defence")
    training = TrainConfig(env_id="Target-v0", defence=defence)
    trained = full_ball(training, RATED, policy.normaliser)
    rest = {"quantity": "action_deviation", "at_most": 1.0}
    needs = [
        Requirement.from_table(table | rest | {"scope": scope}).on(RATED, policy, None)
        for scope in ("everywhere", "recorded")
    ]
    assert trained == needs[0].ball
    assert attacked == needs[1].ball
    # Where nothing is late, all of them are one.
    assert (trained == attacked) == (attacked.delays is None)


def test_a_delay_that_was_proved_by_rates_is_attacked_as_a_delay(file: ControllerFile) -> None:
    budget = Budget.parse("""
    [[require]]
    quantity = "action_deviation"
    perturb = { angle = { linf = 0.02, delay = 2 } }
    scope = "everywhere"
    at_most = 50.0
    """)
    certificate = certify_policy(file, budget, Evidence(robot=RATED), FAST)
    found = perturbation_set(file.policy, certificate, NOTHING, None)
    assert found.ball.delays == (2, 2, 0)
    assert found.readings == {"angle": "0.02 rad and a delay of 2 steps"}
    bound = certified_deviation(certificate, replace(found.ball, delays=None))
    assert bound is not None
    assert bound <= (certificate.findings[0].certified or 0.0)


def test_a_configured_radius_is_taken_as_it_is(
    file: ControllerFile, certificate: Certificate
) -> None:
    found = perturbation_set(file.policy, certificate, replace(NOTHING, epsilon=0.3), None)
    assert found.ball == Ball(norm=Norm.LINF, epsilon=0.3)
    assert found.readings is None


def test_two_perturbations_are_refused() -> None:
    with pytest.raises(InputError, match="give no epsilon and no norm"):
        AttackConfig(perturb=SIZES, epsilon=0.1)
    with pytest.raises(InputError, match="give no epsilon and no norm"):
        AttackConfig(perturb=SIZES, norm=Norm.L2)
    with pytest.raises(InputError, match="must be sizes by sensor"):
        AttackConfig(perturb="loud")
