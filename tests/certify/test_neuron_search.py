"""Regions of many sensors are closed along neurons, and the checker proves that again."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from support.policies import file_of, random_policy
from surefoot.artifact import to_json
from surefoot.budget import Budget
from surefoot.certificate import Certificate, Verdict
from surefoot.certify import CertifyConfig, Evidence, certify_policy, check_certificate
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.bounds.conditions import ConditionBounds
from surefoot.certify.neuron_search import FEWEST_SENSORS, may_be_closed
from surefoot.config import to_toml
from surefoot.errors import IntegrityError
from surefoot.onnx_file import ControllerFile
from surefoot.policy import Activation, Squash
from surefoot.question import Condition

QUICK = CertifyConfig(
    search_states=4, search_steps=1, lipsdp_iterations=0, lipsdp_per_actuator=0, region_boxes=64
)
SENSORS, SIDE = 24, 0.1
Table = dict[str, Any]


@pytest.fixture(scope="module", name="file")
def _file() -> ControllerFile:
    rng = np.random.default_rng(3)
    return file_of(random_policy(rng, [SENSORS, 20, 20, 2], Activation.RELU, Squash.IDENTITY))


@pytest.fixture(scope="module", name="certificate")
def _certificate(file: ControllerFile) -> Certificate:
    """Limits a third of the way from the best that an ascent finds to the bound of the box."""
    low, high = np.full(SENSORS, -SIDE), np.full(SENSORS, SIDE)
    condition = Condition.parse(("action[0] <= 0", "action[1] <= 0"), ())
    bounds = ConditionBounds(file.policy, condition, low, high, ARITHMETICS["float32"])
    points = np.random.default_rng(0).uniform(low, high, (64, SENSORS))
    points = np.stack([points, points])
    for _ in range(30):
        for row in range(2):
            slopes = bounds.slopes_at(points[row])[:, row]
            points[row] = np.clip(points[row] + np.sign(slopes) * SIDE / 4, low, high)
    seen = np.array([bounds.excesses_at(points[row])[:, row].max() for row in range(2)])
    limits = seen + (bounds.excesses(low[None], high[None])[0] - seen) / 3
    region = {"kind": "normalised", "low": low.tolist(), "high": high.tolist()}
    texts = [f"action[{row}] <= {limit!r}" for row, limit in enumerate(limits.tolist())]
    question = {"quantity": "property", "region": region, "all_of": texts}
    return certify_policy(file, Budget.parse(to_toml({"require": [question]})), Evidence(), QUICK)


def test_a_region_of_many_sensors_is_closed_along_neurons(
    file: ControllerFile, certificate: Certificate
) -> None:
    finding = certificate.findings[0]
    assert finding.verdict is Verdict.PROVED
    assert "parts along neurons" in finding.method
    saved = Certificate.parse(certificate.to_json())
    assert check_certificate(saved, file).proved == (0,)


def neurons(table: Table) -> Table:
    found: Table = table["proof"]["box_trees"][0]["neurons"][0]
    return found


def without(table: Table) -> None:
    del table["proof"]["box_trees"][0]["neurons"]


def uncut(table: Table) -> None:
    neurons(table).update(cuts=".", lines=[])


def other_price(table: Table) -> None:
    for line in neurons(table)["lines"]:
        line["prices"] = ""


def elsewhere(table: Table) -> None:
    neurons(table).update(leaf=1)


def lower(table: Table) -> None:
    table["requirements"][0]["certified"] -= 0.01


@pytest.mark.parametrize("forge", [without, uncut, other_price, elsewhere, lower])
def test_a_forged_tree_of_neurons_is_refused(
    file: ControllerFile, certificate: Certificate, forge: Callable[[Table], None]
) -> None:
    table = json.loads(certificate.to_json())
    forge(table)
    with pytest.raises(IntegrityError):
        check_certificate(Certificate.parse(to_json(table)), file)


@pytest.mark.parametrize(
    ("sensors", "activation", "may"),
    [
        (FEWEST_SENSORS, Activation.RELU, True),
        (FEWEST_SENSORS - 1, Activation.RELU, False),
        (FEWEST_SENSORS, Activation.TANH, False),
    ],
)
def test_neurons_are_cut_where_sensors_are_many_and_there_are_kinks(
    sensors: int, activation: Activation, may: bool
) -> None:
    policy = random_policy(np.random.default_rng(0), [sensors, 4, 1], activation)
    ends = np.zeros(sensors), np.ones(sensors)
    condition = Condition.parse(("action[0] <= 0",), ())
    bounds = ConditionBounds(policy, condition, *ends, ARITHMETICS["float32"])
    assert may_be_closed(bounds) is may
