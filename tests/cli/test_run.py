"""The whole pipeline through the command line, on a training of seconds.

Also of ``cli/certificate_tables.py``, ``cli/report.py`` and ``workflow/reporting.py``.
"""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from support.command_line import BRIEF_BENCH, run_pipeline
from surefoot.artifact import Json, sha256_hex
from surefoot.onnx_file import policy_from_onnx

STABLE_FILES = {
    "policy",
    "certificate.json",
    "bundle",
    "attack.json",
    "bench.json",
    "summary.json",
    "report.html",
    "config.toml",
}


def test_a_run_leaves_every_result(tiny_run: Path) -> None:
    assert {entry.name for entry in tiny_run.iterdir()} >= STABLE_FILES


def test_the_certified_file_is_the_deployed_and_the_attacked_file(tiny_run: Path) -> None:
    data = (tiny_run / "bundle" / "policy.onnx").read_bytes()
    assert (tiny_run / "policy" / "policy.onnx").read_bytes() == data
    for name in ("certificate.json", "attack.json", "bench.json", "summary.json"):
        assert json.loads((tiny_run / name).read_text())["onnx_sha256"] == sha256_hex(data)


def test_the_summary_says_what_the_files_say(tiny_run: Path) -> None:
    summary, attack, bench, certificate = (
        json.loads((tiny_run / f"{name}.json").read_text())
        for name in ("summary", "attack", "bench", "certificate")
    )
    policy = policy_from_onnx((tiny_run / "policy" / "policy.onnx").read_bytes()).policy
    zeros = sum((layer.weight == 0).sum() for layer in policy.layers)
    assert summary["sparsity"] == zeros / sum(layer.weight.size for layer in policy.layers)
    assert summary["clean_return"] == np.mean(attack["attacks"]["clean"]["returns"])
    assert summary["verdict"] == certificate["verdict"] == "PROVED"
    assert summary["size_bytes"] == (tiny_run / "policy" / "policy.onnx").stat().st_size
    assert set(summary["latency_us"]) == set(bench["backends"])
    for entry, finding in zip(summary["requirements"], certificate["requirements"], strict=True):
        assert entry["certified"] == finding["certified"]
        assert entry["sampled"] == finding["sampled"]


def test_a_second_run_does_nothing_again(tiny_run: Path, tiny_config: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(tiny_run, copy)
    done = run_pipeline("run", "--config", tiny_config, "--out", copy, "--json")
    assert done.code == 0
    assert done.err == ""
    for name in ("certificate.json", "attack.json", "bench.json"):
        assert (copy / name).read_bytes() == (tiny_run / name).read_bytes()
    assert json.loads(done.out) == json.loads((tiny_run / "summary.json").read_text())


def test_a_finished_training_is_that_of_any_number_of_threads_but_of_its_own_states(
    tiny_run: Path, tiny_config: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(tiny_run, copy)
    train = ("train", "--config", tiny_config, "--out", copy)
    done = run_pipeline(*train, "--set", "train.num_threads=2", "--set", "train.checkpoint_steps=7")
    assert done.code == 0, done.err
    assert (copy / "policy" / "manifest.json").read_bytes() == (
        tiny_run / "policy" / "manifest.json"
    ).read_bytes()
    done = run_pipeline(*train, "--set", "train.visited_states=3")
    assert done.code == 2
    assert "another configuration (visited_states was" in done.err


def test_a_run_resumes_at_the_stage_that_is_missing(
    tiny_run: Path, tiny_config: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(tiny_run, copy)
    (copy / "certificate.json").unlink()
    shutil.rmtree(copy / "bundle")
    done = run_pipeline("run", "--config", tiny_config, "--out", copy)
    assert done.code == 0
    assert "certify ..." in done.err
    assert "export ..." in done.err
    assert "train" not in done.err
    assert run_pipeline("verify", copy / "bundle").code == 0
    # What is computed again from the same inputs is the same.
    again = (copy / "certificate.json").read_bytes()
    assert again == (tiny_run / "certificate.json").read_bytes()


@pytest.mark.parametrize("change", ["code", "critic", "other"])
def test_a_run_is_attacked_again_by_other_code_and_with_another_critic(
    tiny_run: Path, tiny_config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: str
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(tiny_run, copy)
    more = []
    if change == "code":
        monkeypatch.setattr("surefoot.workflow.whole_run.code_digest", lambda: "0" * 64)
    elif change == "critic":
        monkeypatch.setattr("surefoot.workflow.whole_run.shipped_critics", lambda *given: {})
    else:  # a run, as `attack.transfer_from` takes it
        more = ["--set", f'attack.transfer_from=["{tiny_run}"]']
    done = run_pipeline("run", "--config", tiny_config, "--out", copy, *more)
    assert done.code == 0
    assert "attack ..." in done.err
    assert "train" not in done.err


def test_a_budget_that_cannot_be_met_is_not_exported(
    tiny_run: Path, tiny_config: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(tiny_run, copy)
    budget = tmp_path / "budget.toml"
    budget.write_text('[[require]]\nquantity = "sparsity"\nat_least = 0.99\n')
    done = run_pipeline("run", "--config", tiny_config, "--budget", budget, "--out", copy)
    assert done.code == 3
    assert not (copy / "bundle").exists(), "the bundle of a laxer budget must not stay"
    assert run_pipeline("certify", copy, "--out", tmp_path / "again.json").code == 3
    assert json.loads((copy / "summary.json").read_text())["verdict"] == "REFUTED"


def test_a_lipschitz_target_meets_the_budget_that_it_was_chosen_for(
    tiny_config: Path, tmp_path: Path
) -> None:
    largest, epsilon, rounding = 0.002, 0.05, 1e-5
    budget = tmp_path / "budget.toml"
    budget.write_text(
        f'[[require]]\nquantity = "action_deviation"\nepsilon = {epsilon}\nnorm = "linf"\n'
        f'scope = "everywhere"\nat_most = {largest}\n'
    )

    def certified(name: str, defence: str) -> int:
        run = tmp_path / name
        flags = ("--set", f"train.defence={{{defence}}}", "--set", "train.learning_rate=3e-3")
        flags += ("--set", "train.visited_states=0")
        done = run_pipeline("train", "--config", tiny_config, *flags, "--out", run)
        assert done.code == 0, done.err
        return run_pipeline("certify", run, "--budget", budget, "--out", run / "c.json").code

    at_most = (largest - 2 * rounding) / epsilon
    for bound in ("absolute_product", "combettes_pesquet"):
        held = f'kind = "lipschitz", at_most = {at_most}, bound = "{bound}", ramp_end = 0.5'
        assert certified(bound, held) == 0, bound  # PROVED
    assert certified("none", 'kind = "none"') == 3  # REFUTED: it takes the target


def test_a_measured_requirement_is_decided_by_the_measurement(
    tiny_run: Path, tiny_config: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(tiny_run, copy)
    shutil.rmtree(copy / "bundle")
    worst = json.loads((tiny_run / "summary.json").read_text())["attacked_return"].values()
    for at_least, code in ((min(worst) - 1, 0), (min(worst) + 1, 3)):
        budget = tmp_path / "budget.toml"
        budget.write_text(
            '[[require]]\nquantity = "attacked_return"\nepsilon = 0.05\nnorm = "linf"\n'
            f"at_least = {at_least}\n"
        )
        done = run_pipeline("run", "--config", tiny_config, "--budget", budget, "--out", copy)
        assert done.code == code, done.err
        again = run_pipeline("run", "--config", tiny_config, "--budget", budget, "--out", copy)
        assert "..." not in again.err, "a second run does nothing again"


def test_a_certificate_rests_on_the_attacks_of_its_own_run(tiny_run: Path, tmp_path: Path) -> None:
    def certified(controller: Path, at_least: float) -> tuple[int, Json]:
        out, budget = tmp_path / "certificate.json", tmp_path / "budget.toml"
        budget.write_text(
            '[[require]]\nquantity = "success_rate"\nepsilon = 0.05\nnorm = "linf"\n'
            f"confidence = 0.95\nat_least = {at_least}\n"
        )
        code = run_pipeline("certify", controller, "--budget", budget, "--out", out).code
        return code, json.loads(out.read_text())

    # A controller of 4096 steps falls in both episodes, whatever attacks it.
    attacks = json.loads((tiny_run / "attack.json").read_text())["attacks"]
    assert all(all(entry["terminated"]) for entry in attacks.values())
    code, certificate = certified(tiny_run, 0.9)
    assert code == 3
    finding = certificate["requirements"][0]
    assert (finding["sampled"], finding["witness"]["seen"]) == (0.0, "0 of 2 episodes")
    assert certified(tiny_run / "policy", 0.0)[0] == 0
    rows = certificate["claims"]["measured"]
    assert [row["value"] for row in rows if row["quantity"] == "attacked_return"] == [
        entry["mean"] for name, entry in attacks.items() if name != "clean"
    ]
    # Away from its run nothing was measured; the numbers of another file do not count.
    shutil.copytree(tiny_run / "policy", tmp_path / "policy")
    assert certified(tmp_path / "policy", 0.0)[0] == 4
    other = tmp_path / "other"
    shutil.copytree(tiny_run, other)
    table = json.loads((other / "attack.json").read_text()) | {"onnx_sha256": "0" * 64}
    (other / "attack.json").write_text(json.dumps(table))
    code, certificate = certified(other, 0.0)
    assert code == 4
    assert certificate["requirements"][0]["reason"] == "it was measured on another file"


def test_the_report_is_one_page_with_every_figure(tiny_run: Path) -> None:
    page = (tiny_run / "report.html").read_text()
    assert page.count("<svg") >= 2
    assert not re.search(r'(src|href)="(?!#|data:)', page), "the page must not load anything"
    assert "PROVED" in page


def test_every_verb_prints_one_json_object(tiny_run: Path, tmp_path: Path) -> None:
    bundle = tiny_run / "bundle"
    budget = bundle / "budget.toml"
    fast = ["--set", "attack.episodes=2", "--set", "attack.selection_episodes=1"]
    fast += ["--set", 'attack.attacks=["random"]']
    commands = [
        ("certify", tiny_run, "--budget", budget, "--out", tmp_path / "certificate.json"),
        (
            "export",
            tiny_run,
            "--certificate",
            tiny_run / "certificate.json",
            "--out",
            tmp_path / "bundle",
        ),
        ("verify", bundle),
        ("attack", bundle, "--out", tmp_path / "attack.json", *fast),
        ("bench", bundle, "--out", tmp_path / "bench.json", *BRIEF_BENCH),
        ("report", tiny_run, "--out", tmp_path / "report.html"),
    ]
    for command in commands:
        done = run_pipeline(*command, "--json")
        assert done.code == 0, done.err
        assert isinstance(json.loads(done.out), dict), command


def test_export_of_a_certificate_about_another_policy_is_refused(
    tiny_run: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_run, other)
    certificate = tiny_run / "certificate.json"
    changed = run_pipeline(
        "train",
        "--config",
        other / "config.toml",
        "--seed",
        "7",
        "--out",
        tmp_path / "seven",
        "--set",
        "train.total_steps=1024",
        "--set",
        "train.num_evaluations=1",
        "--set",
        'train.defence={kind="none"}',
    )
    assert changed.code == 0, changed.err
    done = run_pipeline(
        "export", tmp_path / "seven", "--certificate", certificate, "--out", tmp_path / "bundle"
    )
    assert done.code == 2
    assert "the certificate is about" in done.err
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("name", ["attack.json", "attack.png", "bench.json", "certificate.png"])
def test_a_run_makes_again_what_was_deleted(
    tiny_run: Path, tiny_config: Path, tmp_path: Path, name: str
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(tiny_run, copy)
    (copy / name).unlink()
    assert run_pipeline("run", "--config", tiny_config, "--out", copy).code == 0
    assert (copy / name).is_file()


def test_flags_stand_above_the_configuration(tiny_run: Path, tmp_path: Path) -> None:
    config = tmp_path / "attack.toml"
    config.write_text(
        '[attack]\nbackend = "onnx"\nepisodes = 2\nselection_episodes = 1\nattacks = ["random"]\n'
    )
    out = tmp_path / "attack.json"
    done = run_pipeline(
        "attack", tiny_run / "bundle", "--backend", "numpy", "--config", config, "--out", out
    )
    assert done.code == 0, done.err
    assert json.loads(out.read_text())["backend"] == "numpy"


def test_a_setting_keeps_the_others_of_the_run(tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "certificate.json"
    done = run_pipeline("certify", tiny_run, "--set", "certify.seed=5", "--out", out)
    assert done.code == 0, done.err
    proof = json.loads(out.read_text())["proof"]
    assert proof["seed"] == 5
    before = json.loads((tiny_run / "certificate.json").read_text())["proof"]
    assert len(proof["multipliers"]) == len(before["multipliers"])
