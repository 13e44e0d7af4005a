"""From Python, a controller is trained, certified, exported, attacked and reported on."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import surefoot


def test_a_controller_is_deployed_in_a_page_of_python(
    configuration: surefoot.Configuration, tmp_path: Path
) -> None:
    tables = configuration.tables
    measured = {"quantity": "clean_return", "at_least": 1.0}
    configuration = surefoot.Configuration({**tables, "require": [*tables["require"], measured]})
    run = surefoot.RunFolder(tmp_path / "run")
    training = surefoot.train_run(run.path, configuration)
    attack = surefoot.attack_controller(
        run.policy, run.attack, config=configuration.attacking(), allow_uncertified=True
    )
    certificate = surefoot.certify_controller(
        run.path, configuration.budget(), run.certificate, config=configuration.certification()
    )
    assert certificate.verdict is surefoot.Verdict.PROVED
    exported = surefoot.export_controller(run.path, certificate, run.bundle)
    page = surefoot.write_report(run.path)
    assert training.onnx_sha256 == certificate.onnx_sha256 == attack.onnx_sha256
    assert exported.bundle.controller.env_id == training.env == attack.env == "CartPole-v1"
    assert set(attack.attacked) == {"random", "mad", "push"}
    assert "PROVED" in page.read_text()
    controller = surefoot.load_controller(exported.bundle, surefoot.Backend.NUMPY)
    assert controller(np.zeros((1, 4), np.float32)).shape == (1, 2)


def test_every_name_that_is_offered_is_there_and_no_other() -> None:
    assert set(surefoot.__all__) == {*surefoot._MODULES, "__version__"}
    assert sorted(surefoot.__all__) == surefoot.__all__
    assert set(surefoot.__all__) <= set(dir(surefoot))
    for name in surefoot.__all__:
        assert getattr(surefoot, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'train_rum'"):
        getattr(surefoot, "train_" + "rum")


def test_what_a_name_is_for_type_checkers_it_is_when_it_runs() -> None:
    source = Path(surefoot.__file__).read_text(encoding="utf-8")
    checked = source.split("if TYPE_CHECKING:")[1].split("\n__all__")[0]
    names: dict[str, object] = {}
    exec("if True:" + checked, names)
    names.pop("__builtins__")
    assert names == {name: getattr(surefoot, name) for name in surefoot._MODULES}


def test_the_package_alone_loads_no_library() -> None:
    code = (
        "import sys; before = set(sys.modules); import surefoot; surefoot.__all__; dir(surefoot)\n"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}"
        " - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["surefoot"]
