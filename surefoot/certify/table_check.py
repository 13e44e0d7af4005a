"""The tables and claims of a certificate, held against what its proofs give."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from surefoot.certificate import Certificate
from surefoot.certify.differences import differences
from surefoot.certify.proofs import Proofs
from surefoot.certify.proved_claims import ProvedTables, epsilon_of, proved_tables
from surefoot.config import to_table
from surefoot.quantities.base.proof import Ground

_RESTS_ON = {
    **dict.fromkeys(("visited_deviation", "visited_radius"), Ground.OBSERVATIONS),
    **dict.fromkeys(("average", "path", "attacked_return"), Ground.SAMPLED),
    "theorem_3": Ground.DENSE_POLICY,
}
"""Claims that a checker passes over where this evidence is withheld."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableCheck:
    """What became of the tables and claims beside the requirements.

    Attributes:
        faults: Statements that are not proved, a line each.
        lacking: Evidence that was missing, by the name of the claim that rests on it.
    """

    faults: tuple[str, ...]
    lacking: Mapping[str, Ground]


def check_tables(certificate: Certificate, proofs: Proofs) -> TableCheck:
    """Prove the tables and claims of a certificate again, as far as the evidence is given."""
    again = _proved_again(certificate, proofs)
    skipped = {name: ground for name, ground in _RESTS_ON.items() if ground in proofs.withheld}
    return TableCheck(
        faults=tuple(_faults(certificate, again, skipped)),
        lacking={
            name: ground
            for name, ground in skipped.items()
            # It says more than is proved without the evidence.
            if any(_faults(certificate, again, skipped.keys() - {name}))
        },
    )


def _proved_again(certificate: Certificate, proofs: Proofs) -> ProvedTables:
    visited = certificate.claims.visited_deviation
    again = proved_tables(
        proofs,
        epsilon_of(certificate.deviation_linf),
        visited.epsilon if visited else 0.0,
        certificate.budget,
    )
    if certificate.claims.sensors is None:  # of an older version, which claims nothing of them
        again = replace(again, claims=replace(again.claims, sensors=None))
    return again


def _faults(certificate: Certificate, again: ProvedTables, skip: Collection[str]) -> Iterator[str]:
    """Yield the statements of tables and claims that are not proved."""
    for name in ("runtime_error", "lipschitz_l2", "deviation_linf", "claims"):
        said, proved = (
            to_table(getattr(either, name), nulls=True) for either in (certificate, again)
        )
        yield from differences(said, proved, f"certificate.{name}", {*skip, "sampled"})
