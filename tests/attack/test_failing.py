"""Controllers and simulations that fail under attack: counted, never dropped, never a crash.

Also of ``attack/restarting_env.py``.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from support.attacks import OF_ERRORS, target_of, tiny_full
from support.environments import FormulaEnv
from support.policies import file_of, linear_policy
from surefoot.attack import attack_config
from surefoot.attack.attack_config import FULL
from surefoot.attack.closed_loop import EvaluateConfig, Evaluation, evaluate
from surefoot.attack.deployed import DeployedController
from surefoot.attack.fitted_critic import fit_value
from surefoot.attack.imitation import record_moves
from surefoot.attack.learned import LearnedConfig, learn_adversary
from surefoot.attack.mad import mad_adversary
from surefoot.attack.restarting_env import RestartingEnv
from surefoot.attack.sarsa import record
from surefoot.attack.suite import run_suite
from surefoot.ball import Ball, Norm
from surefoot.envs import make_env
from surefoot.envs.vector import State, StepResult
from surefoot.errors import CheckError, DivergenceError
from surefoot.policy import (
    Activation,
    Array,
    CategoricalHead,
    GaussianHead,
    Head,
    Layer,
    Normaliser,
    Policy,
    Squash,
)
from surefoot.runtime.load import Backend, controller_of
from surefoot.train.game import Direct

BALL = Ball(norm=Norm.LINF, epsilon=0.5)
TINY = tiny_full(BALL.epsilon)


pytestmark = pytest.mark.usefixtures("brief_training")


def overflowing(obs_dim: int, head: Head, where: float = 0.15, sign: int = 1) -> Policy:
    """Return a policy that in float32 is inf - inf once sign times the first state exceeds where.

    Its float64 twin is finite everywhere.
    """
    num_outputs = head.num_actions if isinstance(head, CategoricalHead) else head.centre.size
    first = np.zeros((2, obs_dim), np.float32)
    first[:, 0] = sign * 1e20
    second = np.tile(np.array([[1e20, -1e20]], np.float32), (num_outputs, 1))
    return Policy(
        normaliser=Normaliser(
            mean=np.zeros(obs_dim, np.float32), scale=np.ones(obs_dim, np.float32), clip=10.0
        ),
        layers=(
            Layer(
                weight=first,
                bias=np.full(2, -where * 1e20, np.float32),
                activation=Activation.RELU,
            ),
            Layer(
                weight=second,
                bias=np.zeros(num_outputs, np.float32),
                activation=Activation.IDENTITY,
            ),
        ),
        head=head,
    )


def gaussian(act_dim: int) -> GaussianHead:
    return GaussianHead(
        std=np.full(act_dim, 0.1),
        squash=Squash.IDENTITY,
        centre=np.zeros(act_dim, np.float32),
        half_range=np.ones(act_dim, np.float32),
    )


def test_a_policy_that_overflows_in_float32_alone() -> None:
    policy = overflowing(4, CategoricalHead(num_actions=2))
    state = np.array([[0.1, 0, 0, 0], [0.4, 0, 0, 0]], np.float32)
    with np.errstate(all="ignore"):
        assert np.isfinite(policy.outputs_at(state)).all(axis=1).tolist() == [True, False]
    assert np.isfinite(policy.outputs_at(state.astype(np.float64))).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("squash", list(Squash))
@pytest.mark.parametrize("backend", [Backend.NUMPY, Backend.ONNX])
def test_an_overflow_is_a_failure_whatever_a_backend_makes_of_it(
    squash: Squash, backend: Backend
) -> None:
    """A Clip of ONNX makes its limit of NaN; the action looks like any other."""
    file = file_of(overflowing(2, replace(gaussian(1), squash=squash)))
    deployed = DeployedController(controller=controller_of(file, backend), policy=file.policy)
    state = np.array([[0.0, 0.0], [1.0, 0.0], [0.1, 0.5]], np.float32)
    for outputs in (deployed.at_states(state), deployed.at_observations(state.astype(np.float64))):
        assert np.isnan(outputs).all(axis=1).tolist() == [False, True, False]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("learn", ["sarsa", "value", "imitation", "adversary"])
@pytest.mark.parametrize("kind", ["nan", "diverging"])
def test_what_learns_from_a_failing_controller_gets_finite_numbers(learn: str, kind: str) -> None:
    diverges = kind == "diverging"
    policy = linear_policy([[1.0, -1.0]]) if diverges else overflowing(2, gaussian(1), -1e9)

    def make(num: int) -> RestartingEnv:
        env = _Diverging(FormulaEnv(2, 1, num), every=5 if diverges else 10**9)
        return RestartingEnv(env)

    target = target_of(policy, BALL, make)
    if learn == "sarsa":
        records = record(target, 640)
        assert len(records) == 640
        assert all(getattr(records, name).isfinite().all() for name in records.__slots__)
    elif learn == "value":
        fitted = fit_value(target, 640)
        assert all(np.isfinite(layer.weight).all() for layer in fitted.layers)
        assert fitted.facts["steps"] == 640
    elif learn == "imitation":
        teacher = mad_adversary(policy, BALL)
        states, moves = record_moves(teacher, policy, Direct(BALL, 2), make, 0)
        assert np.isfinite(states).all()
        assert np.isfinite(moves).all()
    else:
        settings = LearnedConfig(total_steps=1024, num_envs=16, rollout_steps=32)
        learned = learn_adversary(policy, Direct(BALL, 2), settings, make)
        assert learned.facts["diverged"] is None
        assert np.isfinite(learned.facts["returns"]).all()
        # Each of eight episodes in which a snapshot is compared lasts seven steps at most.
        snapshots = learned.effort.env_steps - settings.total_steps
        assert 0 < snapshots <= 8 * 7 * len(learned.facts["returns"])


class _Diverging:
    """Diverges at every so many steps, and is a task without seeds of its own elsewhere."""

    def __init__(self, env: FormulaEnv, every: int) -> None:
        self.spec, self.num_envs, self.resumable = env.spec, env.num_envs, True
        self._env, self._every, self._count = env, every, 0

    def reset(self, seeds: Sequence[int] | None = None) -> NDArray[np.float64]:
        return self._env.reset(seeds)

    def step(self, actions: NDArray[np.float32]) -> StepResult:
        assert np.isfinite(actions).all()
        self._count += 1
        if self._count % self._every == 0:
            raise DivergenceError("diverged")
        return self._env.step(actions)

    def state_dict(self) -> State:
        return {"count": self._count}

    def load_state_dict(self, state: State) -> NDArray[np.float64]:
        self._count = state["count"]
        return self._env._obs()

    def close(self) -> None:
        pass


def test_a_simulation_that_diverges_cuts_every_episode_and_begins_anew() -> None:
    env = RestartingEnv(_Diverging(FormulaEnv(2, 1, 3), every=2))
    before = env.reset([6, 13, 20])
    actions = np.zeros((3, 1), np.float32)
    before = env.step(actions).obs
    cut = env.step(actions)
    assert cut.truncated.all()
    assert not cut.terminated.any()
    assert not cut.reward.any()
    assert np.array_equal(cut.terminal_obs, before)
    assert not np.array_equal(cut.obs, before)
    assert env.state_dict()["restarts"] == 1
    other = RestartingEnv(_Diverging(FormulaEnv(2, 1, 3), every=2))
    other.reset([1, 2, 3])
    other.load_state_dict({"count": 0})  # as stored before there were restarts
    assert other.num_restarts == 0


def test_a_simulation_that_is_sound_is_untouched() -> None:
    plain, steady = make_env("CartPole-v1", 2), RestartingEnv(make_env("CartPole-v1", 2))
    assert np.array_equal(plain.reset([1, 2]), steady.reset([1, 2]))
    for number in range(40):
        actions = np.array([number % 2, number % 3 > 0], np.int64)
        first, second = plain.step(actions), steady.step(actions)
        assert np.array_equal(first.obs, second.obs)
        assert np.array_equal(first.terminated, second.terminated)
    plain.close()
    steady.close()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_failure_is_no_violation_and_hides_none(bad: float) -> None:
    file = file_of(linear_policy([[1.0, -2.0]]))
    healthy = controller_of(file, Backend.NUMPY)

    class Failing:
        name, obs_dim, num_outputs, calls = "failing", 2, 1, 0

        def __call__(self, obs: Array) -> Array:
            return healthy(obs)

        def from_state(self, state: NDArray[np.float32]) -> NDArray[np.float32]:
            self.calls += 1
            return healthy.from_state(state) if self.calls > 1 else np.full((1, 1), bad, np.float32)

    def attempt(certified: float) -> Evaluation | None:
        deployed = DeployedController(controller=Failing(), policy=file.policy)
        config = EvaluateConfig(seeds=(3, 4, 5), certified_deviation=certified)
        adversary = mad_adversary(file.policy, BALL)
        return evaluate(deployed, FormulaEnv(2, 1, 3), adversary, config)

    assert attempt(10.0).num_failures == 1
    with pytest.raises(CheckError, match="more than the certified"):
        attempt(0.1)


def test_the_worst_attack_is_the_one_that_fails_the_controller_though_it_returns_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A pendulum that is left alone swings through its lowest point, where -cos is 1. Its rewards
    # are costs, of which an episode that ends early has fewer.
    policy = overflowing(3, gaussian(1), where=1.1, sign=-1)
    file = file_of(policy, {"env": {"id": "Pendulum-v1"}})
    names = ("clean", "push", "random")
    monkeypatch.setitem(attack_config.SUITES, "full", {name: FULL[name] for name in names})
    report = run_suite(file, None, replace(TINY, epsilon=0.2))
    attacks = report.to_table()["attacks"]
    assert attacks["clean"]["failures"] == 0
    assert attacks["random"]["failures"] == 2
    assert all("not finite" in reason for reason in attacks["random"]["failure_reasons"])
    assert attacks["random"]["mean"] > attacks["clean"]["mean"]
    worst = {"attack": "random", "mean": attacks["random"]["mean"], "failures": 2}
    assert report.to_table()["worst"] == worst
    signs = report.to_table()["gradient_masking"]["signs"]
    assert any("random makes the controller fail in 2 episodes" in sign for sign in signs)


def test_a_whole_suite_on_discrete_choices() -> None:
    # It pushes to where the pole leans, which holds it for a while.
    policy = linear_policy([[0, 0, -1, 0], [0, 0, 1, 0]])
    policy = replace(policy, head=CategoricalHead(num_actions=2))
    file = file_of(policy, {"env": {"id": "CartPole-v1"}})
    report = run_suite(file, None, replace(TINY, epsilon=0.2))
    assert list(report.attacks) == OF_ERRORS
    assert {"margin"} <= set(report.attacks["mad"].selection)
    assert set(report.attacks["push"].selection) == {"action 0", "action 1"}
    assert any("targeted" in name for name in report.attacks["rs"].selection)
    clean = report.attacks["clean"].mean
    assert min(result.mean for result in report.attacks.values()) < clean
    for name, result in report.attacks.items():
        assert (result.evaluation.max_deviation > 0) == (name != "clean")
        assert result.evaluation.num_failures == 0
