"""`pipeline certify` without a budget explores, and never says that anything is proved.

Also of ``workflow/exploring.py``, ``cli/explore.py`` and ``cli/exploration_tables.py``.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from support.command_line import run_pipeline
from support.onnx_graphs import Graph
from support.policies import file_of, random_policy
from surefoot.budget import Budget

EFFORT = ("--set", "certify.lipsdp_iterations=5", "--set", "certify.search_states=8")


@pytest.fixture(name="controller")
def _controller(tmp_path: Path) -> Path:
    path = tmp_path / "policy.onnx"
    path.write_bytes(file_of(random_policy(np.random.default_rng(0), [4, 8, 2])).data)
    return path


def test_nothing_is_required_so_nothing_is_proved(
    controller: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(controller.parent)
    done = run_pipeline("certify", controller.name, *EFFORT, "--no-picture")
    assert done.code == 4, done.err
    for words in (
        "sensors",
        "actuators",
        "proved, every state",
        "could be required",
        "[[require]]",
    ):
        assert words in done.out
    assert "exploring 6/6" in done.err
    assert [path.name for path in controller.parent.iterdir()] == [controller.name]


def test_the_draft_is_written_where_asked_and_is_met(controller: Path, tmp_path: Path) -> None:
    draft = tmp_path / "budget.toml"
    done = run_pipeline("certify", controller, *EFFORT, "--draft-budget", draft, "--json")
    assert done.code == 4, done.err
    assert json.loads(done.out)["draft_budget"] == draft.read_text()
    assert Budget.parse(draft.read_text()).requirements
    out = tmp_path / "certificate.json"
    certified = run_pipeline(
        *("certify", controller, *EFFORT, "--budget", draft, "--out", out, "--no-picture")
    )
    assert certified.code == 0, certified.err
    assert "certifying" in certified.err
    assert not out.with_suffix(".png").exists()


def test_where_nothing_can_be_proved_no_draft_is_written_and_the_reason_is_said(
    tmp_path: Path,
) -> None:
    graph = Graph()
    hidden = graph.node("LayerNormalization", "obs", graph.constant(np.ones(3)), axis=-1)
    path, draft = tmp_path / "actor.onnx", tmp_path / "budget.toml"
    path.write_bytes(graph.file({graph.dense(hidden, np.eye(3)): ("N", 3)}, {"obs": ("N", 3)}))
    done = run_pipeline("certify", path, *EFFORT, "--draft-budget", draft)
    assert done.code == 4, done.err
    assert not draft.exists()
    assert "is not written: no requirement could be proved yet" in done.err
    for words in ("a layer normalises over its neurons", "(--states)"):
        assert words in " ".join(done.out.replace("\u2502", " ").split())
    assert "state_limit" not in done.out
    assert "[[require]]" not in done.out


def test_a_draft_replaces_nothing(controller: Path, tmp_path: Path) -> None:
    mine = tmp_path / "budget.toml"
    mine.write_text("# mine")
    done = run_pipeline("certify", controller, *EFFORT, "--draft-budget", mine)
    assert done.code == 2
    assert f"{mine} exists, and is not replaced" in done.err
    assert mine.read_text() == "# mine"


@pytest.mark.parametrize("flag", ["--explain", "--out=c.json", "--bench=b.json"])
def test_flags_about_a_certificate_have_no_effect_without_a_budget(
    controller: Path, flag: str
) -> None:
    done = run_pipeline("certify", controller, flag)
    assert done.code == 2
    assert "no effect without a budget: give --budget" in done.err


def test_a_draft_has_no_effect_where_there_is_a_budget(controller: Path, tmp_path: Path) -> None:
    budget = tmp_path / "budget.toml"
    budget.write_text('[[require]]\nquantity = "sparsity"\nat_least = 0.0\n')
    done = run_pipeline(
        *("certify", controller, "--budget", budget, "--draft-budget", tmp_path / "draft.toml")
    )
    assert done.code == 2
    assert "--draft-budget has no effect where there is a budget" in done.err
