import numpy as np
import pytest

from surefoot.attack.method import summarise_method
from surefoot.errors import InputError


def agent(clean, **attacks):
    means = {name: float(np.mean(returns)) for name, returns in attacks.items()}
    worst = min(means, key=means.get)
    entries = {"clean": clean, **attacks}
    return {
        "env": "E-v0",
        "epsilon": 0.1,
        "norm": "linf",
        "suite": "full",
        "episodes": len(clean),
        "attacks": {
            name: {"returns": list(r), "mean": float(np.mean(r))} for name, r in entries.items()
        },
        "worst": {"attack": worst, "mean": means[worst]},
    }


AGENTS = [
    agent([9.0, 9, 9, 9], mad=[5.0, 5, 5, 5], rs=[8.0, 8, 8, 8]),
    agent([8.0, 8, 8, 8], mad=[7.0, 7, 7, 7], rs=[1.0, 1, 1, 1]),
    agent([7.0, 7, 7, 7], mad=[3.0, 3, 3, 3], rs=[6.0, 6, 6, 6]),
]


def test_the_median_agent_is_chosen_by_its_worst_attack():
    summary = summarise_method(AGENTS)
    assert summary.worst == (5.0, 1.0, 3.0)
    assert summary.median_agent == 2
    assert summary.attacked == {"mad": (5.0, 7.0, 3.0), "rs": (8.0, 1.0, 6.0)}


def test_the_interquartile_mean_is_over_agents_and_episodes():
    # Sorted worst returns: four 1, four 3, four 5; the middle half is 1, 3, 3, 3, 3, 5.
    assert summarise_method(AGENTS).worst_iqm == pytest.approx(3.0)
    assert summarise_method(AGENTS).clean_iqm == pytest.approx(8.0)


def test_episodes_are_drawn_again_within_each_agent():
    # Without noise inside an agent nothing can vary, however different the agents are.
    interval = summarise_method(AGENTS).worst_interval
    assert (interval.low, interval.high) == (3.0, 3.0)
    noisy = [agent([9.0] * 4, mad=[0.0, 4, 8, 12]), agent([9.0] * 4, mad=[1.0, 5, 9, 13])]
    interval = summarise_method(noisy).worst_interval
    assert interval.low < summarise_method(noisy).worst_iqm < interval.high


def test_agents_that_were_attacked_differently_are_no_method():
    with pytest.raises(InputError, match="one epsilon"):
        summarise_method([AGENTS[0], AGENTS[1] | {"epsilon": 0.2}])
    with pytest.raises(InputError, match="at least one"):
        summarise_method([])
