"""What must stop a suite stops it wherever it shows: on selection episodes, on evaluation episodes,
under an attack that searches and under one that was learned."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from support.certificates import certificate_of
from support.policies import file_of, linear_policy, random_policy, unit_range
from surefoot.attack import attack_config, suite
from surefoot.attack.adversary import Adversary, NoAdversary
from surefoot.attack.attack_config import AttackConfig
from surefoot.attack.closed_loop import Evaluation
from surefoot.attack.learned import LearnedAdversary
from surefoot.attack.mad import PUBLISHED, mad_adversary
from surefoot.attack.suite import run_suite
from surefoot.attack.suite_report import AttackReport
from surefoot.attack.target import Variants
from surefoot.ball import Ball, Norm, Randoms
from surefoot.certificate import Certificate
from surefoot.errors import CheckError
from surefoot.onnx_file import ControllerFile
from surefoot.policy import Activation
from surefoot.runtime.controller import CheckedController
from surefoot.train.game import Direct

BALL = Ball(norm=Norm.LINF, epsilon=0.05)
SMALL = AttackConfig(epsilon=BALL.epsilon, episodes=1, selection_episodes=1, num_threads=1)


@pytest.fixture(scope="module")
def file() -> ControllerFile:
    policy = random_policy(np.random.default_rng(1), (11, 16, 3), Activation.TANH)
    return file_of(unit_range(policy), {"env": {"id": "Hopper-v5"}})


@pytest.fixture(params=["searched", "learned"])
def adversary(request: pytest.FixtureRequest, file: ControllerFile) -> Adversary:
    if request.param == "searched":
        return mad_adversary(file.policy, BALL, PUBLISHED)
    return LearnedAdversary(linear_policy(np.zeros((11, 11)), bias=1.0), Direct(BALL, 11))


Attempt = Callable[..., AttackReport]
"""From an adversary, and a certificate if there is one."""


@pytest.fixture(params=["selection", "evaluation"])
def attempt(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, file: ControllerFile
) -> Attempt:
    """Return a call of a suite that plays an adversary on these episodes, none on the others."""
    play = suite._Suite._play

    def play_here(
        self: suite._Suite,
        name: str,
        variant: str,
        adversary: Adversary,
        seeds: tuple[int, ...],
    ) -> Evaluation:
        here = self.selection_seeds if request.param == "selection" else self.evaluation_seeds
        return play(self, name, variant, adversary if seeds == here else NoAdversary(), seeds)

    def attempt(
        adversary: Adversary,
        certificate: Certificate | None = None,
    ) -> AttackReport:
        attacks = {
            "clean": lambda target, config: Variants(adversaries={"clean": NoAdversary()}),
            "planted": lambda target, config: Variants(adversaries={"planted": adversary}),
        }
        monkeypatch.setitem(attack_config.SUITES, "quick", attacks)
        monkeypatch.setattr(suite._Suite, "_play", play_here)
        return run_suite(file, certificate, SMALL)

    return attempt


class Outside:
    """An adversary whose perturbations are moved a little further."""

    def __init__(self, adversary: Adversary) -> None:
        self.ball, self.effort, self._adversary = adversary.ball, adversary.effort, adversary

    def perturb(self, state: NDArray[np.float32], randoms: Randoms) -> NDArray[np.float32]:
        perturbed = self._adversary.perturb(state, randoms)
        return (state + np.float32(1.01) * (perturbed - state)).astype(np.float32)


def test_a_sound_attack_passes(attempt: Attempt, adversary: Adversary) -> None:
    result = attempt(adversary).attacks["planted"]
    played = [result.evaluation, *result.selection.values()]
    assert max(evaluation.max_deviation for evaluation in played) > 0.01


def test_a_perturbation_outside_of_the_ball_stops_the_suite(
    attempt: Attempt, adversary: Adversary
) -> None:
    with pytest.raises(CheckError, match="Outside left the linf ball"):
        attempt(Outside(adversary))


def test_an_adversary_of_another_ball_stops_the_suite(
    attempt: Attempt, adversary: Adversary
) -> None:
    adversary.ball = replace(BALL, epsilon=0.1)
    with pytest.raises(CheckError, match="the suite is for Ball"):
        attempt(adversary)


def test_a_deviation_beyond_the_certificate_stops_the_suite(
    attempt: Attempt,
    adversary: Adversary,
    file: ControllerFile,
) -> None:
    wrong = certificate_of(file, deviation_linf={"epsilon": 0.05, "best": 1e-4})
    with pytest.raises(CheckError, match="the certificate is wrong"):
        attempt(adversary, wrong)


class Drifting:
    """A controller that is off by a thousandth wherever the state is not an observation's own."""

    def __init__(self, controller: CheckedController) -> None:
        self.name, self.obs_dim = controller.name, controller.obs_dim
        self.num_outputs, self._controller = controller.num_outputs, controller

    def __call__(self, obs: NDArray[np.float64]) -> NDArray[np.float32]:
        return self._controller(obs)

    def from_state(self, state: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._controller.from_state(state) + np.float32(1e-3)


def test_a_controller_that_drifts_from_its_file_stops_the_suite(
    attempt: Attempt,
    adversary: Adversary,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = suite.controller_of
    monkeypatch.setattr(suite, "controller_of", lambda *given: Drifting(whole(*given)))
    with pytest.raises(CheckError, match="not the controller that the file describes"):
        attempt(adversary)
