"""Grids and cells whose numbers nobody measured, and a grid whose trainings take a second."""

from collections.abc import Mapping, Sequence
from typing import Any

from support.records import attack_record_of
from surefoot.certificate import Verdict
from surefoot.config import build
from surefoot.provenance import MadeOn
from surefoot.records import StageRecord, TrainingRecord
from surefoot.study.cell_record import CellRecord, CertificateSummary, Maker
from surefoot.study.grid import Grid, GridFile, grid_of
from surefoot.study.results import Results

MAKER = Maker(code_sha256="c" * 64, versions={"numpy": "2"})

TINY = """
preset = "hopper"
baseline = "dense"
stages = ["train"]

[seeds]
select = [0, 1]

[train]
env_id = "CartPole-v1"
total_steps = 512
num_envs = 4
rollout_steps = 64
minibatch_size = 64
hidden = [8]
critic_hidden = [8]
epochs = 1
averaging = 0.0
num_evaluations = 1
evaluation_episodes = 2
visited_states = 2
defence.kind = "none"

[[arm]]
name = "dense"
train.pruning.kind = "none"

[[arm]]
name = "random"
train.pruning = { kind = "random", sparsity = 0.5, interval = 1 }
"""
"""A grid of four cells, each of a second."""

LEVELS: Mapping[str, Any] = {
    "preset": "hopper",
    "baseline": "dense",
    "seeds": {"select": [0, 1, 2]},
    "arm": [
        {"name": "dense", "train": {"pruning": {"kind": "none"}}},
        {
            "name": "magnitude",
            "train": {"pruning": {"kind": "magnitude"}},
            "cross": {"train.pruning.sparsity": [0.5, 0.9]},
        },
    ],
}
"""The keys of a grid of a baseline and a family of two levels."""


def grid_from(**changed: object) -> Grid:
    """`LEVELS` with other keys."""
    return grid_of(build(GridFile, {**LEVELS, **changed}, "grid.toml"), "grid.toml")


def stage_of(seconds: float) -> StageRecord:
    """A stage that took so long, somewhere."""
    made_on = MadeOn(processor="x", kernels={}, unpinned=None, libc="", versions={})
    return StageRecord(inputs="", files={}, seconds=seconds, made_on=made_on)


def cell_of(
    clean: Sequence[float],
    attacked: Sequence[float] | None = None,
    *,
    sparsity: float = 0.0,
    deviation: float = 0.5,
    seed: int = 0,
) -> CellRecord:
    """A cell with these returns without an adversary and under MAD."""
    return CellRecord(
        settings={},
        maker=MAKER,
        stages={"train": stage_of(2.0), "attack": stage_of(1.0)},
        train=TrainingRecord(
            env="Hopper-v5",
            seed=seed,
            steps=1000,
            sparsity=sparsity,
            clean_return=sum(clean) / len(clean),
            weights_sha256="a" * 64,
            onnx_sha256="0" * 64,
        ),
        curve={"step": (1000.0,), "clean_return": (clean[0],)},
        certificate=CertificateSummary(
            verdict=Verdict.PROVED,
            lipschitz_l2={"best": 1.0},
            deviation_linf={"best": deviation, "paper_surrogate": 10 * deviation},
            visited_certified=(deviation, deviation),
            visited_sampled=(deviation / 2, deviation / 2),
        ),
        attack=attack_record_of(clean=clean, mad=attacked or clean),
        size_bytes=1000,
    )


def results_of(
    grid: Grid, select: Mapping[str, Sequence[CellRecord]], **report: Sequence[CellRecord]
) -> Results:
    """The results of these cells by arm."""
    return Results(grid=grid, cells={"select": select, "report": report})
