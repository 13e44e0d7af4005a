"""A run does each stage once for the same inputs, and its results are about one controller.

Also of ``workflow/finished_stages.py``.
"""

import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from support.heard import Heard
from surefoot.budget import Budget
from surefoot.certificate import Certificate, Verdict
from surefoot.errors import InputError
from surefoot.kernels import processor
from surefoot.records import AttackRecord, BenchRecord, RunSummary, TrainingRecord, read_stages
from surefoot.run_folder import RunFolder
from surefoot.workflow.configuration import Configuration
from surefoot.workflow.finished_stages import FinishedStages
from surefoot.workflow.whole_run import run_pipeline


@pytest.fixture(scope="module")
def finished(
    trained: Path, configuration: Configuration, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a finished run; tests must not change it."""
    out = tmp_path_factory.mktemp("finished") / "run"
    shutil.copytree(trained, out)
    run_pipeline(out, configuration)
    return out


def test_every_result_is_about_the_deployed_file(finished: Path) -> None:
    run = RunFolder(finished)
    summary = RunSummary.read(run.summary)
    assert summary.verdict is Verdict.PROVED
    digests = {
        summary.onnx_sha256,
        AttackRecord.read(run.attack).onnx_sha256,
        BenchRecord.read(run.bench).onnx_sha256,
        Certificate.parse(run.certificate.read_bytes()).onnx_sha256,
    }
    assert len(digests) == 1
    assert all(path.is_file() for path in run.results - {run.draft_certificate.with_suffix(".png")})


def test_a_run_with_a_gate_is_attacked_and_timed_behind_it(
    trained: Path, configuration: Configuration, tmp_path: Path
) -> None:
    out, run = tmp_path / "run", RunFolder(tmp_path / "run")
    shutil.copytree(trained, out)
    brief = Configuration({"attack": {"attacks": ["random"]}}).over(configuration)
    text = '[[require]]\nquantity = "sparsity"\nat_least = 0.0\n[gate]\nmargin = 3.0\n'
    run_pipeline(out, brief, budget=Budget.parse(text))
    assert AttackRecord.read(run.attack).gate == "hold"
    assert BenchRecord.read(run.bench).gate == "hold"


def test_a_result_that_cannot_be_replaced_is_found_before_the_work(
    trained: Path, configuration: Configuration, tmp_path: Path
) -> None:
    out, heard = tmp_path / "run", Heard()
    shutil.copytree(trained, out)
    RunFolder(out).summary.mkdir()
    with pytest.raises(InputError, match=r"cannot write .*summary\.json"):
        run_pipeline(out, configuration, listener=heard)
    assert not heard.remarks


def test_a_run_tells_what_each_stage_took_and_what_computed_it(finished: Path) -> None:
    run = RunFolder(finished)
    stages, summary = read_stages(run.stages), RunSummary.read(run.summary)
    assert set(stages) == {
        *("train", "certify before measuring", "attack", "certify", "export", "bench")
    }
    assert summary.seconds == {name: stage.seconds for name, stage in stages.items()}
    assert min(summary.seconds.values()) > 0
    trained_on = TrainingRecord.read(run.training).made_on
    assert trained_on is not None
    assert summary.made_on == trained_on
    for made in (trained_on, *(stage.made_on for stage in stages.values())):
        assert made.processor == processor()
        assert made.versions["torch"] == version("torch")


def test_a_second_run_does_nothing_again(
    finished: Path, configuration: Configuration, tmp_path: Path
) -> None:
    out, heard = tmp_path / "run", Heard()
    shutil.copytree(finished, out)
    assert run_pipeline(out, configuration, listener=heard) == RunSummary.read(
        RunFolder(finished).summary
    )
    assert (heard.remarks, heard.totals) == ([], {})


def test_the_certificate_of_before_the_measurements_knows_none(
    finished: Path, configuration: Configuration, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    draft = RunFolder(out).draft_certificate
    before = draft.read_bytes()
    draft.unlink()
    run_pipeline(out, configuration)
    assert draft.read_bytes() == before


Stages = Callable[[], FinishedStages]


@pytest.fixture
def stages(tmp_path: Path) -> Stages:
    """Return a function that reads what is finished anew, as another process would."""
    return lambda: FinishedStages(tmp_path / "stages.json", "0" * 64, Heard())


def test_a_stage_is_done_once_until_an_input_or_a_result_changes(
    stages: Stages, tmp_path: Path
) -> None:
    out, calls = tmp_path / "out", []

    def perform(inputs: object) -> int:
        def work() -> None:
            calls.append(inputs)
            out.write_text(str(inputs))

        stages().once("work", inputs, (out,), work)
        return len(calls)

    assert [perform("a"), perform("a"), perform("b"), perform("a"), perform("a")] == [1, 1, 2, 3, 3]
    out.write_text("changed by somebody")
    assert perform("a") == 4
    out.unlink()
    assert [perform("a"), perform("a")] == [5, 5]


def test_a_stage_that_fails_is_not_done(stages: Stages, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def fail() -> None:
        out.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        stages().once("work", 1, (out,), fail)
    calls: list[int] = []
    stages().once("work", 1, (out,), lambda: calls.append(1))
    assert calls == [1]


@pytest.mark.parametrize("torn", ["", "[]", '{"work": ['])
def test_a_torn_list_of_finished_stages_costs_time_alone(
    stages: Stages, tmp_path: Path, torn: str
) -> None:
    out, calls = tmp_path / "out", []

    def work() -> None:
        calls.append(1)
        out.write_text("whole")

    stages().once("work", 1, (out,), work)
    (tmp_path / "stages.json").write_text(torn)
    with pytest.warns(UserWarning, match="is damaged, so that no stage counts as done"):
        stages().once("work", 1, (out,), work)
    stages().once("work", 1, (out,), work)
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("robot", "message"),
    [(None, "which is not described"), ("gyro", "unknown sensor 'pole'")],
)
def test_a_word_that_the_robot_has_not_ends_a_run_before_it_trains(
    configuration: Configuration, tmp_path: Path, robot: str | None, message: str
) -> None:
    budget = Budget.parse("""
    [[require]]
    quantity = "choice_lead"
    perturb = { pole = 0.01 }
    scope = "recorded"
    at_most = 0.0
    """)
    tables = {}
    if robot is not None:
        described = tmp_path / "robot.toml"
        described.write_text(
            f'[[sensor]]\nname = "{robot}"\nunit = "rad"\ncount = 4\n'
            '[[actuator]]\nname = "push"\nunit = "1"\ncount = 2\n'
        )
        tables = {"train": {"robot": str(described)}}
    with pytest.raises(InputError, match=message):
        run_pipeline(tmp_path / "run", Configuration(tables).over(configuration), budget=budget)
    assert not (tmp_path / "run").exists()
