"""Whole trainings with every way of pruning, on a task that costs nothing."""

import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from support.environments import TargetEnv
from support.training import let_every_task_be
from surefoot.config import build, to_table
from surefoot.envs.vector import StepResult
from surefoot.errors import DivergenceError, InputError, InterruptedRun
from surefoot.onnx_file import policy_from_onnx, policy_to_onnx
from surefoot.policy import Layer, weights_sha256
from surefoot.train.folder import critic_from_bytes, critic_to_bytes
from surefoot.train.ppo import Ppo
from surefoot.train.pruning_config import (
    BlockPruning,
    MagnitudePruning,
    MagnitudeStePruning,
    NeuronPruning,
    NoPruning,
    Pruning,
    RandomPruning,
    SaliencyPruning,
    TwoFourPruning,
)
from surefoot.train.result import Progress
from surefoot.train.train_config import TrainConfig
from surefoot.train.trainer import train_policy

METHODS = [
    RandomPruning(sparsity=0.5, interval=3),
    MagnitudePruning(sparsity=0.5, interval=3),
    MagnitudeStePruning(sparsity=0.5, interval=3),
    SaliencyPruning(sparsity=0.5, interval=3),
    NeuronPruning(sparsity=0.5, interval=3),
    TwoFourPruning(interval=3),
]


def name_of(
    value: Pruning,
) -> str:
    return getattr(value, "kind", None)


BLOCKS = BlockPruning(sparsity=0.5, interval=3, rows=4, score="saliency", target="actor")

pytestmark = pytest.mark.usefixtures("target_task")


def num_zeros(layers: tuple[Layer, ...]) -> list[int]:
    return [int((layer.weight == 0).sum()) for layer in layers]


def expected_zeros(
    pruning: Pruning,
    shapes: list[tuple[int, int]],
) -> int:
    """Return how many zeros all layers together have."""
    if isinstance(pruning, NeuronPruning):
        return 0
    if isinstance(pruning, TwoFourPruning):
        per_row = [sum(max(0, min(4, n - k) - 2) for k in range(0, n, 4)) for _, n in shapes]
        return sum(rows * count for (rows, _), count in zip(shapes, per_row, strict=True))
    return -(-sum(rows * columns for rows, columns in shapes) // 2)


@pytest.mark.parametrize("target", ["actor", "critic", "both"])
@pytest.mark.parametrize("pruning", METHODS, ids=name_of)
def test_the_result_is_pruned_exactly_in_the_networks_that_were_named(
    tiny: TrainConfig,
    pruning: Pruning,
    target: str,
) -> None:
    result = train_policy(replace(tiny, pruning=replace(pruning, target=target)))
    for name, layers, shapes in (
        ("actor", result.policy.layers, [(8, 3), (12, 8), (1, 12)]),
        ("critic", result.critic, [(10, 3), (1, 10)]),
    ):
        found = [layer.weight.shape for layer in layers]
        if target not in (name, "both"):
            assert (found, num_zeros(layers)) == (shapes, [0] * len(shapes))
            continue
        assert sum(num_zeros(layers)) == expected_zeros(pruning, shapes)
        halves = {"actor": [(4, 3), (6, 4), (1, 6)], "critic": [(5, 3), (1, 5)]}[name]
        assert found == (halves if isinstance(pruning, NeuronPruning) else shapes)
    assert result.facts["hidden"] == [len(layer.bias) for layer in result.policy.layers[:-1]]
    assert result.facts["sparsity"] == result.policy.sparsity
    pruned = target != "critic"
    assert (result.curves["sparsity"][-1] > 0.3) == pruned
    assert (result.facts["target_sparsity"] > 0.3) == pruned


@pytest.mark.parametrize("pruning", METHODS, ids=name_of)
def test_a_run_that_was_stopped_goes_on_bit_for_bit(
    tiny: TrainConfig,
    tmp_path: Path,
    pruning: Pruning,
) -> None:
    config = replace(tiny, pruning=pruning)

    def interrupt(progress: Progress) -> None:
        if progress.step == 640:  # in the middle of the schedule
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRun):
        train_policy(config, out=tmp_path, on_progress=interrupt)
    resumed, whole = train_policy(config, out=tmp_path), train_policy(config)
    assert weights_sha256(resumed.policy) == weights_sha256(whole.policy)
    assert critic_to_bytes(resumed.critic) == critic_to_bytes(whole.critic)
    assert resumed.curves == whole.curves
    assert resumed.facts == whole.facts


def test_blocks_are_pruned_and_a_stopped_run_goes_on_bit_for_bit(
    tiny: TrainConfig, tmp_path: Path
) -> None:
    config = replace(tiny, pruning=BLOCKS)

    def interrupt(progress: Progress) -> None:
        if progress.step == 640:  # in the middle of the schedule
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRun):
        train_policy(config, out=tmp_path, on_progress=interrupt)
    resumed, whole = train_policy(config, out=tmp_path), train_policy(config)
    assert weights_sha256(resumed.policy) == weights_sha256(whole.policy)
    shapes = [(8, 3), (12, 8), (1, 12)]
    assert [layer.weight.shape for layer in whole.policy.layers] == shapes
    assert sum(num_zeros(whole.policy.layers)) == -(-132 // 2 // 4) * 4
    for layer in whole.policy.layers[:2]:
        alive = (layer.weight != 0).reshape(-1, 4, layer.weight.shape[1])
        assert (alive.all(axis=1) | ~alive.any(axis=1)).all()
    assert (whole.policy.layers[2].weight != 0).all()


def test_a_net_of_fewer_neurons_is_saved_and_read_like_any_other(tiny: TrainConfig) -> None:
    result = train_policy(replace(tiny, pruning=NeuronPruning(sparsity=0.5), select="best"))
    read = policy_from_onnx(policy_to_onnx(result.policy), "policy.onnx").policy
    assert weights_sha256(read) == weights_sha256(result.policy)
    assert [layer.weight.shape for layer in critic_from_bytes(critic_to_bytes(result.critic))] == [
        (5, 3),
        (1, 5),
    ]


def test_both_networks_are_pruned_unless_one_is_named() -> None:
    assert {method.target for method in METHODS} == {"both"}


@pytest.mark.parametrize("pruning", [NoPruning(), BLOCKS, *METHODS], ids=name_of)
def test_a_configuration_written_as_a_table_reads_back_the_same(
    tiny: TrainConfig,
    pruning: Pruning,
) -> None:
    config = replace(tiny, pruning=pruning)
    assert build(TrainConfig, to_table(config), "train") == config


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "magnitud", "sparsity": 0.5}, "did you mean 'magnitude'"),
        ({"kind": "saliency", "sparsity": 0.5, "memory": 1}, r"memory must be in \[0, 1\), got 1"),
        ({"kind": "random", "sparsity": 0.5, "interval": 0}, "interval must be at least 1"),
        ({"kind": "magnitude_ste", "sparsity": 0.5, "start": 0.8}, r"end must be in \(start, 1\]"),
        ({"kind": "blocks", "sparsity": 0.5, "rows": 2}, "rows must be one of 4, 8, got 2"),
        ({"kind": "blocks", "sparsity": 0.5, "score": "ste"}, "score must be one of random, mag"),
        ({"kind": "neurons", "sparsity": 1.0}, r"sparsity must be in \[0, 1\)"),
        ({"kind": "neurons", "sparsity": 0.5, "allocation": "erk"}, "must be uniform or global"),
        (
            {"kind": "neurons", "sparsity": 0.95, "allocation": "global"},
            "sparsity must be at most 0.9 where every layer keeps the min_density of 0.1, got 0.95",
        ),
        ({"kind": "two_four", "sparsity": 0.5}, "unknown key 'train.pruning.sparsity'"),
        ({"kind": "two_four", "target": "actors"}, "did you mean 'actor'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(table: dict[str, float | str], message: str) -> None:
    with pytest.raises(InputError, match=message) as refusal:
        build(TrainConfig, {"env_id": "Target-v0", "pruning": table}, "train")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pruning": MagnitudePruning(sparsity=0.999)}, r"sparsity must be at most 0\.9\d* in"),
        (
            {"pruning": NeuronPruning(sparsity=0.5), "hidden": ()},
            "neurons needs at least one hidden layer",
        ),
        ({"pruning": replace(BLOCKS, target="both")}, "of the critic: rows must divide those of a"),
    ],
)
def test_what_does_not_fit_the_networks_is_refused_before_anything_is_written(
    tiny: TrainConfig, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message) as refusal:
        train_policy(replace(tiny, **changes), out=tmp_path / "run")
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "run").exists()


def test_another_way_of_pruning_in_the_same_folder_is_refused_by_the_keys(
    tiny: TrainConfig, tmp_path: Path
) -> None:
    train_policy(replace(tiny, pruning=METHODS[1]), out=tmp_path)
    other = replace(tiny, pruning=SaliencyPruning(sparsity=0.6, interval=3))
    with pytest.raises(InputError) as refusal:
        train_policy(other, out=tmp_path)
    for part in (
        "pruning.kind was magnitude, is saliency",
        "pruning.sparsity was 0.5, is 0.6",
        "pruning.memory was None, is 0.98",
    ):
        assert part in str(refusal.value)
    assert "interval" not in str(refusal.value)


@pytest.mark.parametrize(
    ("hidden", "critic_hidden", "name"), [((2,), (60,), "actor"), ((60,), (2,), "critic")]
)
def test_a_sparsity_out_of_reach_is_refused_by_the_name_of_the_network(
    tiny: TrainConfig, hidden: tuple[int], critic_hidden: tuple[int], name: str
) -> None:
    pruning = MagnitudePruning(sparsity=0.9)
    config = replace(tiny, hidden=hidden, critic_hidden=critic_hidden, pruning=pruning)
    with pytest.raises(InputError, match=rf"^pruning of the {name}: sparsity must be at most 0\."):
        train_policy(config)


@pytest.mark.parametrize("pruning", [NoPruning(), *METHODS], ids=name_of)
@pytest.mark.parametrize("network", ["actor", "critic"])
def test_a_gradient_that_is_not_a_number_stops_with_the_step_and_keeps_the_checkpoint(
    tiny: TrainConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pruning: Pruning,
    network: str,
) -> None:
    """At update 92 of the 12th iteration, in the middle of the schedule and of an iteration."""
    clip = Ppo._clip
    count = 0

    def poisoned(self: Ppo, gradients: Sequence[Tensor]) -> Tensor:
        nonlocal count
        count += 1
        if count == 2 * 91 + (1 if network == "actor" else 2):
            gradients[0][0] = torch.nan
        return clip(self, gradients)

    monkeypatch.setattr(Ppo, "_clip", poisoned)
    config = replace(tiny, total_steps=2048, pruning=pruning)
    with pytest.raises(DivergenceError, match=r"non-finite, in the steps after 1408$"):
        train_policy(config, out=tmp_path)
    assert (tmp_path / "checkpoints" / "latest").read_text() == f"{1280:012d}"


def test_a_reward_that_is_not_a_number_stops_with_the_step(
    tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make_broken(num_envs: int) -> TargetEnv:
        env = TargetEnv(num_envs)
        step = env.step

        def broken(actions: NDArray[np.float32]) -> StepResult:
            result = step(actions)
            if env.count > 100:
                result.reward[0] = np.nan
            env.count += 1
            return result

        env.count, env.step = 0, broken
        return env

    let_every_task_be(monkeypatch, make_broken)
    with pytest.raises(DivergenceError, match=r"reward is not finite, in the steps after 384$"):
        train_policy(replace(tiny, num_evaluations=1), out=tmp_path)
    assert (tmp_path / "checkpoints" / "latest").read_text() == f"{256:012d}"
