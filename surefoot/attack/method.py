"""What the attacks on several agents of one method say about the method.

Each agent is one training seed. An agent is as good as its worst attack leaves it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from surefoot.artifact import Json
from surefoot.errors import InputError
from surefoot.records import CLEAN, AttackRecord
from surefoot.statistics import Interval, interquartile_mean, interval_over_agents


@dataclass(frozen=True, kw_only=True, slots=True)
class MethodSummary:
    """One method on one task.

    Attributes:
        clean: Mean clean return of each agent.
        attacked: Mean return of each agent under each attack.
        worst: Return of each agent under the attack that it stood worst.
        median_agent: Number of the agent whose worst is the median (the lower of two): the one to
            publish.
        clean_iqm: Interquartile mean over agents of their mean clean return; of fewer than four
            agents none is left out.
        worst_iqm: The same of the mean return under each agent's worst attack.
        clean_interval: 95 % bootstrap interval of it: agents resampled, then their episodes.
        worst_interval: The same of the return under each agent's worst attack.
        failures: Episodes of all agents and attacks in which the controller or simulation failed.
    """

    clean: tuple[float, ...]
    attacked: Mapping[str, tuple[float, ...]]
    worst: tuple[float, ...]
    median_agent: int
    clean_iqm: float
    worst_iqm: float
    clean_interval: Interval
    worst_interval: Interval
    failures: int


def summarise_method(agents: Sequence[AttackRecord], *, seed: int = 0) -> MethodSummary:
    """Return the summary of the agents of a method.

    Args:
        agents: The record of the attacks on each, from the same suite.
        seed: Seed of the resampling.

    Raises:
        InputError: If there is no agent, or their attacks, epsilons, tasks or settings differ.

    Reference:
        Agarwal et al., NeurIPS 2021 (arXiv 2108.13264), section 4.
    """
    _check_alike(agents)
    worst = tuple(agent.worst.mean for agent in agents)
    clean_returns = np.array([agent.attacks[CLEAN].returns for agent in agents])
    worst_returns = np.array([agent.attacks[agent.worst.attack].returns for agent in agents])
    return MethodSummary(
        clean=tuple(agent.attacks[CLEAN].mean for agent in agents),
        attacked={
            name: tuple(agent.attacks[name].mean for agent in agents) for name in agents[0].attacked
        },
        worst=worst,
        median_agent=int(np.argsort(worst, kind="stable")[(len(worst) - 1) // 2]),
        clean_iqm=interquartile_mean(clean_returns.mean(axis=1)),
        worst_iqm=interquartile_mean(worst_returns.mean(axis=1)),
        clean_interval=interval_over_agents(clean_returns, seed=seed),
        worst_interval=interval_over_agents(worst_returns, seed=seed),
        failures=sum(outcome.failures for agent in agents for outcome in agent.attacks.values()),
    )


def _check_alike(agents: Sequence[AttackRecord]) -> None:
    """Check that there are agents, all attacked in the same way.

    Raises:
        InputError: If not.
    """
    if not agents:
        raise InputError("agents must hold at least one attack.json")
    first = agents[0]
    for name in ("env", "epsilon", "norm", "suite", "episodes"):
        if any(getattr(agent, name) != getattr(first, name) for agent in agents):
            raise InputError(f"agents of a method must have one {name}, got several")
    if any(_settings_of(agent) != _settings_of(first) for agent in agents):
        raise InputError("agents of a method must have one settings table, got several")
    if any(set(agent.attacks) != set(first.attacks) for agent in agents):
        raise InputError("agents of a method must be under the same attacks, got several")


def _settings_of(agent: AttackRecord) -> dict[str, Json]:
    """Return the settings that results depend on; each agent may have another original."""
    others = ("num_threads", "transfer_from")
    return {name: value for name, value in agent.settings.items() if name not in others}
