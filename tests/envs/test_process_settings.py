"""Code of a user and surefoot share a process, and neither works under the other's settings."""

import io
import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from surefoot.envs import process_settings
from surefoot.envs.process_settings import settings_of_user


@pytest.fixture(autouse=True)
def _nothing_set_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(process_settings, "_of_user", {})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # and so is put back whatever fails
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)


def raise_on_overflow() -> None:
    np.seterr(all="raise")


def change_folder() -> None:
    Path("elsewhere").mkdir()
    os.chdir("elsewhere")


def show_no_warning() -> None:
    warnings.showwarning = lambda *_, **__: None


def print_nowhere() -> None:
    sys.stdout = None  # type: ignore[assignment]


SETTINGS: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "folder": (change_folder, Path.cwd),
    "streams": (print_nowhere, lambda: sys.stdout),
    "what shows warnings": (show_no_warning, lambda: warnings.showwarning),
    "warnings": (lambda: warnings.simplefilter("ignore"), lambda: list(warnings.filters)),
    "numpy": (raise_on_overflow, np.geterr),
    "type": (lambda: torch.set_default_dtype(torch.float64), torch.get_default_dtype),
    "device": (lambda: torch.set_default_device("meta"), torch.get_default_device),
    "gradients": (lambda: torch.set_grad_enabled(False), torch.is_grad_enabled),
    "threads": (
        lambda: torch.set_num_threads(torch.get_num_threads() + 1),
        torch.get_num_threads,
    ),
    "precision": (
        lambda: torch.set_float32_matmul_precision("medium"),
        torch.get_float32_matmul_precision,
    ),
}
"""What code of a user sets, and how it is asked for."""


@pytest.mark.parametrize("name", SETTINGS)
def test_each_side_finds_its_own_settings_again(name: str) -> None:
    change, ask = SETTINGS[name]
    ours = ask()
    with settings_of_user():
        change()
        theirs = ask()
    assert theirs != ours
    assert ask() == ours
    with settings_of_user():
        assert ask() == theirs
    assert ask() == ours


def test_a_user_who_goes_back_to_our_setting_stays_there() -> None:
    with settings_of_user():
        torch.set_default_dtype(torch.float64)
    with settings_of_user():
        torch.set_default_dtype(torch.float32)
    with settings_of_user():
        assert torch.get_default_dtype() == torch.float32


def test_ctrl_c_is_never_the_users() -> None:
    ours = signal.getsignal(signal.SIGINT)
    with settings_of_user():
        signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    assert signal.getsignal(signal.SIGINT) is ours


@pytest.mark.parametrize("end", ["close", "detach"])
def test_a_stream_that_the_user_ends_is_replaced(
    end: str, capfd: pytest.CaptureFixture[str]
) -> None:
    sys.stdout = io.TextIOWrapper(io.BytesIO())
    with settings_of_user():
        getattr(sys.stdout, end)()
    print("said all the same", flush=True)
    assert capfd.readouterr().err == "said all the same\n"
    sys.stdout.close()


def test_settings_are_ours_again_where_the_code_of_the_user_fails() -> None:
    def fail() -> None:
        with settings_of_user():
            np.seterr(all="raise")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert np.geterr()["over"] == "warn"
