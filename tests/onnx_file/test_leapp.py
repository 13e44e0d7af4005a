"""The description that LEAPP wrote of a file is found by the digest of the file, and by no name."""

import hashlib
from pathlib import Path

import pytest

from surefoot.onnx_file.leapp import leapp_text

DATA = b"a model"
SAID = f"""models:
  policy:
    inputs:
    - name: obs
      kind: state/joint/position
      element_names: [[hip, knee]]
    parameters: {{model_path: policy.onnx, sha256sum: {hashlib.sha256(DATA).hexdigest()}}}
"""


def test_the_file_that_names_the_digest_is_the_description(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SAID.replace("sha256sum: ", "sha256sum: 0")[:-9])
    (tmp_path / "pipeline.yaml").write_text(SAID)
    assert leapp_text(tmp_path / "policy.onnx", DATA) == SAID


@pytest.mark.parametrize("content", [b"models: {}", b"\xff\xfe", b"#" * ((1 << 20) + 1), b""])
def test_files_that_name_another_digest_or_none_are_left_alone(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "policy.yaml").write_bytes(content)
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "notes.txt").write_text(SAID)
    assert leapp_text(tmp_path / "policy.onnx", DATA) is None
