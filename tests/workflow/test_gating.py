"""A gate goes into the bundle, its C and its runtime, and whoever changes it is found out."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from support.heard import Heard
from support.policies import random_policy
from surefoot.artifact import Artifact, from_json, read_artifact, to_json, write_artifact
from surefoot.attack import AttackConfig
from surefoot.budget import Budget
from surefoot.bundle import open_bundle
from surefoot.certify import CertifyConfig, Evidence, certify_policy
from surefoot.errors import InputError, VerificationError
from surefoot.export import ExportConfig, Target
from surefoot.gate import GATE_FILE, GateRule
from surefoot.onnx_file import load_policy, save_policy
from surefoot.records import BenchRecord
from surefoot.robot import Robot
from surefoot.runtime import Backend, BenchConfig, GatedController, load_controller
from surefoot.visited import VISITED_FILE, Visited
from surefoot.workflow.attacking import attack_controller
from surefoot.workflow.benchmarking import benchmark_controller
from surefoot.workflow.exporting import export_controller
from surefoot.workflow.gating import gate_of
from surefoot.workflow.opening import open_deployed
from surefoot.workflow.verifying import verify_bundle

RULE = GateRule(pairs=1, recover_after=2)
BUDGET = '[[require]]\nquantity = "sparsity"\nat_least = 0.0\n'
EFFORT = CertifyConfig(search_states=2, search_steps=1, lipsdp_iterations=0, lipsdp_per_actuator=0)
CONFIG = ExportConfig(targets=(Target.C,), num_random=10)


def walks() -> Visited:
    """Episodes of three sensors that swing."""
    rng = np.random.default_rng(0)
    angles = np.cumsum(rng.uniform(-0.5, 0.5, (60, 20, 3)), axis=0)
    return Visited(
        independent=np.empty((0, 3)),
        steps=np.empty(0, np.int64),
        num_discarded=0,
        pool=np.sin(angles).reshape(-1, 3),
        episodes=np.tile(np.arange(20), 60),
    )


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gated") / "policy"
    controller = random_policy(np.random.default_rng(1), (3, 5, 2))
    save_policy(
        folder,
        controller,
        properties={"observation_names": "hip,knee,ankle"},
        extra_files={VISITED_FILE: walks().to_bytes()},
    )
    return folder


@pytest.fixture(scope="module")
def bundle(policy: Path) -> Path:
    return export(policy, policy.parent / "bundle", RULE)


def export(policy: Path, out: Path, rule: GateRule) -> Path:
    file, _ = load_policy(policy)
    evidence = Evidence(observations=walks().independent)
    certificate = certify_policy(file, Budget.parse(BUDGET), evidence, EFFORT)
    return export_controller(policy, certificate, out, config=CONFIG, gate=rule).path


def forged(bundle: Path, out: Path, name: str, change: Callable[[bytes], bytes] | None) -> Path:
    """A copy with one file changed, or left out, and a manifest that fits."""
    artifact = read_artifact(bundle, "bundle")
    files = dict(artifact.files)
    if change is None:
        del files[name]
    else:
        files[name] = change(files[name])
    write_artifact(out, Artifact(kind="bundle", files=files, facts=artifact.facts))
    return out


def test_a_bundle_with_a_gate_verifies_and_names_its_sensors(bundle: Path) -> None:
    opened = verify_bundle(bundle).bundle
    assert opened.gate is not None
    assert opened.gate.gate.names == ("hip", "knee", "ankle")
    assert opened.gate.rule == RULE
    assert {"policy_gate.c", "policy_gate.h", GATE_FILE} <= opened.files.keys()
    assert b"0 hip:" in opened.files["policy_gate.h"]


def wider(data: bytes) -> bytes:
    """The first sensor may read twice as much."""
    table = from_json(data, "it")
    table["gate"]["sensors"][0]["high"] *= 2
    return to_json(table)


def fewer_alarms(data: bytes) -> bytes:
    table = from_json(data, "it")
    table["alarms"]["rates"][0]["at_most"] /= 2
    return to_json(table)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (GATE_FILE, wider, "gate.json is not what its rule makes of the recorded states"),
        (GATE_FILE, fewer_alarms, "gate.json is not what its rule makes of the recorded states"),
        (GATE_FILE, lambda data: data + b"\n", "gate.json was changed after it was written"),
        (GATE_FILE, None, "policy_gate.c holds a gate, and the bundle has no gate.json"),
        ("policy_gate.c", None, "policy_gate.c is not what gate.json and policy.onnx generates"),
        ("policy_gate.h", lambda data: data[:-1] + b"\n\n", "policy_gate.h is not what gate.json"),
        (
            "policy_gate.c",
            lambda data: data.replace(b"POLICY_GATE_RANGE", b"NO_CAUSE"),
            "policy_gate.c is not what gate.json and policy.onnx generates",
        ),
    ],
)
def test_a_gate_that_was_changed_or_left_out_is_refused(
    bundle: Path, tmp_path: Path, name: str, change: Callable[[bytes], bytes] | None, words: str
) -> None:
    with pytest.raises(VerificationError, match=words):
        verify_bundle(forged(bundle, tmp_path / "forged", name, change))


def test_a_gate_of_other_states_is_refused(bundle: Path, tmp_path: Path) -> None:
    visited = walks()
    other = replace(visited, pool=visited.pool * 1.5).to_bytes()
    with pytest.raises(VerificationError, match="is not what its rule makes"):
        verify_bundle(forged(bundle, tmp_path / "forged", VISITED_FILE, lambda data: other))


def loaded(bundle: Path) -> GatedController:
    controller = load_controller(open_bundle(bundle), Backend.NUMPY)
    assert isinstance(controller, GatedController)
    return controller


def test_the_runtime_of_a_bundle_with_a_gate_holds_it(bundle: Path) -> None:
    controller = loaded(bundle)
    good = np.array([[0.0, 0.1, 0.1]])
    action = controller(good)
    assert np.array_equal(controller(np.array([[9.0, 0.1, 0.1]])), action)
    assert controller.describe(controller.events[0]) == "sensor 0 (hip) is out of its range"


ROBOT = """
control_period_s = 0.02

[[sensor]]
name = "leg"
entries = ["hip", "knee"]
unit = "rad"
range = [-1.5, 0.5]
max_rate = 30.0

[[sensor]]
name = "foot"
unit = "N"

[[actuator]]
name = "torque"
count = 2
unit = "N m"
range = [-40.0, 50.0]
max_rate = 100.0
"""


def test_a_described_robot_names_its_sensors_and_limits_them(policy: Path) -> None:
    file, _ = load_policy(policy)
    robot = Robot.parse(ROBOT)
    gate = gate_of(file, walks(), GateRule(margin=0.5, low=(-1.5,), high=(1.5,)), robot).gate
    assert gate.names == ("leg[hip]", "leg[knee]", "foot")
    assert gate.sensors[0].rate == pytest.approx(30.0 * 0.02, rel=1e-6)
    assert gate.sensors[2].rate != gate.sensors[0].rate
    assert max(action.rate or np.inf for action in gate.actions) <= np.float32(100.0 * 0.02)
    assert max(action.high for action in gate.actions) <= 50.0 * (1 + 2.0**-19)
    assert {sensor.high for sensor in gate.sensors} == {1.5}  # the rule's own ranges come first
    with pytest.raises(InputError, match="must reject at most 1%"):
        gate_of(file, walks(), GateRule(), robot)
    with pytest.raises(InputError, match="actuators must have the 2 entries"):
        gate_of(file, walks(), GateRule(), Robot.parse(ROBOT.replace("count = 2", "count = 3")))


def test_a_bundle_is_opened_with_the_gate_behind_which_it_is_deployed(bundle: Path) -> None:
    opened = open_bundle(bundle)
    assert opened.gate is not None
    target = open_deployed(bundle, Heard(), allow_uncertified=False)
    assert target.gate == opened.gate.gate


@pytest.mark.parametrize(
    "config",
    [AttackConfig(gate=False, epsilon=0.1), AttackConfig(actions="sampled", epsilon=0.1)],
)
def test_attacks_say_that_they_leave_the_gate_out(
    bundle: Path, tmp_path: Path, config: AttackConfig
) -> None:
    heard = Heard()
    with pytest.raises(InputError, match=r"attack.env_id must be given"):
        attack_controller(bundle, tmp_path / "attack.json", config=config, listener=heard)
    assert [remark for remark in heard.remarks if "its gate is left out" in remark]


def test_a_bundle_is_timed_behind_its_gate_unless_it_is_left_out(
    bundle: Path, tmp_path: Path
) -> None:
    brief = BenchConfig(
        backends=(Backend.NUMPY,),
        num_calls=20,
        warm_up=1,
        rates_hz=(1000,),
        paced_s=0.01,
        batches=(2,),
        under_load=False,
    )
    out, heard = tmp_path / "bench.json", Heard()
    assert benchmark_controller(bundle, out, config=brief, listener=heard).gate == "hold"
    assert not heard.remarks
    alone = benchmark_controller(bundle, out, config=replace(brief, gate=False), listener=heard)
    assert alone.gate is None
    assert BenchRecord.read(out) == alone
    assert [remark for remark in heard.remarks if "the gate is left out; what" in remark]
