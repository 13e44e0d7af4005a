"""The results of a run, and its summary: one number for each question of a deployment."""

from dataclasses import dataclass

from surefoot.artifact import Json, read_file
from surefoot.certificate import Certificate
from surefoot.errors import InputError
from surefoot.onnx_file import ControllerFile, load_policy
from surefoot.records import (
    CLEAN,
    AttackRecord,
    BenchRecord,
    LatencySummary,
    RequirementSummary,
    RunSummary,
    TrainingRecord,
    read_stages,
)
from surefoot.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RunResults:
    """The results of a run, all of them about one controller file.

    Attributes:
        name: Gymnasium id of the task; name of the adopted file where none is known.
        file: The controller.
        certificate: What is proved about it.
        training: What its training says; None for a controller that was adopted.
        attack: What attacks did; None for one that names no environment to be attacked in.
        bench: How fast it runs; None where nobody timed it.
    """

    name: str
    file: ControllerFile
    certificate: Certificate
    training: TrainingRecord | None
    attack: AttackRecord | None
    bench: BenchRecord | None


def read_results(run: RunFolder) -> RunResults:
    """Read the results of a run that was certified, attacked where it can be, and perhaps timed.

    A run begins with a training, or with a controller that was adopted.

    Raises:
        InputError: If a result is missing or malformed, or they are about several controllers.
        IntegrityError: If the policy or the certificate was changed.
    """
    file, artifact = load_policy(run.policy)
    adopted = artifact.facts.get("adopted")
    _check_finished(run, adopted=adopted is not None, playable=file.env_id is not None)
    training = TrainingRecord.read(run.training) if adopted is None else None
    attack = AttackRecord.read(run.attack) if run.attack.is_file() else None
    results = RunResults(
        name=_name(training or attack, adopted),
        file=file,
        certificate=Certificate.parse(read_file(run.certificate), str(run.certificate)),
        training=training,
        attack=attack,
        bench=BenchRecord.read(run.bench) if run.bench.is_file() else None,
    )
    _check_one_controller(run, results)
    return results


def _name(known: TrainingRecord | AttackRecord | None, adopted: Json) -> str:
    return str(adopted["source"]) if known is None else known.env


def _check_finished(run: RunFolder, *, adopted: bool, playable: bool) -> None:
    """Refuse a run that lacks a result.

    Raises:
        InputError: If it does.
    """
    needed = [run.certificate] if adopted else [run.training, run.certificate]
    needed += [run.attack] if playable or not adopted else []
    for result in needed:
        if not result.is_file():
            to_do = _to_do(run, adopted=adopted, attack=run.attack in needed)
            raise InputError(f"{run.path} has no {result.name}: {to_do}")


def _to_do(run: RunFolder, *, adopted: bool, attack: bool) -> str:
    """Return what makes the results of a run whole."""
    if not adopted:
        return f"finish `pipeline run --out {run.path}` first"
    if attack:
        return f"certify and attack {run.path}, each with --out in that folder, first"
    return f"certify {run.path}, with --out in that folder, first"


def _check_one_controller(run: RunFolder, results: RunResults) -> None:
    """Refuse results that are about another controller than the certificate.

    Raises:
        InputError: If one is.
    """
    digests = {
        path: record.onnx_sha256
        for path, record in (
            (run.attack, results.attack),
            (run.bench, results.bench),
            (run.training, results.training),
        )
        if record is not None
    }
    for path, digest in {**digests, run.policy: results.file.sha256}.items():
        if digest != results.certificate.onnx_sha256:
            to_do = _to_do(run, adopted=results.training is None, attack=results.attack is not None)
            raise InputError(f"{path} is about another controller than {run.certificate}: {to_do}")


def summarise(run: RunFolder) -> RunSummary:
    """Return the summary of a run that was trained, certified and attacked, and perhaps timed.

    Raises:
        InputError: If a result is missing or malformed, or they are about several controllers.
        IntegrityError: If the policy or the certificate was changed.
    """
    results = read_results(run)
    training, attack, certificate = results.training, results.attack, results.certificate
    if attack is None:
        raise InputError(f"{run.path} has no {run.attack.name}: a summary is of an attacked run")
    timed = {} if results.bench is None else results.bench.backends
    return RunSummary(
        env=results.name,
        steps=None if training is None else training.steps,
        sparsity=results.file.policy.sparsity,
        clean_return=attack.attacks[CLEAN].mean,
        attacked_return={name: outcome.mean for name, outcome in attack.attacked.items()},
        failures={name: outcome.failures for name, outcome in attack.attacks.items()},
        epsilon=attack.epsilon,
        norm=attack.norm,
        readings=attack.readings,
        requirements=tuple(
            RequirementSummary(
                requirement=finding.requirement.describe(),
                at_most=finding.requirement.limit if finding.requirement.about.at_most else None,
                certified=finding.certified,
                sampled=finding.sampled,
                verdict=finding.verdict,
                reason=finding.reason,
                measured=finding.measured,
            )
            for finding in certificate.findings
        ),
        verdict=certificate.verdict,
        latency_us={
            name: LatencySummary(p50=entry.p50_us, p99=entry.p99_us)
            for name, entry in timed.items()
        },
        size_bytes=len(results.file.data),
        weights_sha256=certificate.weights_sha256,
        onnx_sha256=certificate.onnx_sha256,
        budget_sha256=certificate.budget.sha256,
        seconds={name: stage.seconds for name, stage in read_stages(run.stages).items()},
        made_on=None if training is None else training.made_on,
    )
