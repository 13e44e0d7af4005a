"""The full suite by command: it stops when asked to, goes on, and says what it could not know."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from support.attacks import shorten
from support.command_line import Done, run_pipeline
from surefoot.artifact import sha256_hex
from surefoot.attack import attack_config, learned, return_search, transfer
from surefoot.train.training_run import Run
from surefoot.workflow.attacking import shipped_critics

NAMES = ("clean", "push", "transfer", "sa-rl")
SETTINGS = {
    "episodes": 1,
    "selection_episodes": 1,
    "epsilon": 0.05,
    "num_threads": 1,
    "adversary_steps": 256,
}


def attack_bundle(tiny_run: Path, monkeypatch: pytest.MonkeyPatch, out: Path) -> Done:
    """Run a full suite that has few attacks and learns briefly."""
    monkeypatch.setitem(
        attack_config.SUITES, "full", {name: attack_config.FULL[name] for name in NAMES}
    )
    monkeypatch.setattr(transfer, "_NUM_STEPS", 20)
    monkeypatch.setattr(return_search, "_GENERATIONS", 1)
    monkeypatch.setattr(return_search, "_CANDIDATES", 2 * return_search._ELITE)
    shorten(monkeypatch, lesson_steps=16, epochs=1, num_envs=8, rollout_steps=16)
    given = [
        word for name, value in SETTINGS.items() for word in ("--set", f"attack.{name}={value}")
    ]
    return run_pipeline("attack", tiny_run / "bundle", "--suite", "full", "--out", out, *given)


def test_a_suite_that_is_told_to_stop_exits_75_and_goes_on_to_the_same_result(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole, stopped = tmp_path / "whole.json", tmp_path / "stopped.json"
    assert attack_bundle(tiny_run, monkeypatch, whole).code == 0

    iterate, calls = learned.Run.iterate, []

    def told_to_stop(run: Run) -> None:
        iterate(run)
        calls.append(run.iteration)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(learned.Run, "iterate", told_to_stop)
    done = attack_bundle(tiny_run, monkeypatch, stopped)
    assert done.code == 75
    assert "interrupted; what is finished is kept" in done.err
    assert len(calls) == 2
    assert not stopped.exists()
    before = len(list(stopped.with_suffix(".work").iterdir()))

    done = attack_bundle(tiny_run, monkeypatch, stopped)
    assert done.code == 0, done.err
    assert len(list(stopped.with_suffix(".work").iterdir())) > before > 3
    assert stopped.read_bytes() == whole.read_bytes()
    # What was trained before the signal was not trained again.
    record = json.loads(whole.read_bytes())
    trained = [*record["attacks"]["sa-rl"]["training"].values()]
    trained += [box["outcome"]["training"] for box in record["actions"]]
    assert len(calls) == sum(len(facts["returns"]) for facts in trained)


def test_the_critic_of_a_run_is_found_from_its_bundle_and_is_of_this_controller_alone(
    tiny_run: Path, tmp_path: Path
) -> None:
    controller = (tiny_run / "policy" / "policy.onnx").read_bytes()
    critic = shipped_critics(tiny_run, sha256_hex(controller))
    assert list(critic) == ["shipped"]
    for place in (tiny_run / "policy", tiny_run / "bundle"):
        found = shipped_critics(place, sha256_hex(controller))
        assert [layer.weight.tobytes() for layer in found["shipped"]] == [
            layer.weight.tobytes() for layer in critic["shipped"]
        ]
    for place in (tiny_run, tiny_run / "policy", tiny_run / "bundle"):
        assert not shipped_critics(place, "0" * 64)
    shutil.copytree(tiny_run / "bundle", tmp_path / "bundle")
    assert not shipped_critics(tmp_path / "bundle", sha256_hex(controller))


def test_failures_of_an_attack_reach_the_certificate(tiny_run: Path, tmp_path: Path) -> None:
    run, budget = tmp_path / "run", tmp_path / "budget.toml"
    shutil.copytree(tiny_run, run)
    budget.write_text(
        '[[require]]\nquantity = "attacked_return"\nepsilon = 0.05\nnorm = "linf"\n'
        "at_least = -1000\n"
    )
    assert run_pipeline("certify", run, "--budget", budget, "--out", tmp_path / "a.json").code == 0
    table = json.loads((run / "attack.json").read_bytes())
    table["attacks"]["mad"]["failures"] = 2
    (run / "attack.json").write_text(json.dumps(table))
    done = run_pipeline("certify", run, "--budget", budget, "--out", tmp_path / "b.json")
    assert done.code == 4, done.err
    (finding,) = json.loads((tmp_path / "b.json").read_bytes())["requirements"]
    assert finding["verdict"] == "UNKNOWN"
    assert "2 episodes failed" in finding["reason"]
