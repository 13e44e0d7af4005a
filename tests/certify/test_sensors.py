"""A budget with a radius for each sensor, from the file to the checker; and certified radii.

Also of ``certify/radii.py``.
"""

from dataclasses import replace

import numpy as np
import pytest

from support.policies import draw_policy, file_of
from surefoot.attack.proved_deviation import certified_deviation
from surefoot.ball import Ball, Norm
from surefoot.budget import Budget, Requirement, Scope
from surefoot.certificate import Verdict
from surefoot.certify import Analysis, CertifyConfig, Evidence, certify_policy
from surefoot.certify.bounds.chain import action_chain
from surefoot.certify.bounds.global_bounds import closed_form_bounds
from surefoot.certify.checker import check_certificate
from surefoot.errors import InputError, IntegrityError
from surefoot.onnx_file import ControllerFile
from surefoot.policy import Activation

FAST = CertifyConfig(
    search_states=8, search_steps=4, lipsdp_iterations=3, lipsdp_per_actuator=2, alpha_steps=2
)
TEMPLATE = """
[[require]]
quantity = "action_deviation"
epsilon = 0.2
norm = "linf"
sensors = {sensors}
scope = "everywhere"
at_most = {everywhere}
[[require]]
quantity = "action_deviation"
epsilon = 0.2
norm = "linf"
sensors = {sensors}
scope = "visited"
fraction = 0.5
confidence = 0.9
at_most = {visited}
"""


@pytest.fixture(name="file")
def _file() -> ControllerFile:
    return file_of(draw_policy(np.random.default_rng(0), [3, 12, 12, 2], Activation.TANH))


def evidence() -> Evidence:
    return Evidence(observations=np.random.default_rng(1).normal(0, 1, (12, 3)))


def test_a_requirement_takes_shares_for_linf_perturbations_only() -> None:
    good = Requirement(
        quantity="action_deviation",
        epsilon=0.1,
        norm=Norm.LINF,
        sensors=(1.0, 0.0),
        scope=Scope.EVERYWHERE,
        at_most=1.0,
    )
    assert Requirement.from_table(good.to_table()) == good
    assert "times (1, 0)" in good.describe()
    for change in ({"norm": Norm.L2}, {"sensors": (1.5, 0.0)}, {"sensors": ()}):
        with pytest.raises(InputError, match="sensors"):
            replace(good, **change)
    with pytest.raises(InputError, match="sensors"):
        replace(good, quantity="return_loss", scope=None)


def test_sensors_are_weighed_for_the_errors_that_a_budget_names(file: ControllerFile) -> None:
    shares = (1.0, 0.05, 0.3)
    text = TEMPLATE.format(sensors=list(shares), everywhere=9.0, visited=9.0)
    budget, config = Budget.parse(text), replace(FAST, lipsdp_per_actuator=15)
    ball = Ball(norm=Norm.LINF, epsilon=0.2, sensors=shares)
    fitted, equal = (
        Analysis(file, Evidence(), config, of).proofs.everywhere.deviations(ball)["lipsdp"]
        for of in (budget, None)
    )
    assert (fitted < 0.98 * equal).all()


def test_shares_scale_every_bound_and_a_share_of_one_changes_nothing() -> None:
    bounds = closed_form_bounds(action_chain(draw_policy(np.random.default_rng(2), [3, 8, 2])))
    whole = bounds.deviations(0.1, Norm.LINF)
    ones = bounds.deviations(0.1, Norm.LINF, np.ones(3))
    alone = bounds.deviations(0.1, Norm.LINF, np.array([0.0, 1.0, 0.0]))
    for name, rows in whole.items():
        np.testing.assert_allclose(ones[name], rows, rtol=1e-12)
        shrunk = bounds.absolute[:, 1] * 0.1 if name == "absolute_product" else rows / np.sqrt(3)
        np.testing.assert_allclose(alone[name], shrunk, rtol=1e-12)


def test_a_radius_for_each_sensor_goes_from_budget_to_checker(file: ControllerFile) -> None:
    def certify(shares: list[float]) -> object:
        text = TEMPLATE.format(sensors=shares, everywhere=50.0, visited=0.4)
        return certify_policy(file, Budget.parse(text), evidence(), FAST)

    cube, own = certify([1.0, 1.0, 1.0]), certify([1.0, 0.0, 0.3])
    for wide, narrow in zip(cube.findings, own.findings, strict=True):
        assert narrow.certified < 0.8 * wide.certified
        assert narrow.sampled <= narrow.certified
    assert "alpha-crown" in own.findings[1].method
    observations = evidence().observations
    assert len(check_certificate(own, file, observations=observations).proved) == 2
    # The box of all perturbations, by brute force.
    rng = np.random.default_rng(4)
    states = file.policy.state(observations)
    steps = rng.choice([-1, 1], (500, 1, 3)) * np.array([0.2, 0.0, 0.06])
    points = (states + steps).reshape(-1, 3)
    change = np.abs(
        file.policy.outputs_at(points).reshape(500, 12, 2) - file.policy.outputs_at(states)
    )
    assert change.max() <= own.findings[0].certified
    assert np.median(change.max(axis=(0, 2))) <= own.findings[1].certified


def test_a_certificate_about_other_shares_is_refused(file: ControllerFile) -> None:
    def certify(shares: list[float]) -> object:
        text = TEMPLATE.format(sensors=shares, everywhere=50.0, visited=0.4)
        return certify_policy(file, Budget.parse(text), evidence(), FAST)

    narrow, wide = certify([1.0, 0.0, 0.3]), certify([1.0, 1.0, 1.0])
    forged = tuple(
        replace(finding, requirement=other.requirement)
        for finding, other in zip(narrow.findings, wide.findings, strict=True)
    )
    with pytest.raises(IntegrityError):
        check_certificate(
            replace(narrow, budget=wide.budget, findings=forged),
            file,
            observations=evidence().observations,
        )


def test_wrong_numbers_of_sensors_are_bad_input(file: ControllerFile) -> None:
    text = TEMPLATE.format(sensors=[1.0, 0.5], everywhere=50.0, visited=0.4)
    with pytest.raises(InputError, match="sensors must be 3 shares, got 2"):
        certify_policy(file, Budget.parse(text), evidence(), FAST)


def test_a_witness_moves_no_sensor_by_more_than_its_share(file: ControllerFile) -> None:
    text = TEMPLATE.format(sensors=[1.0, 0.0, 0.3], everywhere=0.05, visited=0.4)
    certificate = certify_policy(file, Budget.parse(text), evidence(), FAST)
    refuted = certificate.findings[0]
    assert refuted.verdict is Verdict.REFUTED
    step = np.abs(refuted.witness.perturbation)
    assert (step <= 0.2 * np.array([1.0, 0.0, 0.3])).all()
    outside = replace(refuted.witness, perturbation=(0.2, 0.2, 0.2))
    forged = (replace(refuted, witness=outside), certificate.findings[1])
    with pytest.raises(IntegrityError, match="witness"):
        check_certificate(
            replace(certificate, findings=forged), file, observations=evidence().observations
        )


def test_a_bound_for_some_sensors_is_none_for_an_attack_on_all(file: ControllerFile) -> None:
    text = TEMPLATE.format(sensors=[0.0, 0.0, 0.01], everywhere=50.0, visited=0.4)
    certificate = certify_policy(file, Budget.parse(text), Evidence(), FAST)
    alone = replace(certificate, deviation_linf={"epsilon": None, "best": None})
    assert certified_deviation(alone, Ball(epsilon=0.2, norm=Norm.LINF)) is None


def test_certified_radii_are_in_the_certificate_with_their_share(file: ControllerFile) -> None:
    text = TEMPLATE.format(sensors=[1.0, 1.0, 0.5], everywhere=50.0, visited=0.3)
    certificate = certify_policy(file, Budget.parse(text), evidence(), FAST)
    claim = certificate.claims.visited_radius
    radii = np.array(claim.certified)
    assert claim.share_at_least_epsilon == (radii >= 0.2).mean()
    states = file.policy.state(evidence().observations)
    rng = np.random.default_rng(5)
    steps = rng.uniform(-1, 1, (400, 12, 3)) * radii[:, None] * np.array([1.0, 1.0, 0.5])
    points = (states + steps).reshape(-1, 3)
    change = np.abs(
        file.policy.outputs_at(points).reshape(400, 12, 2) - file.policy.outputs_at(states)
    )
    assert change.max() <= 0.3
    assert (radii > 0).all()
    longer = replace(claim, certified=tuple((radii * 1.1).tolist()))
    with pytest.raises(IntegrityError, match="radius"):
        check_certificate(
            replace(certificate, claims=replace(certificate.claims, visited_radius=longer)),
            file,
            observations=evidence().observations,
        )
