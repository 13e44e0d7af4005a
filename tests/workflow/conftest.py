"""A training of seconds, shared by the tests of the workflow."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.attacks import search_briefly
from surefoot.workflow.configuration import Configuration
from surefoot.workflow.training import train_run

TABLES = {
    "train": {
        "env_id": "CartPole-v1",
        "total_steps": 1024,
        "num_envs": 4,
        "rollout_steps": 128,
        "minibatch_size": 128,
        "hidden": [8, 8],
        "critic_hidden": [8, 8],
        "epochs": 1,
        "num_threads": 1,
        "num_evaluations": 2,
        "evaluation_episodes": 2,
        "visited_states": 8,
        "pruning": {"kind": "none"},
        "defence": {"kind": "none"},
    },
    "certify": {
        "search_states": 4,
        "search_steps": 2,
        "lipsdp_iterations": 5,
        "lipsdp_per_actuator": 0,
    },
    "attack": {"epsilon": 0.01, "episodes": 2, "selection_episodes": 1, "num_threads": 1},
    "bench": {"num_calls": 50, "paced_s": 0.02, "under_load": False, "batches": []},
    "require": [
        {
            "quantity": "total_variation",
            "epsilon": 0.01,
            "norm": "linf",
            "scope": "everywhere",
            "at_most": 0.99,
        }
    ],
}


@pytest.fixture(scope="module", autouse=True)
def _searches_are_brief() -> Iterator[None]:
    """How strong an attack is counts for no test of the workflow."""
    with pytest.MonkeyPatch.context() as patch:
        search_briefly(patch)
        yield


@pytest.fixture(scope="session")
def configuration() -> Configuration:
    """Return a configuration of seconds for every stage."""
    return Configuration(TABLES)


@pytest.fixture(scope="session")
def trained(configuration: Configuration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder that was trained and no more; tests must not change it."""
    out = tmp_path_factory.mktemp("runs") / "trained"
    train_run(out, configuration)
    return out
