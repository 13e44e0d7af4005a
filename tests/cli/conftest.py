"""One tiny run of the whole pipeline, shared by the tests of the command line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from support.command_line import TINY, Done, run_pipeline


@pytest.fixture(scope="session")
def pipeline() -> Callable[..., Done]:
    """Return the function that runs the command line."""
    return run_pipeline


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a configuration of seconds."""
    path = tmp_path_factory.mktemp("config") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, tiny_config: Path) -> Path:
    """Return a finished run of the whole pipeline; tests must not change it."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    done = run_pipeline("run", "--config", tiny_config, "--out", out)
    assert done.code == 0, done.err
    return out
