"""A process that is killed anywhere, or loses its power, can be gone on from.

Here a sample; every file operation is tried by ``benchmarks/kill_anywhere.py``.
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


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """Return what becomes of the file layer, killed at every operation and once again."""
    return reports(tmp_path_factory.mktemp("calls"), 1, list(POINTS.CALLS))


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """Return what becomes of the verbs, killed at some of their operations."""
    return reports(tmp_path_factory.mktemp("commands"), 1, list(POINTS.COMMANDS))


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """Return what becomes of run folders with a torn file."""
    return reports(tmp_path_factory.mktemp("torn"), 3, list(POINTS.TORN))


@pytest.mark.parametrize("name", POINTS.CALLS)
def test_a_write_that_is_killed_twice_anywhere_comes_out_whole_and_without_litter(
    calls: dict[str, dict[str, object]], name: str
) -> None:
    assert calls[name]["faults"] == []
    assert calls[name]["tried"] >= calls[name]["operations"] > 0


@pytest.mark.parametrize("name", POINTS.COMMANDS)
def test_a_verb_that_is_killed_anywhere_gives_the_same_when_it_is_run_again(
    commands: dict[str, dict[str, object]], name: str
) -> None:
    assert commands[name]["faults"] == []
    assert commands[name]["tried"]


@pytest.mark.parametrize("name", POINTS.TORN)
def test_a_run_with_a_file_that_a_loss_of_power_tore_comes_out_the_same(
    torn: dict[str, dict[str, object]], name: str
) -> None:
    assert torn[name]["faults"] == []
    assert torn[name]["tried"]
