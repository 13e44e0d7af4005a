"""One command exports every form, signs them, and each of them controls the robot the same.

Also of ``cli/bundle_facts.py``, ``cli/export.py``, ``cli/keygen.py`` and ``cli/verify.py``.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.command_line import Done, run_pipeline
from surefoot.runtime.cuda import num_cuda_devices


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs", "rig"):
        assert run_pipeline("keygen", "--out", folder / name).code == 0
    return folder


@pytest.fixture(scope="module")
def bundle(tiny_run: Path, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("deploy") / "bundle"
    done = run_pipeline(
        *("export", tiny_run, "--certificate", tiny_run / "certificate.json"),
        *("--target", "all", "--sign", keys / "ours", "--sign", f"tester={keys / 'rig'}"),
        *("--out", out, "--json"),
    )
    assert done.code == 0, done.err
    assert json.loads(done.out)["signed"] is True
    # What cannot be built, or would not pay, is said.
    assert "no sparse-onnx: a sparse ONNX file must be smaller" in done.err
    if num_cuda_devices() == 0:
        assert "no tensorrt: backend tensorrt needs an NVIDIA GPU" in done.err
    facts = json.loads(done.out)
    takes = ("flash_bytes", "ram_bytes", "multiply_adds", "stack_bytes_this_machine")
    assert all(facts[f"c_{what}"] > 0 for what in takes)
    return out


def test_all_that_can_be_built_is_in_the_bundle(bundle: Path) -> None:
    names = {path.name for path in bundle.iterdir()}
    assert {"policy.onnx", "policy.c", "policy.h", "controller.intoto.jsonl"} <= names
    parity = json.loads((bundle / "parity.json").read_bytes())
    assert {"numpy", "onnx", "c"} <= set(parity)


def test_a_private_key_is_for_its_owner_alone_and_never_overwritten(keys: Path) -> None:
    assert (keys / "ours").stat().st_mode & 0o077 == 0
    done = run_pipeline("keygen", "--out", keys / "ours")
    assert done.code == 2
    assert "a key is never overwritten" in done.err


def test_signatures_are_verified_with_the_key_of_each_role_alone(
    bundle: Path, keys: Path, tmp_path: Path
) -> None:
    trust = tmp_path / "trust.toml"

    def verify(*, tester: str = "rig", test: str = "parity/c") -> Done:
        trust.write_text(
            f'[keys]\ncertifier = ["{keys}/ours.pub"]\ngate = ["{keys}/ours.pub"]\n'
            f'tester = ["{keys}/{tester}.pub"]\n[require]\ntests = ["{test}"]\n'
        )
        return run_pipeline("verify", bundle, "--policy", trust, "--json")

    done = verify()
    assert done.code == 0, done.err
    assert json.loads(done.out)["signed"] is True
    assert verify(test="parity/plc").code == 5
    done = verify(tester="ours")
    assert done.code == 5
    assert "no statement of a trusted tester" in done.err
    # One key for all roles: the tester's statement is not signed with it.
    assert run_pipeline("verify", bundle, "--key", keys / "ours.pub").code == 5
    done = run_pipeline("verify", bundle, "--key", keys / "theirs.pub")
    assert done.code == 5
    assert done.out == ""
    assert "no statement of a trusted certifier" in done.err
    done = run_pipeline("verify", bundle, "--policy", trust, "--key", keys / "ours.pub")
    assert done.code == 2
    assert "not both" in done.err


def test_two_keys_for_one_role_are_bad_input(tiny_run: Path, keys: Path, tmp_path: Path) -> None:
    export = ("export", tiny_run, "--certificate", tiny_run / "certificate.json")
    for signs in (("ours", "theirs"), ("tester=ours", "tester=theirs", "ours")):
        flags = [word for sign in signs for word in ("--sign", sign)]
        done = run_pipeline(*export, *flags, "--out", tmp_path / "bundle")
        assert done.code == 2
        assert "one key for each role" in done.err
    assert not (tmp_path / "bundle").exists()


def test_c_that_was_changed_does_not_verify(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "bundle")
    with (tmp_path / "bundle" / "policy.c").open("a") as file:
        file.write("/* backdoor */\n")
    done = run_pipeline("verify", tmp_path / "bundle")
    assert done.code == 5
    assert "policy.c" in done.err


def test_attacks_on_c_and_onnx_give_the_same_returns_within_rounding(
    bundle: Path, tmp_path: Path
) -> None:
    results = {}
    for backend in ("c", "onnx"):
        out = tmp_path / f"{backend}.json"
        done = run_pipeline(
            *("attack", bundle, "--backend", backend, "--out", out, "--json"),
            *("--set", "attack.episodes=2", "--set", "attack.selection_episodes=1"),
            *("--set", "attack.epsilon=0.05", "--set", "attack.num_threads=1"),
            *("--set", 'attack.attacks=["random", "push"]'),
        )
        assert done.code == 0, done.err
        results[backend] = json.loads(done.out)
        assert results[backend]["backend"] == backend
    # Both are held to the float64 twin at every step; what rounding leaves grows with the episode.
    c, onnx = (result["attacks"] for result in results.values())
    assert set(c) == set(onnx) > {"clean"}
    for name in c:
        assert c[name]["variant"] == onnx[name]["variant"]
        assert c[name]["returns"] == pytest.approx(onnx[name]["returns"], rel=1e-4), name


def test_an_unknown_target_is_bad_input(tiny_run: Path, tmp_path: Path) -> None:
    done = run_pipeline(
        *("export", tiny_run, "--certificate", tiny_run / "certificate.json"),
        *("--target", "onnx,see", "--out", tmp_path / "bundle"),
    )
    assert done.code == 2
    assert "targets" in done.err
    assert not (tmp_path / "bundle").exists()


def test_without_a_compiler_the_c_is_refused_by_name_and_left_out_of_all(
    tiny_run: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    export = ("export", tiny_run, "--certificate", tiny_run / "certificate.json", "--target")
    done = run_pipeline(*export, "c", "--out", tmp_path / "c")
    assert done.code == 2
    assert "needs a C compiler: install gcc or clang" in done.err
    assert not (tmp_path / "c").exists()
    done = run_pipeline(*export, "all", "--out", tmp_path / "all")
    assert done.code == 0
    assert "no c: backend c needs a C compiler" in done.err
    assert not (tmp_path / "all" / "policy.c").exists()
    assert run_pipeline("verify", tmp_path / "all").code == 0
    done = run_pipeline("bench", bundle, "--backend", "c", "--out", tmp_path / "bench.json")
    assert done.code == 2
    assert len(done.err.strip().splitlines()) == 1


def test_a_quantised_policy_is_certified_and_exported_by_itself(
    tiny_run: Path, tmp_path: Path
) -> None:
    done = run_pipeline("quantise", tiny_run, "--out", tmp_path / "int8", "--json")
    assert done.code == 0, done.err
    budget = tmp_path / "budget.toml"
    budget.write_text(
        '[[require]]\nquantity = "action_deviation"\nepsilon = 0.05\nnorm = "linf"\n'
        'scope = "everywhere"\nat_most = 1.9\n'
    )
    certificate = tmp_path / "certificate.json"
    quick = ("--set", "certify.search_states=4", "--set", "certify.search_steps=2")
    quick += ("--set", "certify.lipsdp_iterations=5", "--set", "certify.lipsdp_per_actuator=0")
    assert run_pipeline(
        "certify", tmp_path / "int8", "--budget", budget, "--out", certificate, *quick
    ).code in (0, 4)
    export = ("--target", "c", "--out", tmp_path / "bundle", "--allow-uncertified")
    # Not with the certificate of the policy that it came from.
    theirs = tiny_run / "certificate.json"
    assert run_pipeline("export", tmp_path / "int8", "--certificate", theirs, *export).code == 2
    done = run_pipeline("export", tmp_path / "int8", "--certificate", certificate, *export)
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "bundle" / "policy.c.json").read_bytes())
    assert {layer["weights"] for layer in report["layers"]} == {"int8_t"}


def test_every_backend_at_hand_is_benchmarked(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    done = run_pipeline(
        *("bench", bundle, "--backend", "all", "--out", out, "--json"),
        *("--set", "bench.num_calls=100", "--set", "bench.paced_s=0.02"),
        *("--set", "bench.batches=[4]"),
    )
    assert done.code == 0, done.err
    table = json.loads(out.read_bytes())["backends"]
    assert {"numpy", "onnx", "c"} <= set(table)
    for entry in table.values():
        assert set(entry["misses_under_load"]) == set(entry["misses"])
        assert entry["batches"]["4"]["n"] >= 20
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_the_example_controls_a_robot_at_a_fixed_rate(bundle: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "control_loop.py"
    done = subprocess.run(
        [sys.executable, str(example), str(bundle), "0.2"],
        capture_output=True,
        text=True,
        check=False,
        cwd=bundle.parent,
    )
    assert done.returncode == 0, done.stderr
    assert re.match(r"25 steps at 125 Hz: \d+ deadlines missed, worst latency", done.stdout)


def test_the_example_in_c_compiles_and_runs(bundle: Path, tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("not installed: gcc")
    example = Path(__file__).parents[2] / "examples" / "control_loop.c"
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2", "-ffp-contract=off"]
    files = ["-I", str(bundle), str(bundle / "policy.c"), str(example)]
    subprocess.run(["gcc", *flags, *files, "-o", "loop"], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "loop"], capture_output=True, text=True, check=True)
    assert re.match(r"1000 steps: \d+ deadlines missed", done.stdout)
