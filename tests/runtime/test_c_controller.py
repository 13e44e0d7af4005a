"""The C backend: compiled once, for this machine, into a cache that only its owner may write.

Also of ``runtime/c_compiler.py``.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from support.policies import file_of, random_policy
from surefoot.errors import CheckError, InputError, MissingLibraryError
from surefoot.onnx_file import ControllerFile
from surefoot.policy import Activation, Squash
from surefoot.runtime.c_compiler import compile_library, find_compiler
from surefoot.runtime.c_source import twin_outputs, twin_outputs_at
from surefoot.runtime.load import Backend, controller_of


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "surefoot"


@pytest.fixture
def file() -> ControllerFile:
    policy = random_policy(np.random.default_rng(0), (5, 16, 9, 3), Activation.SILU, Squash.TANH)
    return file_of(policy)


def test_observations_and_states_alone_and_in_batches_give_the_bits_of_the_twin(
    file: ControllerFile,
) -> None:
    controller = controller_of(file, Backend.C)
    rng = np.random.default_rng(1)
    for rows in (1, 7, 1):
        obs = rng.normal(0, 4, (rows, 5)).astype(np.float32)
        assert (controller(obs) == twin_outputs(file.policy, obs)).all()
        assert (controller.from_state(obs) == twin_outputs_at(file.policy, obs)).all()


def test_two_controllers_of_one_file_do_not_share_memory(file: ControllerFile) -> None:
    first, second = controller_of(file, Backend.C), controller_of(file, Backend.C)
    obs = np.random.default_rng(2).normal(size=(2, 1, 5)).astype(np.float32)
    kept = first(obs[0])
    second(obs[1])
    assert (first(obs[0]) == kept).all()


def test_a_library_is_compiled_once_and_nothing_else_is_left(
    file: ControllerFile, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller_of(file, Backend.C)
    [library] = cache.iterdir()
    before = library.stat().st_mtime_ns
    controller_of(file, Backend.C)
    assert [entry.stat().st_mtime_ns for entry in cache.iterdir()] == [before]


def test_processes_that_compile_at_once_all_get_the_library(
    file: ControllerFile, tmp_path: Path, cache: Path
) -> None:
    path = tmp_path / "policy.onnx"
    path.write_bytes(file.data)
    code = (
        "import sys, numpy as np\nfrom pathlib import Path\n"
        "from surefoot.runtime.controller_file import load_controller_file\n"
        "from surefoot.runtime import Backend, controller_of\n"
        "c = controller_of(load_controller_file(Path(sys.argv[1])), Backend.C)\n"
        "print(c(np.zeros((1, 5), np.float32)).tobytes().hex())"
    )
    command = [sys.executable, "-c", code, str(path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    results = {process.communicate()[0] for process in running}
    assert len(results) == 1
    assert len(list(cache.iterdir())) == 1


def test_without_a_compiler_the_error_says_what_to_install(
    file: ControllerFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(MissingLibraryError, match="backend c needs a C compiler: install gcc or"):
        controller_of(file, Backend.C)


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Be a user id that no entry of passwd names, as in many containers."""

    def no_entry(uid: int) -> NoReturn:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setattr("pwd.getpwuid", no_entry)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / f"surefoot-{os.getuid()}"


def test_a_user_without_a_home_has_a_cache_of_its_own(file: ControllerFile, nobody: Path) -> None:
    controller = controller_of(file, Backend.C)
    obs = np.zeros((1, 5), np.float32)
    assert (controller(obs) == twin_outputs(file.policy, obs)).all()
    assert [entry.suffix for entry in nobody.iterdir()] == [".so"]
    assert nobody.stat().st_mode & 0o777 == 0o700


def test_a_link_in_the_place_of_a_cache_is_refused(
    file: ControllerFile, nobody: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    nobody.symlink_to(elsewhere)
    with pytest.raises(InputError, match="must be writable by its owner alone"):
        controller_of(file, Backend.C)
    assert not list(elsewhere.iterdir())


def test_a_cache_that_others_may_write_is_refused(file: ControllerFile, cache: Path) -> None:
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    with pytest.raises(InputError, match="must be writable by its owner alone"):
        controller_of(file, Backend.C)


def test_a_cache_that_cannot_be_made_is_refused(file: ControllerFile, cache: Path) -> None:
    cache.parent.write_text("a file")
    with pytest.raises(InputError, match=r"cannot make the cache .*XDG_CACHE_HOME"):
        controller_of(file, Backend.C)


def test_what_does_not_compile_is_one_line_and_leaves_nothing(cache: Path) -> None:
    with pytest.raises(CheckError, match=r"^\S+ cannot compile the generated C: [^\n]+$"):
        compile_library({"a.c": b"int f(void) { return oops; }\n"}, "a.c")
    assert not list(cache.iterdir())


def test_other_text_or_another_compiler_is_another_library(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = compile_library({"a.c": b"int f(void);\nint f(void) { return 1; }\n"}, "a.c")
    two = compile_library({"a.c": b"int f(void);\nint f(void) { return 2; }\n"}, "a.c")
    assert one != two
    assert find_compiler()
