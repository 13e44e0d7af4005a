"""The scans of learned adversaries: which trainings an attack of a suite tries."""

from dataclasses import asdict, dataclass, replace
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from surefoot.artifact import Json
from surefoot.attack.adversary import Adversary
from surefoot.attack.cost import Cost
from surefoot.attack.learned import (
    LearnedAdversary,
    LearnedConfig,
    LearnedStart,
    learn_adversary,
    learn_start,
)
from surefoot.attack.target import AttackTarget, Variants, pack, unpack
from surefoot.onnx_file import policy_from_onnx
from surefoot.train.game import Craft, Direct
from surefoot.train.pa_ad import Director

_LESSONS = 5
"""Rounds of imitation: with one alone HalfCheetah's adversary starts where no attack has been."""

_HEAT = 0.2
"""Share of a training after which only the best of those that are taught goes on."""

_Piece = tuple[Cost, dict[str, Json], bytes]

Scan = dict[str, tuple[LearnedConfig, tuple[str, Adversary] | None]]
"""By variant: how it is trained, and by whom it is taught first, if by anyone."""


def sa_rl_variants(target: AttackTarget, total_steps: int) -> Variants:
    """Return the adversaries that learn perturbations (SA-RL).

    The published scan has 216 entries; here it is the start that was seen to matter: an imitation
    of the strongest attack so far, the best constant, or none. From the constant, where all moves
    are at their limits, little is learned; but some gaits are worst off under it. From nothing a
    short sight gets further in so many dimensions: a plain Hopper policy (3140) to 1050, not 1297.

    Args:
        target: Controller and task under attack.
        total_steps: Environment steps of each training.
    """
    fresh = replace(fresh_settings(target, total_steps), gamma=0.99, gae_lambda=0.95)
    scan = _by_teachers(target, total_steps) | {"no start": (fresh, None)}
    return _learn(target, "sa-rl", Direct(target.ball, target.policy.obs_dim), scan)


def pa_ad_variants(target: AttackTarget, total_steps: int) -> Variants:
    """Return the adversaries that learn directions of the action (PA-AD).

    The best constant is a teacher, too: a released S-PPO Hopper falls at 1131 under a constant, and
    stood at 2516 when PA-AD had the strongest attack on states alone to start from.

    Args:
        target: Controller and task under attack.
        total_steps: Environment steps of each training.
    """
    scan = _by_teachers(target, total_steps)
    scan["no start"] = (fresh_settings(target, total_steps), None)
    return _learn(target, "pa-ad", Director(target.policy, target.ball), scan)


def _by_teachers(target: AttackTarget, total_steps: int) -> Scan:
    """Return the entries that are taught: by the strongest attack so far, and the best constant."""
    taught = LearnedConfig(
        total_steps=total_steps, learning_rate=1e-3, lessons=_LESSONS, resume=target.resume
    )
    scan: Scan = {"taught": (taught, target.strongest)}
    if target.constant:
        # A constant does the same wherever an imitation of it errs: one lesson says all.
        scan["taught by the constant"] = (replace(taught, lessons=1), target.constant)
    return scan


def fresh_settings(target: AttackTarget, total_steps: int) -> LearnedConfig:
    """Return the settings of learning from nothing: more noise, and updates of few new steps each.

    One that is taught begins near an optimum, where the advantages of so few steps lead it away.
    """
    settings = LearnedConfig(total_steps=total_steps, sigma=0.6, resume=target.resume)
    return replace(settings, rollout_steps=settings.rollout_steps // 4)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    """One training of a scan, and where its checkpoints go."""

    name: str
    craft: Craft
    settings: LearnedConfig
    teacher: Adversary | None
    key: Json
    checkpoints: Path


def _learn(target: AttackTarget, name: str, craft: Craft, scan: Scan) -> Variants:
    """Train the entries of a scan.

    Those that are taught race: each is trained for a while, and the best of them to the end. What
    learns from nothing would lose such a race whatever becomes of it, and is trained to the end.
    What all have learned stays among the variants: snapshots are compared on few episodes.
    """
    with TemporaryDirectory() as spare:
        entries: dict[str, _Entry] = {}
        for number, (variant, (settings, teacher)) in enumerate(scan.items()):
            key: Json = [target.key, name, teacher and teacher[0], asdict(settings)]
            kept = target.store.scratch("adversary", key) or Path(spare) / str(number)
            entries[variant] = _Entry(
                name=f"{name}, {variant}",
                craft=craft,
                settings=settings,
                teacher=teacher and teacher[1],
                key=key,
                checkpoints=kept,
            )
        taught = [variant for variant, entry in entries.items() if entry.teacher]
        whole = _HEAT * len(taught) + (1 - _HEAT) * bool(taught) + len(entries) - len(taught)
        done = 0.0

        def train(variant: str, began: float, until: float) -> _Piece:
            nonlocal done
            part = target.at(done / whole, (until - began) / whole)
            done += until - began
            return unpack(_train(part, entries[variant], began, until))

        pieces = {variant: train(variant, 0.0, _HEAT) for variant in taught}
        if taught:
            ahead = min(taught, key=lambda variant: min(pieces[variant][1]["returns"], default=inf))
            pieces[ahead] = train(ahead, _HEAT, 1.0)
        pieces |= {
            variant: train(variant, 0.0, 1.0) for variant in entries if variant not in taught
        }
    starts = [_start(target, entry) for entry in entries.values()]
    for entry in entries.values():
        target.store.discard("adversary", entry.key)
    return Variants(
        adversaries={
            variant: LearnedAdversary(policy_from_onnx(actor).policy, craft)
            for variant, (_, _, actor) in pieces.items()
        },
        effort=sum(
            (start.effort for start in starts if start),
            sum((spent for spent, _, _ in pieces.values()), Cost()),
        ),
        facts={
            "scan": {
                variant: asdict(settings) | {"teacher": teacher and teacher[0]}
                for variant, (settings, teacher) in scan.items()
            },
            "training": {variant: told for variant, (_, told, _) in pieces.items()},
        },
    )


def _start(target: AttackTarget, entry: _Entry) -> LearnedStart | None:
    """Return the starting point of an entry's training; it is learned once and then stored."""
    settings, teacher = entry.settings, entry.teacher
    if teacher is None or not settings.lessons:
        return None
    key: Json = [entry.key, "start"]
    piece = target.store.get("adversary", key)
    if piece is None:
        learned = learn_start(target.policy, entry.craft, settings, target.make_env, teacher)
        facts: dict[str, Json] = {"return": learned.clean_return}
        piece = pack(learned.effort, facts, learned.actor.tobytes())
        target.store.put("adversary", key, piece)
    effort, facts, actor = unpack(piece)
    return LearnedStart(
        actor=np.frombuffer(actor, np.float32).copy(), clean_return=facts["return"], effort=effort
    )


def _train(target: AttackTarget, entry: _Entry, began: float, until: float) -> bytes:
    """Train an entry up to a share of its steps, unless that is done already."""
    key: Json = [entry.key, until]
    piece = target.store.get("adversary", key)
    start = _start(target, entry)
    if piece is None:
        learned = learn_adversary(
            target.policy,
            entry.craft,
            entry.settings,
            target.make_env,
            start=start,
            checkpoints=entry.checkpoints,
            until=until,
            on_share=lambda share: target.tell((share - began) / (until - began), entry.name),
        )
        piece = pack(learned.effort, learned.facts, learned.actor)
        target.store.put("adversary", key, piece)
    return piece
