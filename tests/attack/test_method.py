"""Agents of one method are summarised together, and only if they were attacked alike."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from support.records import attack_record_of, outcome_of
from surefoot.attack.method import summarise_method
from surefoot.ball import Norm
from surefoot.errors import InputError
from surefoot.records import AttackRecord, WorstAttack


def agent(
    clean: list[float], failures: dict[str, int] | None = None, **attacks: list[float]
) -> AttackRecord:
    outcomes = {
        name: outcome_of(returns, (failures or {}).get(name, 0))
        for name, returns in {"clean": clean, **attacks}.items()
    }
    worst = min(attacks, key=lambda name: (-outcomes[name].failures, outcomes[name].mean))
    return dataclasses.replace(
        attack_record_of(**outcomes),
        worst=WorstAttack(
            attack=worst, mean=outcomes[worst].mean, failures=outcomes[worst].failures
        ),
        more={"settings": {"adversary_steps": 1000, "num_threads": len(attacks)}},
    )


AGENTS = [
    agent([9.0, 9, 9, 9], mad=[5.0, 5, 5, 5], rs=[8.0, 8, 8, 8]),
    agent([8.0, 8, 8, 8], mad=[7.0, 7, 7, 7], rs=[1.0, 1, 1, 1]),
    agent([7.0, 7, 7, 7], mad=[3.0, 3, 3, 3], rs=[6.0, 6, 6, 6]),
]


def test_the_median_agent_is_chosen_by_its_worst_attack() -> None:
    summary = summarise_method(AGENTS)
    assert summary.worst == (5.0, 1.0, 3.0)
    assert summary.median_agent == 2
    assert summary.attacked == {"mad": (5.0, 7.0, 3.0), "rs": (8.0, 1.0, 6.0)}


def test_the_interquartile_mean_is_over_agents_so_that_a_bad_one_counts_whole() -> None:
    assert summarise_method(AGENTS).worst_iqm == pytest.approx((5 + 1 + 3) / 3)
    assert summarise_method(AGENTS).clean_iqm == pytest.approx(8.0)
    # Of eight agents the two worst and the two best are left out, with all of their episodes.
    eight = [agent([9.0] * 4, mad=[value, value + 1, value, value + 1]) for value in range(8)]
    assert summarise_method(eight).worst_iqm == pytest.approx(np.mean([2, 3, 4, 5]) + 0.5)


def test_the_worst_attack_of_an_agent_is_the_one_that_its_report_names() -> None:
    # By returns alone it would be rs; mad made the controller fail.
    fatal = agent([9.0] * 4, {"mad": 2}, mad=[8.0] * 4, rs=[1.0] * 4)
    summary = summarise_method([fatal, fatal])
    assert summary.worst == (8.0, 8.0)
    assert summary.worst_iqm == 8.0
    assert summary.failures == 4


def test_agents_that_differ_leave_an_interval_even_if_their_episodes_do_not() -> None:
    summary = summarise_method(AGENTS)
    assert (summary.worst_interval.low, summary.worst_interval.high) == (1.0, 5.0)
    assert (summary.clean_interval.low, summary.clean_interval.high) == (7.0, 9.0)


def test_episodes_are_drawn_again_within_each_agent() -> None:
    # Agents of equal episodes: nothing but the episodes can vary.
    noisy = [agent([9.0] * 4, mad=[0.0, 4, 8, 12])] * 2
    summary = summarise_method(noisy)
    assert summary.worst_interval.low < summary.worst_iqm < summary.worst_interval.high
    assert (summary.clean_interval.low, summary.clean_interval.high) == (9.0, 9.0)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("env", {"env": "F-v0"}),
        ("epsilon", {"epsilon": 0.2}),
        ("norm", {"norm": Norm.L2}),
        ("suite", {"suite": "full"}),
        ("settings", {"more": {"settings": {"adversary_steps": 2000}}}),
    ],
)
def test_agents_that_were_attacked_differently_are_no_method(
    name: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=f"one {name}"):
        summarise_method([AGENTS[0], dataclasses.replace(AGENTS[1], **changes)])


def test_agents_of_other_episodes_or_attacks_are_no_method() -> None:
    with pytest.raises(InputError, match="one episodes"):
        summarise_method([AGENTS[0], agent([9.0] * 5, mad=[5.0] * 5, rs=[8.0] * 5)])
    with pytest.raises(InputError, match="under the same attacks"):
        summarise_method([AGENTS[0], agent([9.0] * 4, mad=[5.0] * 4)])


def test_how_many_threads_played_makes_no_other_method() -> None:
    more = {"settings": {"adversary_steps": 1000, "num_threads": 7, "transfer_from": ["x"]}}
    alike = dataclasses.replace(AGENTS[0], more=more)
    assert summarise_method([AGENTS[0], alike]).worst == (5.0, 5.0)


def test_no_agent_is_no_method() -> None:
    with pytest.raises(InputError, match="at least one"):
        summarise_method([])
