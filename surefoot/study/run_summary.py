"""The summary of a run: one number for each question of a deployment."""

from surefoot.artifact import read_file
from surefoot.certificate import Certificate
from surefoot.errors import InputError
from surefoot.onnx_file import load_policy
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


def summarise(run: RunFolder) -> RunSummary:
    """Return the summary of a run that was certified and attacked, and perhaps timed.

    A run begins with a training, or with a controller that was adopted.

    Raises:
        InputError: If a result is missing or malformed, or they are about several controllers.
        IntegrityError: If the policy or the certificate was changed.
    """
    file, artifact = load_policy(run.policy)
    to_do = f"finish `pipeline run --out {run.path}` first"
    if "adopted" in artifact.facts:
        to_do = f"certify and attack {run.path}, each with --out in that folder, first"
    begun = () if "adopted" in artifact.facts else (run.training,)
    for result in (*begun, run.certificate, run.attack):
        if not result.is_file():
            raise InputError(f"{run.path} has no {result.name}: {to_do}")
    training = TrainingRecord.read(run.training) if begun else None
    attack = AttackRecord.read(run.attack)
    certificate = Certificate.parse(read_file(run.certificate), str(run.certificate))
    bench = BenchRecord.read(run.bench) if run.bench.is_file() else None
    for path, digest in (
        (run.attack, attack.onnx_sha256),
        (run.bench, certificate.onnx_sha256 if bench is None else bench.onnx_sha256),
        (run.policy, file.sha256),
        (run.training, file.sha256 if training is None else training.onnx_sha256),
    ):
        if digest != certificate.onnx_sha256:
            raise InputError(f"{path} is about another controller than {run.certificate}: {to_do}")
    return RunSummary(
        env=attack.env if training is None else training.env,
        steps=None if training is None else training.steps,
        sparsity=file.policy.sparsity,
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
            for name, entry in ({} if bench is None else bench.backends).items()
        },
        size_bytes=len(file.data),
        weights_sha256=certificate.weights_sha256,
        onnx_sha256=certificate.onnx_sha256,
        budget_sha256=certificate.budget.sha256,
        seconds={name: stage.seconds for name, stage in read_stages(run.stages).items()},
        made_on=None if training is None else training.made_on,
    )
