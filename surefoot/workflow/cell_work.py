"""The work at one cell of a study: train, certify, attack, and put what came of it in the store."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from surefoot.artifact import Json, from_json, read_artifact, read_file
from surefoot.atomic import discard_folder
from surefoot.certificate import Certificate
from surefoot.certify import Analysis
from surefoot.config import read_toml, to_table
from surefoot.errors import CheckError, FolderInUseError
from surefoot.onnx_file import POLICY_FILE, load_policy
from surefoot.ownership import hold_folder
from surefoot.records import AttackRecord, TrainingRecord, read_stages
from surefoot.run_folder import CRITIC_FILE, CURVES_FILE, RunFolder
from surefoot.study.cell_record import CellRecord, CertificateSummary
from surefoot.study.cells import (
    CellSettings,
    cell_digest,
    settings_of,
    settings_table,
    this_maker,
)
from surefoot.study.store import CellStore
from surefoot.workflow.attacking import attack_deployed, shipped_critics
from surefoot.workflow.certifying import certify_analysed
from surefoot.workflow.configuration import Configuration
from surefoot.workflow.evidence_files import gather_evidence
from surefoot.workflow.finished_stages import FinishedStages
from surefoot.workflow.listener import SILENCE
from surefoot.workflow.opening import Deployed
from surefoot.workflow.training import train_run


def make_cell(folder: Path, digest: str) -> None:
    """Do what is missing of a cell, unless it is done.

    Args:
        folder: The study.
        digest: The cell, whose settings lie beside its run folder.

    Raises:
        CheckError: If this code and these libraries are others than those that the cell is for.
        FolderInUseError: If another process works at it.
        InterruptedRun: If a signal asked to stop; what is finished is kept.
    """
    store = CellStore(folder)
    settings = settings_of(read_toml(store.request(digest)), "cell")
    if cell_digest(settings, this_maker()) != digest:
        raise CheckError("the code changed since the study began: give its command again")
    run = RunFolder(store.run(digest))
    with hold_folder(run.path, "run"):
        if not store.holds(digest):
            _CellWork(run, settings, digest).finish(store)
    _clear(store, digest)


def clear_done_cells(store: CellStore) -> None:
    """Clear what killed processes left of cells that are done, and no process works at.

    Raises:
        InputError: If it cannot be removed, or is not ours.
    """
    for digest in store.digests:
        if store.run(digest).exists() or store.request(digest).exists():
            # A cell process that outlives its study may be clearing it: no error, it will be done.
            in_use = suppress(FolderInUseError, BlockingIOError)
            with in_use, hold_folder(store.run(digest), "run"):
                _clear(store, digest)


def _clear(store: CellStore, digest: str) -> None:
    discard_folder(store.run(digest))
    store.request(digest).unlink(missing_ok=True)


class _CellWork:
    """The stages of a cell, each done once."""

    def __init__(self, run: RunFolder, settings: CellSettings, digest: str) -> None:
        self._run = run
        self._settings = settings
        self._digest = digest

    def finish(self, store: CellStore) -> None:
        """Do the stages and keep what came of them."""
        trained = self._train()
        certificate = self._certify() if "certify" in self._settings.stages else None
        attack = self._attack(certificate) if "attack" in self._settings.stages else None
        policy = read_artifact(self._run.policy, "policy")
        record = CellRecord(
            settings=settings_table(self._settings),
            maker=this_maker(),
            stages=read_stages(self._run.stages),
            train=trained,
            curve=_at_evaluations(from_json(policy.files[CURVES_FILE], CURVES_FILE)),
            certificate=None if certificate is None else CertificateSummary.of(certificate),
            attack=attack,
            size_bytes=len(policy.files[POLICY_FILE]),
        )
        files = {name: policy.files[name] for name in (POLICY_FILE, CRITIC_FILE)}
        store.add(self._digest, record, files)

    def _train(self) -> TrainingRecord:
        tables = {"train": to_table(self._settings.train)}
        return train_run(self._run.path, Configuration(tables))

    def _certify(self) -> Certificate:
        settings = self._settings
        budget = Configuration({"require": [dict(entry) for entry in settings.require]}).budget()

        def certify() -> None:
            file = load_policy(self._run.policy)[0]
            evidence = gather_evidence(self._run.path, file, settings.assume)
            analysis = Analysis(file, evidence, settings.certify, budget)
            certify_analysed(analysis, budget, self._run.certificate, SILENCE, draw=False)

        self._once("certify", self._run.certificate, certify)
        return Certificate.parse(read_file(self._run.certificate), str(self._run.certificate))

    def _attack(self, certificate: Certificate | None) -> AttackRecord:
        file = load_policy(self._run.policy)[0]
        critics = shipped_critics(self._run.path, file.sha256)
        target = Deployed(file=file, certificate=certificate)
        out, config = self._run.attack, self._settings.attack
        module = config.env_module or self._settings.train.env_module

        def attack() -> None:
            there = replace(config, env_module=module)
            attack_deployed(target, out, there, critics, SILENCE)

        self._once("attack", out, attack)
        return AttackRecord.read(out)

    def _once(self, name: str, out: Path, perform: Callable[[], None]) -> None:
        """Perform a stage unless its result is there, as it was written."""
        sha256 = load_policy(self._run.policy)[0].sha256
        FinishedStages(self._run.stages, sha256, SILENCE).once(name, self._digest, (out,), perform)


def _at_evaluations(curves: Mapping[str, Sequence[Json]]) -> dict[str, tuple[float | None, ...]]:
    """Return the rows of learning curves at which the policy was evaluated."""
    rows = [row for row, value in enumerate(curves["clean_return"]) if value is not None]
    return {name: tuple(column[row] for row in rows) for name, column in curves.items()}
