"""What an attack is given: a target, and one random stream per row."""

from collections.abc import Callable
from dataclasses import replace

from surefoot.attack.store import Store
from surefoot.attack.target import AttackTarget
from surefoot.ball import Ball
from surefoot.envs.vector import VectorEnv
from surefoot.policy import Policy


def target_of(
    policy: Policy, ball: Ball, make_env: Callable[[int], VectorEnv], **changes: object
) -> AttackTarget:
    """What an attack sees of a controller that is its own runtime."""
    target = AttackTarget(
        policy=policy,
        ball=ball,
        make_env=make_env,
        store=Store(),
        key="a test",
        tell=lambda share, remark: None,
        query=lambda state: policy.outputs_at(state),
    )
    return replace(target, **changes)
