"""The whole pipeline on discrete choices, by the same commands as on actuators."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from support.adopted import written_actor
from support.command_line import run_pipeline
from surefoot.policy import CategoricalHead
from surefoot.runtime.controller_file import load_controller_file

BUDGET = """
[[require]]
quantity = "total_variation"
epsilon = 0.05
norm = "linf"
scope = "everywhere"
at_most = 0.9

[[require]]
quantity = "kl"
epsilon = 0.01
norm = "l2"
scope = "visited"
fraction = 0.5
confidence = 0.8
at_most = 1.0

[[require]]
quantity = "sparsity"
at_least = 0.5
"""

TOTAL_VARIATION = """
[[require]]
quantity = "total_variation"
epsilon = 0.01
norm = "linf"
scope = "everywhere"
at_most = 0.9
"""

CHOICE_LEAD = """
[[require]]
quantity = "choice_lead"
epsilon = 0.001
norm = "linf"
scope = "visited"
fraction = 0.5
confidence = 0.8
at_most = 0.0
"""


def run_of_choices(tiny_config: Path, tmp_path: Path, env_id: str, num_actions: int) -> Path:
    """Run the whole pipeline on a task and check what comes out."""
    config, run = tmp_path / "choices.toml", tmp_path / "run"
    config.write_text(tiny_config.read_text().split("[[require]]")[0] + BUDGET)
    settings = ("--config", config, "--set", f"train.env_id={env_id}")
    done = run_pipeline("run", *settings, "--out", run, "--json")
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    assert (summary["env"], summary["verdict"]) == (env_id, "PROVED")
    assert summary["sparsity"] >= 0.5
    policy = load_controller_file(run / "bundle").policy
    assert isinstance(policy.head, CategoricalHead)
    assert policy.num_outputs == num_actions
    for finding in json.loads((run / "certificate.json").read_text())["requirements"][:2]:
        assert finding["sampled"] <= finding["certified"]
    attacks = json.loads((run / "attack.json").read_text())["attacks"]
    assert set(attacks) == {"clean", "random", "mad", "push"}
    assert all(np.isfinite(entry["returns"]).all() for entry in attacks.values())
    return run


@pytest.mark.parametrize(
    ("env_id", "num_actions"),
    [
        ("MountainCar-v0", 3),
        pytest.param(
            "LunarLander-v3",
            4,
            marks=[
                pytest.mark.skipif(find_spec("Box2D") is None, reason="needs the extra box2d"),
                # SWIG's types warn when they are imported, and crash where that is an error.
                pytest.mark.filterwarnings("ignore:builtin type Swig"),
                pytest.mark.filterwarnings("ignore:builtin type swig"),
            ],
        ),
    ],
)
def test_choices_are_trained_pruned_certified_exported_and_attacked(
    tiny_config: Path, tmp_path: Path, env_id: str, num_actions: int
) -> None:
    run_of_choices(tiny_config, tmp_path, env_id, num_actions)


def test_choices_are_compressed_and_go_through_the_verbs_again(
    tiny_config: Path, tmp_path: Path
) -> None:
    run, small = run_of_choices(tiny_config, tmp_path, "CartPole-v1", 2), tmp_path / "small"
    done = run_pipeline("compress", run, "--sparsity", 0.75, "--out", small, "--json")
    assert done.code == 0, done.err
    assert load_controller_file(small).policy.sparsity >= 0.75
    budget, certificate = tmp_path / "budget.toml", tmp_path / "certificate.json"
    budget.write_text(BUDGET)
    certified = run_pipeline("certify", small, "--budget", budget, "--out", certificate)
    assert certified.code == 0, certified.err
    target = ("--certificate", certificate, "--target", "onnx,c")
    exported = run_pipeline("export", small, *target, "--out", tmp_path / "bundle")
    assert exported.code == 0, exported.err
    fast = [f"--set=attack.{key}" for key in ("episodes=1", "selection_episodes=1", "epsilon=0.05")]
    fast.append('--set=attack.attacks=["push"]')
    attacked = run_pipeline("attack", tmp_path / "bundle", *fast, "--out", tmp_path / "attack.json")
    assert attacked.code == 0, attacked.err


def test_a_choice_of_others_is_certified_attacked_and_adopted(tmp_path: Path) -> None:
    path, run = written_actor(tmp_path / "actor.onnx"), tmp_path / "run"
    budget, certificate = tmp_path / "budget.toml", tmp_path / "certificate.json"
    budget.write_text(TOTAL_VARIATION)
    quick = [f"--set=certify.{key}" for key in ("search_states=4", "lipsdp_iterations=2")]
    asked = ("--budget", budget, "--out", certificate, *quick)
    done = run_pipeline("certify", path, "--discrete", *asked)
    assert done.code == 0, done.err
    (finding,) = json.loads(certificate.read_text())["requirements"]
    assert finding["sampled"] <= finding["certified"]
    few = [f"--set=attack.{key}" for key in ("episodes=2", "selection_episodes=1", "epsilon=0.05")]
    attacked = run_pipeline(
        *("attack", path, "--discrete", "--env", "CartPole-v1", "--allow-uncertified", *few),
        *("--backend", "numpy", "--out", tmp_path / "attack.json"),
    )
    assert attacked.code == 0, attacked.err
    choices = ("--discrete", "--env", "CartPole-v1", "--visited-states", 30)
    adopted = run_pipeline("adopt", path, "--out", run, *choices)
    assert adopted.code == 0, adopted.err
    budget.write_text(CHOICE_LEAD)
    done = run_pipeline("certify", run, *asked)
    assert done.code in (0, 4), done.err
    (finding,) = json.loads(certificate.read_text())["requirements"]
    assert finding["sampled"] <= finding["certified"]


@pytest.mark.parametrize("verb", ["compress", "quantise", "inspect", "adopt"])
def test_actions_of_surefoot_are_no_choice(tiny_run: Path, tmp_path: Path, verb: str) -> None:
    out = {
        "compress": ("--sparsity", 0.5, "--out", tmp_path / "out"),
        "quantise": ("--out", tmp_path / "out"),
        "adopt": ("--out", tmp_path / "out"),
    }
    source = tiny_run / "policy" / "policy.onnx"
    done = run_pipeline(verb, source, "--discrete", *out.get(verb, ()))
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "its outputs are actions" in done.err
