"""Affine maps in a row are one matrix: equal functions get equal global bounds, and sound ones."""

import numpy as np
import pytest
from numpy.typing import NDArray

from surefoot.certify.bounds.chain import Chain, action_chain, network_chain
from surefoot.certify.bounds.global_bounds import closed_form_bounds
from surefoot.certify.bounds.lipsdp import semidefinite_bounds
from surefoot.certify.bounds.lipsdp_proof import prove, proves_lipschitz
from surefoot.certify.bounds.metric import SensorMetric
from surefoot.certify.bounds.slopes import SlopeRange
from surefoot.certify.bounds.upward import IntervalMatrix
from surefoot.policy import Activation, GaussianHead, Layer, Normaliser, Policy, Squash

Float = NDArray[np.float64]


def policy_of(weights: list[Float], activations: list[Activation]) -> Policy:
    arrays = [weight.astype(np.float32) for weight in weights]
    obs_dim, outputs = arrays[0].shape[1], len(arrays[-1])
    zeros, ones = np.zeros(outputs, np.float32), np.ones(outputs, np.float32)
    normaliser = Normaliser(
        mean=np.zeros(obs_dim, np.float32), scale=np.ones(obs_dim, np.float32), clip=10.0
    )
    layers = tuple(
        Layer(weight=weight, bias=np.zeros(len(weight), np.float32), activation=activation)
        for weight, activation in zip(arrays, [*activations, Activation.IDENTITY], strict=True)
    )
    head = GaussianHead(std=ones, squash=Squash.IDENTITY, centre=zeros, half_range=ones)
    return Policy(normaliser=normaliser, layers=layers, head=head)


@pytest.mark.parametrize("activation", [Activation.TANH, Activation.RELU, Activation.SILU])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_affine_map_of_its_own_changes_no_global_bound(
    activation: Activation, place: int
) -> None:
    rng = np.random.default_rng(place)
    sizes = [(12, 5), (10, 12), (2, 10)]
    weights = [rng.normal(size=size) / np.sqrt(size[1]) for size in sizes]
    own = rng.normal(size=(sizes[place][1],) * 2).astype(np.float32)
    joined = [w.astype(np.float32) for w in weights]
    apart = [*joined[:place], own, *joined[place:]]
    kinds = [activation] * 2
    kinds.insert(place, Activation.IDENTITY)
    together = joined.copy()
    together[place] = (joined[place].astype(np.float64) @ own).astype(np.float32)
    chains = [
        action_chain(policy_of(apart, kinds)),
        action_chain(policy_of(together, [activation] * 2)),
    ]
    assert len(chains[0].matrices) == 3
    closed = [closed_form_bounds(chain) for chain in chains]
    for name, bound in closed[1].whole.items():
        assert closed[0].whole[name] == pytest.approx(bound, rel=1e-6)
    proofs = [semidefinite_bounds(chain, iterations=40, row_iterations=3) for chain in chains]
    for found, expected in ((each.whole, other.whole) for each, other in [proofs]):
        assert found is not None
        assert expected is not None
        assert found.bound == pytest.approx(expected.bound, rel=1e-2)
    assert all(row is not None for row in proofs[0].rows)


def test_a_proof_holds_for_every_matrix_that_its_intervals_allow() -> None:
    rng = np.random.default_rng(0)
    proved = 0
    for trial in range(200):
        centres = [rng.normal(size=(6, 3)), rng.normal(size=(2, 6))]
        size = 10.0 ** rng.uniform(-6, -1)
        radii = [size * np.abs(rng.normal(size=centre.shape)) for centre in centres]
        slopes = (SlopeRange(-0.125, 1.125) if trial % 2 else SlopeRange(0.0, 1.0),)
        exact = Chain(matrices=tuple(map(IntervalMatrix.exact, centres)), slopes=slopes)
        found = semidefinite_bounds(exact, iterations=20, row_iterations=0).whole
        assert found is not None
        pairs = zip(centres, radii, strict=True)
        wide = Chain(matrices=tuple(IntervalMatrix(*pair) for pair in pairs), slopes=slopes)
        for inflation in 10.0 ** np.arange(-6, 2.0):
            squared = found.squared * (1 + inflation)
            values = tuple(layer * np.float32(1 + inflation / 2) for layer in found.values)
            if proves_lipschitz(wide, squared, values):
                proved += 1
                worst = max(steepest(rng, centres, radii, slopes[0]) for _ in range(50))
                assert worst <= np.sqrt(squared) * (1 + 1e-12)
                break
    assert proved > 150


def steepest(
    rng: np.random.Generator, centres: list[Float], radii: list[Float], slope: SlopeRange
) -> float:
    """The norm of one product that the intervals and the slopes allow."""
    first, last = (
        centre + radius * rng.choice([-1.0, 1.0], centre.shape)
        for centre, radius in zip(centres, radii, strict=True)
    )
    diagonal = rng.choice([slope.low, slope.high], len(first))
    return float(np.linalg.norm(last @ (diagonal[:, None] * first), 2))


def test_wide_intervals_prove_nothing() -> None:
    matrices = (
        IntervalMatrix(np.eye(2), np.full((2, 2), 10.0)),
        IntervalMatrix.exact(np.eye(2)),
    )
    chain = Chain(matrices=matrices, slopes=(SlopeRange(0.0, 1.0),))
    assert prove(chain, SensorMetric.equal(1.5, chain.num_inputs), (np.full(2, 1.5),)) is None


def test_the_chain_of_the_layers_keeps_each_of_them() -> None:
    rng = np.random.default_rng(0)
    kinds = [Activation.IDENTITY, Activation.TANH]
    policy = policy_of([rng.normal(size=s) for s in ((3, 4), (5, 3), (2, 5))], kinds)
    assert len(network_chain(policy).matrices) == 3
    assert len(network_chain(policy).joined().matrices) == 2
