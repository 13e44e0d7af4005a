"""What is deployed is opened once for all, and attacked in the environment that it names.

Also of ``workflow/opening.py`` and ``workflow/benchmarking.py``.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from support.heard import Heard
from support.policies import file_of, random_policy, unit_range
from surefoot.errors import InputError, VerificationError
from surefoot.onnx_file import ControllerFile, save_policy
from surefoot.records import AttackRecord, BenchRecord
from surefoot.run_folder import RunFolder, picture_of
from surefoot.workflow.attacking import attack_controller
from surefoot.workflow.benchmarking import benchmark_controller
from surefoot.workflow.configuration import Configuration
from surefoot.workflow.opening import environment_module, open_deployed

ROBOT = """
import gymnasium
import numpy as np
from gymnasium import spaces

class Still(gymnasium.Env):
    observation_space = spaces.Box(-1, 1, (4,))
    action_space = spaces.Box(-1, 1, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(4, np.float32), {}

    def step(self, action):
        return np.zeros(4, np.float32), 1.0, False, False, {}

if "Still-v0" not in gymnasium.registry:
    gymnasium.register("Still-v0", Still, max_episode_steps=5)
"""


def test_what_is_no_bundle_is_opened_only_when_that_is_allowed(trained: Path) -> None:
    heard = Heard()
    with pytest.raises(VerificationError, match="does not verify"):
        open_deployed(trained, heard, allow_uncertified=False)
    deployed = open_deployed(trained, heard, allow_uncertified=True)
    assert deployed.certificate is None
    assert heard.remarks == [f"WARNING: {trained} is not a bundle; nothing is proved about it"]


def test_the_record_that_is_returned_is_the_one_that_is_written(
    trained: Path, configuration: Configuration, tmp_path: Path
) -> None:
    out, heard = tmp_path / "attack.json", Heard()
    record = attack_controller(
        trained,
        out,
        config=configuration.attacking(),
        allow_uncertified=True,
        listener=heard,
    )
    assert AttackRecord.read(out).to_json() == record.to_json()
    assert picture_of(out).is_file()
    assert heard.steps["attack quick"][-1] == heard.totals["attack quick"]
    bench = benchmark_controller(
        trained,
        tmp_path / "bench.json",
        config=configuration.benchmarking(),
        allow_uncertified=True,
    )
    assert BenchRecord.read(tmp_path / "bench.json").to_json() == bench.to_json()
    assert record.onnx_sha256 == bench.onnx_sha256


def test_every_backend_that_runs_here_is_timed_and_the_others_are_named(
    trained: Path, configuration: Configuration, tmp_path: Path
) -> None:
    heard = Heard()
    record = benchmark_controller(
        trained,
        tmp_path / "bench.json",
        config=configuration.benchmarking(),
        every_backend=True,
        allow_uncertified=True,
        listener=heard,
    )
    missing = {remark.split()[1].rstrip(":") for remark in heard.remarks if remark[:3] == "no "}
    assert {"numpy", "onnx"} <= set(record.backends)
    assert not missing & set(record.backends)


def named(module: str | None) -> ControllerFile:
    """Return a controller whose file names a module."""
    file = file_of(random_policy(np.random.default_rng(0), (4, 8, 2)))
    return dataclasses.replace(file, metadata={"env": {"id": "Still-v0", "module": module}})


def test_the_module_of_the_user_comes_before_that_of_the_file(tmp_path: Path) -> None:
    assert environment_module(named("theirs"), tmp_path, "mine") == "mine"
    assert environment_module(named("theirs"), tmp_path, None) == "theirs"
    assert environment_module(named(None), tmp_path, None) is None


@pytest.mark.parametrize("place", ["robot.py", "deep/robot.py", "../bundle/robot.py"])
def test_code_that_came_with_the_controller_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    monkeypatch.chdir(bundle)
    for path in (bundle, bundle / "policy.onnx"):
        (bundle / "policy.onnx").touch()
        with pytest.raises(InputError, match="which came with it: give --env-module if you trust"):
            environment_module(named(place), path, None)
        assert environment_module(named(place), path, place) == place


def test_an_attack_plays_the_environment_that_the_file_names(
    tmp_path: Path, configuration: Configuration
) -> None:
    (tmp_path / "still_robot.py").write_text(ROBOT)
    policy = unit_range(random_policy(np.random.default_rng(0), (4, 8, 2)))
    env = {"id": "Still-v0", "module": str(tmp_path / "still_robot.py")}
    run = RunFolder(tmp_path / "run")
    save_policy(run.policy, policy, metadata={"env": env})
    heard = Heard()
    record = attack_controller(
        run.path,
        tmp_path / "attack.json",
        config=configuration.attacking(),
        allow_uncertified=True,
        listener=heard,
    )
    assert record.env == "Still-v0"
    assert record.attacks["clean"].returns == (5.0, 5.0)
    assert f"importing {env['module']}, as the controller says" in heard.remarks
