"""What the attacks on several agents of one method say about the method.

Each agent is one training seed. An agent is as good as its worst attack leaves it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from surefoot.artifact import Json
from surefoot.errors import InputError
from surefoot.statistics import Interval, interquartile_mean

_REPLICATES = 2_000


@dataclass(frozen=True, kw_only=True, slots=True)
class MethodSummary:
    """One method on one task.

    Attributes:
        clean: Mean clean return of each agent.
        attacked: Mean return of each agent under each attack.
        worst: Of each agent, the lowest of these.
        median_agent: Number of the agent whose worst is the median (the lower of two): the one to
            publish.
        clean_iqm: Interquartile mean over agents and episodes of the clean return.
        worst_iqm: The same of the return under each agent's worst attack.
        worst_interval: 95 % bootstrap interval of it, resampled within each agent.
    """

    clean: tuple[float, ...]
    attacked: Mapping[str, tuple[float, ...]]
    worst: tuple[float, ...]
    median_agent: int
    clean_iqm: float
    worst_iqm: float
    worst_interval: Interval


def summarise_method(agents: Sequence[Mapping[str, Json]], *, seed: int = 0) -> MethodSummary:
    """Return the summary of the agents of a method.

    Args:
        agents: The content of ``attack.json`` of each, from the same suite.
        seed: Of the resampling.

    Raises:
        InputError: If there is no agent, or their attacks, epsilons or tasks differ.

    Reference:
        Agarwal et al., NeurIPS 2021 (arXiv 2108.13264), section 4: stratified bootstrap.
    """
    if not agents:
        raise InputError("agents must hold at least one attack.json")
    for name in ("env", "epsilon", "norm", "suite", "episodes"):
        if len({agent[name] for agent in agents}) > 1:
            raise InputError(f"agents of a method must have one {name}, got several")
    names = [name for name in agents[0]["attacks"] if name != "clean"]
    attacked = {
        name: tuple(float(agent["attacks"][name]["mean"]) for agent in agents) for name in names
    }
    worst = tuple(min(attacked[name][i] for name in names) for i in range(len(agents)))
    clean_returns, worst_returns = (
        np.array(
            [agent["attacks"][name]["returns"] for agent, name in zip(agents, of, strict=True)]
        )
        for of in (["clean"] * len(agents), [agent["worst"]["attack"] for agent in agents])
    )
    return MethodSummary(
        clean=tuple(float(agent["attacks"]["clean"]["mean"]) for agent in agents),
        attacked=attacked,
        worst=worst,
        median_agent=int(np.argsort(worst, kind="stable")[(len(worst) - 1) // 2]),
        clean_iqm=interquartile_mean(clean_returns.ravel()),
        worst_iqm=interquartile_mean(worst_returns.ravel()),
        worst_interval=_stratified(worst_returns, seed),
    )


def _stratified(returns_AE: np.ndarray, seed: int) -> Interval:
    """Return the interval when the episodes of each agent are drawn again."""
    rng = np.random.default_rng(seed)
    num_agents, num_episodes = returns_AE.shape
    rows = np.arange(num_agents)[:, None]
    means = [
        interquartile_mean(
            returns_AE[rows, rng.integers(num_episodes, size=returns_AE.shape)].ravel()
        )
        for _ in range(_REPLICATES)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(low=float(low), high=float(high))
