"""Configurations of a training: what is refused, and what changes nothing.

Also of ``train/defence_config.py`` and ``train/pruning_config.py``.
"""

from collections.abc import Callable
from dataclasses import fields
from typing import get_args

import pytest

from surefoot.ball import Norm
from surefoot.compress.allocations import Allocation
from surefoot.config import build, to_table
from surefoot.errors import InputError
from surefoot.policy import Squash
from surefoot.train.defence_config import (
    AlternatingTraining,
    Defence,
    LipschitzTarget,
    NoDefence,
    StateAdversarial,
)
from surefoot.train.pruning_config import MagnitudePruning, Pruning
from surefoot.train.train_config import FixedNoise, LearnedNoise, TrainConfig


def hopper(**table: object) -> TrainConfig:
    return build(TrainConfig, {"env_id": "Hopper-v5", **table}, "train")


def test_a_configuration_written_as_a_table_reads_back_the_same() -> None:
    config = TrainConfig(
        env_id="Hopper-v5",
        noise=LearnedNoise(initial=0.3),
        defence=StateAdversarial(epsilon=0.075, kappa=0.5),
        pruning=MagnitudePruning(sparsity=0.5, allocation="global"),
        value_clip=0.2,
    )
    assert build(TrainConfig, to_table(config), "train") == config
    assert hopper() == TrainConfig(env_id="Hopper-v5")


def test_the_defaults_are_plain_ppo_with_the_noise_of_the_paper() -> None:
    assert hopper().noise == FixedNoise(sigma=0.1)
    assert hopper().defence == NoDefence()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"defence": {"kind": "sa", "epsilon": -0.1, "kappa": 1}}, "epsilon must be at least 0"),
        ({"defence": {"kind": "sa", "epsilon": 0.1, "kappa": -1}}, "kappa must be at least 0"),
        ({"defence": {"kind": "sa", "epsilon": 0.1, "kappa": 1, "fraction": 0}}, "fraction"),
        ({"visited_states": 0, "gate_trials": 5}, "gate_trials must be 0 without visited_states"),
        ({"defence": {"kind": "sa", "kappa": 1}}, "must have epsilon, or perturb in its place"),
        (
            {"defence": {"kind": "sa", "kappa": 1, "epsilon": 0.1, "perturb": "noise"}},
            "must have epsilon, or perturb in its place",
        ),
        ({"defence": {"kind": "arpo", "perturb": "nose"}}, "perturb must be sizes by sensor, or"),
        ({"defence": {"kind": "bias", "perturb": {"gyro": 0}}}, r"perturb.gyro must be in \(0, "),
        (
            {"defence": {"kind": "lipschitz", "at_most": 1, "perturb": "noise"}},
            "unknown key 'train.defence.perturb'",
        ),
        ({"defence": "saa"}, "did you mean 'sa'?"),
        ({"defence": {"kind": "barpo", "epsilon": 0.1, "guidance": -1}}, "guidance must be at"),
        ({"defence": {"kind": "arpo", "epsilon": 0.1, "inner_steps": 0}}, "inner_steps must be"),
        ({"defence": {"kind": "arpo", "epsilon": 0.1, "kappa": 1}}, "unknown key"),
        ({"defence": {"kind": "atla", "epsilon": -0.1}}, "epsilon must be at least 0"),
        ({"defence": {"kind": "atla", "epsilon": 0.1, "kappa": -1}}, "kappa must be at least 0"),
        (
            {"defence": {"kind": "atla", "epsilon": 0.1, "attacked": 0}},
            r"attacked must be in \(0, 1\], got 0",
        ),
        ({"defence": {"kind": "atla", "epsilon": 0.1, "inner_steps": 0}}, "inner_steps must be"),
        ({"defence": {"kind": "atla"}}, "must have epsilon, or perturb in its place"),
        ({"pruning": {"kind": "magnitude", "sparsity": 1.0}}, r"sparsity must be in \[0, 1\)"),
        ({"pruning": {"kind": "magnitude", "sparsity": -0.1}}, r"sparsity must be in \[0, 1\)"),
        ({"pruning": {"kind": "magnitude", "sparsity": 0.5, "end": 0.2}}, "end must be in"),
        ({"pruning": {"kind": "magnitude", "sparsity": 0.99, "allocation": "global"}}, "min_dens"),
        ({"pruning": {"kind": "magnitude", "sparsity": 0.5, "allocation": "er"}}, "mean 'erk'"),
        (
            {"defence": {"kind": "sa", "epsilon": float("inf"), "kappa": 1}},
            "epsilon must be finite, got inf",
        ),
        ({"entropy_coefficient": float("inf")}, "entropy_coefficient must be finite, got inf"),
        ({"learing_rate": 1e-3}, "did you mean 'train.learning_rate'?"),
        ({"noise": {"kind": "fixed", "sigma": 0}}, "sigma must be positive and finite, got 0"),
        ({"noise": {"kind": "learned", "initial": -1}}, "initial must be positive"),
        ({"gamma": 1.5}, r"gamma must be in \(0, 1\], got 1.5"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"hidden": [64, 0]}, "hidden must hold positive widths"),
        ({"anneal_to": 2}, r"anneal_to must be in \[0, 1\]"),
        ({"value_clip": 0}, "value_clip must be positive"),
        ({"minibatch_size": 100}, r"minibatch_size must divide num_envs \* rollout_steps = 2048"),
        ({"device": "gpu"}, "device must be one of auto, cpu, cuda"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive and finite, got nan"),
        ({"reward_clip": float("inf")}, "reward_clip must be positive and finite, got inf"),
        ({"total_steps": 10**12 + 1}, r"total_steps must be at most 1e\+12, got 1000000000001"),
        ({"num_envs": 2_000_000}, "num_envs must be at most 1000000, got 2000000"),
        ({"num_threads": 1025}, "num_threads must be at most 1024, got 1025"),
        ({"hidden": [64, 10**6]}, "hidden must hold widths of at most 65536"),
        (
            {"defence": {"kind": "atla", "epsilon": 0.1, "inner_steps": 10**7}},
            "inner_steps must be at most 1000000, got 10000000",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(table: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as refusal:
        hopper(**table)
    assert "\n" not in str(refusal.value)
    assert "train" in str(refusal.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TrainConfig(env_id="E-v0", device="gpu"), "device must be one of auto, cpu, cuda"),
        (lambda: TrainConfig(env_id="E-v0", select="bset"), "select .* did you mean 'best'"),
        (
            lambda: TrainConfig(env_id="E-v0", select="robust"),
            "select must not be 'robust' without a defence that has a ball",
        ),
        (lambda: TrainConfig(env_id="E-v0", activation="tanhh"), "activation .* mean 'tanh'"),
        (lambda: MagnitudePruning(sparsity=0.5, target="acter"), "target .* mean 'actor'"),
        (lambda: MagnitudePruning(sparsity=0.5, allocation="erc"), "allocation .* mean 'erk'"),
        (
            lambda: MagnitudePruning(sparsity=0.5, min_density=7.0),
            r"min_density must be in \[0, 1\)",
        ),
        (lambda: AlternatingTraining(epsilon=0.1, adversary="pa-ad"), "adversary .* mean 'pa_ad'"),
        (lambda: LipschitzTarget(at_most=1.0, norm="l3"), "norm must be one of l2, linf"),
        (lambda: LipschitzTarget(at_most=1.0, bound="nonsense"), "bound must be one of"),
        (lambda: LipschitzTarget(at_most=1.0, projection="neerest"), "projection .* 'nearest'"),
        (lambda: LipschitzTarget(at_most=1.0, quantity="lipschits"), "quantity .* 'lipschitz'"),
    ],
)
def test_choices_made_in_python_are_checked_like_those_of_a_file(
    make: Callable[[], object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_a_word_becomes_the_member_it_names() -> None:
    """Code that asks `is Norm.LINF` must not take the other branch for the same word."""
    assert LipschitzTarget(at_most=1.0, norm="linf").norm is Norm.LINF
    assert MagnitudePruning(sparsity=0.5, allocation="global").allocation is Allocation.GLOBAL
    assert TrainConfig(env_id="E-v0", squash="tanh").squash is Squash.TANH


def test_the_steps_are_rounded_up_to_whole_iterations() -> None:
    config = hopper(total_steps=5000, num_envs=16, rollout_steps=128, minibatch_size=512, epochs=3)
    assert (config.batch_size, config.num_iterations) == (2048, 3)
    assert (config.updates_per_iteration, config.num_updates) == (12, 36)


def test_every_field_of_a_choice_is_documented_where_it_is_defined() -> None:
    for kind in (*get_args(Defence), *get_args(Pruning)):
        text = "".join(part.__doc__ for part in kind.__mro__[:-1])
        assert all(f"\n        {field.name}: " in text for field in fields(kind))


def test_every_field_is_documented() -> None:
    assert all(f"\n        {field.name}: " in TrainConfig.__doc__ for field in fields(TrainConfig))
