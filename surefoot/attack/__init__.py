"""Attacks on the observations of a deployed controller, in closed loop.

An adversary perturbs the state within a ball (adversary.py: the protocol; mad.py and push.py: one
attack each, climbing by ascent.py), or moves the actions as far as a proof lets it (action.py). The
deployed runtime acts, held at every step against a twin rebuilt from its own file (deployed.py);
`evaluate` plays whole episodes. `run_suite` tunes each attack on selection episodes and reports it
on others (seeds.py), beside what the certificate proves (proved_deviation.py).
"""

from surefoot.attack.adversary import Adversary, NoAdversary, RandomAdversary
from surefoot.attack.attack_config import AttackConfig
from surefoot.attack.closed_loop import EvaluateConfig, Evaluation, evaluate
from surefoot.attack.deployed import DeployedController
from surefoot.attack.mad import mad_adversary
from surefoot.attack.returns_picture import draw_attacks
from surefoot.attack.success import PlayedEpisode
from surefoot.attack.suite import run_suite
from surefoot.attack.suite_report import AttackReport
from surefoot.ball import Ball

__all__ = [
    "Adversary",
    "AttackConfig",
    "AttackReport",
    "Ball",
    "DeployedController",
    "EvaluateConfig",
    "Evaluation",
    "NoAdversary",
    "PlayedEpisode",
    "RandomAdversary",
    "draw_attacks",
    "evaluate",
    "mad_adversary",
    "run_suite",
]
