"""The attack on the actions reaches the worst of its box, and holds every attack of the suite.

The system is linear: x' = D x + a with a = K x + u, D and K diagonal, and |u_j| <= d_j.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from support.attacks import shorten, target_of
from support.environments import FakeEnv, spec_of, wide_box
from support.policies import file_of, linear_policy
from surefoot.attack.action import ActionAdversary, action_variants
from surefoot.attack.adversary import Adversary
from surefoot.attack.attack_config import FULL, AttackConfig
from surefoot.attack.closed_loop import EvaluateConfig, Evaluation, evaluate
from surefoot.attack.deployed import DeployedController
from surefoot.attack.proved_deviation import CertifiedBox, certified_boxes
from surefoot.attack.sarsa import SarsaSettings
from surefoot.attack.suite import strongest
from surefoot.attack.target import AttackTarget
from surefoot.ball import Ball, Norm
from surefoot.budget import Budget, Scope
from surefoot.certify import CertifyConfig, Evidence, certify_policy
from surefoot.envs.vector import Floats, State, StepResult
from surefoot.errors import CheckError
from surefoot.policy import Array
from surefoot.runtime.load import Backend, controller_of
from surefoot.train.action_box import ActionBox
from surefoot.unknown import Unknown

GAIN = np.diag([0.3, -0.2])
FILE = file_of(linear_policy(GAIN))
LIMITS = np.array([0.5, 0.25])
BOX = CertifiedBox(scope=Scope.EVERYWHERE, limits=tuple(LIMITS.tolist()))
BALL = Ball(norm=Norm.LINF, epsilon=0.25)
PRICE = np.array([1.0, -2.0])
HORIZON = 20
SEEDS = (3, 4, 5)
Reward = Callable[[Floats], Floats]


class LinearSystem(FakeEnv):
    """x' = D x + a, from a state in [0.5, 1]^2; ``loop`` is the diagonal of D + K."""

    def __init__(self, num_envs: int, loop: Sequence[float], reward: Reward) -> None:
        super().__init__(spec_of("Linear-v0", 2, wide_box(2), horizon=HORIZON), num_envs)
        self._drift, self._reward = np.array(loop) - np.diag(GAIN), reward

    def reset(self, seeds: Sequence[int] | None = None) -> Floats:
        assert seeds is not None
        self._x = np.array([start_of(seed) for seed in seeds])
        self._steps = 0
        return self._x.copy()

    def step(self, actions: Array) -> StepResult:
        self._x = self._drift * self._x + actions.astype(np.float64)
        self._steps += 1
        reached, reward = self._x.copy(), self._reward(self._x)
        over = np.full(self.num_envs, self._steps == HORIZON)
        if over[0]:
            self.reset(list(range(self.num_envs)))
        return StepResult(self._x.copy(), reward, np.zeros_like(over), over, reached)

    def state_dict(self) -> State:
        return {"x": self._x.copy(), "steps": self._steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> Floats:
        self._x, self._steps = state["x"].copy(), state["steps"]
        return self._x.copy()


def start_of(seed: int) -> Floats:
    return np.random.default_rng(seed).uniform(0.5, 1, 2)


Kind = tuple[tuple[float, ...], Reward]
STEADY: Kind = ((0.8, 0.3), lambda x: x @ PRICE)
ALTERNATING: Kind = ((-0.8, -0.3), lambda x: -np.abs(x).sum(axis=1))


def system_of(kind: Kind) -> Callable[[int], LinearSystem]:
    return lambda num: LinearSystem(num, *kind)


def least_return(seed: int, kind: Kind, limits: Floats) -> float:
    """The worst case in closed form: x_t = m^t x_0 + sum of m^k u, with every term against us."""
    powers, start = np.arange(1, HORIZON + 1)[:, None], start_of(seed)
    size = np.array([0.8, 0.3])
    swing = limits * (1 - size**powers) / (1 - size)
    if kind is STEADY:
        return float((size**powers * start * PRICE - swing * np.abs(PRICE)).sum())
    return float(-(size**powers * start + swing).sum())


def target_for(kind: Kind) -> AttackTarget:
    return target_of(FILE.policy, BALL, system_of(kind))


def play(adversary: Adversary | ActionAdversary, kind: Kind) -> Evaluation:
    deployed = DeployedController(controller=controller_of(FILE, Backend.NUMPY), policy=FILE.policy)
    return evaluate(deployed, system_of(kind)(2), adversary, EvaluateConfig(seeds=SEEDS))


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch, lesson_steps=40, epochs=2, num_envs=16, rollout_steps=80)


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize(("variant", "kind"), [("steady", STEADY), ("bang-bang", ALTERNATING)])
def test_it_reaches_the_worst_case_of_the_box_and_goes_no_further(variant: str, kind: Kind) -> None:
    found = action_variants(target_for(kind), BOX, 320).adversaries[variant]
    exact = [least_return(seed, kind, LIMITS) for seed in SEEDS]
    np.testing.assert_allclose(play(found, kind).returns, exact, rtol=1e-5)


@pytest.mark.usefixtures("brief")
def test_a_steady_one_cannot_do_what_needs_a_change_of_direction() -> None:
    variants = action_variants(target_for(ALTERNATING), BOX, 320).adversaries
    steady, bang_bang = (play(variants[name], ALTERNATING) for name in ("steady", "bang-bang"))
    assert steady.returns.mean() > bang_bang.returns.mean() + 1


@pytest.mark.usefixtures("brief")
def test_a_learned_one_comes_near_the_worst_case_from_nothing() -> None:
    found = action_variants(target_for(STEADY), BOX, 30_000).adversaries["learned"]
    zero = np.zeros(2)
    for seed, reached in zip(SEEDS, play(found, STEADY).returns, strict=True):
        clean, worst = (least_return(seed, STEADY, limits) for limits in (zero, LIMITS))
        assert worst - 1e-4 <= reached <= clean - 0.8 * (clean - worst)


@pytest.mark.usefixtures("brief")
def test_what_was_found_is_kept_and_is_about_its_box_alone() -> None:
    target = target_for(STEADY)
    first = action_variants(target, BOX, 320)
    again = action_variants(replace(target, make_env=None), BOX, 320)
    assert again.effort == first.effort
    assert again.facts == first.facts
    with pytest.raises(TypeError):  # another box is searched anew
        action_variants(replace(target, make_env=None), replace(BOX, limits=(0.5, 0.5)), 320)


def test_a_move_beyond_the_box_is_refused() -> None:
    class Wider(ActionBox):
        def moved(self, outputs_NM: Array, moves_NM: Array) -> Array:
            moved: Array = (outputs_NM + np.float32(1.001) * moves_NM).astype(np.float32)
            return moved

    box = Wider(FILE.policy, (1.0, 1.0))
    with pytest.raises(CheckError, match="an action left its box"):
        play(ActionAdversary(box, np.ones_like), STEADY)


BUDGET = """[[require]]
quantity = "action_deviation"
epsilon = 0.25
norm = "linf"
scope = "everywhere"
at_most = 1.0

[[require]]
quantity = "action_deviation"
epsilon = 0.25
norm = "linf"
scope = "visited"
fraction = 0.9
confidence = 0.9
at_most = 1.0
"""


@pytest.mark.usefixtures("brief")
def test_the_certified_box_holds_what_every_attack_of_the_suite_did_to_the_actions() -> None:
    observations = np.random.default_rng(0).uniform(-1, 1, (100, 2))
    certificate = certify_policy(
        FILE, Budget.parse(BUDGET), Evidence(observations=observations), CertifyConfig()
    )
    boxes = certified_boxes(certificate, BALL, 2)
    assert not isinstance(boxes, Unknown)
    everywhere, visited = boxes
    limits = np.array(everywhere.limits)
    # Of a linear controller the bound is exact but for roundings: epsilon times the row's sum.
    np.testing.assert_allclose(limits, BALL.epsilon * np.abs(GAIN).sum(axis=1), rtol=1e-3)
    assert (limits >= BALL.epsilon * np.abs(GAIN).sum(axis=1)).all()
    assert (visited.scope, visited.fraction, visited.confidence) == (Scope.VISITED, 0.9, 0.9)
    assert (np.array(visited.limits) <= limits).all()

    config = AttackConfig(
        critic_steps=640, sarsa=SarsaSettings(records=480, epochs=1), adversary_steps=1280
    )
    target = target_for(STEADY)
    moved = action_variants(target, everywhere, 320).adversaries
    tried = {name: play(adversary, STEADY) for name, adversary in moved.items()}
    unexcluded = tried[strongest(tried)]
    for made in FULL.values():
        for adversary in made(target, config).adversaries.values():
            played = play(adversary, STEADY)
            assert (played.deviations <= limits).all()
            assert unexcluded.returns.mean() <= played.returns.mean()
