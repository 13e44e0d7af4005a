"""A shell completes what there is, and a key press loads no stage."""

import os
import subprocess
import sys
from typing import get_args, get_type_hints

import pytest

from surefoot.attack import AttackConfig
from surefoot.certify import Over
from surefoot.cli import completion
from surefoot.compress import Allocation, Method, WeightFormat
from surefoot.config import preset_names
from surefoot.export import Target
from surefoot.runtime import Backend
from surefoot.train import TrainConfig

RUN = "import sys; sys.argv = ['pipeline']; from surefoot.cli import main; main()"


def test_the_names_are_those_of_the_stages() -> None:
    assert set(completion.BACKENDS) == {backend.value for backend in Backend}
    assert set(completion.TARGETS) == {target.value for target in Target}
    assert set(completion.METHODS) == {method.value for method in Method}
    assert set(completion.ALLOCATIONS) == {allocation.value for allocation in Allocation}
    assert set(completion.WEIGHTS) == {weights.value for weights in WeightFormat}
    assert set(completion.DOMAINS) == {over.value for over in Over}
    assert set(completion.SUITES) == set(get_args(get_type_hints(AttackConfig)["suite"]))
    assert set(completion.DEVICES) == set(get_args(get_type_hints(TrainConfig)["device"]))


def test_of_several_names_the_last_one_is_completed_and_none_twice() -> None:
    complete = completion.some_of(("onnx", "c", "tensorrt"))
    assert complete("") == ["onnx", "c", "tensorrt", "all"]
    assert complete("t") == ["tensorrt"]
    assert complete("onnx,") == ["onnx,c", "onnx,tensorrt"]
    assert complete("onnx,c,t") == ["onnx,c,tensorrt"]


def completed(*words: str) -> list[str]:
    """Return what bash is offered for the last word."""
    line = " ".join(["pipeline", *words])
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        env=os.environ
        | {
            "_PIPELINE_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words)),
            "_TYPER_COMPLETE_ARGS": line,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("c",), {"certify", "compress"}),
        (("train", "--preset", ""), set(preset_names())),
        (("attack", "b", "--suite", "f"), {"full"}),
        (("attack", "b", "--backend", "onnx-t"), {"onnx-tensorrt"}),
        (("bench", "b", "--backend", "numpy,c"), {"numpy,c"}),
        (("compress", "p", "--method", "ob"), {"obd", "obs"}),
    ],
)
def test_the_shell_is_offered_verbs_presets_suites_and_backends(
    words: tuple[str, ...], offered: set[str]
) -> None:
    assert set(completed(*words)) == offered
