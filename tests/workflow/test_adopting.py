"""A controller of others becomes a run like any other, and nothing of it is lost."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest

from support.adopted import MJLAB, written_actor
from support.heard import Heard
from support.onnx_graphs import Graph
from support.policies import random_policy
from surefoot.errors import InputError, IntegrityError
from surefoot.onnx_file import ControllerFile, load_policy, policy_to_onnx
from surefoot.policy import CategoricalHead, weights_sha256
from surefoot.runtime.canonical import CanonicalDifference, check_canonical
from surefoot.runtime.controller_file import load_controller_file
from surefoot.visited import VISITED_FILE, Visited
from surefoot.workflow import adopting
from surefoot.workflow.adopting import adopt_controller
from surefoot.workflow.source import read_source


def visited(num_sensors: int) -> Visited:
    pool = np.random.default_rng(0).normal(size=(6, num_sensors))
    return Visited(independent=pool[:3], steps=np.arange(3), num_discarded=0, pool=pool)


def test_the_folder_is_that_of_a_trained_policy_with_the_original_in_it(tmp_path: Path) -> None:
    path, run = written_actor(tmp_path / "actor.onnx", MJLAB), tmp_path / "run"
    adopted = adopt_controller(path, run)
    file, artifact = load_policy(run / "policy")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert artifact.files["original.onnx"] == path.read_bytes()
    assert artifact.inputs == {"policy.onnx": digest}
    assert artifact.facts["adopted"]["sha256"] == digest
    assert artifact.facts["adopted"]["canonical"] == adopted.difference.to_table()
    assert file.data == adopted.file.data
    assert file.properties == MJLAB
    observations = np.random.default_rng(1).normal(size=(100, 4))
    original = load_controller_file(path).policy
    assert np.array_equal(file.policy.outputs(observations), original.outputs(observations))
    source = read_source(run, None, None, None)
    assert (source.file.data, source.visited) == (file.data, None)


def test_weights_beside_the_file_are_kept_with_where_they_lay(tmp_path: Path) -> None:
    model = onnx.load(written_actor(tmp_path / "plain.onnx"))
    where, path = "weights/actor.data", tmp_path / "actor.onnx"
    (tmp_path / "weights").mkdir()
    onnx.save(model, path, save_as_external_data=True, location=where, size_threshold=0)
    adopt_controller(path, tmp_path / "run")
    _, artifact = load_policy(tmp_path / "run" / "policy")
    assert artifact.facts["adopted"]["files"] == {
        "original.onnx": "actor.onnx",
        "original.1.data": where,
    }
    assert artifact.files["original.1.data"] == (tmp_path / where).read_bytes()
    # Put back where they lay, they are the file that was adopted.
    again = tmp_path / "again"
    for name, place in artifact.facts["adopted"]["files"].items():
        (again / place).parent.mkdir(parents=True, exist_ok=True)
        (again / place).write_bytes(artifact.files[name])
    digest = artifact.facts["adopted"]["sha256"]
    assert load_controller_file(again / "actor.onnx").sha256 == digest


def test_several_inputs_are_named_in_the_canonical_file(tmp_path: Path) -> None:
    graph = Graph()
    joined = graph.node("Concat", "obs", "command", axis=1)
    out = graph.dense(joined, np.arange(10).reshape(2, 5))
    path = tmp_path / "actor.onnx"
    path.write_bytes(graph.file({out: ("N", 2)}, {"obs": ("N", 3), "command": ("N", 2)}))
    file = adopt_controller(path, tmp_path / "run").file
    assert file.metadata["adopted"] == {
        "sha256": load_controller_file(path).sha256,
        "inputs": [{"name": "obs", "size": 3}, {"name": "command", "size": 2}],
        "output": out,
    }


def test_what_leapp_wrote_beside_the_file_goes_with_it(tmp_path: Path) -> None:
    path = written_actor(tmp_path / "actor.onnx", MJLAB)
    text = f"models: {{parameters: {{sha256sum: {hashlib.sha256(path.read_bytes()).hexdigest()}}}}}"
    (tmp_path / "pipeline.yaml").write_text(text)
    file = adopt_controller(path, tmp_path / "run").file
    assert file.properties == {"leapp.yaml": text, **MJLAB}


def test_given_states_are_what_the_run_visits(tmp_path: Path) -> None:
    path, states = written_actor(tmp_path / "actor.onnx"), visited(4)
    adopt_controller(path, tmp_path / "run", visited=states)
    _, artifact = load_policy(tmp_path / "run" / "policy")
    assert artifact.files[VISITED_FILE] == states.to_bytes()
    with pytest.raises(InputError, match="states must have 4 numbers each"):
        adopt_controller(path, tmp_path / "other", visited=visited(3))
    assert not (tmp_path / "other").exists()


def test_an_environment_is_named_checked_and_played(tmp_path: Path) -> None:
    path = written_actor(tmp_path / "actor.onnx", num_sensors=11, num_actions=3)
    adopted = adopt_controller(path, tmp_path / "run", env_id="Hopper-v5", visited_states=4)
    assert adopted.file.env_id == "Hopper-v5"
    source = read_source(tmp_path / "run", None, None, None)
    assert source.visited is not None
    assert source.visited.independent.shape == (4, 11)


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        ("Walker2d-v5", "Walker2d-v5 has 17 observations and 6 actuators"),
        ("Reacher-v5", "has 10 observations"),
        ("CartPole-v1", "the controller is for 11 observations and 3 actuators"),
        ("Hopper-v6", "env_id must be registered"),
    ],
)
def test_an_environment_that_does_not_fit_is_refused(
    tmp_path: Path, env_id: str, message: str
) -> None:
    path = written_actor(tmp_path / "actor.onnx", num_sensors=11, num_actions=3)
    with pytest.raises(InputError, match=message):
        adopt_controller(path, tmp_path / "run", env_id=env_id)
    assert not (tmp_path / "run").exists()


def test_choices_are_numbered_as_the_environment_has_them(tmp_path: Path) -> None:
    path = written_actor(tmp_path / "actor.onnx")
    adopted = adopt_controller(
        path, tmp_path / "run", discrete=True, env_id="CartPole-v1", visited_states=4
    )
    assert adopted.file.policy.head == CategoricalHead(num_actions=2, start=0)
    source = read_source(tmp_path / "run", None, None, None)
    assert source.visited is not None


def test_the_same_file_may_be_adopted_again_and_no_other(tmp_path: Path) -> None:
    path, run = written_actor(tmp_path / "actor.onnx"), tmp_path / "run"
    first = adopt_controller(path, run)
    assert adopt_controller(path, run, visited=visited(4)).file.data == first.file.data
    other = written_actor(tmp_path / "other.onnx", MJLAB)
    with pytest.raises(InputError, match="holds another controller: give another --out"):
        adopt_controller(other, run)
    assert load_policy(run / "policy")[0].data == first.file.data


def test_what_another_process_adopts_meanwhile_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, run = written_actor(tmp_path / "actor.onnx"), tmp_path / "run"
    other = written_actor(tmp_path / "other.onnx", MJLAB)

    def adopt_other_first(original: ControllerFile, file: ControllerFile) -> CanonicalDifference:
        monkeypatch.setattr(adopting, "check_canonical", check_canonical)
        adopt_controller(other, run)
        return check_canonical(original, file)

    monkeypatch.setattr(adopting, "check_canonical", adopt_other_first)
    with pytest.raises(InputError, match="holds another controller: give another --out"):
        adopt_controller(path, run)
    assert load_policy(run / "policy")[1].files["original.onnx"] == other.read_bytes()


def test_a_trained_policy_is_not_replaced(trained: Path, tmp_path: Path) -> None:
    path = written_actor(tmp_path / "actor.onnx")
    with pytest.raises(InputError, match="holds another controller"):
        adopt_controller(path, trained)


def test_a_file_of_surefoot_is_adopted_with_its_noise_and_its_bytes(tmp_path: Path) -> None:
    """What a converter writes, or a policy that was taken out of its folder."""
    policy = random_policy(np.random.default_rng(0), [3, 4, 2])
    path = tmp_path / "policy.onnx"
    path.write_bytes(policy_to_onnx(policy, {"origin": {"tool": "a converter"}}, MJLAB))
    adopted = adopt_controller(path, tmp_path / "run")
    file, artifact = load_policy(tmp_path / "run" / "policy")
    assert adopted.difference.is_none
    assert weights_sha256(file.policy) == weights_sha256(policy)
    assert file.metadata["origin"] == {"tool": "a converter"}
    assert file.properties == MJLAB
    assert artifact.files["original.onnx"] == path.read_bytes()


def test_a_folder_is_not_adopted(tmp_path: Path) -> None:
    adopt_controller(written_actor(tmp_path / "actor.onnx"), tmp_path / "run")
    with pytest.raises(InputError, match="is a folder"):
        adopt_controller(tmp_path / "run", tmp_path / "other")


def test_what_is_loud_is_told(tmp_path: Path) -> None:
    path = written_actor(tmp_path / "actor.onnx", MJLAB, scale=[0.25, 0.75])
    heard = Heard()
    adopted = adopt_controller(path, tmp_path / "run", listener=heard)
    assert len(adopted.warnings) == 1
    assert f"WARNING: {adopted.warnings[0]}" in heard.remarks


def test_constants_in_more_files_than_a_folder_has_room_for_are_refused(tmp_path: Path) -> None:
    graph, x = Graph(), "obs"
    for _ in range(57):
        x = graph.dense(x, np.eye(2))
    model, path = graph.model({x: ("N", 2)}, {"obs": ("N", 2)}), tmp_path / "actor.onnx"
    onnx.save(
        model, path, save_as_external_data=True, all_tensors_to_one_file=False, size_threshold=0
    )
    with pytest.raises(InputError, match="must lie in at most 56 files, lie in 57: save it as one"):
        adopt_controller(path, tmp_path / "run")


def test_a_changed_original_is_found(tmp_path: Path) -> None:
    adopt_controller(written_actor(tmp_path / "actor.onnx"), tmp_path / "run")
    original = tmp_path / "run" / "policy" / "original.onnx"
    original.write_bytes(original.read_bytes() + b"\0")
    with pytest.raises(IntegrityError):
        load_policy(original.parent)
