"""The pages of the reference that the code itself writes whenever the site is built.

A line ``<!-- from the code: NAME -->`` of a page is replaced by what ``PAGES[NAME]`` returns.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import typer
from griffe import Docstring, DocstringSectionAttributes
from typer.cli import get_docs_for_click
from typer.core import TyperGroup

from surefoot import errors
from surefoot.attack import AttackConfig
from surefoot.budget import Requirement
from surefoot.certificate import Verdict
from surefoot.certify import Assumptions, CertifyConfig
from surefoot.cli.main import app
from surefoot.config import DERIVED, preset_names
from surefoot.export import ExportConfig
from surefoot.gate import GateRule
from surefoot.misreading import Misreading
from surefoot.quantities import QUANTITIES
from surefoot.robot import Actuator, Sensor
from surefoot.runtime import BenchConfig
from surefoot.train import TrainConfig
from surefoot.workflow.configuration import TABLES

MARKER = re.compile(r"^<!-- from the code: (\w+) -->$", re.MULTILINE)

STAGE_CONFIGS: Mapping[str, type] = {
    "train": TrainConfig,
    "certify": CertifyConfig,
    "assume": Assumptions,
    "export": ExportConfig,
    "gate": GateRule,
    "attack": AttackConfig,
    "bench": BenchConfig,
    "require": Requirement,
}
"""The class that each table of a configuration file becomes."""

ROBOT_PARTS: Mapping[str, type] = {"sensor": Sensor, "actuator": Actuator}
"""The class that each table of a robot.toml becomes."""

_LISTS = ("require", *ROBOT_PARTS)
"""Tables of which a file has several."""

_WORDS = {bool: "true, false", int: "integer", float: "number"}


def on_page_markdown(markdown: str, **_: object) -> str:
    """Fill in what the code writes; MkDocs calls this for every page."""
    return MARKER.sub(lambda marker: PAGES[marker[1]](), markdown)


def command_line() -> str:
    """Return every verb in one line, then usage, arguments and options of each."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    verbs = group.commands.items()
    rows = [
        (f"[`{name}`](#pipeline-{name})", (verb.help or "").splitlines()[0]) for name, verb in verbs
    ]
    pages = [
        get_docs_for_click(obj=verb, ctx=typer.Context(group), name=f"pipeline {name}", indent=1)
        for name, verb in verbs
    ]
    return "\n\n".join([_table(("verb", "what it does"), rows), *pages])


def quantities() -> str:
    """Return one row for each quantity of a budget."""
    order = [field.name for field in fields(Requirement)]

    def named(wanted: Set[str]) -> str:
        return _code([name for name in order if name in wanted]) or "-"

    head = ("quantity", "meaning", "unit", "limit", "needs", "may have", "known by")
    rows = (
        (
            f"`{name}`",
            _sentence(quantity.meaning),
            quantity.unit or "-",
            "`at_most`" if quantity.at_most else "`at_least`",
            named(quantity.needs),
            named(quantity.takes),
            "proof" if quantity.proved else "measurement",
        )
        for name, quantity in QUANTITIES.items()
    )
    return _table(head, rows)


def exit_codes() -> str:
    """Return one row for each verdict and each error that ends a command."""
    rows = [
        (str(one.exit_code), f"verdict {one}", "The verdict of the certificate.") for one in Verdict
    ]
    raised = [
        entry
        for entry in vars(errors).values()
        if isinstance(entry, type) and issubclass(entry, errors.SurefootError)
    ]
    rows += [
        (str(entry.exit_code), f"`{entry.__name__}`", _first_line(entry))
        for entry in raised
        if entry is not errors.SurefootError
    ]
    return _table(("exit code", "by", "which says"), sorted(rows))


def configuration() -> str:
    """Return one section for each table of a configuration file.

    Raises:
        LookupError: If a table has no class here.
    """
    if missing := set(TABLES) - set(STAGE_CONFIGS):
        raise LookupError(f"no class is known for the tables {sorted(missing)}")
    return "\n\n".join(
        section for name, kind in STAGE_CONFIGS.items() for section in _sections(name, kind, 2)
    )


def robot() -> str:
    """Return one section for each table of a description of a robot."""
    return "\n\n".join(
        section for name, kind in ROBOT_PARTS.items() for section in _sections(name, kind, 2)
    )


def misreading() -> str:
    """Return the section for how the readings of a sensor are wrong."""
    return "\n\n".join(_sections("require.perturb.SENSOR", Misreading, 3))


def presets() -> str:
    """Return the names of the presets that are installed."""
    return ", ".join(f"`{name}`" for name in preset_names())


PAGES: Mapping[str, Callable[[], str]] = {
    "command_line": command_line,
    "configuration": configuration,
    "exit_codes": exit_codes,
    "misreading": misreading,
    "presets": presets,
    "quantities": quantities,
    "robot": robot,
}


def _sections(path: str, kind: type, level: int) -> Iterator[str]:
    """Yield the section of a table and those of the tables inside it."""
    title = f"[[{path}]]" if path in _LISTS else f"[{path}]"
    choice = _choice(kind)
    chosen = f' `kind = "{choice}"`' if choice else ""
    yield f"{'#' * level} `{title}`{chosen} {{ #{_anchor(path, choice)} }}"
    yield _prose(kind)
    meanings, hints = _meanings(kind), get_type_hints(kind)
    rows = [
        (f"`{field.name}`", _type(hints[field.name]), _default(field), meanings[field.name])
        for field in _settable(kind)
    ]
    if rows:
        yield _table(("key", "value", "default", "meaning"), rows)
    for field in _settable(kind):
        for inner in _dataclasses(hints[field.name]):
            yield from _sections(f"{path}.{field.name}", inner, level + 1)


def _settable(kind: type) -> list[Field[Any]]:
    return [field for field in fields(kind) if field.init and field.metadata != DERIVED]


def _dataclasses(hint: object) -> list[type]:
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return [member for member in members if is_dataclass(member) and isinstance(member, type)]


def _choice(kind: object) -> str:
    """Return the ``kind`` by which a table names this class or value; empty if it has none."""
    return str(getattr(kind, "kind", ""))


def _anchor(path: str, choice: str) -> str:
    return "-".join([*path.split("."), *([choice] if choice else [])])


def _prose(kind: type) -> str:
    """Return a class's docstring without its sections."""
    parts = Docstring(kind.__doc__ or "", lineno=1).parse("google")
    return "\n\n".join(part.value for part in parts if part.kind.value == "text")


def _meanings(kind: type) -> dict[str, str]:
    """Return what every attribute means, as its class or the nearest base class says."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        for part in Docstring(base.__doc__ or "", lineno=1).parse("google", warnings=False):
            if isinstance(part, DocstringSectionAttributes):
                found |= {entry.name: _sentence(entry.description) for entry in part.value}
    return found


def _type(hint: object) -> str:
    """Return a type in the words of a TOML file."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        members = [member for member in inner if member is not NoneType]
        kinds = [choice for member in members if (choice := _choice(member))]
        return f"table, `kind` {_code(kinds)}" if kinds else " or ".join(map(_type, members))
    if origin is Mapping:
        return f"table, each {_type(inner[1])}"
    if origin is Literal:
        return _code([str(choice) for choice in inner])
    if origin is tuple:
        words = _type(inner[0])
        many = words if words == "text" or "`" in words else f"{words}s"
        return f"list of {many}" if inner[-1] is Ellipsis else f"list of {len(inner)} {many}"
    if is_dataclass(hint):
        return "table"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _code([str(member.value) for member in hint])
    return next((words for kind, words in _WORDS.items() if hint is kind), "text")


def _default(field: Field[Any]) -> str:
    """Return the default of a key, in TOML; a dash where there is none to write down."""
    if field.default is MISSING and field.default_factory is MISSING:
        return "**required**"
    value = field.default if field.default_factory is MISSING else field.default_factory()
    if is_dataclass(value):
        value = _choice(value) or None
    if value is None:
        return "-"
    if isinstance(value, Enum):
        value = value.value
    return f"`{list(value) if isinstance(value, tuple) else value}`".replace("'", '"')


def _first_line(kind: type) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0]


def _sentence(text: str) -> str:
    return " ".join(text.split())


def _code(words: list[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )
