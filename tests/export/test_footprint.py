"""What compilers say of code and stack is passed on, and the stack is bounded from above."""

import shutil
from pathlib import Path

import pytest

from surefoot.errors import CheckError, MissingLibraryError
from surefoot.export import footprint as module
from surefoot.export.footprint import footprint

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="not installed: gcc")

# Frames of known size; two layers that are never on the stack at once.
SOURCE = """
static const float constants[100] = {1.0f};
__attribute__((noinline)) void layer_1(volatile char *out);
__attribute__((noinline)) void layer_2(volatile char *out);
void policy_actions(volatile char *out);
void layer_1(volatile char *out) { volatile char room[1000]; room[0] = 1; *out = room[0]; }
void layer_2(volatile char *out) { volatile char room[3000]; room[0] = 2; *out = room[0]; }
void policy_actions(volatile char *out)
{
    volatile char room[500];
    room[0] = (char)constants[(int)*out];
    layer_1(room);
    layer_2(room);
    *out = room[0];
}
"""


@pytest.fixture
def gcc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "gcc")


def test_the_stack_is_all_frames_but_of_the_layers_the_largest(gcc: None) -> None:
    here = footprint({"policy.c": SOURCE.encode()})["this machine"]
    assert set(here["frames"]) == {"layer_1", "layer_2", "policy_actions"}
    assert 3500 <= here["stack_bytes"] <= 3500 + 3 * 128
    assert 400 <= here["flash_bytes"] <= 400 + 2000
    assert "gcc" in here["compiler"]


def test_a_machine_without_its_compiler_is_not_measured(
    gcc: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if "arm" in name else which(name))
    machines = footprint({"policy.c": SOURCE.encode()})
    assert machines["cortex-m4"] is None
    assert machines["this machine"]["stack_bytes"] > 0


def test_without_any_compiler_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(MissingLibraryError, match="install gcc or"):
        footprint({"policy.c": SOURCE.encode()})


def test_a_compiler_that_cannot_tell_the_stack_is_not_guessed(
    gcc: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(command: list[str], folder: Path) -> None:
        raise CheckError("unknown argument: -fstack-usage")

    monkeypatch.setattr(module, "run_compiler", refuses)
    assert footprint({"policy.c": SOURCE.encode()})["this machine"] is None
