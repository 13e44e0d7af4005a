"""What a training run gives, and what it tells while it runs."""

from collections.abc import Mapping
from dataclasses import dataclass

from surefoot.artifact import Json
from surefoot.envs.vector import EnvSpec
from surefoot.policy import Layer, Policy
from surefoot.train.train_config import TrainConfig
from surefoot.visited import Visited


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where a run is.

    Attributes:
        step: Environment steps done.
        total: Environment steps of the whole run.
        mean_return: Mean over the last 100 training episodes, exploring; None before the first.
        steps_per_s: Steps per second since this process started or resumed the run.
        sparsity: Share of the actor's weights that are zero.
        seconds_left: Estimate.
    """

    step: int
    total: int
    mean_return: float | None
    steps_per_s: float
    sparsity: float
    seconds_left: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrainResult:
    """A finished run.

    Attributes:
        policy: The result: the last policy, or the best one if the configuration says so.
        critic: Layers of the critic: from states to values, in units of the normalised reward.
        curves: Columns of numbers by name, one row per iteration; None where there is none.
        visited: Observations along clean episodes of ``policy``.
        config: The run.
        spec: The task.
        facts: Counts, versions and evaluations; equal for equal runs on equal machines.
        timing: Seconds by phase; differs from run to run and belongs to no digest.
    """

    policy: Policy
    critic: tuple[Layer, ...]
    curves: Mapping[str, list[float | None]]
    visited: Visited
    config: TrainConfig
    spec: EnvSpec
    facts: Mapping[str, Json]
    timing: Mapping[str, float]
