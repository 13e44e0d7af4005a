import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from support.environments import TargetEnv
from support.policies import random_policy
from surefoot.ball import Norm
from surefoot.certify.bounds.chain import action_chain
from surefoot.certify.bounds.global_bounds import closed_form_bounds
from surefoot.envs.vector import BoxActions, EnvSpec
from surefoot.errors import DivergenceError, InputError, InterruptedRun
from surefoot.onnx_file import policy_from_onnx, policy_to_onnx
from surefoot.policy import Activation, Normaliser, Policy, weights_sha256
from surefoot.train.agent import Agent, new_agent
from surefoot.train.defence_config import LipschitzTarget
from surefoot.train.lipschitz import LipschitzLimit
from surefoot.train.networks import TorchNetwork, new_network
from surefoot.train.ppo import Ppo
from surefoot.train.pruning_config import (
    MagnitudePruning,
    MagnitudeStePruning,
    NeuronPruning,
    NoPruning,
    Pruning,
)
from surefoot.train.result import Progress
from surefoot.train.train_config import TrainConfig
from surefoot.train.trainer import train_policy

CPU = torch.device("cpu")
WAYS = [
    LipschitzTarget(at_most=0.05, bound=bound, projection=projection, norm=norm)
    for bound, norm in [("absolute_product", Norm.LINF), ("combettes_pesquet", Norm.L2)]
    for projection in ("scale", "nearest")
]
PRUNING = [
    NoPruning(),
    MagnitudePruning(sparsity=0.5, interval=3),
    MagnitudeStePruning(sparsity=0.5, interval=3),
    NeuronPruning(sparsity=0.5, interval=3),
]


pytestmark = pytest.mark.usefixtures("target_task")


@pytest.fixture
def tiny(tiny: TrainConfig) -> TrainConfig:
    return replace(tiny, learning_rate=3e-3)


def certified(policy: Policy, target: LipschitzTarget) -> float:
    """The bound of the same name by the certifier, about the file that would be deployed."""
    policy = policy_from_onnx(policy_to_onnx(policy), "test").policy
    bounds = closed_form_bounds(action_chain(policy))
    if target.quantity == "lipschitz":
        return bounds.lipschitz(target.norm)[target.bound]
    return float(bounds.deviations(1.0, target.norm)[target.bound].max())


def drawn(
    seed: int = 0, activation: Activation = Activation.TANH, hidden: tuple[int, ...] = (8, 7)
) -> tuple[TorchNetwork, EnvSpec]:
    """A network as training starts, but with a last layer of usual size and a third of zeros."""
    generator = torch.Generator().manual_seed(seed)
    network = new_network(
        (3, *hidden, 1), activation, output_gain=1.0, generator=generator, device=CPU
    )
    for weight in network.mlp.weights:
        weight.mul_(torch.rand(weight.shape, generator=generator) > 0.3)
    return network, TargetEnv(1).spec


def agent_policy(
    network: TorchNetwork,
    spec: EnvSpec,
    activation: Activation = Activation.TANH,
    hidden: tuple[int, ...] = (8, 7),
) -> Agent:
    config = TrainConfig(env_id="Target-v0", hidden=hidden, activation=activation)
    agent = new_agent(config, spec, CPU)
    agent.actor.parameters.copy_(network.parameters)
    return agent


# Affine layers in a row, as IDENTITY makes them, are one matrix to the certifier alone.
@pytest.mark.parametrize("activation", [entry for entry in Activation if entry.value != "identity"])
@pytest.mark.parametrize("hidden", [(), (8,), (8, 7), (8, 7, 6)])
def test_the_bounds_are_those_of_the_certifier(
    normaliser: Normaliser, activation: Activation, hidden: tuple[int, ...]
) -> None:
    network, spec = drawn(1, activation, hidden)
    policy = agent_policy(network, spec, activation, hidden).policy(normaliser)
    for bound in ("absolute_product", "combettes_pesquet"):
        for norm in Norm:
            for quantity in ("action_deviation", "lipschitz"):
                target = LipschitzTarget(at_most=1, bound=bound, norm=norm, quantity=quantity)
                found = float(LipschitzLimit(target, spec, CPU).bound(network.mlp))
                # of one output, so that the length of a change is its size
                assert found == pytest.approx(certified(policy, target), rel=1e-5)


@pytest.mark.parametrize("norm", Norm)
@pytest.mark.parametrize("bound", ["absolute_product", "combettes_pesquet"])
def test_the_bound_on_the_length_of_a_change_is_never_below_the_certifiers(
    normaliser: Normaliser, bound: str, norm: Norm
) -> None:
    network = new_network(
        (3, 8, 7, 4),
        Activation.TANH,
        output_gain=1.0,
        generator=torch.Generator().manual_seed(2),
        device=CPU,
    )
    ends = np.array([1, 2, 0.5, 3], np.float32)
    spec = replace(TargetEnv(1).spec, actions=BoxActions(-ends, ends))
    policy = agent_policy(network, spec).policy(normaliser)
    target = LipschitzTarget(at_most=1, bound=bound, norm=norm, quantity="lipschitz")
    found = float(LipschitzLimit(target, spec, CPU).bound(network.mlp))
    # rows by their l2 norm, which is exact for the absolute product in linf
    assert certified(policy, target) <= found * (1 + 1e-9)
    if bound == "absolute_product" and norm is Norm.LINF:
        assert found == pytest.approx(certified(policy, target), rel=1e-6)


@pytest.fixture
def normaliser() -> Normaliser:
    return random_policy(np.random.default_rng(0), (3, 4, 1)).normaliser


@pytest.mark.parametrize("target", WAYS)
def test_a_projection_reaches_the_limit_and_leaves_what_is_under_it(
    target: LipschitzTarget,
) -> None:
    network, spec = drawn()
    limit = LipschitzLimit(target, spec, CPU)
    before, zeros = network.parameters.clone(), network.parameters == 0
    limit.project(network, network.parameters, 1.0)
    reached = float(limit.bound(network.mlp))
    assert target.at_most * (1 - 3e-5) < reached < target.at_most
    assert (network.parameters[zeros] == 0).all()
    assert not torch.equal(network.parameters, before)
    again = network.parameters.clone()
    loose = LipschitzLimit(replace(target, at_most=0.06), spec, CPU)
    loose.project(network, network.parameters, 1.0)
    assert torch.equal(network.parameters, again)


def test_the_nearest_projection_moves_less_than_scaling() -> None:
    for bound in ("absolute_product", "combettes_pesquet"):
        moved = {}
        for projection in ("scale", "nearest"):
            network, spec = drawn()
            target = LipschitzTarget(at_most=1.0, bound=bound, projection=projection)
            now = float(LipschitzLimit(target, spec, CPU).bound(network.mlp))
            limit = LipschitzLimit(replace(target, at_most=0.99 * now), spec, CPU)
            before = network.parameters.clone()
            limit.project(network, network.parameters, 1.0)
            moved[projection] = float((network.parameters - before).norm())
        assert moved["nearest"] < 0.9 * moved["scale"]


@pytest.mark.parametrize("pruning", PRUNING, ids=lambda pruning: pruning.kind)
@pytest.mark.parametrize("target", WAYS)
def test_the_policy_of_a_training_is_certified_under_its_target(
    tiny: TrainConfig,
    target: LipschitzTarget,
    pruning: Pruning,
) -> None:
    config = replace(tiny, defence=target, pruning=pruning)
    result = train_policy(config)
    assert certified(result.policy, target) <= target.at_most
    bounds = result.curves["lipschitz"]
    limits = [target.limit(step / 1024) for step in result.curves["step"]]
    assert all(found <= limit for found, limit in zip(bounds, limits, strict=True))
    # the target is one that this training would not have met by itself
    free = train_policy(replace(config, defence=replace(target, at_most=1e3)))
    assert certified(free.policy, target) > 2 * target.at_most


def test_the_best_policy_of_a_training_is_one_under_the_target(
    tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    returns = iter(range(8, 0, -1))  # the first evaluated policy plays best, far above the target
    monkeypatch.setattr(
        "surefoot.train.training_run.clean_episodes",
        lambda *args: (np.full(2, float(next(returns))), np.ones(2, np.int64)),
    )
    target = replace(WAYS[0], ramp_start=0.4, ramp_end=0.7)
    config = replace(tiny, defence=target, select="best", num_evaluations=8)
    result = train_policy(config)
    assert certified(result.policy, target) <= target.at_most
    assert result.facts["evaluation"]["best"]["clean_return"] == 3.0
    assert max(result.curves["lipschitz"]) > 2 * target.at_most


@pytest.mark.parametrize("pruning", PRUNING, ids=lambda pruning: pruning.kind)
def test_an_interrupted_training_under_a_target_goes_on_bit_for_bit(
    tiny: TrainConfig,
    tmp_path: Path,
    pruning: Pruning,
) -> None:
    config = replace(tiny, defence=WAYS[1], pruning=pruning)

    def interrupt(progress: Progress) -> None:
        if progress.step >= 512:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRun):
        train_policy(config, out=tmp_path, on_progress=interrupt)
    resumed, whole = train_policy(config, out=tmp_path), train_policy(config)
    assert weights_sha256(resumed.policy) == weights_sha256(whole.policy)


def test_the_limit_falls_from_its_headroom_to_the_target() -> None:
    target = LipschitzTarget(at_most=2.0, headroom=9.0, ramp_start=0.2, ramp_end=0.6)
    limits = [target.limit(progress) for progress in (0.0, 0.2, 0.4, 0.6, 1.0)]
    assert limits == pytest.approx([18, 18, 6, 2, 2])


def test_discrete_actions_refuse_a_lipschitz_target_in_one_line(
    tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from surefoot.envs.make import make_env

    monkeypatch.setattr("surefoot.train.trainer.make_env", make_env)
    config = replace(tiny, env_id="CartPole-v1", defence=WAYS[0])
    with pytest.raises(InputError, match=r"lipschitz .* discrete actions.* got CartPole-v1") as no:
        train_policy(config)
    assert "\n" not in str(no.value)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.bound}-{way.projection}")
def test_a_gradient_that_is_not_a_number_stops_a_limited_training_with_its_step(
    tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch, way: LipschitzTarget
) -> None:
    """The eigenvalues behind a bound do not exist then, and must not be what stops it."""
    clip = Ppo._clip

    def poisoned(self: Ppo, gradients: Sequence[Tensor]) -> Tensor:
        if self.num_updates == 40:
            gradients[0][0] = torch.nan
        return clip(self, gradients)

    monkeypatch.setattr(Ppo, "_clip", poisoned)
    with pytest.raises(DivergenceError, match=r"non-finite, in the steps after \d+$"):
        train_policy(replace(tiny, defence=way))
