"""What a certificate may rest on beside the weights, read from the files of a run."""

from dataclasses import replace
from pathlib import Path

from surefoot.certify import Assumptions, Episodes, Evidence, Measurement, measurements_of
from surefoot.errors import InputError
from surefoot.gate import GateRule
from surefoot.onnx_file import POLICY_FILE, ControllerFile, read_beside
from surefoot.policy import Policy
from surefoot.recordings import StatesFile
from surefoot.records import ACTION, CLEAN, ActionRecord, AttackOutcome, AttackRecord, BenchRecord
from surefoot.robot import Robot
from surefoot.run_folder import run_of
from surefoot.runtime.controller_file import load_controller_file
from surefoot.visited import VISITED_FILE, Visited
from surefoot.workflow.gating import gate_of
from surefoot.workflow.listener import SILENCE, Listener
from surefoot.workflow.recorded_states import read_states
from surefoot.workflow.robot_file import robot_of
from surefoot.workflow.robot_metadata import completed, contradictions, robot_of_metadata


def gather_evidence(
    controller: Path,
    file: ControllerFile,
    assumptions: Assumptions,
    *,
    attack: Path | None = None,
    bench: Path | None = None,
    dense: Path | None = None,
    states: StatesFile | None = None,
    robot: Path | None = None,
    gate: GateRule | None = None,
    listener: Listener = SILENCE,
) -> Evidence:
    """Collect states, measurements and assumptions.

    Args:
        controller: Run, policy folder or bundle, which has its states, or a bare file.
        file: The controller.
        assumptions: Assumptions that the user states.
        attack: An ``attack.json``; it counts for the file whose digest it names.
        bench: A ``bench.json``; the same.
        dense: Policy from which the controller was compressed.
        states: States of the user's own, instead of those of the folder.
        robot: Description of the robot, instead of that of the folder.
        gate: How the limits of its gate are made; None for a controller without a gate.
        listener: Is told how these states were read, what the metadata of the file add to the
            description of the robot, and where the two contradict each other.

    Raises:
        InputError: If a measurement file is not one, ``dense`` is another controller, the states
            are not those of this one or contradict the rule of the gate, or the description of the
            robot is none.
        IntegrityError: If the folder of the controller does not verify.
    """
    visited = _visited(controller) if states is None else read_states(states, file, listener)
    described = _robot_of(controller, file, robot, listener)
    return Evidence(
        observations=None if visited is None else visited.independent,
        recorded=None if visited is None else visited.recorded,
        episodes=None if visited is None else visited.episodes,
        earlier=None if visited is None else visited.earlier,
        sampled=None if visited is None else visited.sampled,
        measurements=(
            *(() if attack is None else _attack_measurements(attack)),
            *(() if bench is None else _bench_measurements(bench)),
        ),
        dense_policy=None if dense is None else _dense_policy(dense, controller),
        reward_range=assumptions.reward_range,
        discount=assumptions.discount,
        horizon=assumptions.horizon,
        state_limit=assumptions.state_limit,
        robot=described,
        gate=None if gate is None else gate_of(file, visited, gate, described),
    )


def _robot_of(
    controller: Path, file: ControllerFile, given: Path | None, listener: Listener
) -> Robot | None:
    """Return the robot of a controller with what its file adds, None where neither names it.

    Raises:
        InputError: If its description is none.
    """
    robot = robot_of(controller, given)
    if robot is None:
        return robot_of_metadata(file)
    robot = completed(robot, file)
    for words in robot.by_metadata if given is not None else ():
        listener.remark(words)
    for words in contradictions(file, robot):
        listener.remark(f"WARNING: {words}")
    return robot


def attack_beside(controller: Path) -> Path | None:
    """Return the attack.json of the run that holds the controller, if there is one."""
    run = run_of(controller)
    return run.attack if run is not None and run.attack.is_file() else None


def rests_on_own(controller: Path, evidence: Evidence) -> bool:
    """Return True if evidence names the very states that the controller's folder holds."""
    visited = _visited(controller)
    own = (
        None
        if visited is None
        else Evidence(observations=visited.independent, recorded=visited.recorded)
    )
    return own is not None and own.state_digests == evidence.state_digests


def _visited(controller: Path) -> Visited | None:
    folder = read_beside(controller)
    data = None if folder is None else folder.files.get(VISITED_FILE)
    return None if data is None else Visited.from_bytes(data)


def _dense_policy(path: Path, controller: Path) -> Policy:
    """Return the policy that a controller was compressed from.

    Raises:
        InputError: If the folder of the controller names another file.
    """
    file, folder = load_controller_file(path), read_beside(controller)
    named = None if folder is None else folder.inputs.get(POLICY_FILE)
    if named is not None and named != file.sha256:
        raise InputError(
            f"dense must be what {controller} was compressed from, whose sha256 begins "
            f"{named[:12]}, that of {path} {file.sha256[:12]}"
        )
    return file.policy


def _attack_measurements(path: Path) -> list[Measurement]:
    """Measure the episodes of an ``attack.json``: the clean loop and each attack, in each box.

    Episodes have different seeds, and each attack was tuned on others than these. Nothing is
    measured where the policy sampled its actions.

    Raises:
        InputError: If the file is not the result of an attack.
    """
    record = AttackRecord.read(path)
    if record.samples_actions:  # of another policy than the one that is deployed
        return []
    try:
        episodes = [_episodes(name, outcome, record) for name, outcome in record.attacks.items()]
        episodes += [_moved_episodes(moved, record) for moved in record.actions or ()]
        return [measurement for played in episodes for measurement in measurements_of(played)]
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _episodes(name: str, outcome: AttackOutcome, record: AttackRecord) -> Episodes:
    clean = name == CLEAN
    return Episodes(
        onnx_sha256=record.onnx_sha256,
        source="no attack" if clean else f"{name}, one of {len(record.attacked)} attacks",
        ball=None if clean else record.ball,
        returns=outcome.returns,
        survived=outcome.survived,
        failures=outcome.failures,
        successes=outcome.successes,
    )


def _moved_episodes(moved: ActionRecord, record: AttackRecord) -> Episodes:
    return replace(_episodes(ACTION, moved.outcome, record), source=moved.box, moves_actions=True)


def _bench_measurements(path: Path) -> list[Measurement]:
    """Return the 99th percentile of the slowest backend of a ``bench.json``, where it has one.

    Raises:
        InputError: If the file is not the result of a benchmark.
    """
    record = BenchRecord.read(path)
    latencies = [
        (entry.p99_us, name) for name, entry in record.backends.items() if entry.p99_us is not None
    ]
    if not latencies:
        return []
    slowest, backend = max(latencies)
    return [
        Measurement(
            quantity="latency_us",
            value=slowest,
            onnx_sha256=record.onnx_sha256,
            source=f"p99 of backend {backend}",
        )
    ]
