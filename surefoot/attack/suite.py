"""A suite of attacks on one controller file: tuned on some episodes, reported on others."""

import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from surefoot.artifact import Json, sha256_hex
from surefoot.attack.action import ActionAdversary, ActionVariants, action_variants
from surefoot.attack.adversary import Adversary, NoAdversary
from surefoot.attack.attack_config import LEARNED, OF_WHOLE_BALL, STEPS_PER_ATTACK, AttackConfig
from surefoot.attack.behind_gate import WITHIN, DeployedGate, WithinGate
from surefoot.attack.bias import BIAS
from surefoot.attack.blackbox_attacks import masking_ratio, masking_signs
from surefoot.attack.closed_loop import EvaluateConfig, Evaluation, check_fit, evaluate
from surefoot.attack.constant import CONSTANT
from surefoot.attack.cost import Cost
from surefoot.attack.critic_attacks import check_critics
from surefoot.attack.deployed import DeployedController
from surefoot.attack.late import DELAY, LateAdversary
from surefoot.attack.perturbation_set import PerturbationSet, perturbation_set
from surefoot.attack.proved_deviation import CertifiedBox, certified_deviation
from surefoot.attack.restarting_env import RestartingEnv
from surefoot.attack.seeds import evaluation_seeds, selection_seeds
from surefoot.attack.store import Store, open_store
from surefoot.attack.suite_inputs import boxes_of, check_law, deployed_gate, env_id_of, success_of
from surefoot.attack.suite_report import ActionResult, AttackReport, AttackResult
from surefoot.attack.target import AttackTarget, Variants
from surefoot.attack.transfer import seen_through
from surefoot.ball import Ball, States
from surefoot.certificate import Certificate
from surefoot.config import to_table
from surefoot.envs import VectorEnv, check_replay, describe_env, make_env, module_digest
from surefoot.errors import CheckError, InputError, IntegrityError, InterruptedRun, ReplayError
from surefoot.gate import Gate
from surefoot.onnx_file import ControllerFile
from surefoot.policy import Layer
from surefoot.provenance import code_digest
from surefoot.records import ACTION, CLEAN, GradientMasking
from surefoot.robot import Robot
from surefoot.runtime.controller_file import load_controller_file
from surefoot.runtime.load import controller_of, require_arithmetic
from surefoot.train.folder import critic_to_bytes
from surefoot.train.game import finite
from surefoot.train.signals import StopRequest
from surefoot.train.train_config import Resume
from surefoot.version import __version__

AnyAdversary = Adversary | ActionAdversary

OnProgress = Callable[[int, str], None]

_MAX_ENVS = 64
_STATES_AFTER = 25
_TRAINING_SHARE = 0.8
"""Share of an attack's progress that goes to training, where there is any."""


def run_suite(
    file: ControllerFile,
    certificate: Certificate | None,
    config: AttackConfig,
    on_progress: OnProgress | None = None,
    *,
    critics: Mapping[str, tuple[Layer, ...]] | None = None,
    work: Path | None = None,
    robot: Robot | None = None,
    gate: Gate | None = None,
) -> AttackReport:
    """Attack a controller file with every attack of a suite.

    The variant of an attack is chosen on selection episodes and reported on evaluation episodes: a
    minimum over variants on the same episodes would be biased low.

    Args:
        file: The deployed file; controller and twin are both made from it.
        certificate: Certificate of the controller; every deviation is held against it.
        config: The suite.
        on_progress: Is told how many of ``config.num_steps`` are done, and what comes next.
        critics: Layers from states to values, by where they come from: controls beside the critic
            that is fitted here.
        work: Folder for what is finished, so that the same call resumes after an interruption.
        robot: Robot whose sensors a perturbation in raw units names; by default that of the
            certificate.
        gate: Gate behind which the controller is deployed; None for none.

    Raises:
        InterruptedRun: If a signal asked to stop; what is finished stays in ``work``.
        InputError: If no epsilon or environment is known, the environment does not fit, or there is
            a function to fall back to and nothing that does.
        IntegrityError: If the certificate is about another file.
        VerificationError: If it is about another arithmetic than the runtime has.
        CheckError: If the controller is not its twin, or a certified bound does not hold.
    """
    onnx_sha256 = file.sha256
    if certificate is not None and certificate.onnx_sha256 != onnx_sha256:
        raise IntegrityError(
            f"the certificate is about onnx_sha256 {certificate.onnx_sha256}, "
            f"the controller has {onnx_sha256}"
        )
    if certificate is not None:
        require_arithmetic(certificate)
    # On a few rows a second thread costs more than it does.
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with StopRequest() as stop, ExitStack() as stack:
        stack.callback(torch.set_num_threads, num_threads)

        def tell(done: int, remark: str) -> None:
            if on_progress is not None:
                on_progress(done, remark)
            if stop.requested:
                raise InterruptedRun(
                    "interrupted; what is finished is kept" if work else "interrupted"
                )

        store = stack.enter_context(open_store(work))
        attacked = perturbation_set(file.policy, certificate, config.perturbation, robot)
        guarded = deployed_gate(file, gate, config)
        suite = _Suite(file, certificate, config, attacked, tell, critics or {}, store, guarded)
        attacks = {name: suite.run(name) for name in suite.played}
        actions = tuple(suite.run_actions(box) for box in suite.boxes)
        masking = suite.masking(attacks) if config.suite_name == "full" else None
        tell(config.num_steps, "done")
    return AttackReport(
        ball=suite.ball,
        suite=config.suite_name,
        backend=config.backend.value,
        spec=suite.spec,
        onnx_sha256=onnx_sha256,
        seeds={"evaluation": suite.evaluation_seeds, "selection": suite.selection_seeds},
        attacks=attacks,
        actions=actions,
        settings=suite.settings,
        masking=masking,
        readings=attacked.readings,
        gate=None if guarded is None else guarded.words,
    )


def _key_of(config: AttackConfig) -> dict[str, Json]:
    """Return the settings that learned results depend on, beside controller, task and ball."""
    learned = ("selection_episodes", "critic_steps", "sarsa", "adversary_steps")
    settings = to_table(config)
    return {
        "code": code_digest(),
        "attacks": list(config.played),
        "backend": config.backend.value,
        "versions": [__version__, version("torch"), version("numpy")],
        "settings": {name: settings[name] for name in learned},
    }


class _Suite:
    """What the attacks of a suite share."""

    def __init__(
        self,
        file: ControllerFile,
        certificate: Certificate | None,
        config: AttackConfig,
        attacked: PerturbationSet,
        on_progress: OnProgress,
        critics: Mapping[str, tuple[Layer, ...]],
        store: Store,
        gate: DeployedGate | None,
    ) -> None:
        self._config, self._gate = config, gate
        self.settings = to_table(config)
        self._success = success_of(config)
        self._deployed = DeployedController(
            controller=controller_of(file, config.backend), policy=file.policy
        )
        others = {path: load_controller_file(Path(path)) for path in config.transfer_from}
        self.ball = attacked.ball
        errors = replace(self.ball, delays=None)  # of the attacks that hold nothing back
        self._certified = certified_deviation(certificate, errors) if certificate else None
        self.selection_seeds = selection_seeds(config.selection_episodes)
        self.evaluation_seeds = evaluation_seeds(config.episodes)
        self.boxes = boxes_of(file, certificate, errors, config)
        self.spec = describe_env(env_id_of(file, config), config.env_module)
        check_fit(file.policy, self.spec)
        check_law(file.policy, config)
        for path, other in others.items():
            seen_through(file.policy, other.policy, path)
        if "critic" in config.played:
            check_critics(file.policy, critics, config.critic_steps)
        self._store = store
        self._on_progress, self._num_done = on_progress, 0
        self._key: Json = {
            "onnx_sha256": file.sha256,
            "env": [self.spec.env_id, self.spec.packages, module_digest(config.env_module)],
            "ball": to_table(self.ball),
            "others": {name: other.sha256 for name, other in others.items()},
            "critics": {name: sha256_hex(critic_to_bytes(one)) for name, one in critics.items()},
            **_key_of(config),
        }
        self._chosen: dict[str, str] = {}
        self._harm: dict[str, tuple[tuple[int, float], Adversary]] = {}
        self._target = AttackTarget(
            policy=file.policy,
            ball=self.ball,
            make_env=lambda num_envs: RestartingEnv(self._make_env(num_envs)),
            store=store,
            key=self._key,
            tell=self._tell,
            query=self._deployed.query,
            critics=critics,
            others={name: other.policy for name, other in others.items()},
            resume=self._resume() if LEARNED & config.played.keys() or self.boxes else "replay",
        )

    def _resume(self) -> Resume:
        """Choose how an interrupted training of an adversary resumes."""
        try:
            check_replay(self._make_env)
        except ReplayError as error:
            warnings.warn(f"{error}; adversaries begin new episodes", stacklevel=2)
            return "new_episodes"
        return "replay"

    @property
    def played(self) -> tuple[str, ...]:
        """Names of the attacks that are played: of delays and biases only where there are such.

        Raises:
            InputError: If one was asked for by its name, and there are none.
        """
        known = {DELAY: self.ball.delays, BIAS: self.ball.biases}
        missing = {name for name, given in known.items() if given is None}
        for name in missing & set(self._config.attacks):
            raise InputError(f"attacks must not name {name!r} here: perturb has no {name}")
        return tuple(name for name in self._config.played if name not in missing)

    def _ball_of(self, name: str) -> Ball:
        """Return the perturbation set of an attack: what stays the same may not vary in one."""
        return self.ball if name in OF_WHOLE_BALL else self.ball.varying

    def run(self, name: str) -> AttackResult:
        """Choose the strongest variant of an attack, and play it on the evaluation episodes."""
        target = replace(
            self._target,
            ball=self._ball_of(name),
            strongest=self._strongest(lambda found: not found.startswith(CONSTANT)),
            constant=self._strongest(lambda found: found.startswith(CONSTANT)),
            chosen=dict(self._chosen),
        ).at(0.0, _TRAINING_SHARE)
        if target.ball.epsilon == 0 and name != DELAY:  # there is nothing to search or learn
            attack = Variants(adversaries={CLEAN: NoAdversary()})
        else:
            attack = self._config.played[name](target, self._config)
            attack = attack if name == DELAY else self._knowing(attack)
        bound = None if name in (CLEAN, DELAY) else self._certified
        result = self._reported(name, attack, bound)
        self._chosen[name] = result.variant.removesuffix(WITHIN)
        if result.selection and name not in (DELAY, BIAS):  # no other attack begins with these
            # By selection episodes: those that are reported must not choose anything.
            standing = result.selection[result.variant].standing
            self._harm[f"{name}, {result.variant}"] = standing, attack.adversaries[result.variant]
        return result

    def _knowing(self, attack: Variants) -> Variants:
        """Return the variants of an attack, and each of them once more kept within the gate."""
        if self._gate is None:
            return attack
        knowing = {
            f"{name}{WITHIN}": WithinGate(adversary)
            for name, adversary in attack.adversaries.items()
            if adversary.ball.epsilon
        }
        return replace(attack, adversaries={**attack.adversaries, **knowing})

    def run_actions(self, box: CertifiedBox) -> ActionResult:
        """Choose and play what moves the actions themselves, within a box."""
        target = self._target.at(0.0, _TRAINING_SHARE)
        attack = action_variants(target, box, self._config.adversary_steps)
        result = self._reported(f"{ACTION}, {box.scope}", attack, max(box.limits))
        return ActionResult(box=box, result=result)

    def _reported(
        self, name: str, attack: Variants | ActionVariants, certified: float | None
    ) -> AttackResult:
        """Choose the strongest variant, and play it on the evaluation episodes."""
        variants: Mapping[str, AnyAdversary] = attack.adversaries
        # One variant alone is tried, too: it may be the strongest attack so far.
        trials = {} if list(variants) == [CLEAN] else variants
        tried: dict[str, Evaluation] = {}
        began = _TRAINING_SHARE if attack.effort.env_steps else 0.0
        width = (1 - began) / (len(trials) + 1)
        for variant, adversary in trials.items():
            self._tell(began + width * len(tried), f"{name}, {variant}")
            tried[variant] = self._play(name, variant, adversary, self.selection_seeds)
        chosen = strongest(tried) if tried else next(iter(variants))
        self._tell(began + width * len(tried), f"{name}, {chosen}")
        evaluation = self._play(name, chosen, variants[chosen], self.evaluation_seeds)
        self._num_done += 1
        self._tell(0.0, name)
        return AttackResult(
            variant=chosen,
            selection=tried,
            evaluation=evaluation,
            certified=certified,
            effort=attack.effort + _effort(variants, tried) + _played(variants[chosen], evaluation),
            facts=attack.facts,
            adversary=variants[chosen],
        )

    def _strongest(self, counts: Callable[[str], bool]) -> tuple[str, Adversary] | None:
        """Return the adversary that did most harm so far, among those whose names count."""
        names = [name for name in self._harm if counts(name)]
        worst = min(names, key=lambda name: self._harm[name][0], default=None)
        return None if worst is None else (worst, self._harm[worst][1])

    def masking(self, attacks: Mapping[str, AttackResult]) -> GradientMasking:
        """Return the signs of masked gradients: searches without them that do better."""
        if self.ball.varying.epsilon == 0:
            return GradientMasking(ratio=1.0, signs=())
        states = self._some_states()
        randoms = [np.random.default_rng(row) for row in range(len(states))]
        ratio = masking_ratio(
            self._deployed.policy, self.ball.varying, self._deployed.query, states, randoms
        )
        returns = {name: result.evaluation.returns for name, result in attacks.items()}
        errors = {name: float(one.std() / len(one) ** 0.5) for name, one in returns.items()}
        means = {name: result.mean for name, result in attacks.items()}
        failures = {name: result.evaluation.num_failures for name, result in attacks.items()}
        signs = masking_signs(ratio, means, errors, failures)
        return GradientMasking(ratio=ratio, signs=tuple(signs))

    def _some_states(self) -> States:
        """Return states of the clean controller, from selection episodes."""
        policy, states = self._deployed.policy, []
        with closing(RestartingEnv(self._make_env(8))) as env:
            obs = env.reset(selection_seeds(8))
            for step in range(_STATES_AFTER * 8):
                if step % _STATES_AFTER == 0:
                    states.append(self._deployed.states(obs))
                obs = env.step(policy.head.select(finite(policy.outputs(obs, np.float32)))).obs
        return np.concatenate(states)

    def _tell(self, share: float, remark: str) -> None:
        self._on_progress(int(STEPS_PER_ATTACK * (self._num_done + share)), remark)

    def _make_env(self, num_envs: int) -> VectorEnv:
        config = self._config
        return make_env(
            self.spec.env_id,
            num_envs,
            num_threads=config.num_threads,
            env_module=config.env_module,
        )

    def _play(
        self, name: str, variant: str, adversary: AnyAdversary, seeds: tuple[int, ...]
    ) -> Evaluation:
        """Play episodes, unless that was done before.

        Raises:
            CheckError: If the adversary has another ball than the suite reports.
        """
        key = [self._key, self._certified, name, variant, list(seeds), self._config.success]
        if self._config.samples:
            key.append(self._config.actions)
        if self._gate is not None:
            key.append([self._gate.gate.to_table(), self._config.fallback])
        if isinstance(adversary, ActionAdversary):
            key.append(list(adversary.box.limits))
        elif adversary.ball not in (self.ball, self.ball.varying) and adversary.ball.epsilon != 0:
            raise CheckError(
                f"{name}, {variant} has {adversary.ball}; the suite is for {self.ball}"
            )
        piece = self._store.get("evaluation", key)
        if piece is not None:
            return Evaluation.from_json(piece)
        # The box of the one is checked, exactly, and the bound is about no delay.
        is_beyond = isinstance(adversary, (ActionAdversary, LateAdversary))
        config = EvaluateConfig(
            seeds=seeds,
            certified_deviation=None if is_beyond else self._certified,
            success=self._success,
            samples=self._config.samples,
            gate=self._gate,
        )
        with closing(self._make_env(min(len(seeds), _MAX_ENVS))) as env:
            evaluation = evaluate(self._deployed, env, adversary, config)
        self._store.put("evaluation", key, evaluation.to_json())
        return evaluation


def _effort(variants: Mapping[str, AnyAdversary], tried: Mapping[str, Evaluation]) -> Cost:
    """Return the cost of choosing among the variants."""
    parts = (_played(variants[name], evaluation) for name, evaluation in tried.items())
    return sum(parts, start=Cost())


def _played(adversary: AnyAdversary, evaluation: Evaluation) -> Cost:
    num_steps = int(evaluation.lengths.sum())
    return adversary.effort.times(num_steps) + Cost(env_steps=num_steps)


def strongest(tried: Mapping[str, Evaluation]) -> str:
    """Return the variant that did most harm."""
    return min(tried, key=lambda name: tried[name].standing)
