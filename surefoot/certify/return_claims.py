"""What a certificate says about returns: bounds on their loss, and what attacks measured of them.

The published bounds of Theorems 1 to 3 stand here as printed, beside what replaces them.
"""

from dataclasses import replace

import numpy as np

from surefoot.ball import Ball, Norm
from surefoot.certify.bounds.chain import network_chain
from surefoot.certify.bounds.global_bounds import paper_surrogate
from surefoot.certify.bounds.upward import Float
from surefoot.certify.confidence_limits import (
    betting_mean_limit,
    distribution_band,
    mean_lower_dkw,
    mean_lower_hoeffding,
    quantile_rank,
)
from surefoot.certify.distances import paper_categorical_tv, paper_gaussian_tv
from surefoot.certify.evidence import Evidence
from surefoot.certify.measurements import lowest_rate
from surefoot.certify.proofs import Proofs
from surefoot.certify.return_loss import (
    CleanTv,
    average_bound,
    coupling_bound,
    finite_horizon_bound,
    measured_average_bound,
    measured_path_bound,
    paper_alpha_bound,
)
from surefoot.certify.verdict import finite
from surefoot.claims import (
    AttackedReturnClaim,
    LossClaim,
    MeanLimits,
    MeasuredClaim,
    PaperClaim,
    PrintedTheorem,
    RateLimit,
    Replacement,
    ReturnLimits,
    Theorem3,
    Theorems,
    ValueClaim,
)
from surefoot.policy import NO_NOISE, CategoricalHead
from surefoot.quantities import QUANTITIES
from surefoot.quantities.base.measurement import Measurement
from surefoot.quantities.base.proof import Loss
from surefoot.quantities.base.quantity import MeasuredQuantity
from surefoot.unknown import Unknown
from surefoot.visited import SampledEpisodes

DELTA, _QUANTILE = 0.05, 0.05
"""Chance of error of each statistical claim by itself, and the quantile of returns that is told.
The requirements of a budget share one chance instead; see ``Budget.error_shares``."""


def value_claim(proofs: Proofs, ball: Ball) -> ValueClaim | None:
    """Bound the loss of return, each bound beside the trivial one; None without a reward range.

    Args:
        proofs: Proofs about the controller.
        ball: Perturbation set, linf.
    """
    bound, evidence = proofs.distance(ball), proofs.evidence
    if isinstance(bound, Unknown) or evidence.reward_range is None:
        return None
    (low, high), span, tv = evidence.reward_range, evidence.reward_span, bound.total_variation
    claim = ValueClaim(
        norm=ball.norm,
        epsilon=ball.epsilon,
        units="reward",
        assumption=f"every reward lies in [{low:g}, {high:g}]",
        law="the policy that samples its actions",
        adversary="may depend on the whole history",
    )
    if evidence.discount is not None:
        alpha = paper_alpha_bound(tv, max(abs(low), abs(high)), evidence.discount)
        claim = replace(
            claim,
            coupling=_loss(coupling_bound(tv, span, evidence.discount)),
            paper_alpha=replace(_loss(alpha), flaw="not a bound: a two-state chain violates it"),
        )
    if evidence.horizon is not None:
        claim = replace(claim, horizon=_loss(finite_horizon_bound(tv, span, evidence.horizon)))
    return _with_clean_episodes(claim, proofs, ball)


def _with_clean_episodes(claim: ValueClaim, proofs: Proofs, ball: Ball) -> ValueClaim:
    """Return the claim with what rests on clean episodes of the sampling policy, if there are."""
    evidence, clean = proofs.evidence, proofs.clean_tv(ball)
    if isinstance(clean, Unknown) or evidence.sampled is None:
        return claim
    span = evidence.reward_span
    if evidence.discount is not None:
        average = measured_average_bound(clean, span, evidence.discount, DELTA)
        claim = replace(claim, average=_loss_of_episodes(average, clean))
    if evidence.horizon == clean.horizon:
        path = measured_path_bound(clean, span, DELTA)
        left = _attacked_return(evidence.sampled, evidence, clean)
        claim = replace(claim, path=_loss_of_episodes(path, clean), attacked_return=left)
    return claim


def _attacked_return(
    episodes: SampledEpisodes, evidence: Evidence, clean: CleanTv
) -> AttackedReturnClaim:
    """Return a lower bound on the undiscounted return under any attack, by either loss."""
    low, high = evidence.return_range or (0.0, 0.0)
    if evidence.contradicts_rewards:
        reason = "a clean return contradicts the assumed reward_range"
        return AttackedReturnClaim(bound=None, reason=reason)
    # One half of the error for the clean return, one for the loss.
    before = betting_mean_limit(episodes.returns, low, high, DELTA / 2)
    path = measured_path_bound(clean, evidence.reward_span, DELTA / 2)
    horizon = finite_horizon_bound(clean.largest, evidence.reward_span, clean.horizon)
    bound = max(low, before - min(path.bound, horizon.bound))
    return AttackedReturnClaim(
        clean_at_least=before,
        bound=bound,
        least_conceivable=low,
        vacuous=not bound > low,
        confidence=1 - DELTA,
    )


def measured_claim(entry: Measurement, evidence: Evidence) -> MeasuredClaim:
    """State what one measurement, taken by itself, proves with a confidence."""
    claim = MeasuredClaim(
        quantity=entry.quantity,
        value=entry.value,
        source=entry.source,
        onnx_sha256=entry.onnx_sha256,
    )
    quantity = QUANTITIES[entry.quantity]
    if isinstance(quantity, MeasuredQuantity) and quantity.is_rate:
        rate = RateLimit(at_least=lowest_rate((entry,), DELTA).lower)
        return replace(claim, confidence=1 - DELTA, rate=rate)
    if not entry.returns:
        return claim
    return replace(claim, confidence=1 - DELTA, returns=_limits(np.array(entry.returns), evidence))


def _limits(values: Float, evidence: Evidence) -> ReturnLimits:
    """Bound the distribution of returns from those of independent episodes, shape (n,)."""
    rank = quantile_rank(len(values), _QUANTILE, DELTA)
    limits = ReturnLimits(
        distribution_band=distribution_band(len(values), DELTA),
        quantile=_QUANTILE,
        quantile_at_least=None if rank is None else float(np.sort(values)[rank - 1]),
        mean_at_least=None,
    )
    allowed = evidence.return_range
    if allowed is None or not ((values >= allowed[0]) & (values <= allowed[1])).all():
        return limits
    return replace(
        limits,
        mean_at_least=MeanLimits(
            betting=betting_mean_limit(values, *allowed, DELTA),
            dkw=mean_lower_dkw(values, *allowed, DELTA),
            hoeffding=mean_lower_hoeffding(values, *allowed, DELTA),
        ),
        assumption=f"every return lies in [{allowed[0]:g}, {allowed[1]:g}]",
    )


def _loss(loss: Loss) -> LossClaim:
    return LossClaim(
        bound=finite(loss.bound),
        trivial=finite(loss.trivial),
        vacuous=loss.vacuous,
        sound=loss.sound,
    )


def _loss_of_episodes(loss: Loss, clean: CleanTv) -> LossClaim:
    return replace(
        _loss(loss),
        confidence=1 - DELTA,
        episodes=len(clean.steps),
        mean_total_variation=float(clean.values.mean()),
        assumption="independent clean episodes of the policy that samples its actions, in the "
        "simulator of the claim, one state of each at a step drawn beforehand",
    )


def paper_claim(proofs: Proofs, epsilon: float) -> PaperClaim:
    """Return the published numbers as printed beside what is sound.

    Args:
        proofs: Proofs about the controller.
        epsilon: Size of a linf perturbation, normalised units.
    """
    surrogate = np.inf
    if proofs.everywhere.is_bounded:
        surrogate = paper_surrogate(network_chain(proofs.policy))
    printed = surrogate * epsilon
    head = proofs.policy.head
    laws: dict[str, float] = {}
    if isinstance(head, CategoricalHead):
        laws = {"main_text": paper_categorical_tv(printed)}
    elif head.std is not None:
        laws = paper_gaussian_tv(printed, float(head.std.min()) ** 2)
    return PaperClaim(
        surrogate=finite(surrogate),
        surrogate_times_epsilon=finite(printed),
        flaw="an l2 constant times an linf epsilon: sound only with the factor sqrt(obs_dim)",
        sound=finite(printed * float(np.sqrt(proofs.policy.obs_dim))),
        units="network output",
        table="deviation_linf.paper_surrogate is no printed number: it has the factor "
        "sqrt(obs_dim), is in the unit of the actions, and takes an actuator's own row as the last "
        "layer; it is sound",
        total_variation_as_printed={name: finite(value) for name, value in laws.items()},
        theorems=_theorems(proofs, epsilon, laws),
        reason=None if laws else NO_NOISE,
    )


def _theorems(proofs: Proofs, epsilon: float, laws: dict[str, float]) -> Theorems:
    """Return the right-hand sides of Theorems 1 to 3 as printed, and what replaces them.

    Args:
        proofs: Proofs about the controller.
        epsilon: Perturbation, linf, normalised units.
        laws: The printed bounds on total variation by where they are printed.

    Reference:
        arXiv 2510.12939, Theorems 1 to 3. The constant alpha is too small, and the total
        variation that it is given is an l2 constant times an linf epsilon.
    """
    evidence, theorems = proofs.evidence, Theorems(theorem_3=_theorem_3(proofs, epsilon))
    bound = proofs.distance(Ball(norm=Norm.LINF, epsilon=epsilon))
    if evidence.reward_range is None or evidence.discount is None or isinstance(bound, Unknown):
        return theorems
    largest, span = max(map(abs, evidence.reward_range)), evidence.reward_span
    # Printed numbers may exceed 1, where alpha times them is meant literally.
    alpha = paper_alpha_bound(1.0, largest, evidence.discount)
    printed = PrintedTheorem(
        as_printed={law: finite(alpha.bound * value) for law, value in laws.items()},
        trivial_as_printed=finite(alpha.trivial),
        vacuous_as_printed={
            law: not alpha.bound * value < alpha.trivial for law, value in laws.items()
        },
        replaced_by=_loss(coupling_bound(bound.total_variation, span, evidence.discount)),
    )
    average = _loss(average_bound(bound.total_variation, span, evidence.discount))
    return replace(theorems, theorem_1=printed, theorem_2=replace(printed, replaced_by=average))


def _theorem_3(proofs: Proofs, epsilon: float) -> Theorem3:
    """Bound how much lower the dense policy's attacked return may be, in place of Theorem 3.

    Give the dense policy the strongest adversary of the compressed one: both then see the same
    perturbed states, at which their laws differ by no more than the bound on total variation.
    """
    theorem = Theorem3(
        as_printed=None,
        reason="L_par, an integral over a segment of parameters, has no closed form",
    )
    evidence = proofs.evidence
    if evidence.dense_policy is None or evidence.reward_range is None or evidence.discount is None:
        return theorem
    tv = proofs.compression_tv(epsilon)
    if isinstance(tv, Unknown):
        return replace(theorem, replacement=Replacement(replaced_by=None, why=tv.reason))
    loss = _loss(average_bound(tv, evidence.reward_span, evidence.discount))
    return replace(theorem, replacement=Replacement(replaced_by=loss, total_variation=tv))
