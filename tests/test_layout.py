"""The tests mirror the package: whoever looks for the tests of a module finds them."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "surefoot"


def docstrings() -> str:
    modules = (ast.parse(path.read_text(encoding="utf-8")) for path in TESTS.rglob("test_*.py"))
    return "\n".join(ast.get_docstring(module) or "" for module in modules)


def test_every_module_has_tests_under_its_name_or_a_docstring_says_where() -> None:
    """As ``attack/cost.py``; or for a whole package: all modules of ``quantities``."""
    told = docstrings()
    packages = tuple(re.findall(r"\ball modules of ``([\w/]+)``", told))
    for path in PACKAGE.rglob("*.py"):
        module = path.relative_to(PACKAGE)
        if module.name == "__init__.py" or module.as_posix().startswith(packages):
            continue
        mirrored = (TESTS / module).with_name(f"test_{module.name}")
        assert mirrored.is_file() or f"``{module.as_posix()}``" in told, f"{module}: no test"


def test_every_test_module_holds_tests_and_none_hides_another() -> None:
    """The second of two functions with one name is the only one that runs."""
    for path in TESTS.rglob("test_*.py"):
        names = [
            node.name
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        ]
        assert names, f"{path} holds no test"
        assert len(names) == len(set(names)), f"{path}: a test hides another of its name"


def test_no_two_classes_have_one_name() -> None:
    """Whoever reads a name, in a traceback or in a page, knows which class is meant."""
    places: dict[str, list[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for name in re.findall(r"^class (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            places.setdefault(name, []).append(path.relative_to(PACKAGE).as_posix())
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
