"""Ascent in tables: its adversary and its gradients against enumeration and differences."""

import importlib.util
import itertools
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "tabular_adversary.py"


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    """The script."""
    spec = importlib.util.spec_from_file_location("tabular_adversary", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def value(tables: ModuleType, drawn: object, logits: NDArray[np.float64], seen: object) -> float:
    return float(tables.evaluate(drawn, softmax(logits, axis=2), seen)[0].mean())


def test_the_strongest_adversary_is_the_worst_of_all(tables: ModuleType) -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        drawn = tables.random_processes(rng, 1, 4, 2)
        logits = rng.normal(size=drawn.reward.shape)
        seen = tables.strongest_adversary(drawn, softmax(logits, axis=2), tables.identity(drawn))
        choices = [np.flatnonzero(row) for row in drawn.shown[0]]
        every = [
            value(tables, drawn, logits, np.array([shown])) for shown in itertools.product(*choices)
        ]
        assert value(tables, drawn, logits, seen) == pytest.approx(min(every))


def test_where_states_that_look_alike_share_their_best_action_nothing_is_lost(
    tables: ModuleType,
) -> None:
    drawn = tables.random_processes(np.random.default_rng(1), 3, 6, 3)
    values = tables.best_values(drawn)
    best = np.eye(3)[drawn.action_values(values).argmax(axis=2)]
    seen = tables.strongest_adversary(drawn, best, tables.identity(drawn))
    np.testing.assert_allclose(tables.evaluate(drawn, best, seen)[0], values, rtol=1e-8)


def test_the_gradient_is_that_of_differences(tables: ModuleType) -> None:
    rng = np.random.default_rng(2)
    drawn = tables.random_processes(rng, 1, 5, 3)
    logits = rng.normal(size=drawn.reward.shape)
    policy = softmax(logits, axis=2)
    seen = tables.strongest_adversary(drawn, policy, tables.identity(drawn))
    visits, advantages = tables.shown_advantages(drawn, policy, seen)
    differences = np.empty_like(logits)
    for index in np.ndindex(logits.shape):
        step = np.zeros_like(logits)
        step[index] = 1e-6
        ahead, behind = (value(tables, drawn, logits + sign * step, seen) for sign in (1, -1))
        differences[index] = (ahead - behind) / 2e-6
    np.testing.assert_allclose(visits * policy * advantages, differences, atol=1e-8)
