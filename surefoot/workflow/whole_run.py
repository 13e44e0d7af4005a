"""The whole run: every stage from one configuration, skipping what is already done."""

from pathlib import Path

from surefoot.artifact import MANIFEST, Json, is_folder_of, read_file, sha256_hex, write_file
from surefoot.atomic import discard_folder
from surefoot.budget import Budget
from surefoot.bundle import open_bundle
from surefoot.certificate import Certificate, Verdict
from surefoot.certify import Analysis
from surefoot.config import to_table
from surefoot.envs import module_digest
from surefoot.errors import InputError, VerificationError
from surefoot.onnx_file import load_policy
from surefoot.output_path import check_replaceable, check_run_folder
from surefoot.ownership import hold_folder
from surefoot.provenance import code_digest
from surefoot.quantities.latency import LATENCY_US
from surefoot.records import RunSummary
from surefoot.run_folder import RunFolder, picture_of
from surefoot.runtime.controller_file import load_controller_file
from surefoot.study.run_summary import summarise
from surefoot.train.folder import critic_to_bytes
from surefoot.visited import VISITED_FILE, Visited
from surefoot.workflow.attacking import attack_deployed, shipped_critics
from surefoot.workflow.benchmarking import benchmark_deployed
from surefoot.workflow.certifying import certify_analysed
from surefoot.workflow.configuration import Configuration
from surefoot.workflow.evidence_files import gather_evidence
from surefoot.workflow.exporting import export_controller
from surefoot.workflow.finished_stages import FinishedStages
from surefoot.workflow.listener import SILENCE, Listener
from surefoot.workflow.opening import Deployed
from surefoot.workflow.reporting import write_report
from surefoot.workflow.robot_file import read_robot, robot_of
from surefoot.workflow.training import train_run


def run_pipeline(
    out: Path,
    configuration: Configuration,
    *,
    budget: Budget | None = None,
    listener: Listener = SILENCE,
) -> RunSummary:
    """Train, certify, export, attack, benchmark and report into one run folder.

    Args:
        out: The run folder; a started run resumes at the first missing stage.
        configuration: Every stage. It is kept in the folder, so that ``certify`` answers the same
            budget.
        budget: The requirements, instead of the ``[[require]]`` tables.
        listener: Is told of progress and of each stage.

    Raises:
        InputError: If the configuration is wrong, or the folder is not ours or in use by another
            process.
        IntegrityError: If a result of the folder was changed after it was written.
        CheckError: If a check of a stage fails.
        InterruptedRun: If a signal asked to stop; what is finished is kept.
    """
    budget = budget or configuration.budget()
    configuration = configuration.with_budget(budget)
    check_run_folder(out)
    described = configuration.training().robot
    # Before hours of training: a word that the robot has not.
    budget.check_words(None if described is None else read_robot(Path(described)))
    with hold_folder(out, "run"):
        return _run_held(out, configuration, budget, listener)


def _run_held(
    out: Path, configuration: Configuration, budget: Budget, listener: Listener
) -> RunSummary:
    """Run every stage into a folder in which no other process works."""
    check_replaceable(RunFolder(out).results)
    train_run(out, configuration, listener=listener)
    stages = _Stages(RunFolder(out), configuration, budget, listener)
    # What is measured on the file must be known before the budget can be decided; a latency only
    # where it is asked for, because no two benchmarks give the same number.
    draft = stages.draft_certificate()
    stages.attack(draft)
    timed = any(requirement.about is LATENCY_US for requirement in budget.requirements)
    if timed:
        stages.bench(draft)
    certificate = stages.certificate(timed=timed)
    stages.export(certificate)
    stages.attack(certificate)
    stages.bench(certificate)
    summary = summarise(stages.run)
    write_file(stages.run.summary, summary.to_json())
    write_report(out)
    return summary


class _Stages:
    """The stages after training, each done once for the same inputs by the same code."""

    def __init__(
        self, run: RunFolder, configuration: Configuration, budget: Budget, listener: Listener
    ) -> None:
        self.run = run
        self.file, folder = load_policy(run.policy)
        states = folder.files.get(VISITED_FILE)
        self._recorded = None if states is None else Visited.from_bytes(states).recorded
        self._configuration = configuration
        self._budget = budget
        self._listener = listener
        self._finished = FinishedStages(run.stages, self.file.sha256, listener)

    def draft_certificate(self) -> Certificate:
        """Certify without the measurements on the file."""
        out = self.run.draft_certificate
        self._finished.once(
            "certify before measuring",
            self._certified_inputs(),
            (out, picture_of(out)),
            lambda: self._certify(out, None, None, draw=False),
        )
        return _read_certificate(out)

    def certificate(self, *, timed: bool) -> Certificate:
        """Certify with the measurements of the run; latencies count only if ``timed``."""
        out, run = self.run.certificate, self.run
        bench = run.bench if timed else None
        measured = [run.attack, *([] if bench is None else [bench])]
        self._finished.once(
            "certify",
            self._certified_inputs() + [sha256_hex(read_file(path)) for path in measured],
            (out, picture_of(out)),
            lambda: self._certify(out, run.attack, bench, draw=True),
        )
        return _read_certificate(out)

    def _certified_inputs(self) -> list[Json]:
        tables = self._configuration.tables
        robot = robot_of(self.run.path)
        said = [] if robot is None else [robot.text]
        return [self._budget.text, tables.get("certify", {}), tables.get("assume", {}), *said]

    def _certify(self, out: Path, attack: Path | None, bench: Path | None, *, draw: bool) -> None:
        evidence = gather_evidence(
            self.run.path,
            self.file,
            self._configuration.assumptions(),
            attack=attack,
            bench=bench,
            gate=self._budget.gate,
        )
        certification = self._configuration.certification()
        analysis = Analysis(self.file, evidence, certification, self._budget)
        certify_analysed(analysis, self._budget, out, self._listener, draw=draw)

    def export(self, certificate: Certificate) -> None:
        """Write the bundle of a proved policy; without a proof none stays in the folder."""
        folder = self.run.bundle
        if certificate.verdict is not Verdict.PROVED:
            self._listener.remark(f"not exported: the verdict is {certificate.verdict}")
            if is_folder_of(folder, "bundle"):
                # It was proved for another budget; a robot must not find it under this run.
                discard_folder(folder)
                self._listener.remark(f"removed {folder}: it was exported for another budget")
            return
        self._finished.once(
            "export",
            [sha256_hex(certificate.to_json()), self._configuration.tables.get("export", {})],
            (folder / MANIFEST,),
            lambda: export_controller(
                self.run.path,
                certificate,
                folder,
                config=self._configuration.exporting(),
                every_target=self._configuration.wants_every_target,
                listener=self._listener,
            ),
            holds=_verifies(folder),
        )

    def attack(self, certificate: Certificate) -> None:
        """Attack the bundle's controller; the policy's own file, the same bytes, without one."""
        out = self.run.attack
        module = self._configuration.training().env_module
        table = self._configuration.tables.get("attack", {})
        table = ({"env_module": module} if module else {}) | table
        config = Configuration({"attack": table}).attacking()
        critics = shipped_critics(self.run.path, self.file.sha256)
        read = [critic_to_bytes(critic) for critic in critics.values()]
        read += [load_controller_file(Path(other)).data for other in config.transfer_from]
        target = self._deployed(certificate)
        inputs = [table, code_digest(), module_digest(module), _bounds_of(certificate)]
        inputs += [] if target.gate is None else [target.gate.to_table()]
        self._finished.once(
            "attack",
            inputs + [sha256_hex(data) for data in read],
            (out, picture_of(out)),
            lambda: attack_deployed(target, out, config, critics, self._listener),
        )

    def _deployed(self, certificate: Certificate) -> Deployed:
        """Return the controller as its bundle has it, with the gate on which it rests."""
        return Deployed(
            file=self.file,
            certificate=certificate,
            gate=None if certificate.gate is None else certificate.gate.gate,
            recorded=self._recorded,
        )

    def bench(self, certificate: Certificate) -> None:
        """Benchmark the bundle's controller."""
        out, target = self.run.bench, self._deployed(certificate)
        table: Json = self._configuration.tables.get("bench", {})
        self._finished.once(
            "bench",
            table if target.gate is None else [table, target.gate.to_table()],
            (out, picture_of(out)),
            lambda: benchmark_deployed(
                target,
                out,
                self._configuration.benchmarking(),
                every_backend=self._configuration.wants_every_backend,
                listener=self._listener,
            ),
        )


def _verifies(bundle: Path) -> bool:
    """Return True if every file of a bundle verifies."""
    try:
        open_bundle(bundle)
    except (InputError, VerificationError):
        return False
    return True


def _read_certificate(path: Path) -> Certificate:
    return Certificate.parse(read_file(path), str(path))


def _bounds_of(certificate: Certificate) -> Json:
    """Return the bounds that an attack is held against: all but what attacks measured."""
    findings = [entry.to_table() for entry in certificate.findings if not entry.measured]
    return [
        dict(certificate.deviation_linf),
        dict(certificate.lipschitz_l2),
        list(certificate.runtime_error),
        to_table(certificate.claims.per_actuator, nulls=True),
        findings,
    ]
