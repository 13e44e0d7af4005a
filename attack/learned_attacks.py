"""The scans of learned adversaries: which trainings an attack of a suite tries."""

from collections.abc import Mapping
from dataclasses import asdict

from surefoot.artifact import Json
from surefoot.attack.adversary import Adversary
from surefoot.attack.director import Director
from surefoot.attack.effort import Effort
from surefoot.attack.game import Craft, Direct
from surefoot.attack.learned import LearnedAdversary, LearnedSettings, learn_adversary
from surefoot.attack.target import Target, Variants, pack, unpack
from surefoot.onnx_format import policy_from_onnx


def sa_rl_variants(target: Target, total_steps: int) -> Variants:
    """Return the adversaries that learn perturbations (SA-RL).

    The published scan has 216 entries; here it is the start (an imitation of the strongest attack
    so far, or none) and the learning rate that were seen to matter.

    Args:
        target: What is attacked.
        total_steps: Environment steps of each training.
    """
    scan = {
        "imitation, lr 5e-4": LearnedSettings(
            total_steps=total_steps, learning_rate=5e-4, imitates=True
        ),
        "imitation, lr 1e-3": LearnedSettings(
            total_steps=total_steps, learning_rate=1e-3, imitates=True
        ),
        "no start, lr 1e-3": LearnedSettings(
            total_steps=total_steps, learning_rate=1e-3, sigma=0.6
        ),
    }
    return _learn(target, "sa-rl", Direct(target.ball, target.policy.obs_dim), scan)


def pa_ad_variants(target: Target, total_steps: int) -> Variants:
    """Return the adversaries that learn directions of the action (PA-AD).

    Args:
        target: What is attacked.
        total_steps: Environment steps of each training.
    """
    scan = {
        "imitation, lr 1e-3": LearnedSettings(
            total_steps=total_steps, learning_rate=1e-3, imitates=True
        ),
        "no start, lr 1e-3": LearnedSettings(
            total_steps=total_steps, learning_rate=1e-3, sigma=0.6
        ),
    }
    return _learn(target, "pa-ad", Director(target.policy, target.ball), scan)


def _learn(
    target: Target, name: str, craft: Craft, scan: Mapping[str, LearnedSettings]
) -> Variants:
    """Train every entry of a scan that is not there already."""
    adversaries: dict[str, Adversary] = {}
    effort, facts = Effort(), {}
    for number, (variant, settings) in enumerate(scan.items()):
        part = target.at(number / len(scan), 1 / len(scan))
        spent, told, actor = unpack(_train(part, f"{name}, {variant}", craft, settings))
        effort, facts[variant] = effort + spent, told
        adversaries[variant] = LearnedAdversary(policy_from_onnx(actor).policy, craft)
    return Variants(adversaries=adversaries, effort=effort, facts={"training": facts})


def _train(target: Target, name: str, craft: Craft, settings: LearnedSettings) -> bytes:
    key: Json = [target.key, name, asdict(settings)]
    piece = target.store.get("adversary", key)
    if piece is None:
        learned = learn_adversary(
            target.policy,
            craft,
            settings,
            target.make_env,
            teacher=target.strongest,
            checkpoints=target.store.scratch("adversary", key),
            on_share=lambda share: target.tell(share, name),
        )
        piece = pack(learned.effort, learned.facts, learned.actor)
        target.store.put("adversary", key, piece)
        target.store.discard("adversary", key)
    return piece
