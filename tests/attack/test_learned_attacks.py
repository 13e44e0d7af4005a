from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NoReturn

import numpy as np
import pytest

from support.attacks import shorten, target_of
from support.environments import OneStepEnv
from support.policies import linear_policy
from surefoot.attack import learned_attacks
from surefoot.attack.constant import ConstantAdversary
from surefoot.attack.learned import LearnedConfig, LearnedStart, learn_start
from surefoot.attack.learned_attacks import pa_ad_variants, sa_rl_variants
from surefoot.attack.push import push_variants
from surefoot.attack.store import Store
from surefoot.attack.target import AttackTarget, Variants
from surefoot.ball import Ball, Norm
from surefoot.policy import Policy
from surefoot.train.game import Direct

BALL = Ball(norm=Norm.LINF, epsilon=0.5)
GAIN = np.array([1.0, -0.5])
NUM_ENVS, ROLLOUT_STEPS = 16, 32
ITERATION = NUM_ENVS * ROLLOUT_STEPS
TOTAL = 10 * ITERATION


@pytest.fixture(scope="module", autouse=True)
def _short_iterations() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        size = {"num_envs": NUM_ENVS, "rollout_steps": ROLLOUT_STEPS}
        shorten(patch, lesson_steps=200, epochs=20, **size)
        yield


@pytest.fixture(scope="module")
def told() -> list[float]:
    return []


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, told: list[float]) -> AttackTarget:
    policy = linear_policy([[2.0, -1.0, 0.5], [-1.0, 0.5, 2.0]])
    return target_of(
        policy,
        BALL,
        lambda num: OneStepEnv(num, 3, GAIN),
        store=Store(tmp_path_factory.mktemp("race") / "work"),
        tell=lambda share, remark: told.append(share),
    )


@pytest.fixture(scope="module")
def with_teachers(target: AttackTarget) -> AttackTarget:
    return replace(
        target,
        strongest=("actuator 0 up", push_variants(target.policy, BALL)["actuator 0 up"]),
        constant=("constant", ConstantAdversary(BALL, np.array([-0.5, 0.5, -0.5]))),
    )


@pytest.fixture(scope="module")
def raced(with_teachers: AttackTarget) -> Variants:
    return sa_rl_variants(with_teachers, TOTAL)


def taught_by(
    target: AttackTarget, name: str, **changes: tuple[str, ConstantAdversary] | None
) -> AttackTarget:
    """Return the same target after an attack that is known by its name."""
    teacher = push_variants(target.policy, BALL)[name]
    return replace(target, strongest=(name, teacher), tell=lambda *given: None, **changes)


def test_those_that_are_taught_race_and_what_is_not_is_trained_to_the_end(raced: Variants) -> None:
    returns = {name: facts["returns"] for name, facts in raced.facts["training"].items()}
    assert set(returns) == set(raced.adversaries)
    assert len(returns.pop("no start")) == 10
    assert sorted(len(seen) for seen in returns.values()) == [2, 10]  # a fifth, and all of it
    ahead = max(returns, key=lambda name: len(returns[name]))
    assert min(returns, key=lambda name: min(returns[name][:2])) == ahead
    teachers = {settings["teacher"] for settings in raced.facts["scan"].values()}
    assert teachers == {"actuator 0 up", "constant", None}


@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize("learn", [sa_rl_variants, pa_ad_variants])
def test_the_best_constant_teaches_every_adversary_that_learns(
    with_teachers: AttackTarget, learn: Callable[[AttackTarget, int], Variants]
) -> None:
    variants = learn(replace(with_teachers, tell=lambda *given: None), 640)
    scan, training = variants.facts["scan"], variants.facts["training"]
    assert scan["taught by the constant"]["teacher"] == "constant"
    assert "start" in training["taught by the constant"]
    assert set(scan) == set(variants.adversaries)


def test_without_anything_to_be_taught_by_all_are_trained_to_the_end(target: AttackTarget) -> None:
    variants = pa_ad_variants(replace(target, tell=lambda *given: None), ITERATION)
    seen = {name: len(told["returns"]) for name, told in variants.facts["training"].items()}
    assert seen == {"taught": 1, "no start": 4}  # the latter learns from a quarter of the steps
    snapshots, episodes = 5, 8  # of one step
    assert variants.effort.env_steps == 2 * ITERATION + snapshots * episodes


def test_progress_grows_from_nothing_to_all(raced: Variants, told: list[float]) -> None:
    assert told == sorted(told)
    assert 0 < told[0] < 0.1
    assert told[-1] == pytest.approx(1)


def test_what_is_trained_is_not_trained_again_and_leaves_no_checkpoints(
    raced: Variants, with_teachers: AttackTarget
) -> None:
    assert not list(with_teachers.store.folder.glob("*.unfinished"))

    def refuse(num_envs: int) -> NoReturn:
        raise AssertionError("no environment is needed")

    again = sa_rl_variants(replace(with_teachers, make_env=refuse), TOTAL)
    state = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    for name, adversary in raced.adversaries.items():
        np.testing.assert_array_equal(
            adversary.perturb(state, []), again.adversaries[name].perturb(state, [])
        )
    assert again.effort == raced.effort


@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize("learn", [sa_rl_variants, pa_ad_variants])
def test_another_teacher_makes_another_adversary(
    target: AttackTarget, learn: Callable[[AttackTarget, int], Variants]
) -> None:
    by_up = learn(taught_by(target, "actuator 0 up"), 768)
    pieces = set(target.store.folder.iterdir())
    by_down = learn(taught_by(target, "actuator 0 down"), 768)
    assert pieces < set(target.store.folder.iterdir())
    state = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    for name, settings in by_up.facts["scan"].items():
        there, back = (one.adversaries[name].perturb(state, []) for one in (by_up, by_down))
        first, second = (one.facts["training"][name] for one in (by_up, by_down))
        if settings["lessons"]:
            assert settings["teacher"] == "actuator 0 up"
            assert first["start"] != second["start"]
            assert not np.array_equal(there, back)
        else:
            assert first["returns"] == second["returns"]
    # The first teacher's are still there.
    again = learn(taught_by(target, "actuator 0 up", make_env=None), 768)
    assert again.effort == by_up.effort
    for name, adversary in by_up.adversaries.items():
        found = again.adversaries[name].perturb(state, [])
        np.testing.assert_array_equal(found, adversary.perturb(state, []))


@pytest.mark.usefixtures("short_training")
def test_lessons_are_learned_once_for_each_teacher_and_counted(
    target: AttackTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught = []

    def count(
        policy: Policy, craft: Direct, settings: LearnedConfig, *given: object
    ) -> LearnedStart:
        taught.append(settings.lessons)
        return learn_start(policy, craft, settings, *given)

    monkeypatch.setattr(learned_attacks, "learn_start", count)
    constant = ConstantAdversary(BALL, np.array([-0.5, 0.5, -0.5]))
    variants = sa_rl_variants(
        taught_by(target, "actuator 1 up", constant=("constant", constant)), 768
    )
    scan, training = variants.facts["scan"], variants.facts["training"]
    assert {one["teacher"] for one in scan.values()} == {"actuator 1 up", "constant", None}
    assert taught == [one["lessons"] for one in scan.values() if one["lessons"]]
    # Each lesson has sixteen episodes of sixty steps; every snapshot, and where a training begins,
    # is looked at on eight of one step.
    iterations = {name: len(facts["returns"]) for name, facts in training.items()}
    batches = {name: one["num_envs"] * one["rollout_steps"] for name, one in scan.items()}
    learned = sum(batches[name] * number for name, number in iterations.items())
    looks = sum(iterations.values()) + 2 * len(taught)
    steps = 16 * 60 * sum(taught) + learned + 8 * looks
    assert variants.effort.env_steps == steps
