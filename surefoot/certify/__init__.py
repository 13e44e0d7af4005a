"""Certificates: what is proved about a controller file, what is refuted, and what stays unknown.

* ``certify``: the stage function; ``certified`` proves, ``findings`` compares with searches.
* Global bounds: ``chain``, ``global_bounds``, ``lipsdp`` (search) and ``semidefinite`` (proof).
* Local bounds: ``relaxation``, ``crown``, ``curvature``, ``alpha``, ``splitting``, ``radii``.
* ``rounding``: the deployed arithmetic; ``upward``: the arithmetic of the proofs.
* ``distances``, ``value``, ``statistics``, ``compression``: from deviations to what they mean.
* ``control_error``: what a one-shot compression changes, bounded and measured.
* ``measurements``: what independent episodes under attack prove with a confidence.
* ``search``: sampled lower bounds and witnesses; ``checker``: proves a saved certificate again.
* ``explain``: the certificate in plain words; ``picture``: deviation against epsilon.
"""

from surefoot.certify.certifier import certify_facts, certify_policy
from surefoot.certify.checker import CheckReport, check_certificate
from surefoot.certify.control_error import (
    ControlError,
    ControlLimit,
    Over,
    box_control_error,
    changed_choices,
    fewest_kept,
    paper_control_error,
    units_of,
    visited_control_error,
)
from surefoot.certify.deviation_picture import deviation_curves, draw_deviation
from surefoot.certify.evidence import Assumptions, CertifyConfig, Evidence
from surefoot.certify.explain import explain
from surefoot.certify.facts import Facts
from surefoot.certify.measurements import Measurement

__all__ = [
    "Assumptions",
    "CertifyConfig",
    "CheckReport",
    "ControlError",
    "ControlLimit",
    "Evidence",
    "Facts",
    "Measurement",
    "Over",
    "box_control_error",
    "certify_facts",
    "certify_policy",
    "changed_choices",
    "check_certificate",
    "deviation_curves",
    "draw_deviation",
    "explain",
    "fewest_kept",
    "paper_control_error",
    "units_of",
    "visited_control_error",
]
