"""MAD on another controller, played on this one: what masks its own gradients is not protected.

The other one is an imitation, fitted to what the deployed controller was seen to do; or controllers
that a user has: the dense one that this was pruned from, one of another seed.

N = environments, D = obs_dim, M = num_outputs.
"""

from contextlib import closing
from dataclasses import replace

import numpy as np
import torch

from surefoot.artifact import Json
from surefoot.attack.adversary import Adversary
from surefoot.attack.ascent import RESTARTS
from surefoot.attack.cost import Cost
from surefoot.attack.mad import mad_on, margin_on
from surefoot.attack.regression import HIDDEN, MINIBATCH, fit
from surefoot.attack.target import AttackTarget, Variants, pack, unpack
from surefoot.ball import States
from surefoot.errors import InputError
from surefoot.policy import Activation, Array, CategoricalHead, Layer, Normaliser, Policy
from surefoot.train.folder import critic_from_bytes, critic_to_bytes
from surefoot.train.game import finite
from surefoot.train.networks import new_network

IMITATION = "imitation"
_NUM_ENVS, _NUM_STEPS, _EPOCHS = 32, 400, 30


def transfer_variants(target: AttackTarget) -> Variants:
    """Return MAD on an imitation and on every other controller that was given.

    Args:
        target: Controller and task under attack.

    Raises:
        InputError: If another controller has other sizes.
    """
    key: Json = [target.key, IMITATION]
    piece = target.store.get("transfer", key)
    if piece is None:
        layers, effort, facts = _imitate(target, seed=0)
        piece = pack(effort, facts, critic_to_bytes(layers))
        target.store.put("transfer", key, piece)
    effort, facts, data = unpack(piece)
    others = {IMITATION: critic_from_bytes(data)}
    for name, policy in target.others.items():
        others[name] = seen_through(target.policy, policy, name)
    adversaries: dict[str, Adversary] = {
        name: mad_on(layers, target.policy.head, target.ball, RESTARTS)
        for name, layers in others.items()
    }
    if isinstance(target.policy.head, CategoricalHead):
        for name, layers in others.items():
            adversaries[f"{name}, margin"] = margin_on(layers, target.ball, RESTARTS)
    return Variants(adversaries=adversaries, effort=effort, facts={"fit": facts})


def seen_through(policy: Policy, other: Policy, name: str) -> tuple[Layer, ...]:
    """Return the layers of another controller as functions of the states of this one.

    Args:
        policy: Policy whose states they are.
        other: Has a normaliser of its own, which goes into its first layer.
        name: Name of the other, for messages.

    Raises:
        InputError: If it has other sizes.
    """
    sizes = (policy.obs_dim, policy.num_outputs)
    if (other.obs_dim, other.num_outputs) != sizes:
        raise InputError(
            f"transfer_from: {name} must have (obs_dim, num_outputs) {sizes}, got"
            f" {(other.obs_dim, other.num_outputs)}"
        )
    mine, its = (_in_float64(one.normaliser) for one in (policy, other))
    first = other.layers[0]
    weight = first.weight.astype(np.float64)
    shifted = replace(
        first,
        weight=weight * (mine.scale / its.scale),
        bias=first.bias + weight @ ((mine.mean - its.mean) / its.scale),
    )
    return (shifted, *other.layers[1:])


def _in_float64(normaliser: Normaliser) -> Normaliser:
    return replace(
        normaliser,
        mean=normaliser.mean.astype(np.float64),
        scale=normaliser.scale.astype(np.float64),
    )


def _imitate(target: AttackTarget, seed: int) -> tuple[tuple[Layer, ...], Cost, dict[str, Json]]:
    """Fit a network to the deployed controller's actions, at visited states and around them."""
    states, outputs = _observe(target, seed)
    generator = torch.Generator().manual_seed(seed)
    network = new_network(
        (target.policy.obs_dim, *HIDDEN, target.policy.num_outputs),
        Activation.TANH,
        output_gain=1.0,
        generator=generator,
        device=torch.device("cpu"),
    )
    inputs, targets = torch.from_numpy(states), torch.from_numpy(outputs)
    fit(network, inputs, targets, epochs=_EPOCHS, generator=generator)
    error = (network.mlp(inputs) - targets).square().mean(0) / targets.var(0).clamp_min(1e-12)
    updates = _EPOCHS * -(-len(states) // MINIBATCH)
    effort = Cost(env_steps=_NUM_ENVS * _NUM_STEPS, queries=len(states), updates=updates)
    return network.mlp.to_layers(), effort, {"unexplained": [float(one) for one in error]}


def _observe(target: AttackTarget, seed: int) -> tuple[States, Array]:
    """Return states along randomly perturbed episodes, (2 T N, D), and the outputs there, (.., M).

    The outputs are those of the deployed controller, per half of an actuator's range, or logits.
    """
    random = np.random.default_rng(seed)
    randoms = random.spawn(_NUM_ENVS)
    policy, states = target.policy, []
    with closing(target.make_env(_NUM_ENVS)) as env:
        obs = env.reset(random.integers(2**31, size=_NUM_ENVS).tolist())
        for number in range(_NUM_STEPS):
            target.tell(0.5 * number / _NUM_STEPS, IMITATION)
            state = policy.state(obs, np.float32)
            delta = target.ball.uniform(randoms, policy.obs_dim)
            around = target.ball.perturbed(state, delta)
            states += [state, around]
            obs = env.step(policy.head.select(finite(policy.outputs_at(around)))).obs
    seen = np.concatenate(states)
    outputs = finite(target.query(seen))
    if not isinstance(policy.head, CategoricalHead):
        outputs = (outputs - policy.head.centre) / policy.head.half_range
    return seen, outputs.astype(np.float32)
