"""Configuration: one TOML file with a table per stage, presets, and ``--set a.b=c``.

A stage's configuration is a frozen dataclass beside the function that takes it. This module turns
TOML tables into such dataclasses and back: every key is checked against the field's type, unknown
keys are errors that suggest the nearest name, and nothing is ignored. A choice between small
dataclasses is written as a table whose ``kind`` names one of them: ``ClassVar`` ``kind`` of each.
Records of results (``records``) are read and written in the same way, from JSON.
"""

import codecs
import re
import tomllib
import types
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from importlib import resources
from pathlib import Path
from typing import (
    Any,
    Literal,
    NoReturn,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import tomli_w

from surefoot.artifact import decoded, read_file, sha256_hex, to_json
from surefoot.errors import InputError, did_you_mean
from surefoot.limits import MAX_DEPTH, MAX_DIGITS, MAX_TOML_BYTES

_PART = r"""(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')"""
_LONG_KEY = re.compile(rf"(?<![\w-]){_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{MAX_DEPTH},}}+")
_LONG_NUMBER = re.compile(rf"(?<!\w)(?:0[xo])?[\da-fA-F_]{{{MAX_DIGITS + 1},}}+")

Table = dict[str, Any]
T = TypeVar("T")

REST: Mapping[str, bool] = {"rest": True}
"""Metadata of the one field, a mapping, that holds the keys which no other field has."""

INLINE: Mapping[str, bool] = {"inline": True}
"""Metadata of a field, a dataclass or None, whose own fields stand in the table around it."""

DERIVED: Mapping[str, bool] = {"derived": True}
"""Metadata of a field that follows from others and that no configuration sets."""


def preset_names() -> list[str]:
    """Return the names of the presets that are installed."""
    folder = resources.files("surefoot") / "presets"
    return sorted(
        entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name[-5:] == ".toml"
    )


def load_preset(name: str) -> Table:
    """Return the tables of a preset.

    Raises:
        InputError: If there is no preset of this name.
    """
    if name not in preset_names():
        raise InputError(f"unknown preset {name!r}{did_you_mean(name, preset_names())}")
    text = (resources.files("surefoot") / "presets" / f"{name}.toml").read_text(encoding="utf-8")
    return parse_toml(text, f"preset {name}")


def parse_toml(text: str, what: str, *, max_bytes: int = MAX_TOML_BYTES) -> Table:
    """Parse TOML.

    Args:
        text: The document.
        what: How error messages call it.
        max_bytes: How long it may be.

    Raises:
        InputError: If ``text`` is not valid TOML, or exceeds a limit.
    """
    try:
        _refuse_large(text, max_bytes)
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # too deep arrays
        raise InputError(f"{what} is not valid TOML: {error}") from error


def _refuse_large(text: str, max_bytes: int) -> None:
    """Check the size of a document before it is parsed.

    The parser takes quadratic time for a key of many parts, and reads long hexadecimal and octal
    numbers that Python then does not print.

    Raises:
        ValueError: If it is too long, or a key or a number in it.
    """
    if len(text) > max_bytes:
        raise ValueError(f"{len(text)} bytes, more than the {max_bytes} allowed")
    if _LONG_KEY.search(text):
        raise ValueError(f"a key of more than the {MAX_DEPTH} parts allowed")
    if _LONG_NUMBER.search(text):
        raise ValueError(f"a number of more than the {MAX_DIGITS} digits allowed")


def read_text(path: Path, *, max_bytes: int = MAX_TOML_BYTES) -> str:
    """Return the text of a TOML file, without the mark with which some editors begin it.

    Raises:
        InputError: If it cannot be read or is not UTF-8.
        IntegrityError: If it is longer than ``max_bytes``.
    """
    data = read_file(path, max_bytes=max_bytes)
    try:
        return decoded(data.removeprefix(codecs.BOM_UTF8))
    except ValueError as error:
        raise InputError(f"{path} is not valid TOML: {error}") from error


def read_toml(path: Path) -> Table:
    """Return the tables of a TOML file.

    Raises:
        InputError: If it cannot be read or is not valid TOML.
    """
    return parse_toml(read_text(path), str(path))


def resolve_tables(
    *,
    preset: str | None = None,
    config: Path | None = None,
    overrides: Sequence[str] = (),
) -> Table:
    """Merge a preset, a file and ``--set`` overrides, later ones winning.

    Args:
        preset: Name of an installed preset.
        config: A TOML file.
        overrides: Strings of the form ``table.key=value``; the value is TOML, or else a string.

    Raises:
        InputError: If one of them cannot be read.
    """
    tables: Table = load_preset(preset) if preset else {}
    if config is not None:
        tables = merge_tables(tables, read_toml(config))
    for override in overrides:
        tables = merge_tables(tables, _parse_override(override))
    return tables


def check_tables(
    tables: Mapping[str, Any], known: Collection[str], lists: Collection[str] = ()
) -> None:
    """Check the top-level tables of a configuration.

    Args:
        tables: The tables by name.
        known: The names that exist.
        lists: Which of them are arrays of tables.

    Raises:
        InputError: If one is unknown, or not of its kind.
    """
    for name, table in tables.items():
        if name not in known:
            raise InputError(f"unknown table {name!r}{did_you_mean(name, known)}")
        if not isinstance(table, list if name in lists else dict):
            kind = "an array of tables" if name in lists else "a table"
            raise InputError(f"{name} must be {kind}, got {table!r}")


def build(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """Build a frozen dataclass from a TOML table.

    Args:
        kind: The dataclass.
        table: Its fields by name; nested dataclasses are nested tables.
        where: Dotted path of the table, for error messages.

    Raises:
        InputError: If a key is unknown or missing, or a value has the wrong type or range.
    """
    if not isinstance(table, Mapping):
        raise InputError(f"{where} must be a table, got {table!r}")
    known = {field.name: field for field in fields(cast(Any, kind)) if field.init}
    hints = get_type_hints(kind)
    rest = next((name for name, field in known.items() if field.metadata == REST), None)
    if rest is not None:
        others = {key: value for key, value in table.items() if key not in known or key == rest}
        table = {key: value for key, value in table.items() if key not in others} | {rest: others}
    for name in (name for name, field in known.items() if field.metadata == INLINE):
        table = _nested(name, hints[name], table)
    for key, value in table.items():
        if key == "kind" and key not in known and hasattr(kind, "kind"):
            if value != cast(Any, kind).kind:
                raise InputError(f"{where}.kind must be {cast(Any, kind).kind}, got {value!r}")
        elif key not in known:
            path = f"{where}.{key}"
            raise InputError(f"unknown key {path!r}{_suggest(where, key, list(known))}")
    values = {}
    for name, field in known.items():
        if name in table:
            values[name] = _convert(hints[name], table[name], f"{where}.{name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise InputError(f"missing key '{where}.{name}'")
    try:
        return kind(**values)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def to_table(value: Any, *, nulls: bool = False) -> Any:  # noqa: ANN401 - of many types
    """Return a dataclass as plain TOML or JSON values; :func:`build` reads it back.

    Args:
        value: A configuration or a record.
        nulls: Keep fields that are None, which JSON can say and TOML cannot, but for those that are
            None by default.

    Raises:
        InputError: If a field is None where that is not its default, and ``nulls`` is not set.
    """
    if is_dataclass(value):
        table = {} if not hasattr(value, "kind") else {"kind": value.kind}
        for field in fields(value):
            entry = getattr(value, field.name)
            if field.metadata == REST or (field.metadata == INLINE and entry is not None):
                table |= to_table(entry, nulls=nulls)
            elif entry is not None or (nulls and field.default is not None):
                table[field.name] = to_table(entry, nulls=nulls)
            elif field.default is not None:
                raise InputError(f"{field.name} must not be None, its default is another value")
        return table
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (list, tuple)):
        return [to_table(entry, nulls=nulls) for entry in value]
    if isinstance(value, Mapping):
        return {str(key): to_table(entry, nulls=nulls) for key, entry in value.items()}
    return str(value) if isinstance(value, Path) else value


def _nested(name: str, hint: Any, table: Mapping[str, Any]) -> Table:  # noqa: ANN401
    """Return a table in which the keys of an inline field stand in a table of their own.

    Raises:
        InputError: If they stand in one already.
    """
    if name in table:
        raise InputError(f"unknown key {name!r}")
    inner = next(member for member in (hint, *get_args(hint)) if is_dataclass(member))
    own = {field.name for field in fields(inner)} & table.keys()
    outer = {key: value for key, value in table.items() if key not in own}
    return outer | {name: {key: table[key] for key in own}} if own else outer


def settle_choices(value: Any) -> None:  # noqa: ANN401
    """Make words of a new dataclass the members that its fields choose from, as `build` does.

    Raises:
        InputError: If a field is none of its choices.
    """
    hints = get_type_hints(type(value))
    for field in fields(value):
        hint = hints[field.name]
        if get_origin(hint) is Literal or (isinstance(hint, type) and issubclass(hint, Enum)):
            chosen = _convert(hint, getattr(value, field.name), field.name)
            object.__setattr__(value, field.name, chosen)


def config_sha256(value: Any) -> str:  # noqa: ANN401
    """Return the digest of a configuration, equal for equal content."""
    return sha256_hex(to_json(to_table(value)))


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any], free: Collection[str] = ()
) -> str:
    """Describe the differences of two nested tables, "a.b was 1, is 2, ..."; empty if none.

    Args:
        before: One table.
        after: The other.
        free: Keys of the outer tables that may differ.
    """
    was, now = (
        _flatten({key: value for key, value in table.items() if key not in free})
        for table in (before, after)
    )
    keys = sorted(key for key in was | now if was.get(key) != now.get(key))
    return ", ".join(f"{key} was {was.get(key)}, is {now.get(key)}" for key in keys)


def _flatten(table: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= (
            _flatten(value, f"{path}{key}.") if isinstance(value, Mapping) else {path + key: value}
        )
    return flat


def to_toml(tables: Mapping[str, Any]) -> str:
    """Write nested tables of plain values as TOML; ``tomllib`` reads the same values back.

    Raises:
        InputError: If a value is of a type that TOML does not have, or is no text of Unicode.
    """
    try:
        text = tomli_w.dumps(tables)
        text.encode()  # a lone surrogate, as in a path that is no UTF-8, is text to Python alone
        return text
    except (TypeError, UnicodeEncodeError) as error:
        raise InputError(f"TOML cannot hold a value: {error}") from error


def merge_tables(base: Table, over: Table) -> Table:
    """Return ``base`` with ``over`` laid over it, table by table; neither is changed."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        if both and value.get("kind", base[key].get("kind")) == base[key].get("kind"):
            merged[key] = merge_tables(base[key], value)
        else:  # another kind has other keys, so nothing of the old table may remain
            merged[key] = value
    return merged


def _parse_override(text: str) -> Table:
    path, equals, value = text.partition("=")
    if not equals or not all(path.split(".")) or "." not in path:
        raise InputError(f"--set must have the form table.key=value, got {text!r}")
    try:
        _refuse_large(text, MAX_TOML_BYTES)
    except ValueError as error:
        raise InputError(f"--set holds {error}") from error
    try:
        table = tomllib.loads(f"value = {value}")
    except (ValueError, RecursionError):
        table = {}
    # a line break in the value would start another key
    parsed: Any = table["value"] if len(table) == 1 else value
    for key in reversed(path.strip().split(".")):
        parsed = {key: parsed}
    return cast(Table, parsed)


def _suggest(where: str, key: str, known: list[str]) -> str:
    nearest = did_you_mean(key, known)
    return nearest.replace("mean '", f"mean '{where}.") if nearest else ""


def _convert(hint: Any, value: Any, where: str) -> Any:  # noqa: ANN401
    """Check ``value`` against the type of a field, and convert where TOML has no such type.

    Raises:
        InputError: If it is of another type or not among the choices; ``where`` names the field.
    """
    if hint is Any:
        return value
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(get_args(hint), value, where)
    if origin is Literal:
        if not any(type(value) is type(choice) and value == choice for choice in get_args(hint)):
            _refuse_choice(where, value, [str(choice) for choice in get_args(hint)])
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise InputError(f"{where} must be a list, got {value!r}")
        return _convert_tuple(get_args(hint), value, where)
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise InputError(f"{where} must be a table, got {value!r}")
        entry_hint = get_args(hint)[1]
        return {
            key: _convert(entry_hint, entry, f"{where}.{_in_one_line(key)}")
            for key, entry in value.items()
        }
    if is_dataclass(hint):
        return build(cast(type, hint), value, where)
    return _convert_scalar(hint, value, where)


def _in_one_line(key: str) -> str:
    """Return a key of a table whose keys are free, as an error message may hold it."""
    return key if key.isprintable() else repr(key)


def _convert_tuple(hints: tuple[Any, ...], value: Sequence[Any], where: str) -> tuple[Any, ...]:
    if hints[-1] is Ellipsis:
        hints = (hints[0],) * len(value)
    if len(value) != len(hints):
        raise InputError(f"{where} must have {len(hints)} entries, got {value!r}")
    return tuple(
        _convert(hint, entry, f"{where}[{number}]")
        for number, (hint, entry) in enumerate(zip(hints, value, strict=True))
    )


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:  # noqa: ANN401
    if isinstance(hint, type) and issubclass(hint, Enum):
        choices = [str(member.value) for member in hint]
        if value not in choices:
            _refuse_choice(where, value, choices)
        return hint(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError as error:
            raise InputError(f"{where} must fit a double, got a longer integer") from error
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)  # 1e6 is a float in TOML
    if hint is Path and isinstance(value, str):
        return Path(value)
    if type(value) is not hint:
        raise InputError(f"{where} must be of type {hint.__name__}, got {value!r}")
    return value


def _convert_union(members: tuple[Any, ...], value: Any, where: str) -> Any:  # noqa: ANN401
    if value is None and type(None) in members:  # JSON's null; TOML has none
        return None
    classes = {cast(Any, member).kind: member for member in members if hasattr(member, "kind")}
    if classes and isinstance(value, (str, Mapping)):
        table = {"kind": value} if isinstance(value, str) else value
        kind = table.get("kind")
        if not isinstance(kind, str) or kind not in classes:
            _refuse_choice(f"{where}.kind", kind, list(classes))
        return build(cast(type, classes[kind]), table, where)
    others = [member for member in members if member not in (type(None), *classes.values())]
    if len(others) > 1:  # a table, a word, or something else
        kind = Mapping if isinstance(value, Mapping) else str if isinstance(value, str) else None
        others = [one for one in others if _kind_of(one) is kind]
    if len(others) == 1:
        return _convert(others[0], value, where)
    raise InputError(f"{where} has a value of the wrong type: {value!r}")


def _kind_of(hint: Any) -> type | None:  # noqa: ANN401
    """Return by what a member of a union is told from the others: a table, a word, or neither."""
    is_table = get_origin(hint) is Mapping or is_dataclass(hint)
    return Mapping if is_table else str if hint is str else None


def _refuse_choice(where: str, value: object, choices: list[str]) -> NoReturn:
    raise InputError(
        f"{where} must be one of {', '.join(choices)}, got {value!r}"
        f"{did_you_mean(str(value), choices)}"
    )
