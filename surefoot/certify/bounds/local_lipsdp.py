"""LipSDP on a region: the global search and the global proof, on the chain of the region.

Statement and proof: docs/explanation/mathematics.md, 5.10.
"""

from surefoot.certify.bounds.chain import Chain
from surefoot.certify.bounds.lipsdp import semidefinite_bounds
from surefoot.certify.bounds.lipsdp_proof import Multipliers
from surefoot.certify.bounds.local_chain import local_chain
from surefoot.certify.bounds.region import Bounds, Network


def lipsdp_on(
    chain: Chain, network: Network, before: list[Bounds], *, iterations: int = 40
) -> Multipliers | None:
    """Return a proved l2 constant between any two points of one region, or None.

    Args:
        chain: The chain to bound, with exact matrices.
        network: The same layers up to the last one.
        before: Bounds before each activation on the region, shape (1, n).
        iterations: Iterations of L-BFGS.
    """
    local = local_chain(chain, network, before)
    if local is None:
        return None
    return semidefinite_bounds(local, iterations=iterations, row_iterations=0).whole
