"""Late readings: no order of old readings, and no value between them, breaks a bound.

Of ``certify/lateness.py``, from the budget to the checker.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from support.policies import draw_policy, file_of
from support.robots import robot_with
from surefoot.artifact import Json, to_json
from surefoot.budget import Budget
from surefoot.certificate import Certificate, Verdict
from surefoot.certify import CertifyConfig, Evidence, certify_policy
from surefoot.certify.checker import check_certificate
from surefoot.certify.explain import explain
from surefoot.certify.lateness import Lateness, Reach, rows_before
from surefoot.errors import InputError, IntegrityError, OtherEvidenceError
from surefoot.onnx_file import ControllerFile
from surefoot.policy import Activation, Array, Normaliser
from surefoot.quantities.base.proof import Ground
from surefoot.unknown import Unknown
from surefoot.visited import Order

FAST = CertifyConfig(
    search_states=4, search_steps=3, lipsdp_iterations=2, lipsdp_per_actuator=0, alpha_steps=2
)
ROBOT = robot_with("hip", "knee")
BUDGET = """
[[require]]
quantity = "action_deviation"
perturb = { angle = { linf = 0.02, delay = 2 }, gyro = { delay = 1 } }
scope = "recorded"
at_most = { hip = 50.0, knee = 1e-3 }

[[require]]
quantity = "action_deviation"
perturb = { all = { delay = 2 }, gyro = 0.1 }
scope = "visited"
fraction = 0.5
confidence = 0.9
at_most = 50.0

[[require]]
quantity = "total_variation"
perturb = { angle = { delay = 3 } }
scope = "recorded"
at_most = 1.0
"""
EPISODES = np.array([0, 1] * 8 + [2] * 4)
DELAYS = (2, 2, 1)


def walk(seed: int = 1) -> NDArray[np.float64]:
    """Readings of three episodes, two of them row by row in turns."""
    steps = np.random.default_rng(seed).normal(0, 0.2, (len(EPISODES), 3))
    for episode in range(3):
        steps[episode == EPISODES] = np.cumsum(steps[episode == EPISODES], axis=0)
    return steps


READINGS = walk()
EVIDENCE = Evidence(
    observations=READINGS[[4, 7, 9, 14, 18]], recorded=READINGS, episodes=EPISODES, robot=ROBOT
)


def controller(activation: Activation = Activation.TANH, seed: int = 0) -> ControllerFile:
    policy = draw_policy(np.random.default_rng(seed), [3, 8, 6, 2], activation, gain=2.0)
    scale = np.array([0.5, 2.0, 3.0], np.float32)
    mean = np.array([0.1, -0.2, 0.3], np.float32)
    return file_of(replace(policy, normaliser=Normaliser(mean=mean, scale=scale, clip=10.0)))


@pytest.fixture(scope="module", name="file")
def _file() -> ControllerFile:
    return controller()


@pytest.fixture(scope="module", name="certificate")
def _certificate(file: ControllerFile) -> Certificate:
    return certify_policy(file, Budget.parse(BUDGET), EVIDENCE, FAST)


def earlier(row: int, steps: int) -> Array:
    """The readings of a row and of up to so many before it in its episode, newest first."""
    own = [other for other in range(row + 1) if EPISODES[other] == EPISODES[row]]
    return READINGS[own[::-1][: steps + 1]]


def seen_late(row: int, delays: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Whatever may be seen: every sensor by itself at each time, and some values between."""
    columns = [earlier(row, delay)[:, sensor] for sensor, delay in enumerate(delays)]
    corners = np.array(list(product(*columns)))
    shares = rng.random((200, len(delays)))
    low = np.array([column.min() for column in columns])
    high = np.array([column.max() for column in columns])
    return np.concatenate([corners, low + shares * (high - low)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", [Activation.TANH, Activation.RELU])
def test_no_late_reading_breaks_a_bound(activation: Activation, dtype: type) -> None:
    rng = np.random.default_rng(2)
    for seed in range(2):
        file = controller(activation, seed)
        found = certify_policy(file, Budget.parse(BUDGET), EVIDENCE, FAST).findings
        hip, knee, visited = found[:3]
        worst = []
        for row in range(len(READINGS)):
            noise = np.array([0.02, 0.02, 0.0]) * (1 - 1e-5) * rng.choice([-1, 1], (3, 1, 3))
            seen = (seen_late(row, DELAYS, rng).astype(np.float32) + noise).reshape(-1, 3)
            actions = file.policy.outputs(seen, dtype).astype(np.float64)
            worst.append(np.abs(actions - file.policy.outputs(READINGS[row : row + 1], dtype)))
        whole = np.array([each.max(axis=0) for each in worst])
        assert whole[:, 0].max() <= (hip.certified or 0.0)
        assert whole[:, 1].max() <= (knee.certified or 0.0)
        assert (hip.sampled or 0.0) > 0.5 * whole[:, 0].max()  # nor does the search miss it
        assert knee.verdict is Verdict.REFUTED
        at_states = []
        for row in (4, 7, 9, 14, 18):
            noise = np.array([0.0, 0.0, 0.1 * (1 - 1e-5)]) * rng.choice([-1, 1], (3, 1, 3))
            seen = (seen_late(row, (2, 2, 2), rng).astype(np.float32) + noise).reshape(-1, 3)
            actions = file.policy.outputs(seen, dtype).astype(np.float64)
            change = np.abs(actions - file.policy.outputs(READINGS[row : row + 1], dtype))
            at_states.append(change.max())
        assert np.sort(at_states)[4 - 1] <= (visited.certified or 0.0)


def test_choices_keep_their_lead_under_every_late_reading() -> None:
    policy = draw_policy(np.random.default_rng(5), [3, 8, 3], categorical=True)
    budget = Budget.parse("""
    [[require]]
    quantity = "choice_lead"
    perturb = { all = { delay = 2 } }
    scope = "recorded"
    at_most = 5.0
    """)
    robot = robot_with("left", "right", "stay")
    found = certify_policy(file_of(policy), budget, replace(EVIDENCE, robot=robot), FAST).findings
    leads = []
    for row in range(len(READINGS)):
        here = policy.outputs(READINGS[row : row + 1])[0]
        there = policy.outputs(seen_late(row, (2, 2, 2), np.random.default_rng(row)))
        others = np.delete(there, here.argmax(), axis=1)
        leads.append((others.max(axis=1) - there[:, here.argmax()]).max())
    assert max(leads) <= (found[0].certified or 0.0)
    assert (found[0].sampled or -np.inf) >= max(leads) - 1e-5


def test_rows_before_are_those_of_the_same_episode() -> None:
    before = rows_before(EPISODES)
    for row in range(len(EPISODES)):
        own = [other for other in range(row) if EPISODES[other] == EPISODES[row]]
        assert before[row] == (own[-1] if own else row)


def test_a_state_that_was_recorded_twice_may_have_come_from_either() -> None:
    recorded = np.array([[0.0], [1.0], [5.0], [1.0]], np.float32)
    episodes = np.array([0, 0, 1, 1])
    found = Lateness.of(np.array([[1.0]], np.float32), recorded, episodes)
    assert isinstance(found, Lateness)
    reach = found.reach((1,))
    assert isinstance(reach, Reach)
    assert reach.below[0, 0] == pytest.approx(1.0)
    assert reach.above[0, 0] == pytest.approx(4.0)
    assert isinstance(Lateness.of(np.array([[2.0]], np.float32), recorded, episodes), Unknown)


def check(
    certificate: Certificate, file: ControllerFile, episodes: NDArray[np.int64] = EPISODES
) -> tuple[int, ...]:
    """The requirements that are proved again."""
    seen = EVIDENCE.observations
    report = check_certificate(
        certificate, file, observations=seen, recorded=READINGS, order=Order(episodes=episodes)
    )
    return report.proved


def test_a_certificate_about_late_readings_is_proved_again(
    certificate: Certificate, file: ControllerFile
) -> None:
    read = Certificate.parse(certificate.to_json())
    assert read.budget == certificate.budget
    assert check(read, file) == (0, 1, 2, 3)


def test_late_readings_have_no_radius(certificate: Certificate) -> None:
    assert certificate.claims.visited_radius is None


def test_without_the_order_of_its_states_nothing_is_proved_again(
    certificate: Certificate, file: ControllerFile
) -> None:
    report = check_certificate(
        certificate, file, observations=EVIDENCE.observations, recorded=READINGS
    )
    assert report.proved == ()
    assert set().union(*report.lacking.values()) == {Ground.EPISODES}


def test_other_episodes_are_other_evidence(certificate: Certificate, file: ControllerFile) -> None:
    with pytest.raises(OtherEvidenceError, match="other recorded episodes"):
        check(certificate, file, episodes=np.zeros_like(EPISODES))


def _on_robot(requirement: dict[str, Json]) -> dict[str, Json]:
    on_robot = requirement["on_robot"]
    assert isinstance(on_robot, dict)
    return on_robot


def _of_fewer_steps(requirement: dict[str, Json]) -> None:
    _on_robot(requirement)["delays"] = [1, 1, 1]


def _of_none(requirement: dict[str, Json]) -> None:
    del _on_robot(requirement)["delays"]


def _in_other_words(requirement: dict[str, Json]) -> None:
    _on_robot(requirement)["readings"] = {"angle": "0.02 rad", "gyro": "a delay of 1 step"}


@pytest.mark.parametrize("forge", [_of_fewer_steps, _of_none, _in_other_words])
def test_a_certificate_about_other_delays_is_refused(
    certificate: Certificate, file: ControllerFile, forge: Callable[[dict[str, Json]], None]
) -> None:
    table = json.loads(certificate.to_json())
    forge(table["requirements"][0]["requirement"])
    with pytest.raises(IntegrityError, match="means another"):
        check(Certificate.parse(to_json(table)), file)


def test_a_witness_that_no_late_reading_explains_is_refused(
    certificate: Certificate, file: ControllerFile
) -> None:
    witness = certificate.findings[1].witness
    assert witness is not None
    farther = tuple(3 * step for step in witness.perturbation or ())
    findings = list(certificate.findings)
    findings[1] = replace(findings[1], witness=replace(witness, perturbation=farther))
    with pytest.raises(IntegrityError, match="the witness violates nothing"):
        check(replace(certificate, findings=tuple(findings)), file)


def test_states_without_order_leave_it_unknown_and_say_what_to_do(file: ControllerFile) -> None:
    unordered = replace(EVIDENCE, episodes=None)
    for finding in certify_policy(file, Budget.parse(BUDGET), unordered, FAST).findings:
        assert finding.verdict is Verdict.UNKNOWN
        assert "--episode-column" in finding.reason


def before_each(rows: list[int], steps: int) -> Array:
    """The readings of so many steps before each row, of which the first of an episode repeats."""
    blocks = []
    for row in rows:
        known = earlier(row, steps)[1:]
        first = earlier(row, len(READINGS))[-1]
        blocks.append(np.concatenate([known, np.tile(first, (steps - len(known), 1))]))
    return np.array(blocks)


def test_readings_kept_before_each_visited_state_prove_the_same(
    certificate: Certificate, file: ControllerFile
) -> None:
    kept = Evidence(
        observations=EVIDENCE.observations,
        earlier=before_each([4, 7, 9, 14, 18], 3),
        robot=ROBOT,
    )
    found = certify_policy(file, Budget.parse(BUDGET), kept, FAST)
    assert found.findings[2].certified == certificate.findings[2].certified
    assert found.findings[2].verdict is Verdict.PROVED
    order = Order(earlier=kept.earlier)
    read = Certificate.parse(found.to_json())
    report = check_certificate(read, file, observations=kept.observations, order=order)
    assert 2 in report.proved
    assert 2 in check_certificate(read, file, observations=kept.observations).lacking
    other = Order(earlier=np.zeros((5, 3, 3)))
    with pytest.raises(OtherEvidenceError, match="other readings before"):
        check_certificate(read, file, observations=kept.observations, order=other)


def test_a_delay_longer_than_what_is_kept_is_unknown(file: ControllerFile) -> None:
    before = before_each([4, 7, 9, 14, 18], 1)
    kept = replace(EVIDENCE, recorded=None, episodes=None, earlier=before)
    finding = certify_policy(file, Budget.parse(BUDGET), kept, FAST).findings[2]
    assert finding.verdict is Verdict.UNKNOWN
    assert "delays of at most 1 step are known" in finding.reason


EVERYWHERE = """
[[require]]
quantity = "action_deviation"
perturb = { angle = { linf = 0.02, delay = 2 } }
scope = "everywhere"
at_most = 50.0
"""
RATED = robot_with("hip", "knee").text.replace('unit = "rad"\n', 'unit = "rad"\nmax_rate = 1.5\n')


def test_in_every_state_a_delay_is_what_the_sensor_may_change_meanwhile(
    file: ControllerFile,
) -> None:
    robot = type(ROBOT).parse("control_period_s = 0.01\n" + RATED)
    late = certify_policy(file, Budget.parse(EVERYWHERE), Evidence(robot=robot), FAST)
    budget = Budget.parse(EVERYWHERE.replace("linf = 0.02, delay = 2", "linf = 0.05"))
    wide = certify_policy(file, budget, Evidence(robot=robot), FAST)
    assert late.findings[0].certified == pytest.approx(wide.findings[0].certified, rel=1e-6)
    assert late.findings[0].requirement.perturbation.delays is None
    assert "a delay of 2 steps at its max_rate" in explain(late)


def test_in_every_state_a_delay_needs_rates(file: ControllerFile) -> None:
    for text in (ROBOT.text, RATED):
        evidence = replace(EVIDENCE, robot=type(ROBOT).parse(text))
        with pytest.raises(InputError, match=r"a delay of angle\[0\] needs its max_rate and a"):
            certify_policy(file, Budget.parse(EVERYWHERE), evidence, FAST)


def test_the_words_say_which_sensor_is_how_late(certificate: Certificate) -> None:
    words = explain(certificate)
    assert "angle by at most 0.02 rad and a delay of 2 steps (" in words
    assert "if no sensor reads wrong but all by at most a delay of 2 steps, gyro by" in words
    assert "seen late (angle[0] by 2, angle[1] by 2, gyro by 1) between the readings" in words
    finding = certificate.findings[0]
    meant = finding.requirement.on_robot
    assert meant is not None
    other = replace(finding.requirement, on_robot=replace(meant, delays=(2, 1, 1)))
    findings = (replace(finding, requirement=other), *certificate.findings[1:])
    requirements = tuple(each.requirement for each in findings)
    budget = replace(certificate.budget, requirements=requirements)
    assert explain(replace(certificate, budget=budget, findings=findings)) != words
