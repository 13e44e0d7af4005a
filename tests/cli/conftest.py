"""One tiny run of the whole pipeline, shared by the tests of the command line."""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.attacks import search_briefly
from support.command_line import TINY, run_pipeline


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration of seconds."""
    path = tmp_path_factory.mktemp("config") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, tiny_config: Path) -> Path:
    """A finished run of the whole pipeline; tests must not change it.

    The workers of pytest-xdist share one: the first that needs it makes it, the others wait.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    out = shared / "tiny"
    with (shared / "tiny.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (out / "summary.json").exists():
            with pytest.MonkeyPatch.context() as patch:
                search_briefly(patch)
                done = run_pipeline("run", "--config", tiny_config, "--out", out)
            assert done.code == 0, done.err
    return out


@pytest.fixture(scope="module", autouse=True)
def _searches_are_brief() -> Iterator[None]:
    """How strong an attack is counts for no test of the command line."""
    with pytest.MonkeyPatch.context() as patch:
        search_briefly(patch)
        yield
