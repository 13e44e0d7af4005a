"""Push one actuator one way for a whole episode, or towards one discrete action.

    maximise over delta   +-mu_j(z + delta),   or log p_k(z + delta) for a categorical head

MAD asks only for a large change of the action and may change its direction from step to step, so
that the changes cancel; a small one that always goes the same way tips a robot over.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from surefoot.attack.adversary import Adversary
from surefoot.attack.ascent import ONE_CLIMB, GradientAdversary
from surefoot.ball import Ball
from surefoot.policy import CategoricalHead, Policy
from surefoot.train.objectives import ValueAndGradient


@dataclass(frozen=True, slots=True)
class _Output:
    """One output of the last layer, up (sign 1) or down (sign -1)."""

    number: int
    sign: int

    def around(self, state_BD: Tensor, clean_BM: Tensor) -> ValueAndGradient:
        del state_BD
        constant_BM = torch.zeros_like(clean_BM)
        constant_BM[:, self.number] = self.sign
        return lambda moved_BM: (
            self.sign * (moved_BM - clean_BM)[:, self.number],
            constant_BM.clone(),
        )


@dataclass(frozen=True, slots=True)
class _ChoiceProbability:
    """The log-probability of one discrete action."""

    number: int

    def around(self, state_BD: Tensor, clean_BM: Tensor) -> ValueAndGradient:
        del state_BD
        wanted_BM = torch.zeros_like(clean_BM)
        wanted_BM[:, self.number] = 1
        return lambda moved_BM: (
            torch.log_softmax(moved_BM, 1)[:, self.number],
            wanted_BM - torch.softmax(moved_BM, 1),
        )


def push_variants(policy: Policy, ball: Ball) -> Mapping[str, Adversary]:
    """Return one adversary per actuator and direction, or per discrete action."""
    numbers = range(policy.num_outputs)
    objectives: dict[str, _Output | _ChoiceProbability]
    if isinstance(policy.head, CategoricalHead):
        objectives = {f"action {number}": _ChoiceProbability(number) for number in numbers}
    else:
        objectives = {
            f"actuator {number} {way}": _Output(number, sign)
            for number in numbers
            for way, sign in (("up", 1), ("down", -1))
        }
    return {
        name: GradientAdversary(policy.layers, ball, objective, ONE_CLIMB)
        for name, objective in objectives.items()
    }
