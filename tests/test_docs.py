"""What the pages say is there: commands, keys, files, names and links."""

import ast
import importlib
import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, get_args

import gymnasium
import numpy as np
import pytest
import typer
from gymnasium.vector import SyncVectorEnv
from gymnasium.wrappers import NormalizeObservation
from typer.core import TyperGroup

import surefoot
from support.command_line import run_pipeline
from surefoot.attack.attack_config import FULL
from surefoot.budget import Budget
from surefoot.cli.main import app
from surefoot.config import DERIVED, build, to_toml
from surefoot.quantities import QUANTITIES
from surefoot.robot import Robot
from surefoot.study.grid import GridFile, grid_of
from surefoot.train.defence_config import Defence
from surefoot.train.pruning_config import NoPruning, Pruning
from surefoot.workflow.configuration import Configuration

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob(".github/**/*.md")])
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
FENCE = re.compile(r"^( *)```(\w+)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s#]+)[^)]*\)")
FILE = re.compile(r"`((?:surefoot|tests|docs|benchmarks|examples)/[\w./-]+\.\w+)`")
CODE = ("surefoot", "tests", "benchmarks", "docs")
ENDS_COMMAND = {";", "|", "&&", "||", "&"}

each_page = pytest.mark.parametrize("page", PAGES, ids=IDS)


def blocks(page: Path, *languages: str) -> Iterator[str]:
    """Yield the fenced blocks of a page in one of the languages, without their indent."""
    for indent, language, text in FENCE.findall(page.read_text()):
        if language in languages and "--8<--" not in text:
            yield re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the arguments of every ``pipeline`` command that a page tells to type."""
    lines = [
        line for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()
    ]
    shown = [line for block in blocks(page, "text") for line in block.splitlines()]
    lines += [line[2:] for line in shown if line.startswith("$ ")]
    for line in lines:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word not in ENDS_COMMAND:
                words.append(word)
                continue
            if "pipeline" in words:
                yield words[words.index("pipeline") + 1 :]
            words = []


def from_code() -> ModuleType:
    """Return the hook that writes pages of the reference."""
    path = ROOT / "docs" / "hooks" / "from_code.py"
    spec = importlib.util.spec_from_file_location("from_code", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def verbs() -> TyperGroup:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return group


# --- pages -----------------------------------------------------------------------------------


@each_page
def test_every_command_of_a_page_is_one_that_the_command_line_takes(page: Path) -> None:
    group = verbs()
    for name, *arguments in commands(page):
        group.commands[name].make_context(name, arguments)


@each_page
def test_every_key_that_a_page_sets_exists_and_takes_that_value(page: Path) -> None:
    classes = from_code().STAGE_CONFIGS
    for _, *arguments in commands(page):
        given = [arguments[place + 1] for place, word in enumerate(arguments) if word == "--set"]
        tables = Configuration.resolve(preset="hopper", overrides=given).tables
        for name in {one.partition(".")[0] for one in given}:
            build(classes[name], tables[name], name)


@each_page
def test_every_toml_block_of_a_page_is_read(page: Path) -> None:
    classes = from_code().STAGE_CONFIGS
    for text in blocks(page, "toml"):
        tables = tomllib.loads(text)
        if "keys" in tables:  # a trust policy, whose key files are not there
            continue
        if "arm" in tables:  # a grid of a study
            grid_of(build(GridFile, tables, page.name), page.name)
            continue
        if "sensor" in tables:
            Robot.parse(text, page.name)
            continue
        if "require" in tables:
            asked = [name for name in ("require", "gate") if name in tables]
            Budget.parse(to_toml({name: tables.pop(name) for name in asked}))
        for name, table in tables.items():
            build(classes[name], table, name)


@each_page
def test_every_import_of_a_python_block_exists(page: Path) -> None:
    for text in blocks(page, "python"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module or "")
                assert [one.name for one in node.names if not hasattr(module, one.name)] == []


def test_statistics_are_saved_of_the_environments_that_scripts_of_cleanrl_make(
    tmp_path: Path,
) -> None:
    page, place = ROOT / "docs/how-to/your-policy.md", tmp_path / "rms.npz"
    (text,) = (text for text in blocks(page, "python") if "def save_statistics" in text)
    names: dict[str, Any] = {}
    exec(text, names)
    envs = SyncVectorEnv([lambda: NormalizeObservation(gymnasium.make("Pendulum-v1"))])
    envs.reset(seed=0)
    names["save_statistics"](envs, place)
    (running,) = envs.get_attr("obs_rms")
    with np.load(place) as saved:
        assert np.array_equal(saved["mean"], running.mean)
        assert np.array_equal(saved["var"], running.var)


@each_page
def test_every_file_that_a_page_links_or_names_exists(page: Path) -> None:
    text = page.read_text()
    linked = [page.parent / target for target in LINK.findall(text)]
    named = [ROOT / name for name in FILE.findall(text)]
    assert [str(path) for path in linked + named if not path.exists()] == []


@each_page
def test_every_file_that_a_page_includes_exists_and_has_that_part(page: Path) -> None:
    """A formatter of code blocks may take the marker of an inclusion for Python."""
    text = page.read_text()
    included = re.findall(r'^ *--8<-- "([^":]+):?(\w*)"$', text, re.MULTILINE)
    assert len(included) == len(re.findall(r'--\s*8\s*<\s*--\s*"', text))
    for name, part in included:
        source = (ROOT / name).read_text()
        assert not part or f"[start:{part}]" in source


@pytest.mark.parametrize("name", ["architecture.md", "explanation/extending.md"])
def test_every_module_and_name_of_a_page_about_the_code_is_in_the_code(name: str) -> None:
    page = (ROOT / "docs" / name).read_text()
    sources = [path for folder in CODE for path in (ROOT / folder).rglob("*.py")]
    code = "\n".join(path.read_text() for path in sources)
    words = set(re.findall(r"\w+", code)) | {path.stem for path in sources} | set(CODE)
    files = {path.name for path in sources} | {"Makefile"}
    spans = re.findall(r"(?<!`)`([\w.]+)`(?!`)", page)
    modules = [span for span in spans if span.endswith(".py")]
    assert [span for span in modules if span not in files] == []
    assert [span for span in spans if re.fullmatch(r"\w+", span) and span not in words] == []


def test_what_a_page_finds_in_a_module_is_defined_there() -> None:
    told = r"`([A-Za-z_]\w+)` \(`(surefoot/[\w/]+\.py)`\)"
    pages = [page.read_text() for page in (ROOT / "docs").rglob("*.md")]
    found = [pair for page in pages for pair in re.findall(told, page)]
    assert found
    for name, module in found:
        tree = ast.parse((ROOT / module).read_text())
        kinds = (ast.ClassDef, ast.FunctionDef)
        defined = {node.name for node in ast.walk(tree) if isinstance(node, kinds)}
        assert name in defined, (name, module)


def test_the_bundle_of_the_first_minute_verifies() -> None:
    done = run_pipeline("verify", ROOT / "examples/hopper", "--key", ROOT / "examples/hopper.pub")
    assert done.code == 0, done.err


def test_the_readme_stays_a_page_that_is_read() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 180
    assert [line for line in lines if len(line) > 120] == []


def test_the_architecture_page_names_every_package_and_shared_module_that_is_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    named = re.findall(r"^\| `(?:surefoot\.)?([\w.]+)` \|", page, re.MULTILINE)
    there = {module.name for module in iter_modules(surefoot.__path__)}
    assert there - set(named) == set()
    assert [name for name in named if find_spec(f"surefoot.{name}") is None] == []


def test_the_pages_about_training_and_attacks_have_every_choice() -> None:
    training = (ROOT / "docs" / "explanation" / "training.md").read_text()
    attacks = (ROOT / "docs" / "explanation" / "attacks.md").read_text()
    for kind in (*get_args(Defence), *get_args(Pruning)):
        assert kind is NoPruning or f"`{kind.kind}`" in training
    assert [name for name in FULL if name != "clean" and f"`{name}`" not in attacks] == []


def test_every_decision_has_the_shape_of_the_template_and_stands_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text()
    headings = ["Context", "Decision", "Refused", "Consequences"]
    assert re.findall(r"^## (.+)$", (folder / "template.md").read_text(), re.MULTILINE) == headings
    for number, path in enumerate(sorted(folder.glob("[0-9]*.md")), start=1):
        text = path.read_text()
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == headings, path.name
        opening = r"# (\d+)\. (.+)\n\n\* Status: .+\n\* Date: \d{4}-\d\d-\d\d\n"
        title = re.match(opening, text)
        assert title is not None, path.name
        assert int(title[1]) == int(path.name[:3]) == number
        assert f"| {number} | [{title[2]}]({path.name}) |" in index


# --- what the code writes ---------------------------------------------------------------------


def test_the_command_line_page_has_every_verb_and_every_flag() -> None:
    page = from_code().command_line()
    for name, verb in verbs().commands.items():
        section = page.partition(f"## `pipeline {name}`")[2].partition("\n## ")[0]
        flags = [flag for parameter in verb.params for flag in parameter.opts]
        assert [flag for flag in flags if flag not in section] == []


def test_the_configuration_page_has_every_key_with_a_meaning() -> None:
    module = from_code()
    rows = re.findall(r"^\| `(\w+)` \| .+ \| .+ \| (.*) \|$", module.configuration(), re.MULTILINE)
    every = [one for kind in module.STAGE_CONFIGS.values() for one in fields(kind)]
    keys = {one.name for one in every if one.init and one.metadata != DERIVED}
    assert keys <= {key for key, _ in rows}
    assert [key for key, meaning in rows if not meaning] == []


def test_the_budget_page_has_every_quantity() -> None:
    page = from_code().quantities()
    assert re.findall(r"^\| `(\w+)`", page, re.MULTILINE) == list(QUANTITIES)


def test_the_exit_code_page_has_the_code_of_every_verdict_and_error() -> None:
    module = from_code()
    codes = set(re.findall(r"^\| (\d+) ", module.exit_codes(), re.MULTILINE))
    written = (ROOT / "docs" / "reference" / "exit-codes.md").read_text()
    assert codes | {"1", "130"} == set(re.findall(r"^\| (\d+) ", written, re.MULTILINE))
