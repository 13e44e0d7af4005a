"""Laws of `surefoot.provenance`: no module can change without the digest of the code."""

import shutil
from pathlib import Path

import pytest

import surefoot
from surefoot import provenance

PACKAGE = Path(surefoot.__file__).parent


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "surefoot"
    shutil.copytree(PACKAGE, root, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "__file__", str(root / "provenance.py"))
    return root


def test_a_copy_of_the_code_has_its_digest(copy: Path) -> None:
    there = provenance.code_digest()
    shutil.copytree(copy, copy.parent / "again")
    assert len(there) == 64
    assert provenance.code_digest() == there


@pytest.mark.parametrize("module", ["policy.py", "attack/mad.py", "certify/bounds/crown.py"])
def test_a_line_more_in_any_module_is_another_code(copy: Path, module: str) -> None:
    before = provenance.code_digest()
    path = copy / module
    path.write_text(path.read_text() + "\n")
    assert provenance.code_digest() != before


def test_a_module_that_moves_is_another_code(copy: Path) -> None:
    before = provenance.code_digest()
    (copy / "policy.py").rename(copy / "attack" / "policy.py")
    assert provenance.code_digest() != before
