"""The update of PPO against the loss as printed, by autograd.

Also of ``train/samples.py``.
"""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from support.training import BOX, drawn_samples, new_ppo, seeded
from surefoot.envs.vector import Actions, DiscreteActions
from surefoot.train import ppo as ppo_module
from surefoot.train.defence_config import (
    AdversarialReturn,
    BoundedAdversarialReturn,
    Defence,
    NoDefence,
    StateAdversarial,
)
from surefoot.train.defences import perturbed_states
from surefoot.train.ppo import Ppo
from surefoot.train.pruning_config import MagnitudePruning
from surefoot.train.samples import Samples
from surefoot.train.train_config import LearnedNoise, TrainConfig

CONFIG = TrainConfig(
    env_id="Test-v0",
    total_steps=64 * 20,
    num_envs=4,
    rollout_steps=16,
    minibatch_size=32,
    epochs=2,
    hidden=(8, 8),
    critic_hidden=(8,),
    noise=LearnedNoise(initial=0.5),
    entropy_coefficient=0.01,
    value_clip=0.2,
    max_grad_norm=1e9,
    learning_rate=1e-2,
)
ROBUST = StateAdversarial(epsilon=0.2, kappa=0.7, fraction=0.5, inner_steps=3)
ARPO = AdversarialReturn(epsilon=0.2, fraction=0.5, inner_steps=3)
BARPO = BoundedAdversarialReturn(epsilon=0.2, guidance=0.7, fraction=0.5, inner_steps=3)


def make_ppo(config: TrainConfig = CONFIG, actions: Actions = BOX) -> Ppo:
    return new_ppo(config, actions)


@pytest.mark.parametrize("actions", [BOX, DiscreteActions(2)])
@pytest.mark.parametrize("value_clip", [None, 0.2])
@pytest.mark.parametrize("defence", [NoDefence(), ROBUST, ARPO, BARPO])
def test_the_gradient_is_that_of_the_loss_as_printed(
    monkeypatch: pytest.MonkeyPatch,
    actions: Actions,
    value_clip: float | None,
    defence: Defence,
) -> None:
    ppo = make_ppo(replace(CONFIG, value_clip=value_clip, defence=defence), actions)
    ppo.num_updates = ppo.config.num_updates // 2
    samples = drawn_samples(ppo)
    perturbed = search(ppo, samples)
    assert len(perturbed) == (0 if defence == NoDefence() else 32)
    monkeypatch.setattr(ppo_module, "perturbed_states", lambda *args: perturbed)
    ppo._actor_gradient(samples)
    ppo._critic_gradient(samples)
    found = [net.gradient for net in (ppo.agent.actor, ppo.agent.critic)]

    leaves = [
        net.parameters.detach().clone().requires_grad_()
        for net in (ppo.agent.actor, ppo.agent.critic)
    ]
    log_std = None
    if actions is BOX:
        found.append(ppo.agent.distribution.log_std.grad)
        log_std = ppo.agent.distribution.log_std.clone().requires_grad_()
    loss = paper_loss(ppo, leaves, log_std, samples, perturbed)
    expected = torch.autograd.grad(loss, leaves + ([] if log_std is None else [log_std]))
    for one, other in zip(found, expected, strict=True):
        assert one.numpy() == pytest.approx(other.numpy(), rel=1e-3, abs=1e-5)


def search(ppo: Ppo, samples: Samples) -> Tensor:
    samples = samples.with_normalised_advantages()
    return perturbed_states(ppo.agent, ppo.config.defence, ppo.ball(), samples, seeded(2))


def paper_loss(
    ppo: Ppo, leaves: list[Tensor], log_std: Tensor | None, samples: Samples, perturbed: Tensor
) -> Tensor:
    """The loss as printed, by autograd and torch.distributions."""
    config = ppo.config
    actor = ppo.agent.actor.views_of(leaves[0])
    critic = ppo.agent.critic.views_of(leaves[1])

    def law(output: Tensor, std: Tensor | None) -> torch.distributions.Distribution:
        if std is None:
            return torch.distributions.Categorical(logits=output)
        return torch.distributions.Independent(torch.distributions.Normal(output, std), 1)

    advantages = samples.advantages
    advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)

    def clipped_loss(policy: torch.distributions.Distribution) -> Tensor:
        ratio = (policy.log_prob(samples.actions) - samples.log_probs).exp()
        clipped = ratio.clamp(1 - config.clip_range, 1 + config.clip_range)
        return -torch.min(ratio * advantages, clipped * advantages).mean()

    std = None if log_std is None else log_std.exp()
    policy = law(actor(samples.states), std)
    loss = clipped_loss(policy)
    if isinstance(config.defence, AdversarialReturn):
        seen = torch.cat([perturbed, samples.states[len(perturbed) :]])
        loss = clipped_loss(law(actor(seen), std)) + config.defence.guidance * loss
    values = critic(samples.states)[:, 0]
    error = (values - samples.returns) ** 2
    if config.value_clip is not None:
        change = (values - samples.values).clamp(-config.value_clip, config.value_clip)
        error = torch.max(error, (samples.values + change - samples.returns) ** 2)
    loss = loss + config.value_coefficient * error.mean()
    loss = loss - config.entropy_coefficient * policy.entropy().mean()
    if isinstance(config.defence, StateAdversarial):
        fixed = None if std is None else std.detach()
        clean = law(actor(samples.states[: len(perturbed)]).detach(), fixed)
        divergence = torch.distributions.kl_divergence(clean, law(actor(perturbed), fixed))
        loss = loss + config.defence.kappa * 2 * divergence.mean()
    return loss


def run_updates(config: TrainConfig, num: int = 3) -> Ppo:
    ppo = make_ppo(config)
    for number in range(num):
        ppo.update(drawn_samples(ppo, seed=number))
    return ppo


def same_parameters(one: Ppo, other: Ppo) -> bool:
    return torch.equal(one.agent.actor.parameters, other.agent.actor.parameters) and torch.equal(
        one.agent.critic.parameters, other.agent.critic.parameters
    )


@pytest.mark.parametrize("off", [{"kappa": 0.0}, {"epsilon": 0.0}])
def test_a_defence_of_no_strength_is_plain_ppo_bit_for_bit(off: dict[str, float]) -> None:
    robust = replace(CONFIG, defence=replace(ROBUST, **off))
    assert same_parameters(run_updates(CONFIG), run_updates(robust))
    assert not same_parameters(run_updates(CONFIG), run_updates(replace(CONFIG, defence=ROBUST)))


def test_the_defence_lowers_what_it_penalises() -> None:
    strong = replace(CONFIG, total_steps=64 * 60, defence=replace(ROBUST, kappa=30.0, ramp_end=0.1))
    weak = replace(strong, defence=replace(strong.defence, kappa=1e-6))
    distances = [
        run_updates(config, 30).update(drawn_samples(make_ppo(config)))["regulariser"]
        for config in (weak, strong)
    ]
    assert distances[1] < 0.1 * distances[0]


def test_perturbed_states_stay_in_the_ball_of_the_ramp() -> None:
    ppo = make_ppo(replace(CONFIG, defence=replace(ROBUST, ramp_start=0.2, ramp_end=0.6)))
    samples = replace(drawn_samples(ppo, 8), states=torch.zeros(8, 3))
    radii = {}
    for share in (0.0, 0.2, 0.4, 0.6, 1.0):
        ppo.num_updates = round(share * ppo.config.num_updates)
        moved = search(ppo, samples)
        radii[share] = float(moved.abs().max()) if len(moved) else 0.0
        assert radii[share] <= ppo.ball().epsilon
    assert list(radii.values()) == pytest.approx([0, 0, 0.1, 0.2, 0.2], rel=1e-5)


def test_the_learning_rate_falls_linearly_to_its_share() -> None:
    ppo = make_ppo(replace(CONFIG, anneal_to=0.1))
    rates = []
    for share in (0.0, 0.5, 1.0):
        ppo.num_updates = round(share * ppo.config.num_updates)
        rates.append(ppo._learning_rate())
    assert rates == pytest.approx([1e-2, 0.55e-2, 1e-3])


def test_rate_and_ball_move_at_every_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once per iteration: an iteration of many updates would be at one strength throughout."""
    ppo = make_ppo(replace(CONFIG, anneal_to=0.1, defence=replace(ROBUST, ramp_end=1.0)))
    step, rates, radii = ppo._optimiser.step, [], []

    def watched() -> None:
        rates.append([group["lr"] for group in ppo._optimiser.param_groups])
        radii.append(ppo.ball().epsilon)
        step()

    monkeypatch.setattr(ppo._optimiser, "step", watched)
    for number in range(20):
        ppo.update(drawn_samples(ppo, seed=number))
    assert len(rates) == ppo.config.num_updates == 80
    shares = np.arange(80) / 80
    assert np.array(rates) == pytest.approx(np.stack([1e-2 * (1 - 0.9 * shares)] * 2, axis=1))
    assert radii == pytest.approx(0.2 * shares)


def test_weight_decay_pulls_weights_and_biases_and_leaves_the_noise_alone() -> None:
    plain, decayed = make_ppo(), make_ppo(replace(CONFIG, weight_decay=0.5))
    for entry in (*plain._trained.values(), *decayed._trained.values()):
        entry.fill_(0.5)
    samples = drawn_samples(plain)
    for ppo in (plain, decayed):
        ppo.config = replace(ppo.config, epochs=1)
        ppo.update(samples)
    for name, entry in plain._trained.items():
        pulled = decayed._trained[name] - entry
        if name == "log_std":
            assert float(pulled.abs().max()) < 1e-3
        else:
            assert float(pulled.max()) < 0


def test_every_epoch_has_an_order_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    ppo, orders = make_ppo(replace(CONFIG, epochs=4)), []
    samples = drawn_samples(ppo)
    monkeypatch.setattr(
        ppo, "_step", lambda part: orders.append(part.states[:, 0]) or part.values[:5]
    )
    ppo.update(samples)
    epochs = [torch.cat(orders[first : first + 2]) for first in range(0, 8, 2)]
    assert len({tuple(epoch.tolist()) for epoch in (*epochs, samples.states[:, 0])}) == 5


def test_gradients_are_clipped_network_by_network() -> None:
    ppo = make_ppo(replace(CONFIG, max_grad_norm=0.01))
    ppo.update(drawn_samples(ppo))
    norms = [float(net.gradient.norm()) for net in (ppo.agent.actor, ppo.agent.critic)]
    assert norms == pytest.approx([0.01, 0.01], rel=1e-3)


def test_a_joint_gradient_is_clipped_as_one_vector() -> None:
    free = make_ppo(replace(CONFIG, epochs=1, minibatch_size=64))
    joint = make_ppo(replace(free.config, max_grad_norm=0.01, joint_gradient=True))
    samples = drawn_samples(free)
    free.update(samples)
    told = joint.update(samples)["joint_gradient"]
    whole, clipped = (
        torch.cat([ppo.agent.actor.gradient, ppo.agent.critic.gradient]) for ppo in (free, joint)
    )
    assert float(clipped.norm()) == pytest.approx(0.01, rel=1e-3)
    torch.testing.assert_close(clipped, whole * 0.01 / whole.norm(), rtol=1e-3, atol=1e-8)
    assert told == pytest.approx(float(whole.norm()), rel=1e-5)  # before it is clipped


def test_every_sample_is_used_once_per_epoch() -> None:
    ppo = make_ppo()
    samples = drawn_samples(ppo)
    parts = list(samples.minibatches(32, seeded(0)))
    assert [len(part.states) for part in parts] == [32, 32]
    for field in fields(samples):
        whole = torch.cat([getattr(part, field.name) for part in parts])
        assert not torch.equal(whole, getattr(samples, field.name))
        assert torch.equal(whole.sort(0)[0], getattr(samples, field.name).sort(0)[0])


@pytest.mark.parametrize("stop", [0, 1, 4])
def test_a_stored_update_goes_on_bit_for_bit(stop: int) -> None:
    config = replace(
        CONFIG,
        defence=ROBUST,
        pruning=MagnitudePruning(sparsity=0.5, target="both", interval=1, start=0.1, end=0.2),
    )
    whole, first, second = (make_ppo(config) for _ in range(3))
    samples = [drawn_samples(whole, seed=number) for number in range(6)]
    for rollout in samples:
        whole.update(rollout)
    for rollout in samples[:stop]:
        first.update(rollout)
    second.load_state_dict(first.state_dict())
    for rollout in samples[stop:]:
        second.update(rollout)
    assert same_parameters(whole, second)
    assert (whole.agent.actor.parameters == 0).any()
