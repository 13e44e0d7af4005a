"""Certificates: what is proved about a controller file, what is refuted, and what stays unknown.

From the top: ``certifier`` asks each requirement's quantity for a bound (``proofs``) and a search
(``searches``), and ``verdict`` compares the two; ``checker`` does the same without the search.

* ``everywhere``, ``at_states``: proofs in every state, and around given ones; ``proofs``: both,
  with the evidence beside the weights (``evidence``, ``measurements``).
* ``distances``, ``return_loss``, ``compression``, ``confidence_limits``: from deviations to what
  they mean.
* ``proved_claims``, ``return_claims``, ``radii``: what a certificate says beyond its budget.
* ``exploration``: what could be required, before there is a budget.
* ``questions``, ``question_search``: conditions on the actions in a region, and the tree of boxes
  that proves them; ``suspects``, ``neuron_search``, ``open_boxes``: what the search is made of.
* ``counterexamples``: sampled lower bounds and witnesses.
* ``explain``: a certificate in plain words; ``deviation_picture``: deviation against epsilon.
* ``control_error``: what a one-shot compression changes, bounded and measured.
* ``printed``: what two papers print, evaluated; nothing of it is a proof.
* ``bounds``: bounds on networks, and the arithmetic of the proofs.
"""

from surefoot.certify.analysis import Analysis
from surefoot.certify.certifier import certify_analysis, certify_policy, num_steps
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
from surefoot.certify.measurements import measurements_of
from surefoot.quantities.base.measurement import Episodes, Measurement

__all__ = [
    "Analysis",
    "Assumptions",
    "CertifyConfig",
    "CheckReport",
    "ControlError",
    "ControlLimit",
    "Episodes",
    "Evidence",
    "Measurement",
    "Over",
    "box_control_error",
    "certify_analysis",
    "certify_policy",
    "changed_choices",
    "check_certificate",
    "deviation_curves",
    "draw_deviation",
    "explain",
    "fewest_kept",
    "measurements_of",
    "num_steps",
    "paper_control_error",
    "units_of",
    "visited_control_error",
]
