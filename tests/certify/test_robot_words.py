"""A budget in the words of a robot, from the file to the checker; and what it says in words."""

import json
from collections.abc import Callable
from dataclasses import fields, replace
from fractions import Fraction

import numpy as np
import pytest

from support.policies import draw_policy, file_of
from support.robots import robot_with
from surefoot.attack.proved_deviation import certified_deviation
from surefoot.ball import Ball, Norm
from surefoot.budget import Budget
from surefoot.certificate import Certificate, Verdict
from surefoot.certify import CertifyConfig, Evidence, certify_policy
from surefoot.certify.checker import check_certificate
from surefoot.certify.explain import explain
from surefoot.certify.gate_thresholds import make_gate
from surefoot.errors import InputError, IntegrityError
from surefoot.onnx_file import ControllerFile
from surefoot.policy import Array, Normaliser
from surefoot.raw_units import OnRobot

FAST = CertifyConfig(
    search_states=8, search_steps=4, lipsdp_iterations=3, lipsdp_per_actuator=2, alpha_steps=2
)
ROBOT = robot_with("hip", "knee")
BUDGET = """
[[require]]
quantity = "action_deviation"
perturb = { angle = 0.02, gyro = 0.5 }
scope = "everywhere"
at_most = { hip = 50.0, knee = 1e-4 }

[[require]]
quantity = "action_deviation"
perturb = "noise"
scope = "visited"
fraction = 0.5
confidence = 0.9
at_most = 40.0

[[require]]
quantity = "total_variation"
perturb = { gyro = 0.1 }
scope = "visited"
fraction = 0.5
confidence = 0.9
at_most = 1.0
"""
SCALE = np.array([0.5, 2.0, 3.0], np.float32)


@pytest.fixture(scope="module", name="file")
def _file() -> ControllerFile:
    policy = draw_policy(np.random.default_rng(0), [3, 8, 2])
    mean = np.array([0.1, -0.2, 4.0], np.float32)
    return file_of(replace(policy, normaliser=Normaliser(mean=mean, scale=SCALE, clip=10.0)))


EVIDENCE = Evidence(observations=np.random.default_rng(1).normal(0, 1, (12, 3)), robot=ROBOT)


@pytest.fixture(scope="module", name="certificate")
def _certificate(file: ControllerFile) -> Certificate:
    return certify_policy(file, Budget.parse(BUDGET), EVIDENCE, FAST)


def test_each_actuator_has_a_verdict_of_its_own(certificate: Certificate) -> None:
    hip, knee, noise, law = certificate.findings
    assert [finding.requirement.outputs for finding in (hip, knee, noise)] == [(0,), (1,), None]
    assert (hip.verdict, knee.verdict) == (Verdict.PROVED, Verdict.REFUTED)
    assert law.verdict is Verdict.PROVED
    assert knee.witness is not None
    assert knee.witness.actuator == 1
    assert knee.sampled == knee.witness.deviation


def test_the_radii_are_the_raw_sizes_over_the_scales(certificate: Certificate) -> None:
    hip, _, noise, _ = certificate.findings
    raw = [[0.02, 0.02, 0.5], [0.02, 0.02, 0.0]]
    for finding, sizes in zip((hip, noise), raw, strict=True):
        sides = finding.requirement.perturbation.sides.tolist()
        for side, size, scale in zip(sides, sizes, SCALE.tolist(), strict=True):
            assert Fraction(side) >= Fraction(size) / Fraction(scale)
            assert side == pytest.approx(size / scale, abs=1e-5)


BEHIND_A_GATE = """
[[require]]
quantity = "action_deviation"
perturb = { angle = 0.02, gyro = 0.5 }
scope = "gate"
at_most = 50.0

[gate]
low = [-3.0]
high = [6.0]
"""


def test_a_gate_bounds_the_states_that_no_clip_does(file: ControllerFile) -> None:
    normaliser = file.policy.normaliser
    free = file_of(replace(file.policy, normaliser=replace(normaliser, clip=np.inf)))
    budget = Budget.parse(BEHIND_A_GATE)
    assert budget.gate is not None
    gate = make_gate(free.policy, None, budget.gate)
    certificate = certify_policy(free, budget, replace(EVIDENCE, gate=gate), FAST)
    (finding,) = certificate.findings
    assert finding.verdict is Verdict.PROVED
    # The deployed states of two readings, of which the gate lets one through.
    rng = np.random.default_rng(3)
    sizes = np.array([0.02, 0.02, 0.5])
    here = rng.uniform(-3, 6, (4096, 3)).astype(np.float32)
    there = (here + sizes * rng.choice([-1, 1], here.shape)).astype(np.float32)
    inside = np.abs(there.astype(np.float64) - here) <= sizes  # float32 may have gone beyond
    assert inside.mean() > 0.3
    apart = np.abs(free.policy.state(there, np.float32) - free.policy.state(here, np.float32))
    assert (apart <= finding.requirement.perturbation.sides)[inside].all()
    evidence = EVIDENCE.observations
    assert evidence is not None
    assert check_certificate(certificate, free, observations=evidence).proved == (0,)
    everywhere = Budget.parse(BEHIND_A_GATE.replace('scope = "gate"', 'scope = "everywhere"'))
    with pytest.raises(InputError, match="perturb needs bounded states"):
        certify_policy(free, everywhere, replace(EVIDENCE, gate=gate), FAST)


def test_a_bound_of_one_output_is_no_more_than_that_of_all(file: ControllerFile) -> None:
    both = Budget.parse(BUDGET.replace("at_most = { hip = 50.0, knee = 1e-4 }", "at_most = 50.0"))
    each = certify_policy(file, Budget.parse(BUDGET), EVIDENCE, FAST).findings[:2]
    whole = certify_policy(file, both, EVIDENCE, FAST).findings[0]
    assert whole.certified == max(finding.certified or np.inf for finding in each)


def test_the_bound_of_one_output_holds_no_attack_on_the_others(file: ControllerFile) -> None:
    budget = """
    [[require]]
    quantity = "action_deviation"
    epsilon = 0.05
    norm = "linf"
    actuator = "{}"
    scope = "everywhere"
    at_most = 50.0
    """
    ball = Ball(norm=Norm.LINF, epsilon=0.05)
    both = [
        certify_policy(file, Budget.parse(budget.format(name)), EVIDENCE, FAST)
        for name in ("hip", "knee")
    ]
    largest = max(one.findings[0].certified or 0.0 for one in both)
    assert [certified_deviation(one, ball) for one in both] == [largest, largest]


RADII = """
[[require]]
quantity = "action_deviation"
perturb = {{ angle = 0.02, gyro = 0.5 }}
scope = "visited"
fraction = 0.5
confidence = 0.9
{}at_most = {}
"""


def test_no_wrong_reading_moves_a_state_of_that_radius_by_more_than_its_limit(
    file: ControllerFile,
) -> None:
    far = certify_policy(file, Budget.parse(RADII.format("", 9.0)), EVIDENCE, FAST)
    limit = float(np.median(far.findings[0].certified or 0.0)) / 2
    certificate = certify_policy(file, Budget.parse(RADII.format("", limit)), EVIDENCE, FAST)
    claim = certificate.claims.visited_radius
    assert claim is not None
    assert claim.readings == {"angle": "0.02 rad", "gyro": "0.5 rad/s"}
    held = np.array(claim.certified) >= claim.epsilon
    assert 0 < held.mean() == claim.share_at_least_epsilon < 1
    seen = EVIDENCE.observations.astype(np.float32)[held]
    rng, sizes = np.random.default_rng(2), np.array([0.02, 0.02, 0.5])
    exact = file.policy.outputs(seen)
    for _ in range(200):
        wrong = seen + rng.choice([-1.0, 1.0, rng.random()], seen.shape) * sizes * (1 - 1e-5)
        assert np.abs(file.policy.outputs(wrong.astype(np.float32)) - exact).max() <= limit
    assert "the readings by angle 0.02 rad, gyro 0.5 rad/s" in explain(certificate)


def test_one_actuator_has_radii_of_at_least_those_of_all(file: ControllerFile) -> None:
    radii = []
    for actuator in ("", 'actuator = "knee"\n'):
        budget = Budget.parse(RADII.format(actuator, 0.05))
        certificate = certify_policy(file, budget, EVIDENCE, FAST)
        claim = certificate.claims.visited_radius
        assert claim is not None
        radii.append(np.array(claim.certified))
        check_certificate(certificate, file, observations=EVIDENCE.observations)
    assert claim.actuator == "knee"
    assert (radii[1] >= radii[0]).all()
    assert (radii[1] > radii[0]).any()


def test_it_travels_with_its_robot_and_is_proved_again(
    certificate: Certificate, file: ControllerFile
) -> None:
    read = Certificate.parse(certificate.to_json())
    assert read.robot == ROBOT
    assert explain(read) == explain(certificate)
    assert read.budget == certificate.budget
    report = check_certificate(read, file, observations=EVIDENCE.observations)
    assert report.proved == (0, 1, 2, 3)


def _smaller_radius(requirement: dict[str, object]) -> None:
    requirement["epsilon"] = 1e-3


def _another_output(requirement: dict[str, object]) -> None:
    on_robot = requirement["on_robot"]
    assert isinstance(on_robot, dict)
    on_robot["outputs"] = [1]


def _another_unit(requirement: dict[str, object]) -> None:
    on_robot = requirement["on_robot"]
    assert isinstance(on_robot, dict)
    on_robot["unit"] = "kN m"


def _other_words(requirement: dict[str, object]) -> None:
    on_robot = requirement["on_robot"]
    assert isinstance(on_robot, dict)
    on_robot["readings"] = {"angle": "2 rad", "gyro": "0.5 rad/s"}


@pytest.mark.parametrize("forge", [_smaller_radius, _another_output, _another_unit, _other_words])
def test_a_requirement_that_means_something_else_on_the_robot_is_refused(
    certificate: Certificate, file: ControllerFile, forge: Callable[[dict[str, object]], None]
) -> None:
    table = json.loads(certificate.to_json())
    forge(table["requirements"][0]["requirement"])
    forged = Certificate.parse(canonical(table))
    with pytest.raises(IntegrityError, match="means another"):
        check_certificate(forged, file, observations=EVIDENCE.observations)


def canonical(table: dict[str, object]) -> bytes:
    from surefoot.artifact import to_json

    return to_json(table)


TOGETHER = BUDGET.replace("angle = 0.02, gyro = 0.5", "angle = { l2 = 0.02 }, gyro = 0.5").replace(
    'perturb = "noise"', "perturb = { angle = { l2 = 0.02 } }"
)


@pytest.fixture(scope="module", name="together")
def _together(file: ControllerFile) -> Certificate:
    return certify_policy(file, Budget.parse(TOGETHER), EVIDENCE, FAST)


def wrong_by(length: float, size: float, rng: np.random.Generator) -> Array:
    """Errors of the readings on the edge: of the angles together, of the gyro alone."""
    errors = rng.standard_normal((1000, 3))
    errors[:, :2] *= length / np.linalg.norm(errors[:, :2], axis=1, keepdims=True)
    errors[:, 2] = size * np.sign(errors[:, 2])
    return errors


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_reading_that_errs_by_the_length_breaks_a_bound(
    together: Certificate, file: ControllerFile, dtype: type
) -> None:
    rng, policy = np.random.default_rng(2), file.policy
    observations = EVIDENCE.observations
    assert observations is not None
    reading = observations.astype(np.float32)
    hip, knee, visited, _ = together.findings
    worst = np.zeros((len(reading), 2))
    for errors in wrong_by(0.02 * (1 - 1e-5), 0.5 * (1 - 1e-5), rng):
        other = (reading + errors).astype(np.float32)
        pair = policy.outputs(other, dtype), policy.outputs(reading, dtype)
        worst = np.maximum(worst, np.abs(pair[0].astype(np.float64) - pair[1]))
    assert worst[:, 0].max() <= (hip.certified or 0.0)
    assert worst[:, 1].max() <= (knee.certified or 0.0)
    assert knee.witness is not None
    at_states = np.zeros(len(reading))
    for errors in wrong_by(0.02 * (1 - 1e-5), 0.0, rng):
        other = (reading + errors).astype(np.float32)
        pair = policy.outputs(other, dtype), policy.outputs(reading, dtype)
        at_states = np.maximum(at_states, np.abs(pair[0].astype(np.float64) - pair[1]).max(axis=1))
    assert np.sort(at_states)[len(reading) // 2] <= (visited.certified or 0.0)


def test_errors_that_count_together_move_an_action_less_than_each_alone(
    together: Certificate, certificate: Certificate
) -> None:
    for mine, theirs in zip(together.findings[:2], certificate.findings[:2], strict=True):
        assert (mine.certified or np.inf) < 0.999 * (theirs.certified or np.inf)
    assert (together.findings[2].certified or np.inf) < (certificate.findings[2].certified or 0.0)
    assert together.findings[2].requirement.perturbation.groups == ((0, 1),)
    assert together.claims.visited_radius is None  # whose words are about intervals


def test_a_certificate_about_lengths_is_proved_again(
    together: Certificate, file: ControllerFile
) -> None:
    read = Certificate.parse(together.to_json())
    assert read.budget == together.budget
    assert "angle by at most 0.02 rad in l2" in explain(read)
    assert "under angle 0.02 rad in l2, gyro 0.5 rad/s everywhere" in explain(read)
    report = check_certificate(read, file, observations=EVIDENCE.observations)
    assert report.proved == (0, 1, 2, 3)


def _all_together(requirement: dict[str, object]) -> None:
    on_robot = requirement["on_robot"]
    assert isinstance(on_robot, dict)
    on_robot["groups"] = [[0, 1, 2]]


def _of_none(requirement: dict[str, object]) -> None:
    on_robot = requirement["on_robot"]
    assert isinstance(on_robot, dict)
    del on_robot["groups"]


def _in_linf(requirement: dict[str, object]) -> None:
    requirement["perturb"] = {"angle": 0.02, "gyro": 0.5}


@pytest.mark.parametrize("forge", [_all_together, _of_none, _in_linf])
def test_a_certificate_about_other_groups_is_refused(
    together: Certificate, file: ControllerFile, forge: Callable[[dict[str, object]], None]
) -> None:
    table = json.loads(together.to_json())
    forge(table["requirements"][0]["requirement"])
    with pytest.raises(IntegrityError, match=r"means another|requirements"):
        check_certificate(
            Certificate.parse(canonical(table)), file, observations=EVIDENCE.observations
        )


STEADY = BUDGET.replace(
    "angle = 0.02, gyro = 0.5",
    "angle = { linf = 0.015, bias = 0.005 }, gyro = { linf = 0.3, bias = 0.2 }",
)


@pytest.fixture(scope="module", name="steady")
def _steady(file: ControllerFile) -> Certificate:
    return certify_policy(file, Budget.parse(STEADY), EVIDENCE, FAST)


def test_of_one_step_a_bias_and_a_noise_are_their_sum(
    steady: Certificate, certificate: Certificate, file: ControllerFile
) -> None:
    for mine, theirs in zip(steady.findings[:2], certificate.findings[:2], strict=True):
        assert mine.certified == pytest.approx(theirs.certified, rel=1e-9)
    read = Certificate.parse(steady.to_json())
    report = check_certificate(read, file, observations=EVIDENCE.observations)
    assert report.proved == (0, 1, 2, 3)
    assert "angle by at most 0.015 rad and a bias of 0.005 rad (" in explain(read)
    assert "the same for a whole episode: angle[0] 0.01, angle[1] " in explain(read)


def _less_steady(requirement: dict[str, object]) -> None:
    on_robot = requirement["on_robot"]
    assert isinstance(on_robot, dict)
    on_robot["biases"] = [0.5, 0.5, 0.5]


def _not_steady(requirement: dict[str, object]) -> None:
    on_robot = requirement["on_robot"]
    assert isinstance(on_robot, dict)
    del on_robot["biases"]


@pytest.mark.parametrize("forge", [_less_steady, _not_steady])
def test_a_certificate_about_other_biases_is_refused(
    steady: Certificate, file: ControllerFile, forge: Callable[[dict[str, object]], None]
) -> None:
    table = json.loads(steady.to_json())
    forge(table["requirements"][0]["requirement"])
    with pytest.raises(IntegrityError, match="means another"):
        check_certificate(
            Certificate.parse(canonical(table)), file, observations=EVIDENCE.observations
        )


def test_a_robot_with_finer_units_is_another_claim(
    certificate: Certificate, file: ControllerFile
) -> None:
    table = json.loads(certificate.to_json())
    table["robot_toml"] = ROBOT.text.replace('unit = "rad/s"', 'unit = "mrad/s"')
    with pytest.raises(IntegrityError, match="means another"):
        check_certificate(
            Certificate.parse(canonical(table)), file, observations=EVIDENCE.observations
        )


def test_without_its_robot_nothing_is_proved_in_its_words(
    certificate: Certificate, file: ControllerFile
) -> None:
    table = json.loads(certificate.to_json())
    del table["robot_toml"]
    with pytest.raises(IntegrityError, match="give --robot"):
        check_certificate(
            Certificate.parse(canonical(table)), file, observations=EVIDENCE.observations
        )


def test_words_of_a_robot_need_one(file: ControllerFile) -> None:
    with pytest.raises(InputError, match="give --robot"):
        certify_policy(file, Budget.parse(BUDGET), replace(EVIDENCE, robot=None), FAST)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("gyro = 0.5", "giro = 0.5", "unknown sensor 'giro'; did you mean 'gyro'"),
        ("hip = 50.0", "hop = 50.0", "unknown actuator 'hop'; did you mean 'hip'"),
        ("gyro = 0.5", '"angle[1]" = 0.5', "twice"),
        ("gyro = 0.5", 'gyro = "0.5 deg/s"', "must be in rad/s"),
    ],
)
def test_words_that_the_robot_has_not_are_refused(
    file: ControllerFile, old: str, new: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        certify_policy(file, Budget.parse(BUDGET.replace(old, new)), EVIDENCE, FAST)


def test_the_words_say_sensors_sizes_units_and_normalised_radii(certificate: Certificate) -> None:
    words = explain(certificate)
    assert "angle by at most 0.02 rad (0.01001 to 0.04001 normalised)" in words
    assert "gyro by at most 0.5 rad/s (0.1667 normalised)" in words
    assert "the sensors, in this order: angle[0] (rad), angle[1] (rad), gyro (rad/s)" in words
    assert "no output of hip moves by more than" in words
    assert " N m (required: 50;" in words
    assert "in the example knee moves by" in words
    assert "action_deviation of knee under angle 0.02 rad, gyro 0.5 rad/s everywhere" in words


def test_every_field_of_what_the_words_mean_is_spoken() -> None:
    spoken = {"readings", "unit", "groups", "delays", "biases", "question"}  # below
    by_name = {"outputs"}  # as the name of an actuator, which the checker holds against them
    assert {field.name for field in fields(OnRobot)} == spoken | by_name


def test_every_size_and_name_changes_the_words(certificate: Certificate) -> None:
    finding = certificate.findings[0]
    meant = finding.requirement.on_robot
    assert meant is not None
    before = explain(certificate)
    others = [
        replace(finding.requirement, on_robot=replace(meant, groups=((0, 1),))),
        replace(finding.requirement, on_robot=replace(meant, delays=(0, 2, 0))),
        replace(finding.requirement, on_robot=replace(meant, biases=(0.5, 0.5, 0.0))),
        replace(finding.requirement, on_robot=replace(meant, readings={"angle": "0.03 rad"})),
        replace(finding.requirement, on_robot=replace(meant, unit="kN m")),
        replace(finding.requirement, epsilon=0.7),
        replace(finding.requirement, sensors=(0.5, 0.5, 0.5)),
        replace(finding.requirement, actuator="knee"),
    ]
    for other in others:
        budget = replace(
            certificate.budget, requirements=(other, *certificate.budget.requirements[1:])
        )
        findings = (replace(finding, requirement=other), *certificate.findings[1:])
        assert explain(replace(certificate, budget=budget, findings=findings)) != before


QUESTIONS = """
[[require]]
quantity = "property"
all_of = ["action[hip] - 0.5 * action[1] <= 30 N m"]
region = { kind = "readings", sensors = { angle = [-0.1, "0.1 rad"], gyro = [3.9, 4.1] } }

[[require]]
quantity = "property"
all_of = ["action[hip] <= -30 N m"]
region = { kind = "states", sensors = { angle = [-0.1, 0.1], gyro = [-0.1, 0.1] } }

[[require]]
quantity = "property"
any_of = ["action[hip] <= 0.1", "action[0] >= 0.1"]
region = { kind = "raw", low = [-0.1, 0.0, 3.9], high = [0.1, 0.1, 4.1] }
"""


@pytest.fixture(scope="module", name="asked")
def _asked(file: ControllerFile) -> Certificate:
    config = replace(FAST, region_boxes=6)
    return certify_policy(file, Budget.parse(QUESTIONS), Evidence(robot=ROBOT), config)


def test_a_question_by_name_is_proved_refuted_or_open_and_proved_again(
    asked: Certificate, file: ControllerFile
) -> None:
    found = [finding.verdict for finding in asked.findings]
    assert found == [Verdict.PROVED, Verdict.REFUTED, Verdict.UNKNOWN]
    read = Certificate.parse(asked.to_json())
    assert read.budget == asked.budget
    assert check_certificate(read, file).proved == (0, 1, 2)


def test_condition_region_witness_and_worst_box_are_said_in_names_and_units(
    asked: Certificate,
) -> None:
    proved, refuted, is_open = asked.findings
    words = explain(asked)
    assert (
        "action[hip] - 0.5 * action[knee] <= 30.0 N m for observations with angle in [-0.1, 0.1] "
        "rad, gyro in [3.9, 4.1] rad/s (raw units), with an excess of at most " in words
    )
    assert proved.requirement.asked in proved.requirement.describe()
    witness = refuted.witness
    assert witness is not None
    assert witness.observation is not None
    assert witness.action is not None
    example = refuted.example(asked.robot)
    assert example in words
    assert example in refuted.reason_on(asked.robot)
    assert f"gyro {witness.observation[2]:.6g} rad/s: hip {witness.action[0]:.6g} N m" in example
    assert proved.example(asked.robot) == is_open.example(asked.robot) == ""
    box = is_open.reason.partition("worst in ")[2]
    assert box.count("angle[0] in [") + box.count("angle in [") == 2
    assert "rad/s (raw units)" in box
    assert is_open.requirement.describe().startswith("property action[hip] <= 0.1 N m or -action")


def _another_box(question: dict[str, object]) -> None:
    question["where"] = {"kind": "raw", "low": [-0.1, -0.1, 3.9], "high": [0.1, 0.1, 4.0]}


def _another_condition(question: dict[str, object]) -> None:
    question["all_of"] = ["action[0] - 0.5 * action[1] <= 31.0"]


def _another_unit_of_the_question(question: dict[str, object]) -> None:
    question["unit"] = "kN m"


def _another_question(question: dict[str, object]) -> None:
    question["words"] = "action[hip] <= 1.0 N m at every recorded state"


@pytest.mark.parametrize(
    "forge",
    [_another_box, _another_condition, _another_unit_of_the_question, _another_question],
)
def test_a_question_that_means_something_else_on_the_robot_is_refused(
    asked: Certificate, file: ControllerFile, forge: Callable[[dict[str, object]], None]
) -> None:
    table = json.loads(asked.to_json())
    forge(table["requirements"][0]["requirement"]["on_robot"]["question"])
    with pytest.raises(IntegrityError, match="means another"):
        check_certificate(Certificate.parse(canonical(table)), file)


def test_names_in_a_question_need_a_robot_before_and_after_training(file: ControllerFile) -> None:
    budget = Budget.parse(QUESTIONS)
    for refused in (
        lambda: budget.check_words(None),
        lambda: certify_policy(file, budget, Evidence(), FAST),
    ):
        with pytest.raises(InputError, match=r"require\[0\] is in words of a robot"):
            refused()
    budget.check_words(ROBOT)
    wrong = Budget.parse(QUESTIONS.replace("30 N m", "30 kN m"))
    with pytest.raises(InputError, match=r"in N m, as action\[hip\] is, got 'kN m'"):
        wrong.check_words(ROBOT)
