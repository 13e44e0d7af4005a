"""surefoot: from a control task to a small neural controller that may be deployed.

A task is trained into a policy, compressed, certified, exported to a bundle, and run:

    task -> train -> Policy -> compress -> Policy -> certify -> Certificate -> export -> Bundle
         -> runtime (actions) and attack (Evaluation)

The words, one per thing:

* policy: the function that a network computes, with normaliser and head.
* controller: a policy on a backend.
* observation: what the sensors give, raw units.
* state: the normalised observation, after normaliser and clip; the input of the network.
* perturbation, epsilon, norm: what an adversary may add, in normalised units unless `raw` is said.
* budget: the requirements of a deployment.
* certificate: bounds, proofs and verdicts about one weights digest.
* bundle: the deployed folder.
* sparsity: the fraction of weights that are zero (biases not counted); density = 1 - sparsity.
* clean return, attacked return: the undiscounted sum of rewards of an episode.

From Python, folders to folders, as the command line does it (``surefoot.workflow``):

    train_run, run_pipeline, adopt_controller, inspect_controller, explore_controller,
    compress_controller, certify_controller, export_controller, verify_bundle, attack_controller,
    benchmark_controller, write_report, make_key_pair, plan_study, run_study,
    redraw_study

and values to values, one function for each stage:

    train_policy, compress_policy, certify_policy, export_bundle, load_controller, evaluate

A name is imported when it is asked for: ``import surefoot`` loads no library, nor anything else.
"""

from surefoot.version import __version__

TYPE_CHECKING = (
    False  # type checkers know it by its name; `typing` would delay the answer to Ctrl-C
)

if TYPE_CHECKING:
    from surefoot.attack import AttackConfig, evaluate, run_suite
    from surefoot.ball import Norm
    from surefoot.budget import Budget, Requirement, Scope
    from surefoot.bundle import Bundle, open_bundle
    from surefoot.certificate import Certificate, Finding, Verdict
    from surefoot.certify import (
        Assumptions,
        CertifyConfig,
        ControlLimit,
        Evidence,
        Measurement,
        certify_policy,
        check_certificate,
        explain,
    )
    from surefoot.compress import OneShotConfig, compress_policy
    from surefoot.errors import (
        CheckError,
        InputError,
        IntegrityError,
        InterruptedRun,
        SurefootError,
        UnprovedError,
        VerificationError,
    )
    from surefoot.export import ExportConfig
    from surefoot.kernels import Kernels, pin_kernels, running_kernels
    from surefoot.onnx_file import ControllerFile, load_policy, save_policy
    from surefoot.policy import Policy
    from surefoot.recordings import StatesFile
    from surefoot.records import AttackRecord, BenchRecord, RunSummary, TrainingRecord
    from surefoot.run_folder import RunFolder
    from surefoot.runtime import (
        Backend,
        BenchConfig,
        Controller,
        load_controller,
        load_controller_file,
        run_benchmark,
    )
    from surefoot.signing import Role, TrustPolicy
    from surefoot.train import TrainConfig, TrainResult, save_trained, train_policy
    from surefoot.visited import Visited
    from surefoot.workflow.adopting import AdoptedController, adopt_controller
    from surefoot.workflow.attacking import attack_controller
    from surefoot.workflow.benchmarking import benchmark_controller
    from surefoot.workflow.certifying import certify_controller
    from surefoot.workflow.compressing import (
        CompressedPolicy,
        compress_controller,
        quantise_controller,
    )
    from surefoot.workflow.configuration import Configuration
    from surefoot.workflow.exploring import ExploredController, explore_controller
    from surefoot.workflow.exporting import (
        ExportedBundle,
        export_bundle,
        export_controller,
        sign_bundle,
    )
    from surefoot.workflow.inspecting import Inspection, inspect_controller
    from surefoot.workflow.key_making import KeyPair, make_key_pair
    from surefoot.workflow.listener import Listener
    from surefoot.workflow.reporting import write_report
    from surefoot.workflow.study_plan import StudyPlan, plan_study
    from surefoot.workflow.studying import Shard, StudySummary, redraw_study, run_study
    from surefoot.workflow.training import train_run
    from surefoot.workflow.verifying import Verification, read_trust, verify_bundle
    from surefoot.workflow.whole_run import run_pipeline

__all__ = [
    "AdoptedController",
    "Assumptions",
    "AttackConfig",
    "AttackRecord",
    "Backend",
    "BenchConfig",
    "BenchRecord",
    "Budget",
    "Bundle",
    "Certificate",
    "CertifyConfig",
    "CheckError",
    "CompressedPolicy",
    "Configuration",
    "ControlLimit",
    "Controller",
    "ControllerFile",
    "Evidence",
    "ExploredController",
    "ExportConfig",
    "ExportedBundle",
    "Finding",
    "InputError",
    "Inspection",
    "IntegrityError",
    "InterruptedRun",
    "Kernels",
    "KeyPair",
    "Listener",
    "Measurement",
    "Norm",
    "OneShotConfig",
    "Policy",
    "Requirement",
    "Role",
    "RunFolder",
    "RunSummary",
    "Scope",
    "Shard",
    "StatesFile",
    "StudyPlan",
    "StudySummary",
    "SurefootError",
    "TrainConfig",
    "TrainResult",
    "TrainingRecord",
    "TrustPolicy",
    "UnprovedError",
    "Verdict",
    "Verification",
    "VerificationError",
    "Visited",
    "__version__",
    "adopt_controller",
    "attack_controller",
    "benchmark_controller",
    "certify_controller",
    "certify_policy",
    "check_certificate",
    "compress_controller",
    "compress_policy",
    "evaluate",
    "explain",
    "explore_controller",
    "export_bundle",
    "export_controller",
    "inspect_controller",
    "load_controller",
    "load_controller_file",
    "load_policy",
    "make_key_pair",
    "open_bundle",
    "pin_kernels",
    "plan_study",
    "quantise_controller",
    "read_trust",
    "redraw_study",
    "run_benchmark",
    "run_pipeline",
    "run_study",
    "run_suite",
    "running_kernels",
    "save_policy",
    "save_trained",
    "sign_bundle",
    "train_policy",
    "train_run",
    "verify_bundle",
    "write_report",
]

_HOMES = {
    "surefoot.attack": ("AttackConfig", "evaluate", "run_suite"),
    "surefoot.ball": ("Norm",),
    "surefoot.budget": ("Budget", "Requirement", "Scope"),
    "surefoot.bundle": ("Bundle", "open_bundle"),
    "surefoot.certificate": ("Certificate", "Finding", "Verdict"),
    "surefoot.certify": (
        "Assumptions",
        "CertifyConfig",
        "ControlLimit",
        "Evidence",
        "Measurement",
        "certify_policy",
        "check_certificate",
        "explain",
    ),
    "surefoot.compress": ("OneShotConfig", "compress_policy"),
    "surefoot.errors": (
        "CheckError",
        "InputError",
        "IntegrityError",
        "InterruptedRun",
        "SurefootError",
        "UnprovedError",
        "VerificationError",
    ),
    "surefoot.export": ("ExportConfig",),
    "surefoot.kernels": ("Kernels", "pin_kernels", "running_kernels"),
    "surefoot.onnx_file": ("ControllerFile", "load_policy", "save_policy"),
    "surefoot.policy": ("Policy",),
    "surefoot.records": ("AttackRecord", "BenchRecord", "RunSummary", "TrainingRecord"),
    "surefoot.recordings": ("StatesFile",),
    "surefoot.run_folder": ("RunFolder",),
    "surefoot.runtime": (
        "Backend",
        "BenchConfig",
        "Controller",
        "load_controller",
        "load_controller_file",
        "run_benchmark",
    ),
    "surefoot.signing": ("Role", "TrustPolicy"),
    "surefoot.train": ("TrainConfig", "TrainResult", "save_trained", "train_policy"),
    "surefoot.visited": ("Visited",),
    "surefoot.workflow.adopting": ("AdoptedController", "adopt_controller"),
    "surefoot.workflow.attacking": ("attack_controller",),
    "surefoot.workflow.benchmarking": ("benchmark_controller",),
    "surefoot.workflow.certifying": ("certify_controller",),
    "surefoot.workflow.compressing": (
        "CompressedPolicy",
        "compress_controller",
        "quantise_controller",
    ),
    "surefoot.workflow.configuration": ("Configuration",),
    "surefoot.workflow.exporting": (
        "ExportedBundle",
        "export_bundle",
        "export_controller",
        "sign_bundle",
    ),
    "surefoot.workflow.exploring": ("ExploredController", "explore_controller"),
    "surefoot.workflow.inspecting": ("Inspection", "inspect_controller"),
    "surefoot.workflow.key_making": ("KeyPair", "make_key_pair"),
    "surefoot.workflow.listener": ("Listener",),
    "surefoot.workflow.reporting": ("write_report",),
    "surefoot.workflow.study_plan": ("StudyPlan", "plan_study"),
    "surefoot.workflow.studying": ("Shard", "StudySummary", "redraw_study", "run_study"),
    "surefoot.workflow.training": ("train_run",),
    "surefoot.workflow.verifying": ("Verification", "read_trust", "verify_bundle"),
    "surefoot.workflow.whole_run": ("run_pipeline",),
}
"""The names by the module that has them."""

_MODULES = {name: module for module, names in _HOMES.items() for name in names}

if not TYPE_CHECKING:  # or every name would be right

    def __getattr__(name: str) -> object:
        """Import a name when it is first asked for (PEP 562).

        Raises:
            AttributeError: If there is no such name.
        """
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(_MODULES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
