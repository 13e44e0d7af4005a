"""The wheel and the sdist hold it all, and what is installed keeps the architecture.

Also of ``__main__.py`` and ``version.py``.
"""

import email
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path, PurePosixPath

import pytest

from surefoot import __version__

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGE = "surefoot"
LINKS = ("train", "compress", "certify", "export", "runtime")
IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*_cache")
TRAINING_LIBRARIES = ("torch", "gymnasium", "mujoco")


# Nothing of the checkout may be found by accident.
HERMETIC = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


def run(*command: object, cwd: Path, fails: bool = False, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=HERMETIC | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of what belongs to the project, without what tools leave in a checkout."""
    folder = tmp_path_factory.mktemp("copy") / "source"
    folder.mkdir()
    for name in (PACKAGE, "tests", "docs", "benchmarks", "examples", ".ci"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=IGNORED)
    for path in ROOT.iterdir():
        # In a worktree .git is a file.
        if path.is_file() and path.name not in {"MUJOCO_LOG.TXT", ".git"} and path.suffix != ".log":
            shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="session")
def distributions(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Build the sdist, and the wheel from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source, cwd=folder)
    (sdist,) = folder.glob("*.tar.gz")
    (wheel,) = folder.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="session")
def installed(distributions: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel alone into a clean environment that can see our dependencies."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index")
    run(*pip, "--no-deps", distributions[1], cwd=folder)
    # A folder that a .pth file names is searched, but its own .pth files are not read: the
    # dependencies are there, the checkout that is installed for development is not.
    (site,) = folder.glob("lib/python3*/site-packages")
    here = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "dependencies.pth").write_text("\n".join(sorted(here)) + "\n")
    return folder


def site_packages(environment: Path) -> Path:
    return next(environment.glob("lib/python3*/site-packages"))


def package_files(source: Path) -> set[str]:
    """Return where the files of the package stand in the wheel."""
    files = (path for path in (source / PACKAGE).rglob("*") if path.is_file())
    return {path.relative_to(source).as_posix() for path in files}


# --- what is packed --------------------------------------------------------------------------


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / PACKAGE).rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_the_package_is_imported_from_a_checkout(source: Path) -> None:
    code = "import surefoot; print(surefoot.__file__)"
    # No site-packages, and nothing written beside the modules.
    python = (sys.executable, "-S", "-B", "-c", code)
    assert Path(run(*python, cwd=source).strip()) == source / PACKAGE / "__init__.py"


def test_the_links_at_the_root_are_for_people_alone(source: Path) -> None:
    """They show the stages; nothing is packed, found or imported through them."""
    for name in LINKS:
        target = ROOT / name
        if target.is_symlink():  # a clone with core.symlinks=false has small files instead
            assert target.resolve() == ROOT / PACKAGE / name
        assert not (source / name).is_dir()
    banned = PYPROJECT["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
    assert set(banned) == set(LINKS)


def test_the_wheel_holds_every_module_and_preset_and_nothing_else(
    source: Path, distributions: tuple[Path, Path]
) -> None:
    names = set(zipfile.ZipFile(distributions[1]).namelist())
    packed = {name for name in names if ".dist-info/" not in name}
    assert packed == package_files(source)
    assert {"surefoot/py.typed", "surefoot/cli/__init__.py"} < packed
    assert any(re.fullmatch(r"surefoot/presets/\w+\.toml", name) for name in packed)


def test_the_sdist_holds_every_file_of_the_project(
    source: Path, distributions: tuple[Path, Path]
) -> None:
    with tarfile.open(distributions[0]) as archive:
        names = {
            PurePosixPath(*PurePosixPath(member.name).parts[1:]).as_posix()
            for member in archive.getmembers()
            if member.isfile()
        }
    made = {"PKG-INFO", "setup.cfg"}
    packed = {name for name in names - made if ".egg-info/" not in name}
    ours = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    assert packed == {name for name in ours if ".egg-info/" not in name}


def test_the_metadata_say_version_licence_python_and_both_commands(
    distributions: tuple[Path, Path],
) -> None:
    archive = zipfile.ZipFile(distributions[1])

    def read(name: str) -> str:
        return archive.read(f"surefoot-{__version__}.dist-info/{name}").decode()

    metadata = email.message_from_string(read("METADATA"))
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert read("licenses/LICENSE") == (ROOT / "LICENSE").read_text()
    commands = re.findall(r"^(\w+) = (\S+)$", read("entry_points.txt"), re.MULTILINE)
    assert dict(commands) == {"surefoot": "surefoot.cli:main", "pipeline": "surefoot.cli:main"}


def test_the_changelog_tells_of_this_version() -> None:
    versions = re.findall(r"^## \[(\d\S*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == __version__


# --- what is pinned --------------------------------------------------------------------------


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_constraints_are_exact_versions_and_name_no_place() -> None:
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in pins())
    names = [canonical(line.split("==")[0]) for line in pins()]
    assert len(set(names)) == len(names)


def test_everything_that_an_install_pulls_in_is_pinned() -> None:
    names = {canonical(line.split("==")[0]) for line in pins()}
    extras = PYPROJECT["project"]["optional-dependencies"]
    wanted = [*PYPROJECT["project"]["dependencies"]]
    for extra in ("train", "cpu", "dev", "bench", "sb3", "rsl-rl"):
        wanted += extras[extra]
    for requirement in wanted:
        assert canonical(re.match(r"[\w.-]+", requirement)[0]) in names
    for name in names:
        for requirement in requirements_of(name):
            assert canonical(re.match(r"[\w.-]+", requirement)[0]) in names, (name, requirement)


def requirements_of(name: str) -> list[str]:
    """Return what a distribution needs on every machine, if it is installed here."""
    try:
        return [requirement for requirement in requires(name) or [] if ";" not in requirement]
    except PackageNotFoundError:
        return []


# --- what is installed -----------------------------------------------------------------------


def test_both_commands_run_from_a_clean_environment(installed: Path, tmp_path: Path) -> None:
    for command in ("pipeline", "surefoot"):
        assert "Usage:" in run(installed / "bin" / command, "--help", cwd=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_installed_package_is_the_one_that_is_imported(installed: Path, tmp_path: Path) -> None:
    code = "import surefoot, surefoot.runtime; print(surefoot.__file__, surefoot.runtime.__file__)"
    paths = run(installed / "bin" / "python", "-c", code, cwd=tmp_path).split()
    assert [Path(path).is_relative_to(installed) for path in paths] == [True, True]


def test_a_misspelt_preset_is_one_line_and_exit_2(installed: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [installed / "bin" / "pipeline", "train", "--preset", "hoper", "--out", "x"],
        cwd=tmp_path,
        env=HERMETIC,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "error: unknown preset 'hoper'; did you mean 'hopper'?\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stage", ["runtime", "certify", "export", "cli"])
def test_a_stage_that_needs_no_training_library_loads_none(
    installed: Path, tmp_path: Path, stage: str
) -> None:
    code = f"""
import importlib, pkgutil, sys
import surefoot.{stage}
for module in pkgutil.walk_packages(surefoot.{stage}.__path__, "surefoot.{stage}."):
    importlib.import_module(module.name)
print(*(name for name in {TRAINING_LIBRARIES} if name in sys.modules))
"""
    assert run(installed / "bin" / "python", "-c", code, cwd=tmp_path).split() == []


# --- what may import what --------------------------------------------------------------------


def lint_imports(installed: Path, source: Path, planted: tuple[str, str] | None = None) -> str:
    """Check the contracts on the installed package, with a line planted into one of its modules."""
    command = (
        "import sys; from importlinter.cli import lint_imports;"
        f" sys.exit(lint_imports(config_filename={str(source / 'pyproject.toml')!r}))"
    )
    path = site_packages(installed) / "surefoot" / planted[0] if planted else None
    before = path.read_text() if path and path.exists() else None
    try:
        if path:
            path.write_text((before or '"""Planted."""\n') + planted[1])
        python = installed / "bin" / "python"
        elsewhere = installed  # the folder of the sources would be found before what is installed
        return run(python, "-c", command, cwd=elsewhere, fails=planted is not None, NO_COLOR="1")
    finally:
        if before is not None:
            path.write_text(before)
        elif path:
            path.unlink()


def test_the_import_contracts_hold(installed: Path, source: Path) -> None:
    contracts = PYPROJECT["tool"]["importlinter"]["contracts"]
    assert f"{len(contracts)} kept, 0 broken" in lint_imports(installed, source)


@pytest.mark.parametrize(
    ("module", "line", "complaint"),
    [
        (
            "certify/__init__.py",
            "import torch\n",
            "surefoot.certify is not allowed to import torch",
        ),
        ("runtime/__init__.py", "import mujoco\n", "surefoot.runtime is not allowed to import muj"),
        (
            "certify/__init__.py",
            "from surefoot.export import assemble_bundle\n",
            "surefoot.certify is not allowed to import surefoot.export",
        ),
        ("cli/__init__.py", "import surefoot.convert\n", "surefoot.cli is not allowed to import"),
        ("convert/__init__.py", "import surefoot.runtime\n", "surefoot.convert is not allowed to"),
        ("policy.py", "import surefoot.envs\n", "surefoot.policy is not allowed to import"),
        ("extra.py", "", "not listed as layers"),
    ],
)
def test_an_import_that_runs_uphill_breaks_a_contract(
    installed: Path, source: Path, module: str, line: str, complaint: str
) -> None:
    output = lint_imports(installed, source, (module, line))
    assert complaint in " ".join(output.split())


def test_every_spine_module_is_kept_from_the_training_libraries() -> None:
    contracts = PYPROJECT["tool"]["importlinter"]["contracts"]
    (forbidden,) = (
        contract
        for contract in contracts
        if set(contract.get("forbidden_modules", ())) == set(TRAINING_LIBRARIES)
    )
    spine = {f"surefoot.{path.stem}" for path in (ROOT / PACKAGE).glob("*.py")}
    assert spine - {"surefoot.__init__", "surefoot.__main__"} <= set(forbidden["source_modules"])
