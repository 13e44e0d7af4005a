"""What two papers print about a policy, evaluated: no number of this module is a proof.

A is arXiv 2510.12939 (Lemma 1, Lemma 3, Theorem 3), B is arXiv 2507.02953 (one-layer constants).
The mathematics page, part 11, says what is wrong with each, and what replaces it.

n states, m outputs, d = obs_dim, L layers; lengths are l2 norms of the network's raw output.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.polynomial.legendre import leggauss

from surefoot.activation import AnyActivation, is_elementwise
from surefoot.certify.bounds.chain import network_chain
from surefoot.certify.bounds.global_bounds import paper_surrogate
from surefoot.certify.bounds.slopes import slope_range, times_jacobian
from surefoot.certify.bounds.upward import Float
from surefoot.certify.compression import comparable
from surefoot.certify.distances import paper_gaussian_tv
from surefoot.certify.return_loss import paper_alpha_bound
from surefoot.errors import InputError
from surefoot.policy import Activation, Array, Layer, Policy
from surefoot.unknown import Unknown

_LARGEST_BEND: Mapping[AnyActivation, float] = {
    Activation.IDENTITY: 0.0,
    Activation.TANH: 4 / (3 * math.sqrt(3)),
    Activation.SIGMOID: 1 / (6 * math.sqrt(3)),
    Activation.SOFTPLUS: 0.25,
    Activation.SILU: 0.5,
    Activation.RELU: 0.0,  # where the lemma is called exact
}
"""Largest magnitude of the second derivative."""

_NODES = 16
"""Nodes of the quadrature on each piece of a path of parameters."""


def output_jacobians(policy: Policy, states: Array) -> list[Float]:
    """Return dg/dy_k for each layer k, y_k its value before the activation, (n, m, width of k).

    Args:
        policy: The network.
        states: Normalised units, shape (n, d).
    """
    before, _ = _forward(policy, states)
    identity = np.eye(policy.num_outputs)
    gradients = [np.broadcast_to(identity, (len(states), *identity.shape))]
    for layer, pre, below in zip(
        policy.layers[:0:-1], before[-2::-1], policy.layers[-2::-1], strict=True
    ):
        behind = gradients[-1] @ layer.weight.astype(np.float64)
        gradients.append(times_jacobian(below.activation, pre[:, None, :], behind))
    return gradients[::-1]


def lemma_1_deviation(policy: Policy, states: Array, length: float) -> Float | None:
    """Return |J(s)| |e| + beta/2 |e|^2, the change of the output by Lemma 1 of A, shape (n,).

    Beta, of which A gives no formula, is max|phi''| sum_l (prod_{j>l} |W_j|) (prod_{j<=l} |W_j|)^2
    with the largest slopes between the matrices. For ReLU it is 0, as A has it.

    Args:
        policy: The network.
        states: Normalised units, shape (n, d).
        length: |e|, l2 norm of the perturbation, normalised units.

    Returns:
        None where an activation has no second derivative and the lemma does not name it.
    """
    if any(layer.activation not in _LARGEST_BEND for layer in policy.layers):
        return None
    first = output_jacobians(policy, states)[0] @ policy.layers[0].weight.astype(np.float64)
    steepness = np.linalg.norm(first, 2, axis=(1, 2))
    return np.asarray(steepness * length + _smoothness(policy) / 2 * length**2)


def _smoothness(policy: Policy) -> float:
    """Return the constant beta of :func:`lemma_1_deviation`."""
    norms = _spectral_norms(policy)
    slopes = [slope_range(layer.activation).largest for layer in policy.layers]
    total = 0.0
    for number, layer in enumerate(policy.layers[:-1]):
        before = math.prod(norms[: number + 1]) * math.prod(slopes[:number])
        behind = math.prod(norms[number + 1 :]) * math.prod(slopes[number + 1 :])
        total += _LARGEST_BEND[layer.activation] * behind * before**2
    return total


def path_sensitivity(policy: Policy, dense: Policy, states: Array, *, pieces: int = 1) -> float:
    """Estimate L_par of Lemma 3 of A, by Gauss-Legendre quadrature: no bound.

    The integral over t of (E_s |dg/dphi|^2)^(1/2) at phi = theta' + t (theta - theta'), phi all
    weights and biases. The expectation is the mean over the states.

    Args:
        policy: The pruned policy, theta'.
        dense: The policy that it was pruned from, theta.
        states: States that the dense policy visits, normalised units, shape (n, d).
        pieces: Parts of the segment, with a quadrature each.

    Raises:
        InputError: If the policies cannot be compared layer by layer.
    """
    _check_comparable(policy, dense)
    nodes, weights = leggauss(_NODES)
    total = 0.0
    for piece in range(pieces):
        places = (piece + (nodes + 1) / 2) / pieces
        values = [_sensitivity(_between(policy, dense, place), states) for place in places]
        total += float(weights @ np.array(values)) / (2 * pieces)
    return total


def _sensitivity(policy: Policy, states: Array) -> float:
    """Return (E_s |dg/dphi|^2)^(1/2).

    The derivative by W_k is the outer product of dg/dy_k and the layer's input, so that the
    squares of all layers add up to one matrix for each state, (m, m).
    """
    _, inputs = _forward(policy, states)
    gram = np.zeros((len(states), policy.num_outputs, policy.num_outputs))
    for gradient, seen in zip(output_jacobians(policy, states), inputs, strict=True):
        size = 1.0 + np.square(seen).sum(axis=1)
        gram += size[:, None, None] * (gradient @ gradient.transpose(0, 2, 1))
    return math.sqrt(float(np.linalg.norm(gram, 2, axis=(1, 2)).mean()))


def parameter_step(policy: Policy, dense: Policy) -> float:
    """Return |theta - theta'| over all weights and biases."""
    squares = [
        float(np.square(getattr(theirs, name).astype(np.float64) - getattr(ours, name)).sum())
        for ours, theirs in zip(policy.layers, dense.layers, strict=True)
        for name in ("weight", "bias")
    ]
    return math.sqrt(sum(squares))


@dataclass(frozen=True, kw_only=True, slots=True)
class Theorem3Terms:
    """The right-hand side of Theorem 3 of A, in multiples of the trivial bound 2 R / (1 - gamma).

    The clean regret of the dense policy, which no number of this module changes, is left out.

    Attributes:
        performance_loss: alpha c L_par |theta - theta'|, an estimate.
        robustness_gap: alpha c L eps of the pruned policy, L its surrogate.
        dense_gap: The same of the dense policy, which is the sum without any pruning.
    """

    performance_loss: float
    robustness_gap: float
    dense_gap: float

    @property
    def total(self) -> float:
        """Sum of the terms that pruning changes."""
        return self.performance_loss + self.robustness_gap


def theorem_3_terms(
    policy: Policy, dense: Policy, states: Array, *, epsilon: float, std: float, discount: float
) -> Theorem3Terms:
    """Estimate the terms of Theorem 3 of A as printed, with the constant c of its appendix.

    Args:
        policy: The pruned policy.
        dense: The policy that it was pruned from.
        states: States that the dense policy visits, normalised units, shape (n, d).
        epsilon: Size of the perturbation as A uses it, normalised units.
        std: Standard deviation of the actions before the squash.
        discount: Discount of the return, below 1.

    Raises:
        InputError: If the policies cannot be compared layer by layer, or the discount is no such.
    """
    alpha = paper_alpha_bound(1.0, 1.0, discount)
    share = alpha.bound / alpha.trivial * paper_gaussian_tv(1.0, std**2)["appendix"]
    step = path_sensitivity(policy, dense, states) * parameter_step(policy, dense)
    ours, theirs = (paper_surrogate(network_chain(either)) for either in (policy, dense))
    return Theorem3Terms(
        performance_loss=share * step,
        robustness_gap=share * ours * epsilon,
        dense_gap=share * theirs * epsilon,
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OneLayerConstants:
    """The constants C_k of B: the output moves by at most C_k |dW_k| where layer k alone changes.

    Attributes:
        norms_and_biases: From spectral norms and biases, shape (n, L).
        forward_pass: From the hidden values of one pass, never larger, shape (n, L).
    """

    norms_and_biases: Float
    forward_pass: Float

    def admissible(self, tolerance: float) -> Float:
        """Return the largest |dW_k| that B admits at every state, by its norms, shape (L,).

        Args:
            tolerance: Allowed change of the output, l2, raw units.
        """
        return np.asarray(tolerance / self.norms_and_biases.max(axis=0))


def one_layer_constants(policy: Policy, states: Array) -> OneLayerConstants | Unknown:
    """Return the constants of B for every layer.

    Args:
        policy: The policy before anything is changed.
        states: Normalised units, shape (n, d), n at least 1.
    """
    if not all(_is_tame(layer) for layer in policy.layers):
        return Unknown("the constants need activations that are 1-Lipschitz and 0 at 0")
    norms = _spectral_norms(policy)
    _, inputs = _forward(policy, states)
    reach = np.linalg.norm(states.astype(np.float64), axis=1)
    bounded, seen = [], []
    for number, layer in enumerate(policy.layers):
        behind = math.prod(norms[number + 1 :])
        bounded.append(behind * reach)
        seen.append(behind * np.linalg.norm(inputs[number], axis=1))
        reach = norms[number] * reach + float(np.linalg.norm(layer.bias.astype(np.float64)))
    return OneLayerConstants(
        norms_and_biases=np.stack(bounded, axis=1), forward_pass=np.stack(seen, axis=1)
    )


def _is_tame(layer: Layer) -> bool:
    """Return whether an activation is 1-Lipschitz and 0 at 0, as B asks for."""
    if not is_elementwise(layer.activation):
        return False
    at_zero = np.asarray(layer.activation(np.zeros((1, len(layer.bias)))))
    return slope_range(layer.activation).largest <= 1 and not at_zero.any()


def _spectral_norms(policy: Policy) -> list[float]:
    return [float(np.linalg.norm(layer.weight.astype(np.float64), 2)) for layer in policy.layers]


def _forward(policy: Policy, states: Array) -> tuple[list[Float], list[Float]]:
    """Return the values before each activation, and the inputs of each layer."""
    inputs, before = [states.astype(np.float64)], []
    for layer in policy.layers:
        before.append(inputs[-1] @ layer.weight.T.astype(np.float64) + layer.bias)
        inputs.append(np.asarray(layer.activation(before[-1])))
    return before, inputs[:-1]


def _between(policy: Policy, dense: Policy, place: float) -> Policy:
    """Return the policy at theta' + place (theta - theta'), in float64."""
    layers = tuple(
        replace(
            ours,
            weight=_mixed(ours.weight, theirs.weight, place),
            bias=_mixed(ours.bias, theirs.bias, place),
        )
        for ours, theirs in zip(policy.layers, dense.layers, strict=True)
    )
    return replace(policy, layers=layers)


def _mixed(ours: Array, theirs: Array, place: float) -> Float:
    return np.asarray((1 - place) * ours.astype(np.float64) + place * theirs.astype(np.float64))


def _check_comparable(policy: Policy, dense: Policy) -> None:
    """Check that two policies can be compared layer by layer.

    Raises:
        InputError: If they cannot.
    """
    if isinstance(found := comparable(policy, dense), Unknown):
        raise InputError(f"a path between two policies needs equal layers: {found.reason}")
