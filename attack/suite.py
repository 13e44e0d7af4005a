"""A suite of attacks on one controller file: tuned on some episodes, reported on others."""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Literal

from surefoot.artifact import sha256_hex
from surefoot.attack.adversary import Adversary, Draw, NoAdversary, RandomAdversary
from surefoot.attack.ball import Ball
from surefoot.attack.certified import certified_deviation
from surefoot.attack.deployed import DeployedController
from surefoot.attack.evaluate import EvaluateConfig, Evaluation, evaluate
from surefoot.attack.mad import NOISE_FREE, PUBLISHED, RESTARTS, SLACK, MadAdversary, MadSettings
from surefoot.attack.report import CLEAN, AttackReport, AttackResult
from surefoot.attack.seeds import evaluation_seeds, selection_seeds
from surefoot.budget import Norm
from surefoot.certificate import Certificate
from surefoot.envs import describe_env, make_env
from surefoot.errors import InputError, IntegrityError
from surefoot.onnx_format import ControllerFile
from surefoot.policy import Policy
from surefoot.runtime.load import Backend, controller_of

MakeAdversary = Callable[[Policy, Ball], Adversary]
OnProgress = Callable[[int, str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Attack:
    """An attack and the variants from which the strongest is chosen.

    Attributes:
        name: As reports call it.
        variants: What makes each, by name.
    """

    name: str
    variants: Mapping[str, MakeAdversary]

    @property
    def num_evaluations(self) -> int:
        """Evaluations that choosing and reporting it takes."""
        return 1 if len(self.variants) == 1 else len(self.variants) + 1


def _random(draw: Draw, policy: Policy, ball: Ball) -> Adversary:
    del policy
    return RandomAdversary(ball=ball, draw=draw)


def _mad(settings: MadSettings, policy: Policy, ball: Ball) -> Adversary:
    return MadAdversary(policy, ball, settings)


QUICK = (
    Attack(name=CLEAN, variants={CLEAN: lambda policy, ball: NoAdversary()}),
    Attack(name="random", variants={draw.value: partial(_random, draw) for draw in Draw}),
    Attack(
        name="mad",
        variants={
            "published": partial(_mad, PUBLISHED),
            "noise-free": partial(_mad, NOISE_FREE),
            # The largest change of the action is not always the one that costs the most return.
            "slack": partial(_mad, SLACK),
            "restarts": partial(_mad, RESTARTS),
        },
    ),
)
"""The clean loop, random perturbations and MAD."""

_SUITES = {"quick": QUICK}
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
        """Evaluations in all: the steps in which progress is told."""
        return sum(attack.num_evaluations for attack in _SUITES[self.suite])


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
        CheckError: If the controller is not its twin, or a certified bound does not hold.
    """
    onnx_sha256 = sha256_hex(file.data)
    if certificate is not None and certificate.onnx_sha256 != onnx_sha256:
        raise IntegrityError(
            f"the certificate is about onnx_sha256 {certificate.onnx_sha256}, "
            f"the controller has {onnx_sha256}"
        )
    suite = _Suite(file, certificate, config, on_progress or (lambda done, remark: None))
    return AttackReport(
        ball=suite.ball,
        suite=config.suite,
        backend=config.backend.value,
        spec=suite.spec,
        onnx_sha256=onnx_sha256,
        seeds={"evaluation": suite.evaluation_seeds, "selection": suite.selection_seeds},
        attacks={attack.name: suite.run(attack) for attack in _SUITES[config.suite]},
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

    def run(self, attack: Attack) -> AttackResult:
        """Choose the strongest variant, and play it on the evaluation episodes."""
        tried = {}
        if len(attack.variants) > 1:
            for variant in attack.variants:
                tried[variant] = self._play(attack, variant, self.selection_seeds)
        chosen = strongest(tried) if tried else next(iter(attack.variants))
        return AttackResult(
            variant=chosen,
            selection=tried,
            evaluation=self._play(attack, chosen, self.evaluation_seeds),
            certified=None if attack.name == CLEAN else self._certified,
        )

    def _play(self, attack: Attack, variant: str, seeds: tuple[int, ...]) -> Evaluation:
        self._on_progress(self._num_done, f"{attack.name}, {variant}")
        env = make_env(
            self.spec.env_id,
            min(len(seeds), _MAX_ENVS),
            num_threads=self._config.num_threads,
            env_module=self._config.env_module,
        )
        with closing(env):
            evaluation = evaluate(
                self._deployed,
                env,
                attack.variants[variant](self._deployed.policy, self.ball),
                EvaluateConfig(seeds=seeds, certified_deviation=self._certified),
            )
        self._num_done += 1
        self._on_progress(self._num_done, f"{attack.name}, {variant}")
        return evaluation


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
