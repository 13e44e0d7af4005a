"""What compression returns is what its folder holds, and it is held against the original.

Also of ``workflow/compression_record.py``, ``workflow/compression_search.py`` and
``workflow/source.py``.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from support.heard import Heard
from surefoot.certify import ControlError, ControlLimit
from surefoot.compress import Method, OneShotConfig, WeightFormat
from surefoot.errors import InputError
from surefoot.onnx_file import load_policy
from surefoot.run_folder import RunFolder
from surefoot.workflow.compressing import compress_controller, quantise_controller
from surefoot.workflow.source import read_source

MAGNITUDE = OneShotConfig(method=Method.MAGNITUDE)


def test_the_folder_holds_what_is_returned(trained: Path, tmp_path: Path) -> None:
    result = compress_controller(
        trained, tmp_path / "small", sparsity=0.5, config=MAGNITUDE, visited_states=0
    )
    file, artifact = load_policy(result.folder)
    original = load_policy(RunFolder(trained).policy)[0]
    assert file.sha256 == result.onnx_sha256
    assert artifact.facts["compression"] == result.compression.to_table()
    assert artifact.inputs == {"policy.onnx": original.sha256}
    assert file.policy.sparsity == result.policy.sparsity == 0.5
    kept = sum(int(np.count_nonzero(layer.weight)) for layer in file.policy.layers)
    assert result.compression.kept_weights == kept
    # What the file says of its environment it says still.
    assert (file.env_id, file.env_module) == (original.env_id, original.env_module)


def test_layers_that_blocks_do_not_divide_are_told_of(trained: Path, tmp_path: Path) -> None:
    heard = Heard()
    config = replace(MAGNITUDE, block_rows=4)
    result = compress_controller(
        trained, tmp_path / "small", sparsity=0.4, config=config, visited_states=0, listener=heard
    )
    assert result.compression.to_table()["block_rows"] == 4
    assert any("blocks of 4 rows do not divide layer" in words for words in heard.remarks)
    quantised = compress_controller(
        result.folder,
        tmp_path / "int8",
        config=replace(config, weights=WeightFormat.INT8),
        visited_states=0,
    )
    assert quantised.policy.sparsity >= result.policy.sparsity >= 0.4


def test_what_is_returned_errs_no_more_than_it_says(trained: Path, tmp_path: Path) -> None:
    result = compress_controller(trained, tmp_path / "small", sparsity=0.4, config=MAGNITUDE)
    source = read_source(trained, None, None, None)
    seen = source.seen()
    assert seen is not None
    apart = np.abs(result.policy.outputs(seen) - source.file.policy.outputs(seen)).max()
    errors = result.compression.errors
    assert isinstance(errors.box, ControlError)
    for error in (errors.visited, errors.own, errors.box):
        assert error is not None
        assert error.measured <= error.certified
    assert errors.visited is not None
    assert apart <= errors.visited.certified
    assert result.compression.clean_return is not None


def test_the_sparsest_within_a_limit_holds_it_and_progress_is_told(
    trained: Path, tmp_path: Path
) -> None:
    heard = Heard()
    result = compress_controller(
        trained,
        tmp_path / "small",
        limit=ControlLimit(max_control_error=0.5),
        config=MAGNITUDE,
        visited_states=0,
        listener=heard,
    )
    assert result.compression.errors.visited is not None
    assert result.compression.errors.visited.certified <= 0.5
    assert result.policy.sparsity > 0
    assert 0 < heard.steps["compress"][-1] <= heard.totals["compress"]


def test_to_quantise_is_to_compress_to_8_bits(trained: Path, tmp_path: Path) -> None:
    quantised = quantise_controller(trained, tmp_path / "one")
    compressed = compress_controller(
        trained,
        tmp_path / "two",
        config=OneShotConfig(weights=WeightFormat.INT8),
        visited_states=0,
    )
    assert quantised.onnx_sha256 == compressed.onnx_sha256
    assert quantised.compression.method is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "nothing to do"),
        ({"sparsity": 0.5, "limit": ControlLimit(max_control_error=1.0)}, "not both"),
        ({"sparsity": 0.5, "visited_states": -1}, "visited-states must be at least 0, got -1"),
    ],
)
def test_it_is_said_what_to_do_and_once(
    trained: Path, tmp_path: Path, given: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        compress_controller(trained, tmp_path / "small", **given)  # type: ignore[arg-type]
    assert not (tmp_path / "small").exists()
