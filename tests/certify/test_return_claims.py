"""What certificates say about returns, against sampled truth."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import erf, softmax

from support.policies import draw_policy, file_of
from surefoot.budget import Budget
from surefoot.certify import CertifyConfig, Evidence, certify_policy
from surefoot.claims import Replacement, Theorem3
from surefoot.onnx_file import ControllerFile
from surefoot.policy import Policy, Squash

QUICK = CertifyConfig(search_states=8, search_steps=2, lipsdp_iterations=2, lipsdp_per_actuator=0)
BUDGET = Budget.parse('[[require]]\nquantity = "sparsity"\nat_least = 0.0\n')


def pair(change: float, **settings: object) -> tuple[Policy, Policy]:
    """A dense policy and one whose smallest weights are gone."""
    dense = draw_policy(np.random.default_rng(0), [4, 16, 16, 2], **settings)
    layers = tuple(
        replace(layer, weight=np.where(np.abs(layer.weight) < change, 0, layer.weight))
        for layer in dense.layers
    )
    return dense, replace(dense, layers=layers)


def theorem_3(file: ControllerFile, dense: Policy | None, **evidence: object) -> Theorem3:
    given = Evidence(dense_policy=dense, reward_range=(0.0, 1.0), discount=0.9, **evidence)
    return certify_policy(file, BUDGET, given, QUICK).claims.paper.theorems.theorem_3


@pytest.mark.parametrize("squash", [*Squash, None])
def test_two_policies_differ_under_attack_by_no_more_than_what_replaces_theorem_3(
    squash: Squash | None,
) -> None:
    settings = {"categorical": True} if squash is None else {"squash": squash, "std": 2.0}
    dense, small = pair(0.02, **settings)
    file = file_of(small)
    found = theorem_3(file, file_of(dense).policy)
    states = np.random.default_rng(1).uniform(-10.05, 10.05, (2000, 4))
    first, second = file.policy.network(states), dense.network(states)
    if squash is None:
        gaps = np.abs(softmax(first, axis=1) - softmax(second, axis=1)).sum(axis=1) / 2
    else:
        gaps = erf(np.linalg.norm((first - second) / 2.0, axis=1) / np.sqrt(8))
    assert 0 < gaps.max() <= found.replacement.total_variation < 0.9
    loss = found.replacement.replaced_by
    assert loss.bound == pytest.approx(min(100 * found.replacement.total_variation, 10.0))
    assert loss.trivial == pytest.approx(10.0)
    assert found.as_printed is None


def test_a_change_that_the_squash_hides_proves_nothing_about_the_means() -> None:
    dense, small = pair(0.5, squash=Squash.CLIP, std=50.0)
    found = theorem_3(file_of(small), file_of(dense).policy)
    assert found.replacement.total_variation == 1.0
    assert found.replacement.replaced_by.vacuous


def test_without_a_comparable_dense_policy_nothing_replaces_theorem_3() -> None:
    dense, small = pair(1e-3)
    file = file_of(small)
    assert theorem_3(file, None).replacement is None
    louder = replace(dense, head=replace(dense.head, std=2 * dense.head.std))
    found = theorem_3(file, file_of(louder).policy)
    assert found.replacement == Replacement(
        replaced_by=None, why="the two policies do not name the same noise"
    )
