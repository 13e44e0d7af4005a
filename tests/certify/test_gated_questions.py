"""Questions about every observation that a gate lets through: proofs, witnesses, forgeries."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from support.policies import bare_states, draw_policy, file_of, linear_policy
from surefoot.artifact import Json, to_json
from surefoot.budget import Budget
from surefoot.certificate import Certificate, Verdict
from surefoot.certify import CertifyConfig, Evidence, certify_policy, check_certificate, explain
from surefoot.certify.gate_thresholds import make_gate
from surefoot.config import to_toml
from surefoot.errors import InputError, IntegrityError
from surefoot.gate import GateFile, GateRule, HalfSpace
from surefoot.onnx_file import ControllerFile
from surefoot.policy import Policy, Squash

QUICK = CertifyConfig(search_states=4, search_steps=1, lipsdp_iterations=3, lipsdp_per_actuator=0)
SIZE = 0.25


def budget(*conditions: str, size: float = SIZE) -> Budget:
    questions = [
        {"quantity": "property", "region": "gate", "all_of": [condition]}
        for condition in conditions
    ]
    return Budget.parse(to_toml({"require": questions, "gate": {"low": [-size], "high": [size]}}))


def gate_of(policy: Policy, size: float = SIZE) -> GateFile:
    return make_gate(policy, None, GateRule(low=(-size,), high=(size,)))


@pytest.fixture(scope="module", name="file")
def _file() -> ControllerFile:
    """A controller without a clip, of which nothing is bounded everywhere."""
    rng = np.random.default_rng(0)
    return file_of(draw_policy(rng, [3, 10, 10, 2], clip=np.inf, squash=Squash.TANH))


@pytest.fixture(scope="module", name="worst")
def _worst(file: ControllerFile) -> float:
    """Largest first action that an independent search finds behind the gate."""
    rng = np.random.default_rng(1)
    corners = rng.choice([-SIZE, SIZE], (64, 3))
    readings = np.concatenate([rng.uniform(-SIZE, SIZE, (20_000, 3)), corners])
    return float(file.policy.outputs_at(file.policy.state(readings))[:, 0].max())


@pytest.fixture(scope="module", name="certificate")
def _certificate(file: ControllerFile, worst: float) -> Certificate:
    asked = budget(f"action[0] <= {worst + 0.02!r}", f"action[0] <= {worst - 0.02!r}")
    return certify_policy(file, asked, Evidence(gate=gate_of(file.policy)), QUICK)


def test_a_question_behind_the_gate_is_proved_or_refuted_by_a_reading_that_it_lets_through(
    file: ControllerFile, certificate: Certificate
) -> None:
    holds, broken = certificate.findings
    assert (holds.verdict, broken.verdict) == (Verdict.PROVED, Verdict.REFUTED)
    assert holds.reason == "as long as the controller runs behind its gate"
    assert "for every observation that the gate lets through" in explain(certificate)
    assert broken.witness is not None
    assert np.abs(broken.witness.observation).max() <= SIZE
    assert check_certificate(Certificate.parse(certificate.to_json()), file).proved == (0, 1)


def test_an_assumption_on_states_takes_no_part(file: ControllerFile, worst: float) -> None:
    evidence = Evidence(gate=gate_of(file.policy), state_limit=0.01)
    finding = certify_policy(file, budget(f"action[0] <= {worst - 0.02!r}"), evidence, QUICK)
    assert finding.findings[0].verdict is Verdict.REFUTED


def test_a_reading_that_breaks_a_pair_of_the_gate_refutes_nothing() -> None:
    """Of a = z0 + z1, whose two sensors may not be large together."""
    policy = replace(linear_policy([[1.0, 1.0]]), normaliser=bare_states(2))
    file, asked = file_of(policy), budget("action[0] <= 0.3")
    free = gate_of(file.policy)
    pair = HalfSpace(sensors=(0, 1), factors=(1.0, 1.0), at_most=0.25)
    paired = replace(free, gate=replace(free.gate, pairs=(pair,)))
    verdicts = []
    for gate in (free, paired):
        config = replace(QUICK, region_boxes=20)
        certificate = certify_policy(file, asked, Evidence(gate=gate), config)
        verdicts.append(certificate.findings[0].verdict)
        check_certificate(certificate, file)
    assert verdicts == [Verdict.REFUTED, Verdict.UNKNOWN]


def wider(table: dict[str, Json]) -> None:
    table["gate"]["gate"]["sensors"][0]["high"] = 1.0


def paired(table: dict[str, Json]) -> None:
    pair = {"sensors": [0, 1], "factors": [0.0, 0.0], "at_most": -1.0}
    table["gate"]["gate"]["pairs"] = [pair]


def without(table: dict[str, Json]) -> None:
    del table["gate"]


def outside(table: dict[str, Json]) -> None:
    witness = table["requirements"][1]["witness"]
    witness["observation"] = [4 * value for value in witness["observation"]]


def uncut(table: dict[str, Json]) -> None:
    table["requirements"][0]["certified"] = -5.0


@pytest.mark.parametrize("forge", [wider, paired, without, outside, uncut])
def test_a_forged_answer_behind_the_gate_is_refused(
    file: ControllerFile, certificate: Certificate, forge: Callable[[dict[str, Json]], None]
) -> None:
    table = json.loads(certificate.to_json())
    forge(table)
    with pytest.raises(IntegrityError):
        check_certificate(Certificate.parse(to_json(table)), file)


def test_a_region_behind_the_gate_needs_one() -> None:
    text = budget("action[0] <= 1").text
    with pytest.raises(InputError, match=r"require\[0\].region is 'gate', which needs a \[gate\]"):
        Budget.parse(text[: text.index("[gate]")])
