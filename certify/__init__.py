"""Certificates: what is proved about a controller file, what is refuted, and what stays unknown.

* ``certify``: the stage function; ``certified`` proves, ``findings`` compares with searches.
* Global bounds: ``chain``, ``global_bounds``, ``lipsdp`` (search) and ``semidefinite`` (proof).
* Local bounds: ``relaxation``, ``crown``, ``local_bounds``, ``splitting``.
* ``rounding``: the deployed arithmetic; ``upward``: the arithmetic of the proofs.
* ``distances``, ``value``, ``statistics``, ``compression``: from deviations to what they mean.
* ``measurements``: what independent episodes under attack prove with a confidence.
* ``search``: sampled lower bounds and witnesses; ``checker``: proves a saved certificate again.
* ``explain``: the certificate in plain words; ``picture``: deviation against epsilon.
"""

from surefoot.certify.certify import certify_policy
from surefoot.certify.checker import CheckReport, check_certificate
from surefoot.certify.evidence import Assumptions, CertifyConfig, Evidence
from surefoot.certify.explain import explain
from surefoot.certify.measurements import Measurement
from surefoot.certify.picture import deviation_curves, draw_deviation

__all__ = [
    "Assumptions",
    "CertifyConfig",
    "CheckReport",
    "Evidence",
    "Measurement",
    "certify_policy",
    "check_certificate",
    "deviation_curves",
    "draw_deviation",
    "explain",
]
