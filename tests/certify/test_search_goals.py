"""A search over all states climbs every action from every start, and laws where asked."""

import numpy as np

from support.policies import build_policy
from surefoot.ball import Ball, Norm
from surefoot.certify import counterexamples as search
from surefoot.certify.search_goals import goals

EPSILON = 0.05


def test_a_search_starts_every_action_everywhere() -> None:
    policy = build_policy([np.ones((3, 2))])
    starts = np.random.default_rng(0).normal(size=(5, 2))
    ((goal, froms),) = goals(policy, starts, distribution=False)
    assert np.array_equal(froms, np.tile(starts, (3, 1)))
    outputs, base = np.random.default_rng(1).normal(size=(2, 15, 3))
    change = np.abs(outputs - base).reshape(3, 5, 3)
    expected = np.concatenate([change[k, :, k] for k in range(3)])
    assert np.allclose(goal.value(outputs, base), expected)


def test_laws_are_climbed_where_they_are_asked_for() -> None:
    gaussian, choices = (
        build_policy([np.ones((2, 2))]),
        build_policy([np.ones((2, 2))], categorical=True),
    )
    for policy in (gaussian, choices):
        without, asked = (
            goals(policy, np.zeros((4, 2)), distribution=law) for law in (False, True)
        )
        assert len(asked) == len(without) + 1
        replay = search.Replay("NumPy", policy.outputs_at)
        found = search.worst_anywhere(
            policy,
            replay,
            Ball(norm=Norm.L2, epsilon=EPSILON),
            starts=search.start_states(policy, 8, seed=0),
            steps=4,
            seed=0,
            distribution=True,
        )
        assert found.values["kl"].max() >= 0
