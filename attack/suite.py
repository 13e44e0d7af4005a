"""A suite of attacks on one controller file: tuned on some episodes, reported on others."""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from surefoot.artifact import sha256_hex
from surefoot.attack.adversary import Adversary, NoAdversary, random_variants
from surefoot.attack.ball import Ball
from surefoot.attack.certified import certified_deviation
from surefoot.attack.deployed import DeployedController
from surefoot.attack.evaluate import EvaluateConfig, Evaluation, evaluate
from surefoot.attack.mad import mad_variants
from surefoot.attack.push import push_variants
from surefoot.attack.report import CLEAN, AttackReport, AttackResult
from surefoot.attack.seeds import evaluation_seeds, selection_seeds
from surefoot.budget import Norm
from surefoot.certificate import Certificate
from surefoot.envs import describe_env, make_env
from surefoot.errors import InputError, IntegrityError
from surefoot.onnx_format import ControllerFile
from surefoot.policy import Policy
from surefoot.runtime.load import Backend, controller_of, require_arithmetic

Variants = Callable[[Policy, Ball], Mapping[str, Adversary]]
"""From policy and ball to the variants of an attack by name; the strongest is reported."""

OnProgress = Callable[[int, str], None]


def clean_variants(policy: Policy, ball: Ball) -> Mapping[str, Adversary]:
    """Return the loop without an adversary."""
    del policy, ball
    return {CLEAN: NoAdversary()}


QUICK: Mapping[str, Variants] = {
    CLEAN: clean_variants,
    "random": random_variants,
    "mad": mad_variants,
    "push": push_variants,
}
"""What ends within a minute or two: no training, one gradient search per step."""

_SUITES = {"quick": QUICK}
_STEPS_PER_ATTACK = 100
_MAX_ENVS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackConfig:
    """What is attacked, how, and on how many episodes.

    Attributes:
        suite: Which attacks.
        backend: What computes the controller.
        epsilon: Radius of the perturbation set, normalised units; that of the certificate's table
            if it is not given.
        norm: Of the perturbation.
        episodes: Evaluation episodes of each attack: the ones that are reported.
        selection_episodes: Other episodes, on which the variant of each attack is chosen.
        env_id: Gymnasium id; the one that the file names if it is not given.
        env_module: Module that registers it. What the file names is never imported: a file may come
            from anywhere.
        num_threads: Threads of the physics; results do not depend on it.
    """

    suite: Literal["quick"] = "quick"
    backend: Backend = Backend.ONNX
    epsilon: float | None = None
    norm: Norm = Norm.LINF
    episodes: int = 50
    selection_episodes: int = 20
    env_id: str | None = None
    env_module: str | None = None
    num_threads: int = 2

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InputError: If one does not hold.
        """
        if self.epsilon is not None:
            Ball(norm=self.norm, epsilon=self.epsilon)
        for name in ("episodes", "selection_episodes", "num_threads"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def num_steps(self) -> int:
        """Steps in which progress is told: a hundred for each attack."""
        return _STEPS_PER_ATTACK * len(_SUITES[self.suite])


def run_suite(
    file: ControllerFile,
    certificate: Certificate | None,
    config: AttackConfig,
    on_progress: OnProgress | None = None,
) -> AttackReport:
    """Attack a controller file with every attack of a suite.

    The variant of an attack is chosen on selection episodes and reported on evaluation episodes: a
    minimum over variants on the same episodes would be biased low.

    Args:
        file: The deployed file; controller and twin are both made from it.
        certificate: What is proved about it; every deviation is held against it.
        config: The suite.
        on_progress: Is told how many of ``config.num_steps`` are done, and what comes next.

    Raises:
        InputError: If no epsilon or environment is known, or the environment does not fit.
        IntegrityError: If the certificate is about another file.
        VerificationError: If it is about another arithmetic than the runtime has.
        CheckError: If the controller is not its twin, or a certified bound does not hold.
    """
    onnx_sha256 = sha256_hex(file.data)
    if certificate is not None and certificate.onnx_sha256 != onnx_sha256:
        raise IntegrityError(
            f"the certificate is about onnx_sha256 {certificate.onnx_sha256}, "
            f"the controller has {onnx_sha256}"
        )
    if certificate is not None:
        require_arithmetic(certificate)
    suite = _Suite(file, certificate, config, on_progress or (lambda done, remark: None))
    return AttackReport(
        ball=suite.ball,
        suite=config.suite,
        backend=config.backend.value,
        spec=suite.spec,
        onnx_sha256=onnx_sha256,
        seeds={"evaluation": suite.evaluation_seeds, "selection": suite.selection_seeds},
        attacks={name: suite.run(name) for name in _SUITES[config.suite]},
    )


class _Suite:
    """What the attacks of a suite share."""

    def __init__(
        self,
        file: ControllerFile,
        certificate: Certificate | None,
        config: AttackConfig,
        on_progress: OnProgress,
    ) -> None:
        self._config = config
        self._deployed = DeployedController(
            controller=controller_of(file, config.backend), policy=file.policy
        )
        self.ball = Ball(norm=config.norm, epsilon=_epsilon(certificate, config))
        self._certified = certified_deviation(certificate, self.ball) if certificate else None
        self.selection_seeds = selection_seeds(config.selection_episodes)
        self.evaluation_seeds = evaluation_seeds(config.episodes)
        self.spec = describe_env(_env_id(file, config), config.env_module)
        self._on_progress, self._num_done = on_progress, 0

    def run(self, name: str) -> AttackResult:
        """Choose the strongest variant of an attack, and play it on the evaluation episodes."""
        variants = _SUITES[self._config.suite][name](self._deployed.policy, self.ball)
        trials = variants if len(variants) > 1 else {}
        tried: dict[str, Evaluation] = {}
        for variant, adversary in trials.items():
            self._tell(f"{name}, {variant}", len(tried) / (len(trials) + 1))
            tried[variant] = self._play(adversary, self.selection_seeds)
        chosen = strongest(tried) if tried else next(iter(variants))
        self._tell(f"{name}, {chosen}", len(tried) / (len(trials) + 1))
        evaluation = self._play(variants[chosen], self.evaluation_seeds)
        self._num_done += 1
        self._tell(name, 0.0)
        return AttackResult(
            variant=chosen,
            selection=tried,
            evaluation=evaluation,
            certified=None if name == CLEAN else self._certified,
        )

    def _tell(self, remark: str, share: float) -> None:
        self._on_progress(int(_STEPS_PER_ATTACK * (self._num_done + share)), remark)

    def _play(self, adversary: Adversary, seeds: tuple[int, ...]) -> Evaluation:
        env = make_env(
            self.spec.env_id,
            min(len(seeds), _MAX_ENVS),
            num_threads=self._config.num_threads,
            env_module=self._config.env_module,
        )
        config = EvaluateConfig(seeds=seeds, certified_deviation=self._certified)
        with closing(env):
            return evaluate(self._deployed, env, adversary, config)


def strongest(tried: Mapping[str, Evaluation]) -> str:
    """Return the variant that did most harm: the most failures, then the lowest mean return."""
    return min(tried, key=lambda name: (-tried[name].num_failures, tried[name].returns.mean()))


def _epsilon(certificate: Certificate | None, config: AttackConfig) -> float:
    if config.epsilon is not None:
        return config.epsilon
    epsilon = None if certificate is None else certificate.deviation_linf.get("epsilon")
    if epsilon is None:
        raise InputError("attack.epsilon must be given: no certificate names a perturbation")
    return epsilon


def _env_id(file: ControllerFile, config: AttackConfig) -> str:
    if config.env_id is not None:
        return config.env_id
    env = file.metadata.get("env")
    env_id = env.get("id") if isinstance(env, dict) else None
    if not isinstance(env_id, str):
        raise InputError("attack.env_id must be given: the controller file names no environment")
    return env_id
