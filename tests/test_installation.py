"""What is advised to install fits how surefoot was installed."""

import json
import shlex
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from surefoot import installation
from surefoot.installation import how_to_install

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the only distribution that is found."""
    folder = tmp_path / "surefoot-9.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: surefoot\nVersion: 9\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert metadata.version("surefoot") == "9"
    return folder


def test_metadata_of_a_build_beside_an_installation_do_not_count(installed: Path) -> None:
    (installed / "direct_url.json").write_text(
        json.dumps({"url": "file:///a", "dir_info": {"editable": True}})
    )
    built = installed.parent / "build" / "surefoot.egg-info"
    built.mkdir(parents=True)
    (built / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: surefoot\nVersion: 9\n")
    sys.path.insert(0, str(built.parent))
    assert shlex.split(how_to_install("cpu")) == ["pip", "install", "-e", "/a[cpu]"]


def test_what_came_from_an_index_is_asked_of_it(installed: Path) -> None:
    assert shlex.split(how_to_install("train")) == ["pip", "install", "surefoot[train]"]


@pytest.mark.parametrize("editable", [True, False])
def test_a_checkout_is_installed_as_before(installed: Path, editable: bool) -> None:
    origin = {"url": "file:///o'hara's%20robots/surefoot", "dir_info": {"editable": editable}}
    (installed / "direct_url.json").write_text(json.dumps(origin))
    words = ["pip", "install", *(["-e"] if editable else []), "/o'hara's robots/surefoot[train]"]
    assert shlex.split(how_to_install("train")) == words


@pytest.mark.parametrize(
    ("origin", "url"),
    [
        (
            {"url": "https://a.org/surefoot-9.whl", "archive_info": {}},
            "https://a.org/surefoot-9.whl",
        ),
        (
            {"url": "https://a.org/surefoot", "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
            f"git+https://a.org/surefoot@{COMMIT}",
        ),
        (
            {
                "url": "https://a.org/robots",
                "vcs_info": {"vcs": "git", "commit_id": COMMIT},
                "subdirectory": "tools/surefoot",
            },
            f"git+https://a.org/robots@{COMMIT}#subdirectory=tools/surefoot",
        ),
        (
            {"url": "https://a.org/o'hara.zip", "archive_info": {}, "subdirectory": "surefoot"},
            "https://a.org/o'hara.zip#subdirectory=surefoot",
        ),
    ],
    ids=["archive", "repository", "folder of a repository", "folder of an archive"],
)
def test_what_came_from_an_address_is_asked_of_it(
    installed: Path, origin: dict[str, object], url: str
) -> None:
    (installed / "direct_url.json").write_text(json.dumps(origin))
    wanted = Requirement(shlex.split(how_to_install("cpu"))[-1])
    assert (wanted.name, wanted.extras, wanted.url) == ("surefoot", {"cpu"}, url)


@pytest.mark.parametrize(
    "torn", ["", "{", "[]", "null", "{}", '{"url": 3, "dir_info": {}}', "[" * 9999]
)
def test_a_note_that_cannot_be_read_is_as_none(installed: Path, torn: str) -> None:
    (installed / "direct_url.json").write_text(torn)
    assert shlex.split(how_to_install("train")) == ["pip", "install", "surefoot[train]"]


def test_a_checkout_that_was_never_installed_is_told_to_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metadata, "distributions", lambda **_: [])
    root = Path(installation.__file__).parents[1]
    assert shlex.split(how_to_install("cpu")) == ["pip", "install", "-e", f"{root}[cpu]"]
