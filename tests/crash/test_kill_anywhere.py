"""A process that is killed anywhere, or loses its power, can be gone on from.

Here a sample of seconds; ``benchmarks/kill_anywhere.py`` tries every file operation of every verb,
and kills the second attempt as well.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).with_name("kill_points.py")


def load_script() -> ModuleType:
    """Return the module of the script, which test modules cannot import."""
    spec = importlib.util.spec_from_file_location("kill_points", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


POINTS = load_script()


def reports(folder: Path, sample: int, names: list[str]) -> dict[str, dict[str, object]]:
    """Return what the script finds, by name."""
    command = [sys.executable, str(SCRIPT), str(folder), str(sample), *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {report["name"]: report for report in map(json.loads, done.stdout.splitlines())}


VERBS = ("train", "sign again", "keygen")
TORN = ("train unfinished and torn",)


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """Return what becomes of the file layer, killed at every operation."""
    return reports(tmp_path_factory.mktemp("calls"), 0, list(POINTS.CALLS))


@pytest.fixture(scope="module")
def verbs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """Return what becomes of verbs that are killed, and of run folders with a torn file."""
    return reports(tmp_path_factory.mktemp("verbs"), 1, [*VERBS, *TORN])


@pytest.mark.parametrize("name", POINTS.CALLS)
def test_a_write_that_is_killed_anywhere_comes_out_whole_and_without_litter(
    calls: dict[str, dict[str, object]], name: str
) -> None:
    assert calls[name]["faults"] == []
    assert calls[name]["tried"] == calls[name]["operations"]


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_that_is_killed_anywhere_gives_the_same_when_it_is_run_again(
    verbs: dict[str, dict[str, object]], name: str
) -> None:
    assert verbs[name]["faults"] == []
    assert verbs[name]["tried"]


@pytest.mark.parametrize("name", TORN)
def test_a_run_with_a_file_that_a_loss_of_power_tore_comes_out_the_same(
    verbs: dict[str, dict[str, object]], name: str
) -> None:
    assert verbs[name]["faults"] == []
    assert verbs[name]["tried"]
