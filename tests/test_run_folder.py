"""A path of the user means the run, the policy folder in it, or nothing of ours."""

from pathlib import Path

import pytest

from surefoot.artifact import Artifact, claim_folder, write_artifact
from surefoot.errors import InputError
from surefoot.run_folder import RunFolder, controller_folder, picture_of, policy_folder, run_of


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Return a run folder that holds a policy folder."""
    run = RunFolder(tmp_path / "run")
    claim_folder(run.path, "run")
    write_artifact(run.policy, Artifact(kind="policy", files={"policy.onnx": b"x"}))
    return run


def test_a_run_and_its_policy_folder_mean_the_same_policy(run: RunFolder) -> None:
    assert policy_folder(run.path) == policy_folder(run.policy) == run.policy
    assert run_of(run.path) == run_of(run.policy) == run
    assert run_of(run.bundle) == run


def test_a_policy_folder_alone_is_in_no_run(run: RunFolder, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    run.policy.rename(alone)
    assert policy_folder(alone) == alone
    assert run_of(alone) is None
    assert policy_folder(run.path) is None


def test_a_folder_of_another_kind_is_none(tmp_path: Path) -> None:
    write_artifact(tmp_path / "policy", Artifact(kind="bundle", files={}))
    assert policy_folder(tmp_path) is None
    assert run_of(tmp_path) is None


def test_a_bundle_is_the_folder_of_its_controller(run: RunFolder) -> None:
    write_artifact(run.bundle, Artifact(kind="bundle", files={"policy.onnx": b"x"}))
    assert controller_folder(run.bundle) == run.bundle
    assert policy_folder(run.bundle) is None
    assert controller_folder(run.path) == controller_folder(run.policy) == run.policy


def test_every_result_has_a_place_of_its_own(run: RunFolder) -> None:
    places = [
        getattr(run, name)
        for name, attribute in vars(RunFolder).items()
        if isinstance(attribute, property) and name not in ("tables", "results")
    ]
    assert len(places) == len({*places, *map(picture_of, places)} - set(map(picture_of, places)))
    assert all(place.parent == run.path for place in places)


def test_the_tables_of_a_run_are_those_of_its_configuration(run: RunFolder) -> None:
    assert run.tables == {}
    run.config.write_text('[train]\nenv_id = "Hopper-v5"\n')
    assert run.tables == {"train": {"env_id": "Hopper-v5"}}
    run.config.write_text("[train\n")
    with pytest.raises(InputError, match="not valid TOML"):
        assert run.tables
