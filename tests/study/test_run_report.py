"""The page about a run says what its files say, and nothing in it is code or a request.

Also of ``study/run_summary.py``, ``study/page.py`` and ``study/figures.py``.
"""

import base64
import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from support.certificates import certificate_of
from support.policies import random_policy
from support.records import attack_record_of, bench_record_of, outcome_of
from surefoot.artifact import claim_folder, to_json
from surefoot.budget import Scope
from surefoot.certificate import Verdict
from surefoot.errors import InputError
from surefoot.onnx_file import load_policy, save_policy
from surefoot.picture import draw_png
from surefoot.records import ActionRecord, AttackRecord, TrainingRecord, WorstAttack
from surefoot.run_folder import CURVES_FILE, RunFolder, picture_of
from surefoot.study import page
from surefoot.study.figures import deviation_histogram, learning_curve, robustness_front
from surefoot.study.film_record import EpisodeSummary, FilmRecord
from surefoot.study.run_report import render_report
from surefoot.study.run_summary import summarise

CURVES: dict[str, list[float | None]] = {
    "step": [100.0, 200.0],
    "return": [None, 5.0],
    "clean_return": [None, 7.0],
    "sparsity": [0.0, 0.5],
}


class Reader(HTMLParser):
    """Reads a page as a browser does: its tags, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img", "path", "use", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    return reader


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Return a run folder that was trained, certified and attacked, with made-up numbers."""
    run = RunFolder(tmp_path / "run")
    claim_folder(run.path, "run")
    policy = random_policy(np.random.default_rng(0), (4, 8, 2))
    save_policy(run.policy, policy, extra_files={CURVES_FILE: to_json(CURVES)})
    file = load_policy(run.policy)[0]
    training = TrainingRecord(
        env="Hopper-v5",
        seed=0,
        steps=4096,
        sparsity=policy.sparsity,
        clean_return=7.0,
        weights_sha256="0" * 64,
        onnx_sha256=file.sha256,
    )
    run.training.write_bytes(training.to_json())
    run.certificate.write_bytes(certificate_of(file).to_json())
    attacks = attack_record_of(
        onnx_sha256=file.sha256, clean=[7.0, 9.0], mad=outcome_of([3.0, 2.0], failures=1)
    )
    run.attack.write_bytes(attacks.to_json())
    return run


def test_the_summary_is_that_of_the_files(run: RunFolder) -> None:
    summary = summarise(run)
    assert summary.clean_return == 8.0
    assert summary.attacked_return == {"mad": 2.5}
    assert summary.failures == {"clean": 0, "mad": 1}
    assert summary.size_bytes == len(load_policy(run.policy)[0].data)
    assert (summary.verdict, summary.latency_us) == (Verdict.PROVED, {})
    (requirement,) = summary.requirements
    assert (requirement.certified, requirement.sampled) == (0.25, 0.125)
    run.bench.write_bytes(bench_record_of(summary.onnx_sha256).to_json())
    assert summarise(run).latency_us["numpy"].p50 == 1.5


def test_what_the_proof_does_not_exclude_stands_beside_the_suite(run: RunFolder) -> None:
    record = AttackRecord.read(run.attack)
    moved = ActionRecord(scope=Scope.EVERYWHERE, limits=(0.25, 0.125), outcome=outcome_of([1, 2]))
    sound = dataclasses.replace(
        record, actions=(moved,), worst=WorstAttack(attack="mad", mean=2.5, failures=0)
    )
    run.attack.write_bytes(sound.to_json())
    shown = render_report(run)
    assert "everything that the proof does not exclude" in shown
    assert "moved by at most (0.25, 0.125), as certified everywhere): at most 2" in shown
    assert "fell short" not in shown
    stronger = dataclasses.replace(sound, worst=WorstAttack(attack="mad", mean=1.0, failures=0))
    run.attack.write_bytes(stronger.to_json())
    assert "the search fell short: mad, which the box holds, leaves 1" in render_report(run)


def test_a_film_is_shown_only_of_the_controller_of_the_run(run: RunFolder) -> None:
    half = EpisodeSummary(total=7.0, length=9, terminated=False, max_deviation=0.0, failure=None)
    record = FilmRecord(
        onnx_sha256=AttackRecord.read(run.attack).onnx_sha256,
        env="Hopper-v5",
        attack="mad",
        variant="applied",
        perturbation="linf 0.1",
        seed=3,
        pictures_per_s=25.0,
        certified_deviation=None,
        clean=half,
        attacked=half,
    )
    run.film.write_bytes(b"a film")
    run.film.with_suffix(".json").write_bytes(record.to_json())
    shown = render_report(run)
    assert "the same under mad, applied" in shown
    assert f"data:video/mp4;base64,{base64.b64encode(b'a film').decode()}" in shown
    other = dataclasses.replace(record, onnx_sha256="1" * 64)
    run.film.with_suffix(".json").write_bytes(other.to_json())
    assert "<video" not in render_report(run)


@pytest.mark.parametrize("name", ["attack", "bench", "training"])
def test_results_about_several_controllers_are_not_mixed(run: RunFolder, name: str) -> None:
    path: Path = getattr(run, name)
    record = bench_record_of() if name == "bench" else None
    text = path.read_text() if record is None else record.to_json().decode()
    path.write_text(re.sub(r'("onnx_sha256": ")\w+', rf"\g<1>{'1' * 64}", text))
    with pytest.raises(InputError, match=f"{path.name} is about another controller"):
        summarise(run)


@pytest.mark.parametrize("name", ["attack", "certificate", "training"])
def test_a_result_that_is_missing_is_named(run: RunFolder, name: str) -> None:
    path: Path = getattr(run, name)
    path.unlink()
    with pytest.raises(InputError, match=f"has no {path.name}: finish `pipeline run --out"):
        render_report(run)


def test_an_adopted_controller_without_an_environment_needs_no_attack(run: RunFolder) -> None:
    policy = load_policy(run.policy)[0].policy
    save_policy(run.policy, policy, facts={"adopted": {"source": "actor.onnx"}})
    for path in (run.training, run.attack):
        path.unlink()
    shown = read(render_report(run)).text
    assert "actor.onnx: may this controller be deployed?" in shown
    assert "names no environment, so that it was not attacked" in shown
    assert "return" not in shown
    run.certificate.unlink()
    with pytest.raises(InputError, match=r"has no certificate.json: certify .* first") as refused:
        render_report(run)
    assert "attack" not in str(refused.value)


def test_the_page_says_what_the_files_say_and_loads_nothing(run: RunFolder) -> None:
    html = render_report(run)
    reader = read(html)
    assert not reader.open, "every element is closed"
    assert "script" not in reader.tags
    assert not re.search(r'(src|href)="(?!#|data:)', html)
    for words in ("PROVED", "Hopper-v5", "episodes that failed under mad", "Learning"):
        assert words in reader.text
    assert "Runtime" not in reader.text, "it was not timed"


def test_the_banner_says_what_is_proved_what_is_met_and_what_nobody_asked(run: RunFolder) -> None:
    reader = read(render_report(run))
    assert "Of 1 requirements, 1 proved and 0 met as measured" in reader.text
    assert "The budget is silent about: whether the robot does its task" in reader.text


@pytest.mark.parametrize("verdict", [Verdict.REFUTED, Verdict.UNKNOWN])
def test_without_a_proof_it_must_not_be_deployed(run: RunFolder, verdict: Verdict) -> None:
    file = load_policy(run.policy)[0]
    run.certificate.write_bytes(certificate_of(file, verdict).to_json())
    assert f"{verdict}: " in read(render_report(run)).text
    assert "It must not be deployed" in render_report(run)


def test_every_picture_beside_a_result_is_in_the_page(run: RunFolder) -> None:
    before = read(render_report(run)).tags.count("img")
    run.bench.write_bytes(bench_record_of(load_policy(run.policy)[0].sha256).to_json())
    for result in (run.certificate, run.attack, run.bench):
        picture_of(result).write_bytes(draw_png(1, 1, lambda figure: None))
    assert read(render_report(run)).tags.count("img") == before + 3


def test_policies_that_were_screened_are_drawn_with_the_one_that_was_chosen(run: RunFolder) -> None:
    assert "screened by cheap attacks" not in render_report(run)
    policy, _ = load_policy(run.policy)
    curves = {**CURVES, "screened_return": [None, 6.0]}
    save_policy(run.policy, policy.policy, extra_files={CURVES_FILE: to_json(curves)})
    assert "screened by cheap attacks" in render_report(run)
    assert robustness_front(curves) != robustness_front({**curves, "screened_return": [5.0, 6.0]})


def test_a_compressed_policy_has_no_learning_curve(run: RunFolder) -> None:
    policy = load_policy(run.policy)[0].policy
    save_policy(run.policy, policy)
    assert "Learning" not in read(render_report(run)).text


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "a & b", '"quoted"', "'x' > y"])
def test_nothing_from_outside_is_markup(run: RunFolder, text: str) -> None:
    record = TrainingRecord.read(run.training)
    run.training.write_bytes(dataclasses.replace(record, env=text).to_json())
    reader = read(render_report(run))
    assert "script" not in reader.tags
    assert text in reader.text
    drawn = page.table((text,), [(text,)]) + page.note(text) + page.figure("", text)
    assert read(page.page(text, text, [drawn, page.banner(text, text, text)])).text.count(text) == 8


def test_numbers_are_short_and_say_when_there_is_none() -> None:
    given = (None, 0.0, 0.123456, 12.3456, 1234.5, -98765.4)
    assert [page.number(value) for value in given] == [
        "-",
        "0",
        "0.1235",
        "12.35",
        "1,234",
        "-98,765",
    ]
    assert [page.share(value) for value in (None, 0.456, 1.0)] == ["-", "46%", "100%"]


def test_a_figure_names_its_lines_outside_of_its_axes() -> None:
    drawn = deviation_histogram([0.1, 0.2, 0.3], [0.05, 0.1, 0.2], limit=0.32)
    for words in ("certified", "found by search", "limit 0.32"):
        assert words in drawn
    assert "limit" not in deviation_histogram([0.1], [0.05], limit=None)
    # The legend is the first group after the axes, not a part of them.
    axes = re.search(r'<g id="axes_1">.*?\n  </g>', drawn, re.DOTALL)
    assert axes is not None
    assert "limit 0.32" not in axes[0]


def test_equal_results_give_equal_figures() -> None:
    assert learning_curve(CURVES) == learning_curve(CURVES)
    assert learning_curve(CURVES) != learning_curve({**CURVES, "sparsity": [0.0, 0.6]})
