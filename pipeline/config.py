"""Configuration: one TOML file with a table per stage, presets, and ``--set a.b=c``.

A stage's configuration is a frozen dataclass beside the function that takes it. This module turns
TOML tables into such dataclasses and back: every key is checked against the field's type, unknown
keys are errors that suggest the nearest name, and nothing is ignored. A choice between small
dataclasses is written as a table whose ``kind`` names one of them: ``ClassVar`` ``kind`` of each.
"""

import tomllib
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from surefoot.artifact import read_file, sha256_hex, to_json
from surefoot.errors import InputError, did_you_mean

Table = dict[str, Any]
T = TypeVar("T")


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


def parse_toml(text: str, what: str) -> Table:
    """Parse TOML; ``what`` names the source in error messages.

    Raises:
        InputError: If ``text`` is not valid TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{what} is not valid TOML: {error}") from error


def resolve_tables(
    *,
    preset: str | None = None,
    config: Path | None = None,
    overrides: Sequence[str] = (),
    known: Sequence[str],
) -> Table:
    """Merge a preset, a file and ``--set`` overrides, later ones winning.

    Args:
        preset: Name of an installed preset.
        config: A TOML file.
        overrides: Strings of the form ``table.key=value``; the value is TOML, or else a string.
        known: The top-level tables that exist.

    Raises:
        InputError: If one of them cannot be read or names an unknown table.
    """
    tables: Table = load_preset(preset) if preset else {}
    if config is not None:
        try:
            text = read_file(config).decode()
        except UnicodeDecodeError as error:
            raise InputError(f"{config} is not valid TOML: it is not UTF-8") from error
        tables = _merge(tables, parse_toml(text, str(config)))
    for override in overrides:
        tables = _merge(tables, _parse_override(override))
    for name in tables:
        if name not in known:
            raise InputError(f"unknown table {name!r}{did_you_mean(name, known)}")
    return tables


def build(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """Build a frozen dataclass from a TOML table.

    Args:
        kind: The dataclass.
        table: Its fields by name; nested dataclasses are nested tables.
        where: Dotted path of the table, for error messages.

    Raises:
        InputError: If a key is unknown or missing, or a value has the wrong type or range.
    """
    known = {field.name: field for field in fields(cast(Any, kind)) if field.init}
    hints = get_type_hints(kind)
    for key in table:
        if key not in known and not (key == "kind" and hasattr(kind, "kind")):
            raise InputError(f"unknown key '{where}.{key}'{_suggest(where, key, list(known))}")
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


def to_table(value: Any) -> Any:  # noqa: ANN401 - the values of a configuration have many types
    """Return a configuration as plain TOML and JSON values; :func:`build` reads it back."""
    if is_dataclass(value):
        table = {} if not hasattr(value, "kind") else {"kind": value.kind}
        for field in fields(value):
            if (entry := getattr(value, field.name)) is not None:
                table[field.name] = to_table(entry)
        return table
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (list, tuple)):
        return [to_table(entry) for entry in value]
    if isinstance(value, Mapping):
        return {str(key): to_table(entry) for key, entry in value.items()}
    return str(value) if isinstance(value, Path) else value


def config_sha256(value: Any) -> str:  # noqa: ANN401
    """Return the digest of a configuration, equal for equal content."""
    return sha256_hex(to_json(to_table(value)))


def to_toml(tables: Mapping[str, Any]) -> str:
    """Write nested tables of plain values as TOML; ``tomllib`` reads the same values back."""
    lines: list[str] = []
    _write_table(tables, "", lines)
    return "\n".join(lines).strip() + "\n"


def _write_table(table: Mapping[str, Any], path: str, lines: list[str]) -> None:
    for key, value in table.items():
        if not isinstance(value, Mapping) and not _is_table_list(value):
            lines.append(f"{_toml_key(key)} = {_toml_value(value)}")
    for key, value in table.items():
        dotted = f"{path}.{_toml_key(key)}" if path else _toml_key(key)
        if isinstance(value, Mapping):
            lines += ["", f"[{dotted}]"]
            _write_table(value, dotted, lines)
        elif _is_table_list(value):
            for entry in value:
                lines += ["", f"[[{dotted}]]"]
                _write_table(entry, dotted, lines)


def _is_table_list(value: object) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and isinstance(value[0], Mapping)


def _toml_key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else _quote(key)


def _toml_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml_value(entry) for entry in value) + "]"
    raise InputError(f"TOML cannot hold a value of type {type(value).__name__}")


def _quote(text: str) -> str:
    # A TOML basic string is a JSON string except for DEL, which TOML wants escaped.
    escaped = to_json(text).decode().rstrip("\n")
    return escaped.replace("\x7f", "\\u007f")


def _merge(base: Table, over: Table) -> Table:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        if both and value.get("kind", base[key].get("kind")) == base[key].get("kind"):
            merged[key] = _merge(base[key], value)
        else:  # another kind has other keys, so nothing of the old table may remain
            merged[key] = value
    return merged


def _parse_override(text: str) -> Table:
    path, equals, value = text.partition("=")
    if not equals or not all(path.split(".")) or "." not in path:
        raise InputError(f"--set must have the form table.key=value, got {text!r}")
    try:
        parsed: Any = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
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
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(get_args(hint), value, where)
    if origin is Literal:
        if value not in get_args(hint):
            choices = [str(choice) for choice in get_args(hint)]
            raise InputError(
                f"{where} must be one of {', '.join(choices)}, got {value!r}"
                f"{did_you_mean(str(value), choices)}"
            )
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise InputError(f"{where} must be a list, got {value!r}")
        return tuple(_convert(get_args(hint)[0], entry, f"{where}[]") for entry in value)
    if is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise InputError(f"{where} must be a table, got {value!r}")
        return build(cast(type, hint), value, where)
    return _convert_scalar(hint, value, where)


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:  # noqa: ANN401
    if isinstance(hint, type) and issubclass(hint, Enum):
        choices = [str(member.value) for member in hint]
        if value not in choices:
            raise InputError(
                f"{where} must be one of {', '.join(choices)}, got {value!r}"
                f"{did_you_mean(str(value), choices)}"
            )
        return hint(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)  # 1e6 is a float in TOML
    if hint is Path and isinstance(value, str):
        return Path(value)
    if type(value) is not hint:
        raise InputError(f"{where} must be of type {hint.__name__}, got {value!r}")
    return value


def _convert_union(members: tuple[Any, ...], value: Any, where: str) -> Any:  # noqa: ANN401
    classes = {cast(Any, member).kind: member for member in members if is_dataclass(member)}
    if classes and isinstance(value, (str, Mapping)):
        table = {"kind": value} if isinstance(value, str) else value
        if (kind := table.get("kind")) not in classes:
            raise InputError(
                f"{where}.kind must be one of {', '.join(classes)}, got {kind!r}"
                f"{did_you_mean(str(kind), classes)}"
            )
        return build(cast(type, classes[kind]), table, where)
    others = [member for member in members if member is not type(None) and not is_dataclass(member)]
    if len(others) == 1:
        return _convert(others[0], value, where)
    raise InputError(f"{where} has a value of the wrong type: {value!r}")
