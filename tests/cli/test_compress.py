"""``pipeline compress``: exact, certified, recorded, and a policy folder like any other.

Also of ``cli/compression_table.py`` and ``cli/quantise.py``.
"""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from support.command_line import Done, run_pipeline
from support.policies import random_policy
from surefoot.artifact import Artifact, Json, read_artifact, sha256_hex
from surefoot.onnx_file import ControllerFile, save_policy
from surefoot.policy import Squash, weights_sha256
from surefoot.runtime.controller_file import load_controller_file
from surefoot.visited import VISITED_FILE, Visited

BUDGET = """
[[require]]
quantity = "action_deviation"
epsilon = 0.01
norm = "linf"
scope = "visited"
fraction = 0.7
confidence = 0.9
at_most = 1.9

[[require]]
quantity = "sparsity"
at_least = 0.6
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense policy folder with visited states, about no environment."""
    rng = np.random.default_rng(0)
    policy = random_policy(rng, (4, 12, 10, 2), squash=Squash.CLIP, clip=4.0)
    for layer in policy.layers:
        layer.weight[:] = rng.normal(0, 0.4, layer.weight.shape)
    seen = rng.normal(policy.normaliser.mean, policy.normaliser.scale, (90, 4))
    visited = Visited(independent=seen[:30], steps=np.arange(30), num_discarded=0, pool=seen[30:])
    path = tmp_path_factory.mktemp("policies") / "dense"
    save_policy(path, policy, extra_files={VISITED_FILE: visited.to_bytes()})
    return path


def compressed(
    folder: Path, tmp_path: Path, *args: object, source: Path | None = None, states: int = 0
) -> tuple[dict[str, Json], Artifact, ControllerFile]:
    """Compress, and return the JSON, the artifact and what is in it."""
    out = tmp_path / "small"
    done = run_pipeline(
        *("compress", source or folder, "--out", out, "--visited-states", states, "--json", *args)
    )
    assert done.code == 0, done.err
    return json.loads(done.out), read_artifact(out, "policy"), load_controller_file(out)


def test_a_run_is_compressed_certified_exported_and_attacked(
    tiny_run: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    done = run_pipeline("compress", tiny_run, "--sparsity", 0.75, "--out", small, "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    file, artifact = load_controller_file(small), read_artifact(small, "policy")
    size = sum(layer.weight.size for layer in file.policy.layers)
    assert result["kept_weights"] == round(size / 4)
    assert result["sparsity"] == file.policy.sparsity == 1 - round(size / 4) / size
    assert artifact.facts["compression"]["kept_weights"] == result["kept_weights"]
    original = load_controller_file(tiny_run)
    assert artifact.inputs == {"policy.onnx": sha256_hex(original.data)}
    assert result["original"]["weights_sha256"] == weights_sha256(original.policy)
    assert set(result["clean_return"]) == {"original", "compressed", "episodes"}
    # It has states of its own, as many as the original, and none of the original's.
    visited, before = (
        Visited.from_bytes(read_artifact(path, "policy").files[VISITED_FILE]).independent
        for path in (small, tiny_run / "policy")
    )
    assert visited.shape == before.shape
    assert not (visited[:, None] == before[None]).all(axis=2).any()
    # The change of the actions is held where the compressed policy goes, too.
    own = result["control_error"]["own"]
    pool = Visited.from_bytes(artifact.files[VISITED_FILE]).pool
    apart = np.abs(file.policy.outputs(pool) - original.policy.outputs(pool)).max()
    assert own["measured"] == pytest.approx(apart, rel=1e-4)
    assert apart <= own["certified"]
    budget, certificate, bundle = (tmp_path / name for name in ("b.toml", "c.json", "bundle"))
    budget.write_text(BUDGET)
    quick = ("--set", "certify.search_states=4", "--set", "certify.search_steps=2")
    quick += ("--set", "certify.lipsdp_iterations=5", "--set", "certify.lipsdp_per_actuator=0")
    done = run_pipeline("certify", small, "--budget", budget, "--out", certificate, *quick)
    assert done.code == 0, done
    done = run_pipeline("export", small, "--certificate", certificate, "--out", bundle)
    assert done.code == 0, done.err
    done = run_pipeline(
        *("attack", bundle, "--out", tmp_path / "attack.json"),
        *("--set", "attack.episodes=2", "--set", "attack.selection_episodes=1"),
        *("--set", "attack.epsilon=0.01", "--set", "attack.num_threads=1"),
        *("--set", 'attack.attacks=["push"]'),
    )
    assert done.code == 0, done.err


COMPRESSION = """
[[require]]
quantity = "compression_error"
scope = "everywhere"
at_most = {limit}
"""


def test_a_certificate_may_name_what_it_was_compressed_from(folder: Path, tmp_path: Path) -> None:
    result, _, _ = compressed(
        folder, tmp_path, "--max-control-error", 0.2, "--over", "box", "--method", "magnitude"
    )
    small, budget = tmp_path / "small", tmp_path / "budget.toml"
    budget.write_text(COMPRESSION.format(limit=0.2))
    args = ("certify", small, "--budget", budget, "--out", tmp_path / "c.json", "--json")
    args += ("--set", "certify.search_states=4", "--set", "certify.search_steps=2")
    args += ("--set", "certify.lipsdp_iterations=5", "--set", "certify.lipsdp_per_actuator=0")
    done = run_pipeline(*args, "--dense", folder)
    assert done.code == 0, done
    finding = json.loads(done.out)["requirements"][0]
    assert finding["certified"] == pytest.approx(result["control_error"]["box"]["certified"])
    export = ("export", small, "--certificate", tmp_path / "c.json", "--out", tmp_path / "b")
    done = run_pipeline(*export)
    assert done.code == 4
    assert "compressed is missing (--dense)" in done.err
    assert not (tmp_path / "b").exists()
    done = run_pipeline(*export, "--dense", folder)
    assert done.code == 0, done.err
    assert run_pipeline("verify", tmp_path / "b").code == 4
    assert run_pipeline("verify", tmp_path / "b", "--dense", folder).code == 0
    assert run_pipeline(*args).code == 4  # without it nothing is known
    compressed(folder, tmp_path, "--sparsity", 0.1)
    done = run_pipeline(*args, "--dense", small)  # which is not what it was made from
    assert done.code == 2
    assert "dense must be what" in done.err


@pytest.mark.parametrize("method", ["magnitude", "obd", "obs", "sparsegpt"])
@pytest.mark.parametrize("allocation", ["erk", "uniform", "global"])
def test_every_method_reaches_its_sparsity(
    folder: Path, tmp_path: Path, method: str, allocation: str
) -> None:
    result, _, file = compressed(
        folder,
        tmp_path,
        *("--method", method, "--allocation", allocation, "--sparsity", 0.5, "--refit"),
    )
    assert file.policy.sparsity == 0.5
    errors = result["control_error"]
    for domain, count in (("visited", 90), ("box", 8192)):
        assert 0 < errors[domain]["measured"] <= errors[domain]["certified"]
        assert errors[domain]["states"] == count
    assert "not a bound" in errors["paper"]["flaw"]
    assert errors["units"] == "action units, the worst actuator"


@pytest.mark.parametrize("target", [("visited", 0), ("visited", 0.02), ("box", 0)])
def test_the_largest_sparsity_that_holds_is_certified_and_one_more_is_not(
    folder: Path, tmp_path: Path, target: tuple[str | float, ...]
) -> None:
    over, epsilon = target
    flags = ("--epsilon", epsilon, "--method", "magnitude")
    result, _, file = compressed(
        folder, tmp_path, "--max-control-error", 0.2, "--over", over, *flags
    )
    entry = result["control_error"][over]
    assert entry["measured"] <= entry["certified"] <= 0.2
    assert file.policy.sparsity > 0
    sparser = 1 - (result["kept_weights"] - 1) / sum(
        layer.weight.size for layer in file.policy.layers
    )
    again, _, _ = compressed(folder, tmp_path, "--sparsity", sparser, *flags)
    assert again["kept_weights"] == result["kept_weights"] - 1
    assert again["control_error"][over]["certified"] > 0.2


@pytest.mark.parametrize("weights", ["float16", "int8"])
def test_weights_of_fewer_bits_alone(folder: Path, tmp_path: Path, weights: str) -> None:
    result, _, file = compressed(folder, tmp_path, "--weights", weights)
    assert result["weights"] == weights
    assert result["method"] is result["allocation"] is None, "no weight was chosen"
    assert result["control_error"]["visited"]["certified"] < 0.05
    if weights == "float16":
        for layer in file.policy.layers:
            assert (layer.weight.astype(np.float16) == layer.weight).all()


def test_quantise_is_compress_to_8_bits(folder: Path, tmp_path: Path) -> None:
    result, _, _ = compressed(folder, tmp_path, "--weights", "int8")
    done = run_pipeline("quantise", folder, "--out", tmp_path / "int8", "--json")
    assert json.loads(done.out)["onnx_sha256"] == result["onnx_sha256"]


@pytest.mark.parametrize("command", [("quantise",), ("compress", "--weights", "int8")])
def test_a_bare_file_that_names_no_environment_is_rounded_all_the_same(
    folder: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    done = run_pipeline(*command, folder / "policy.onnx", "--out", tmp_path / "int8", "--json")
    assert done.code == 0, done.err
    whole = run_pipeline("quantise", folder, "--out", tmp_path / "whole", "--json")
    assert json.loads(done.out)["onnx_sha256"] == json.loads(whole.out)["onnx_sha256"]
    assert json.loads(done.out)["calibration_states"] == 0


def test_the_largest_sparsity_that_a_message_names_can_be_had(folder: Path, tmp_path: Path) -> None:
    flags = ("--method", "magnitude", "--visited-states", 0, "--out", tmp_path / "out")
    refused = run_pipeline("compress", folder, "--sparsity", 0.985, *flags)
    assert refused.code == 2
    named = re.search(r"at most (0\.\d+),", refused.err)[1]
    assert run_pipeline("compress", folder, "--sparsity", named, *flags).code == 0


@pytest.mark.parametrize("over", ["visited", "box"])
def test_the_least_limit_that_a_message_names_can_be_had(
    folder: Path, tmp_path: Path, over: str
) -> None:
    def compress(limit: float | str) -> Done:
        return run_pipeline(
            *("compress", folder, "--max-control-error", limit, "--weights", "float16"),
            *("--over", over, "--visited-states", 0, "--out", tmp_path / "small"),
        )

    done = compress(1e-6)
    assert done.code == 2
    least = done.err.split("must be at least ")[1].split(",")[0]
    done = compress(least)
    assert done.code == 0, done.err


def test_a_bare_file_with_observations_of_ones_own(folder: Path, tmp_path: Path) -> None:
    visited = Visited.from_bytes(read_artifact(folder, "policy").files[VISITED_FILE])
    np.save(tmp_path / "seen.npy", np.concatenate([visited.pool, visited.independent]))
    one, _, _ = compressed(folder, tmp_path, "--sparsity", 0.5)
    two, _, _ = compressed(
        folder,
        tmp_path,
        *("--sparsity", 0.5, "--calibration", tmp_path / "seen.npy"),
        source=folder / "policy.onnx",
    )
    assert one["onnx_sha256"] == two["onnx_sha256"]


def test_a_table_says_certified_beside_measured(folder: Path, tmp_path: Path) -> None:
    done = run_pipeline(
        *("compress", folder, "--sparsity", 0.3, "--out", tmp_path / "s", "--visited-states", 0)
    )
    assert done.code == 0, done.err
    assert "control error, 90 states of the original" in done.out
    assert "certified" in done.out
    assert "not a bound" in done.out


ERRORS = [
    (("--method", "obbs", "--sparsity", 0.5), "compress.method must be one of magnitude, obd, obs"),
    (("--method", "obbs", "--sparsity", 0.5), "did you mean 'obs'"),
    (("--allocation", "er", "--sparsity", 0.5), "did you mean 'erk'"),
    (("--weights", "int4"), "compress.weights must be one of float32, float16, int8, got 'int4'"),
    (("--over", "boxx", "--max-control-error", 0.1), "did you mean 'box'"),
    (("--sparsity", 1.0), "sparsity must be in [0, 1), got 1.0"),
    (("--sparsity", -0.1), "sparsity must be in [0, 1), got -0.1"),
    (("--sparsity", 0.999), "sparsity must be at most 0.984042, at which each of 3 layers keeps"),
    (("--sparsity", 0.5, "--max-control-error", 0.1), "not both"),
    ((), "nothing to do"),
    (("--weights", "int8", "--refit"), "--refit has no effect if no weight is removed"),
    (
        ("--weights", "int8", "--method", "obd", "--allocation", "global"),
        "--method and --allocation have no effect if no weight is removed",
    ),
    (("--sparsity", 0.5, "--over", "box"), "--over has no effect without a limit: give --max-c"),
    (("--max-control-error", 0), "max_control_error must be positive and finite, got 0.0"),
    (("--max-control-error", 1e-7), "the certified error when no weight is removed (float32"),
    (("--max-control-error", 1e-3, "--weights", "int8"), "(int8 weights, rounding of both"),
    (("--max-control-error", 0.1, "--over", "box", "--epsilon", 0.1), "epsilon must be 0 over the"),
    (("--sparsity", 0.5, "--visited-states", 5), "its file names no environment to play"),
    (("--sparsity", 0.5, "--visited-states", -1), "visited-states must be at least 0, got -1"),
    (("--sparsity", 0.5, "--calibration", "FEW"), "calibration needs at least 12 observations, as"),
    (("--sparsity", 0.5, "--calibration", "WIDE"), "must have 4 columns, one per sensor, has 5"),
    (
        ("--sparsity", 0.5, "--calibration", "NAN"),
        "row 4 of column '[2]' must be finite",
    ),
    (("--sparsity", 0.5, "--calibration", "TEXT"), "is not a .npy array"),
    (("--sparsity", 0.5, "--calibration", "OBJECTS"), "is not a .npy array"),
    (("--sparsity", 0.5, "--calibration", "NONE"), "no such file"),
]


@pytest.mark.parametrize(("args", "message"), ERRORS)
def test_bad_input_is_one_line_and_leaves_nothing(
    folder: Path, tmp_path: Path, args: tuple[str | float, ...], message: str
) -> None:
    rng = np.random.default_rng(0)
    nan = rng.normal(0, 1, (50, 4))
    nan[3, 2] = np.nan
    given = tmp_path / "given"
    given.mkdir()
    np.save(given / "FEW", rng.normal(0, 1, (11, 4)))
    np.save(given / "WIDE", rng.normal(0, 1, (50, 5)))
    np.save(given / "NAN", nan)
    np.save(given / "OBJECTS", np.array([{}], dtype=object), allow_pickle=True)
    (given / "TEXT.npy").write_text("obs")
    args = [given / f"{arg}.npy" if str(arg).isupper() else arg for arg in args]
    states = () if "--visited-states" in args else ("--visited-states", 0)
    done = run_pipeline("compress", folder, "--out", tmp_path / "out", *states, *args)
    assert (done.code, done.out) == (2, "")
    lines = [line for line in done.err.splitlines() if not line.startswith("compress ")]
    assert len(lines) == 1, done.err
    assert message in lines[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", ["folder", "file"])
@pytest.mark.parametrize("verb", [("compress", "--sparsity", 0.5), ("quantise",)])
def test_what_is_compressed_is_never_overwritten(
    folder: Path, tmp_path: Path, what: str, verb: tuple[str | float, ...]
) -> None:
    path = tmp_path / "mine"
    shutil.copytree(folder, path)
    before = {entry.name: entry.read_bytes() for entry in path.iterdir()}
    given = path if what == "folder" else path / "policy.onnx"
    done = run_pipeline(*verb, given, "--out", tmp_path / "other" / ".." / "mine")
    assert done.code == 2
    assert "out must not be the folder of the policy" in done.err
    assert {entry.name: entry.read_bytes() for entry in path.iterdir()} == before


def test_of_a_policy_that_chooses_it_is_said_how_often_it_chooses_otherwise(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    policy = random_policy(rng, (4, 12, 3), squash=None)
    observations = rng.normal(policy.normaliser.mean, policy.normaliser.scale, (90, 4))
    np.save(tmp_path / "seen.npy", observations)
    save_policy(tmp_path / "dense", policy)
    done = run_pipeline(
        *("compress", tmp_path / "dense", "--out", tmp_path / "small", "--sparsity", 0.6),
        *("--method", "magnitude", "--calibration", tmp_path / "seen.npy", "--json"),
        *("--visited-states", 0),
    )
    assert done.code == 0, done.err
    result = json.loads(done.out)
    small = load_controller_file(tmp_path / "small").policy
    chosen = [either.outputs(observations).argmax(axis=1) for either in (policy, small)]
    assert 0 < result["changed_choices"] == (chosen[0] != chosen[1]).mean() < 1
    assert result["control_error"]["units"] == "logits, the worst choice"


@pytest.mark.parametrize("sparsity", [0.1, 0.3, 0.51, 0.6, 0.77, 0.9])
def test_what_is_compressed_passes_the_budget_that_asks_for_its_sparsity(
    folder: Path, tmp_path: Path, sparsity: float
) -> None:
    done = run_pipeline(
        *("compress", folder, "--sparsity", sparsity, "--out", tmp_path / "small"),
        *("--method", "magnitude", "--visited-states", 0),
    )
    assert done.code == 0, done.err
    budget = tmp_path / "budget.toml"
    budget.write_text(f'[[require]]\nquantity = "sparsity"\nat_least = {sparsity}\n')
    certified = ("--budget", budget, "--out", tmp_path / "certificate.json")
    assert run_pipeline("certify", tmp_path / "small", *certified).code == 0


def test_a_sparser_policy_cannot_become_denser(folder: Path, tmp_path: Path) -> None:
    compressed(folder, tmp_path, "--sparsity", 0.6)
    done = run_pipeline(
        *("compress", tmp_path / "small", "--sparsity", 0.3, "--out", tmp_path / "out"),
        *("--method", "magnitude", "--visited-states", 0),
    )
    assert done.code == 2
    assert (
        "sparsity must be at least 0.601064, which the policy has already, got one that keeps"
        in done.err
    )


@pytest.mark.parametrize("source", ["a file", "a folder that recorded none"])
def test_without_states_only_magnitude_and_the_box_go(
    folder: Path, tmp_path: Path, source: str
) -> None:
    path = folder / "policy.onnx"
    if source != "a file":
        none = np.empty((0, 4))
        visited = Visited(independent=none, steps=np.empty(0, np.int64), num_discarded=0, pool=none)
        policy, path = load_controller_file(folder).policy, tmp_path / "bare"
        save_policy(path, policy, extra_files={VISITED_FILE: visited.to_bytes()})
    bare = (path, "--visited-states", 0, "--out", tmp_path / "out")
    done = run_pipeline("compress", *bare, "--sparsity", 0.5)
    assert done.code == 2
    assert "give --calibration" in done.err
    done = run_pipeline("compress", *bare, "--sparsity", 0.5, "--method", "magnitude", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["control_error"]["visited"] is None
