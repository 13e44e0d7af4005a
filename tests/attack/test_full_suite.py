from dataclasses import replace

import numpy as np
import pytest

from surefoot.attack.critic_attacks import FITTED, critic_variants
from surefoot.attack.sarsa import SarsaSettings
from surefoot.attack.suite import FULL, AttackConfig, run_suite
from surefoot.attack.value import fit_value
from surefoot.budget import Norm
from surefoot.errors import InputError
from surefoot.policy import Activation, CategoricalHead
from surefoot.train.ball import Ball

TINY = AttackConfig(
    suite="full",
    epsilon=0.1,
    episodes=2,
    selection_episodes=1,
    critic_steps=512,
    sarsa=SarsaSettings(records=480, epochs=1),
    adversary_steps=8192,
    num_threads=1,
)


@pytest.fixture(scope="module")
def file(random_policy, unit_range, file_of):
    policy = random_policy(np.random.default_rng(1), (11, 16, 3), Activation.TANH)
    return file_of(unit_range(policy), {"env": {"id": "Hopper-v5"}})


def test_an_interrupted_suite_goes_on_and_finds_the_same(file, tmp_path):
    whole = run_suite(file, None, TINY).to_table()
    assert list(whole["attacks"]) == list(FULL)
    assert whole["attacks"]["sa-rl"]["effort"]["updates"] > 0
    assert whole["attacks"]["corners"]["effort"]["queries"] > 0

    def stop(done, remark):
        if remark.startswith("pa-ad"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_suite(file, None, TINY, on_progress=stop, work=tmp_path / "work")
    pieces = {
        path.name: path.stat().st_mtime_ns
        for path in (tmp_path / "work").iterdir()
        if path.is_file()
    }
    assert len(pieces) > 10
    assert run_suite(file, None, TINY, work=tmp_path / "work").to_table() == whole
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "work").iterdir()}
    assert {name: kept[name] for name in pieces} == pieces


def test_epsilon_zero_is_the_clean_loop_in_every_attack(file):
    report = run_suite(file, None, replace(TINY, epsilon=0.0))
    clean = report.attacks["clean"].evaluation.returns
    for result in report.attacks.values():
        assert np.array_equal(result.evaluation.returns, clean)


def test_an_attack_that_needs_a_critic_and_may_not_fit_one_says_so(file):
    with pytest.raises(InputError, match="critic_steps must be positive"):
        run_suite(file, None, replace(TINY, critic_steps=0))


def test_every_critic_is_tried_and_one_of_other_sizes_is_refused(
    grid_env, random_policy, target_of, linear_policy
):
    right = linear_policy([[-0.1, 0.0], [0.6, 0.0]])
    right = replace(
        right,
        head=CategoricalHead(num_actions=2),
        layers=(replace(right.layers[0], bias=np.array([0.0, 2.0], np.float32)),),
    )
    target = target_of(right, Ball(norm=Norm.LINF, epsilon=0.0), grid_env)
    fitted = fit_value(target, 3200)
    assert fitted.facts["steps"] == 3200
    shipped = {"shipped": fitted.layers}
    both = critic_variants(replace(target, critics=shipped), 3200)
    assert sorted(both.adversaries) == sorted(["shipped", FITTED])
    wrong = {"shipped": random_policy(np.random.default_rng(0), (3, 4, 1)).layers}
    with pytest.raises(InputError, match="must map 2 observations to one value"):
        critic_variants(replace(target, critics=wrong), 0)
