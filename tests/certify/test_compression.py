"""Compression error against exact differences; published forms that are none."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from support.policies import build_policy, draw_policy, file_of
from surefoot.activation import AnyActivation, Clamp, LeakyRelu, ScaledElu
from surefoot.budget import Budget
from surefoot.certificate import Verdict
from surefoot.certify import CertifyConfig, Evidence, certify_policy
from surefoot.certify.checker import check_certificate
from surefoot.certify.compression import (
    _capped,
    _cut,
    _telescoped,
    comparable,
    compression_error,
    compression_error_around,
    compression_error_at,
)
from surefoot.errors import IntegrityError
from surefoot.policy import Activation, CategoricalHead, Policy, Squash

QUICK = CertifyConfig(search_states=32, search_steps=4, lipsdp_iterations=5, lipsdp_per_actuator=0)


def pruned(policy: Policy, share: float) -> Policy:
    layers = tuple(
        replace(
            layer,
            weight=np.where(
                np.abs(layer.weight) > np.quantile(np.abs(layer.weight), share), layer.weight, 0
            ).astype(np.float32),
        )
        for layer in policy.layers
    )
    return replace(policy, layers=layers)


STEEP = [LeakyRelu(0.25), ScaledElu(1.6875, 1.0625), Clamp(-0.5, 1.5)]


@pytest.mark.parametrize("activation", [*Activation, *STEEP])
@pytest.mark.parametrize("squash", Squash)
def test_no_state_differs_by_more_than_the_bound(activation: AnyActivation, squash: Squash) -> None:
    rng = np.random.default_rng(0)
    for share in (0.05, 0.5):
        dense = draw_policy(rng, [4, 12, 12, 2], activation, squash=squash, half_range=1.5, clip=3)
        sparse = pruned(dense, share)
        largest = np.full(4, 3.0)
        bound = compression_error(sparse, dense, largest)
        states = rng.uniform(-3, 3, (5000, 4))
        gap = np.abs(sparse.outputs_at(states) - dense.outputs_at(states))
        assert (gap.max(axis=0) <= bound).all()
        # The squash makes no change larger, so that each bound by itself holds, too.
        for part in (_capped, _telescoped, _cut):
            assert (gap.max(axis=0) <= 1.5 * part(sparse, dense, largest)).all()
        here = compression_error_at(sparse, dense, states[:200])
        np.testing.assert_allclose(here, gap[:200], atol=1e-9)
        assert (here >= gap[:200] - 1e-15).all()


def test_the_mixed_form_is_violated_and_the_bound_is_not() -> None:
    # mathematics.md, 11.6: dense norms with dense activations say 1.413631, the truth is 1.617367.
    first = [[1, -0.85, 0], [0.526, -0.526, 0]]
    dense = build_policy([first, [[1, 1], [1, -1]]], Activation.RELU)
    sparse = build_policy([[[1, 0, 0], [0.526, 0, 0]], [[1, 1], [1, 0]]], Activation.RELU)
    state = np.ones((1, 3))
    true = float(np.linalg.norm(sparse.network(state) - dense.network(state)))
    assert true == pytest.approx(1.617367, abs=1e-6)
    weights = [[layer.weight.astype(float) for layer in p.layers] for p in (dense, sparse)]
    hidden = np.maximum(weights[0][0] @ np.ones(3), 0)
    step = [a - b for a, b in zip(*weights, strict=True)]
    invalid = np.linalg.norm(weights[0][1], 2) * np.linalg.norm(
        step[0] @ np.ones(3)
    ) + np.linalg.norm(step[1] @ hidden)
    assert invalid == pytest.approx(1.413631, abs=1e-6)
    assert invalid < true
    bound = compression_error(sparse, dense, np.ones(3))
    assert float(np.linalg.norm(bound)) >= true


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("bound", [_capped, _telescoped, _cut, compression_error])
def test_norms_and_hidden_values_of_one_network_would_be_violated_in_every_bound(
    bound: Callable[..., np.ndarray], swapped: bool
) -> None:
    """1 relu(1 z) against 0 relu(0 z), in either order: each layer alone changes nothing or all."""
    one, none = (build_policy([[[w]], [[w]]], Activation.RELU) for w in (1.0, 0.0))
    pair = (none, one) if swapped else (one, none)
    assert bound(*pair, np.ones(1))[0] >= 1


@pytest.mark.parametrize("bound", [_capped, _telescoped, _cut, compression_error])
def test_an_activation_that_is_steeper_than_one_enlarges_the_change(
    bound: Callable[..., np.ndarray],
) -> None:
    one, half = (build_policy([[[w]], [[1.0]]], ScaledElu(1.0, 2.0)) for w in (1.0, 0.5))
    assert bound(half, one, np.ones(1))[0] >= 1.0


def test_states_far_apart_share_the_bound_of_the_largest() -> None:
    one, half = (build_policy([[[w]], [[1.0]]], Activation.RELU) for w in (1.0, 0.5))
    around = compression_error_around(half, one, np.array([[0.0], [10.0]]), 0.1)
    assert around[1, 0] >= 5.05


def test_what_cancels_behind_a_layer_is_kept_together() -> None:
    # (1, -1) diag(s) (1, 1)' 0.1 z = 0.1 (s_1 - s_2) z: at most 0.1 |z|, absolute values say 0.2.
    dense = build_policy([[[1.0], [1.0]], [[1, -1]]], Activation.RELU)
    policy = build_policy([[[1.125], [1.125]], [[1, -1]]], Activation.RELU)
    assert compression_error(policy, dense, np.full(1, 4.0))[0] == pytest.approx(0.125 * 4)


def test_a_bias_that_moves_counts() -> None:
    dense, policy = (
        build_policy([[[1.0]], [[2.0]]], Activation.RELU, biases=[[bias], [0]])
        for bias in (0.5, 0.75)
    )
    assert compression_error(policy, dense, np.ones(1))[0] == pytest.approx(0.5)


def test_equal_policies_differ_by_nothing() -> None:
    policy = draw_policy(np.random.default_rng(1), [3, 8, 2])
    assert compression_error(policy, policy, np.full(3, 10.0)).max() < 1e-290


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda p: replace(p, layers=p.layers[1:]), "other layers"),
        (lambda p: replace(p, normaliser=replace(p.normaliser, clip=5.0)), "another normaliser"),
        (lambda p: replace(p, head=replace(p.head, squash=Squash.TANH)), "another action range"),
        (lambda p: replace(p, head=CategoricalHead(num_actions=2)), "another head"),
    ],
)
def test_policies_that_cannot_be_compared_say_why(
    change: Callable[[Policy], Policy], reason: str
) -> None:
    policy = build_policy([np.eye(2), np.eye(2)])
    assert comparable(policy, policy) is policy
    assert reason in comparable(policy, change(policy)).reason


BUDGET = """
[[require]]
quantity = "compression_error"
scope = "everywhere"
at_most = {limit}

[[require]]
quantity = "compression_error"
scope = "visited"
fraction = 0.9
confidence = 0.95
at_most = {limit}
"""


def test_compression_is_proved_refuted_and_checked() -> None:
    dense = draw_policy(np.random.default_rng(3), [4, 16, 2])
    file = file_of(pruned(dense, 0.2))
    observations = np.random.default_rng(4).normal(0, 1, (80, 4))
    evidence = Evidence(observations=observations, dense_policy=dense)

    def certify(limit: float, evidence: Evidence = evidence) -> list:
        budget = Budget.parse(BUDGET.format(limit=limit))
        return certify_policy(file, budget, evidence, QUICK)

    loose = certify(100.0)
    assert [f.verdict for f in loose.findings] == [Verdict.PROVED] * 2
    assert loose.findings[1].certified < loose.findings[0].certified
    assert [f.verdict for f in certify(1e-6).findings] == [Verdict.REFUTED] * 2
    without = certify(100.0, Evidence(observations=observations))
    assert {f.reason for f in without.findings} == {"the dense policy is not given"}
    report = check_certificate(loose, file, observations=observations, dense_policy=dense)
    assert len(report.proved) == 2
    assert len(check_certificate(loose, file, observations=observations).unchecked) == 2
    with pytest.raises(IntegrityError, match="another dense policy"):
        check_certificate(loose, file, dense_policy=file.policy)


VISITED = """
[[require]]
quantity = "compression_error"
scope = "visited"
fraction = 0.5
confidence = 0.9
at_most = 1e-9
"""


def test_states_that_nobody_visited_refute_no_claim_about_visited_ones() -> None:
    dense = draw_policy(np.random.default_rng(0), [4, 8, 2])
    file = file_of(draw_policy(np.random.default_rng(1), [4, 8, 2]))
    finding = certify_policy(
        file, Budget.parse(VISITED), Evidence(dense_policy=dense), QUICK
    ).findings[0]
    assert (finding.verdict, finding.sampled) == (Verdict.UNKNOWN, None)
    assert finding.reason == "no visited observations are given"


def test_weights_that_overflow_are_compared_without_a_crash() -> None:
    policy = draw_policy(np.random.default_rng(2), [4, 8, 2], Activation.RELU)
    layers = tuple(
        replace(layer, weight=np.sign(layer.weight) * np.float32(1e38)) for layer in policy.layers
    )
    file = file_of(replace(policy, layers=layers))
    observations = np.random.default_rng(3).normal(0, 1, (40, 4))
    evidence = Evidence(dense_policy=file.policy, observations=observations)
    everywhere = (
        '[[require]]\nquantity = "compression_error"\nscope = "everywhere"\nat_most = 1.0\n'
    )
    for finding in certify_policy(
        file, Budget.parse(everywhere + VISITED), evidence, QUICK
    ).findings:
        assert finding.verdict is Verdict.UNKNOWN
