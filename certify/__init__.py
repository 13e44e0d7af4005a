"""Certificates: what is proved about a controller file, what is refuted, and what stays unknown.

* ``certify``: the stage function; ``facts`` computes, ``findings`` and ``visited`` decide.
* Global bounds: ``chain``, ``global_bounds``, ``lipsdp``; local ones: ``crown``.
* ``rounding``: the deployed arithmetic; ``upward``: the arithmetic of the proofs.
* ``distances``, ``value``, ``statistics``: from deviations to distributions, returns and shares.
* ``search``: sampled lower bounds and witnesses; ``checker``: proves a saved certificate again.
"""

from surefoot.certify.certify import certify_policy
from surefoot.certify.evidence import CertifyConfig, Evidence, Measurement

__all__ = ["CertifyConfig", "Evidence", "Measurement", "certify_policy"]
