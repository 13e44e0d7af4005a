"""What a certificate rests on, read back: assumptions, measurements, multipliers, effort."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from surefoot.certificate import Certificate
from surefoot.certify.at_states import Effort
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.bounds.box_trees import BoxTree
from surefoot.certify.bounds.chain import action_chain
from surefoot.certify.bounds.lipsdp_proof import Multipliers, proves_lipschitz
from surefoot.certify.evidence import Evidence
from surefoot.certify.proofs import Proofs
from surefoot.errors import IntegrityError
from surefoot.policy import Array, Policy
from surefoot.question import Question
from surefoot.visited import Order, SampledEpisodes


def saved_proofs(
    certificate: Certificate,
    policy: Policy,
    *,
    observations: Array | None = None,
    recorded: Array | None = None,
    order: Order | None = None,
    sampled: SampledEpisodes | None = None,
    dense_policy: Policy | None = None,
) -> Proofs:
    """Return the proofs that a certificate rests on, built again from the weights of the file.

    Args:
        certificate: Certificate as read back from its file.
        policy: Policy of the file that it is about.
        observations: Visited observations; None if they are withheld.
        recorded: Recorded observations; None if they are withheld.
        order: What came before these observations; None if it is withheld.
        sampled: Clean episodes of the sampling policy; None if they are withheld.
        dense_policy: Policy from which this one was compressed; None if it is withheld.

    Raises:
        IntegrityError: If the certificate rests on something else, or its multipliers prove
            nothing.
    """
    if certificate.arithmetic not in ARITHMETICS or "evidence" not in certificate.proof:
        raise IntegrityError("the certificate names no known arithmetic, or no evidence")
    table = certificate.proof["evidence"]
    evidence = Evidence.from_table(table, observations, dense_policy, sampled, recorded, order)
    return Proofs(
        policy,
        replace(evidence, gate=certificate.gate),
        ARITHMETICS[certificate.arithmetic],
        list(_proved_multipliers(certificate, policy)),
        Effort.of(certificate.proof),
        _tree_source(certificate, policy.obs_dim),
    )


def _tree_source(certificate: Certificate, num_sensors: int) -> Callable[[Question], BoxTree]:
    """Return where the saved tree of a question is found; a box without one counts as a whole.

    Raises:
        IntegrityError: If a saved tree is none, or belongs to no question about a box.
    """
    trees, requirements = {}, certificate.budget.requirements
    saved = certificate.proof.get("box_trees", [])
    if not isinstance(saved, list) or not all(isinstance(entry, dict) for entry in saved):
        raise IntegrityError("box_trees must be a list of tables")
    for entry in saved:
        number = entry.get("requirement")
        asks = type(number) is int and 0 <= number < len(requirements)
        if not asks or not requirements[number].asks_of_box:
            raise IntegrityError(f"a tree of boxes belongs to no requirement, got {number!r}")
        questions, which = requirements[number].questions, entry.get("question", 0)
        if type(which) is not int or not 0 <= which < len(questions):
            raise IntegrityError(f"a tree of boxes belongs to no question, got {which!r}")
        trees[questions[which]] = BoxTree.from_table(entry, num_sensors)
    return lambda question: trees.get(question, BoxTree())


def _proved_multipliers(
    certificate: Certificate, policy: Policy
) -> Iterator[tuple[str, Multipliers]]:
    """Yield the multipliers after proving each of them on the weights of the file.

    Raises:
        IntegrityError: If one does not prove its bound.
    """
    saved = certificate.proof.get("multipliers", [])
    if not policy.is_elementwise:
        if saved:
            raise IntegrityError(
                "multipliers prove nothing about a layer that normalises or multiplies"
            )
        return
    chain = action_chain(policy)
    for table in saved:
        proof, own = Multipliers.from_table(table, chain.num_inputs), chain
        if proof.output is not None:
            own = chain.with_last(chain.matrices[-1].rows(slice(proof.output, proof.output + 1)))
        known = table.get("name") in ("eclipse_fast", "lipsdp") and own.num_outputs > 0
        if not known or not proves_lipschitz(own, proof.metric.weights, proof.values):
            raise IntegrityError(f"{table.get('name')}: the multipliers do not prove the bound")
        yield table["name"], proof
