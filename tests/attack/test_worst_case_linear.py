"""Every attack of the full suite against a linear controller, whose worst case is a formula.

The action is j'z and the reward is the action, so that no perturbation of size epsilon costs more
than epsilon |j|, in the norm that is dual to the ball's: 1 to linf, 2 to l2. Values are linear too:
what attacks learn from episodes of one step leads to the same corner.
"""

from dataclasses import replace

import numpy as np
import pytest

from support.attacks import OF_ERRORS, target_of
from support.environments import OneStepEnv
from support.policies import linear_policy
from support.randomness import random_streams
from surefoot.attack.attack_config import FULL, AttackConfig
from surefoot.attack.sarsa import SarsaSettings
from surefoot.attack.target import AttackTarget
from surefoot.ball import Ball, Norm

ROW = np.array([2.0, -1.0, 0.5])
EPSILON = 0.5
CONFIG = AttackConfig(
    critic_steps=8192, sarsa=SarsaSettings(records=960, epochs=1), adversary_steps=3840
)
SHARES = {
    "clean": (0, 0),
    "random": (1, 0.9),
    "mad": (1, 0.999),
    "push": (1, 0.98),
    "critic": (0.99, 0.97),
    "rs": (1, 0.98),
    "rs+mad": (1, 0.98),
    "corners": (1, 0.97),
    "square": (1, 0.95),
    "spsa": (0.97, 0.95),
    "constant": (1, 0.95),
    "transfer": (0.99, 0.98),
    "pa-ad": (1, 0.98),
    "sa-rl": (0.95, 0.95),
}
"""The least mean share of the worst case in the linf ball and in the l2 ball. A corner is reached
or not, the right point of a sphere only in the limit; a fitted critic, an imitation and an
estimated gradient have a wrong sign now and then."""
EITHER_WAY = {"mad", "transfer"}
"""Want the action changed, whichever way; the others want the return low."""
TEACHER = "push, actuator 0 down"
LEARNED = {"pa-ad", "sa-rl"}
DRAWS = {"random"}
"""Of which the best of forty counts: a draw does not look at what it does."""

pytestmark = pytest.mark.usefixtures("short_training")


@pytest.fixture(scope="module", params=list(Norm))
def target(request: pytest.FixtureRequest) -> AttackTarget:
    ball = Ball(norm=request.param, epsilon=EPSILON)
    target = target_of(linear_policy([ROW]), ball, lambda num: OneStepEnv(num, 3, [1.0]))
    attack, variant = TEACHER.split(", ")
    teacher = FULL[attack](target, CONFIG).adversaries[variant]
    return replace(target, strongest=(TEACHER, teacher))


@pytest.mark.parametrize("name", OF_ERRORS)
def test_an_attack_reaches_the_worst_case_and_goes_no_further(
    target: AttackTarget, name: str
) -> None:
    state = np.random.default_rng(5).normal(size=(40, 3)).astype(np.float32)
    linf = target.ball.norm is Norm.LINF
    worst = EPSILON * (np.abs(ROW).sum() if linf else np.linalg.norm(ROW))
    found = []
    for adversary in FULL[name](target, CONFIG).adversaries.values():
        moved = adversary.perturb(state, random_streams(40))
        change = (moved.astype(np.float64) - state) @ ROW
        assert (np.abs(change) <= worst * (1 + 1e-6)).all()
        harm = np.abs(change) if name in EITHER_WAY else -change
        found.append(harm.max() if name in DRAWS else harm.mean())
    share = SHARES[name][0 if linf else 1]
    assert max(found) >= worst * share * (1 - 1e-5)


@pytest.mark.parametrize("name", sorted(LEARNED))
def test_a_learned_adversary_is_trained_from_the_strongest_attack_and_from_nothing(
    target: AttackTarget, name: str
) -> None:
    variants = FULL[name](target, CONFIG)
    scan, training = variants.facts["scan"], variants.facts["training"]
    assert {settings["teacher"] for settings in scan.values()} == {TEACHER, None}
    for variant, facts in training.items():
        assert ("start" in facts) == (scan[variant]["teacher"] == TEACHER)
    # Both to the end, which leaves ten snapshots: nothing races with the only one that is taught.
    assert [len(facts["returns"]) for facts in training.values()] == [10, 10]
