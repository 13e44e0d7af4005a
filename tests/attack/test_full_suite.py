import shutil
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
    adversary_steps=256,
    num_threads=1,
)


@pytest.fixture(scope="module")
def file(random_policy, unit_range, file_of):
    policy = random_policy(np.random.default_rng(1), (11, 16, 3), Activation.TANH)
    return file_of(unit_range(policy), {"env": {"id": "Hopper-v5"}})


@pytest.mark.usefixtures("brief_training")
def test_a_suite_that_was_cut_short_goes_on_and_finds_the_same(file, tmp_path):
    work, kept = tmp_path / "work", tmp_path / "kept"
    learned = []

    def copy(done, remark):
        if remark.startswith("sa-rl, ") and remark not in learned:
            learned.append(remark)
            if len(learned) == 3:  # two trainings are in the store, the third has its checkpoint
                shutil.copytree(work, kept)

    whole = run_suite(file, None, TINY, on_progress=copy, work=work).to_table()
    assert list(whole["attacks"]) == list(FULL)
    assert whole["attacks"]["sa-rl"]["effort"]["updates"] > 0
    assert whole["attacks"]["corners"]["effort"]["queries"] > 0

    assert list(kept.glob("*.unfinished"))
    pieces = {path: path.stat().st_mtime_ns for path in kept.iterdir() if path.is_file()}
    assert 10 < len(pieces) < len(list(work.iterdir()))
    assert run_suite(file, None, TINY, work=kept).to_table() == whole
    assert {path: path.stat().st_mtime_ns for path in pieces} == pieces


def test_a_suite_that_is_stopped_keeps_what_is_finished(file, tmp_path):
    def stop(done, remark):
        if remark.startswith("mad, "):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_suite(file, None, TINY, on_progress=stop, work=tmp_path / "work")
    names = {path.name.split("-")[0] for path in (tmp_path / "work").iterdir() if path.is_file()}
    assert "evaluation" in names


def test_epsilon_zero_is_the_clean_loop_in_every_attack(file):
    report = run_suite(file, None, replace(TINY, epsilon=0.0))
    assert list(report.attacks) == list(FULL)
    clean = report.attacks["clean"].evaluation
    for result in report.attacks.values():
        assert np.array_equal(result.evaluation.returns, clean.returns)
        assert np.array_equal(result.evaluation.lengths, clean.lengths)


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
    assert {name.split(",")[0] for name in both.adversaries} == {"shipped", FITTED}
    plain = [both.adversaries[name] for name in ("shipped", FITTED)]
    longer = [both.adversaries[f"{name}, restarts"] for name in ("shipped", FITTED)]
    for once, often in zip(plain, longer, strict=True):
        assert once.effort.gradients < often.effort.gradients
    wrong = {"shipped": random_policy(np.random.default_rng(0), (3, 4, 1)).layers}
    with pytest.raises(InputError, match="must map 2 observations to one value"):
        critic_variants(replace(target, critics=wrong), 0)
