"""Laws of `surefoot.config`: what is written is read back, and nothing is ignored."""

import math
import tomllib
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot import config
from surefoot.artifact import Json
from surefoot.attack import AttackConfig
from surefoot.budget import Budget
from surefoot.certify import CertifyConfig
from surefoot.config import (
    build,
    check_tables,
    config_sha256,
    load_preset,
    merge_tables,
    preset_names,
    resolve_tables,
    to_table,
    to_toml,
)
from surefoot.errors import InputError
from surefoot.runtime import BenchConfig
from surefoot.train import TrainConfig
from surefoot.workflow.configuration import Configuration


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plain:
    kind: ClassVar[str] = "plain"


@dataclass(frozen=True, kw_only=True, slots=True)
class Robust:
    kind: ClassVar[str] = "robust"
    epsilon: float
    steps: int = 10

    def __post_init__(self) -> None:
        if self.epsilon < 0:
            raise InputError(f"epsilon must be at least 0, got {self.epsilon}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    sigma: float = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    seed: int
    rate: float = 1e-3
    name: str = "a"
    fast: bool = False
    colour: Colour = Colour.RED
    interval: Literal[1, 10, 20] = 10
    mode: Literal["on", "off"] = "on"
    widths: tuple[int, ...] = (64, 64)
    limits: tuple[float, str] = (0.5, "m")
    folder: Path = Path("runs")
    target: float | None = None
    defence: Plain | Robust = field(default_factory=Plain)
    noise: Noise = field(default_factory=Noise)
    extra: Noise | None = None


finite = st.floats(allow_nan=False, allow_infinity=False)
# Lone surrogates are no Unicode text.
text = st.text(st.characters(exclude_categories=["Cs"]))
configs = st.builds(
    Config,
    seed=st.integers(),
    rate=finite,
    name=text,
    fast=st.booleans(),
    colour=st.sampled_from(Colour),
    interval=st.sampled_from([1, 10, 20]),
    mode=st.sampled_from(["on", "off"]),
    widths=st.lists(st.integers()).map(tuple),
    limits=st.tuples(finite, text),
    folder=st.sampled_from([Path("a"), Path("/b/c d")]),
    target=st.none() | finite,
    defence=st.builds(Plain) | st.builds(Robust, epsilon=st.floats(0, 1), steps=st.integers()),
    noise=st.builds(Noise, sigma=finite),
    extra=st.none() | st.builds(Noise, sigma=finite),
)


def one_line(error: InputError) -> bool:
    return bool(str(error)) and "\n" not in str(error)


# --- what is written is read back ------------------------------------------------------------


@given(configs)
def test_building_from_a_table_is_the_inverse_of_writing_one(value: Config) -> None:
    assert build(Config, to_table(value), "train") == value


@given(configs)
def test_a_configuration_survives_its_toml_file(value: Config) -> None:
    text = to_toml({"train": to_table(value)})
    assert build(Config, tomllib.loads(text)["train"], "train") == value


@given(configs, configs)
def test_the_digest_of_a_configuration_is_that_of_its_content(
    first: Config, second: Config
) -> None:
    assert config_sha256(first) == config_sha256(build(Config, to_table(first), ""))
    assert (config_sha256(first) == config_sha256(second)) == (to_table(first) == to_table(second))


scalars = st.booleans() | st.integers() | finite | text
lists = st.lists(scalars, max_size=3)
values = st.recursive(
    scalars | st.sampled_from([math.inf, -math.inf]) | lists | st.lists(lists, max_size=3),
    lambda inner: st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
tables = st.dictionaries(text, values, max_size=3)


@given(st.dictionaries(text, values | st.lists(tables, min_size=1, max_size=3), max_size=3))
def test_tomllib_reads_back_what_to_toml_writes(table: dict[str, Json]) -> None:
    assert tomllib.loads(to_toml(table)) == table


def test_nan_and_minus_zero_survive_toml() -> None:
    read = tomllib.loads(to_toml({"nan": math.nan, "zero": -0.0}))
    assert math.isnan(read["nan"])
    assert math.copysign(1, read["zero"]) == -1


def test_numpy_floats_are_written_as_numbers() -> None:
    assert to_toml({"a": np.float64(0.1)}) == "a = 0.1\n"


@pytest.mark.parametrize("value", [None, b"bytes", {"deep": [None]}, "\udcff"])
def test_what_toml_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(InputError, match="TOML cannot hold a value"):
        to_toml({"a": value})


def test_a_none_that_would_come_back_as_the_default_is_refused() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Optional:
        limit: float | None = 0.5

    with pytest.raises(InputError, match="limit must not be None"):
        to_table(Optional(limit=None))


# --- nothing is ignored ----------------------------------------------------------------------

BAD_TABLES = [
    ({}, "missing key 'train.seed'"),
    ({"seeed": 1}, r"unknown key 'train\.seeed'; did you mean 'train\.seed'\?"),
    ({"seed": 1, "zzzzzz": 1}, r"unknown key 'train\.zzzzzz'$"),
    ({"seed": 1, "a\nb": 1}, r"unknown key 'train\.a\\nb'$"),
    ({"seed": 1, "kind": "x"}, r"unknown key 'train\.kind'"),
    ({"seed": "1"}, r"train\.seed must be of type int, got '1'"),
    ({"seed": 1.5}, r"train\.seed must be of type int, got 1\.5"),
    ({"seed": True}, r"train\.seed must be of type int, got True"),
    ({"seed": math.inf}, r"train\.seed must be of type int, got inf"),
    ({"seed": 1, "rate": True}, r"train\.rate must be of type float, got True"),
    ({"seed": 1, "rate": 10**400}, r"train\.rate must fit a double"),
    ({"seed": 1, "name": 1}, r"train\.name must be of type str, got 1"),
    ({"seed": 1, "fast": 1}, r"train\.fast must be of type bool, got 1"),
    (
        {"seed": 1, "colour": "reed"},
        r"train\.colour must be one of red, blue, got 'reed'; did you mean 'red'\?",
    ),
    ({"seed": 1, "colour": ["red"]}, r"train\.colour must be one of red, blue, got \['red'\]"),
    ({"seed": 1, "interval": 2}, r"train\.interval must be one of 1, 10, 20, got 2"),
    ({"seed": 1, "interval": True}, r"train\.interval must be one of 1, 10, 20, got True"),
    ({"seed": 1, "interval": {}}, r"train\.interval must be one of 1, 10, 20, got \{\}"),
    ({"seed": 1, "mode": "onn"}, r"one of on, off, got 'onn'; did you mean 'on'\?"),
    ({"seed": 1, "widths": 64}, r"train\.widths must be a list, got 64"),
    ({"seed": 1, "widths": [64, "x"]}, r"train\.widths\[1\] must be of type int, got 'x'"),
    ({"seed": 1, "limits": [0.5]}, r"train\.limits must have 2 entries, got \[0\.5\]"),
    ({"seed": 1, "limits": [0.5, 1]}, r"train\.limits\[1\] must be of type str, got 1"),
    ({"seed": 1, "noise": 0.1}, r"train\.noise must be a table, got 0\.1"),
    ({"seed": 1, "noise": {"sigme": 1}}, r"did you mean 'train\.noise\.sigma'\?"),
    ({"seed": 1, "defence": {"epsilon": 1}}, r"train\.defence\.kind must be one of .*, got None"),
    (
        {"seed": 1, "defence": "robustt"},
        r"train\.defence\.kind must be one of plain, robust, got 'robustt'; did you mean 'robust'",
    ),
    ({"seed": 1, "defence": {"kind": ["plain"]}}, r"must be one of plain, robust, got \['plain'\]"),
    ({"seed": 1, "defence": 3}, r"train\.defence has a value of the wrong type: 3"),
    ({"seed": 1, "defence": {"kind": "plain", "steps": 3}}, r"unknown key 'train\.defence\.steps'"),
    ({"seed": 1, "defence": {"kind": "robust"}}, r"missing key 'train\.defence\.epsilon'"),
    (
        {"seed": 1, "defence": {"kind": "robust", "epsilon": -1}},
        r"^train\.defence: epsilon must be at least 0, got -1\.0$",
    ),
    ([1], r"train must be a table, got \[1\]"),
]


@pytest.mark.parametrize(("table", "message"), BAD_TABLES)
def test_a_wrong_key_or_value_is_refused_by_its_path_in_one_line(
    table: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        build(Config, table, "train")
    assert one_line(caught.value)


def test_the_kind_of_a_table_must_be_that_of_its_class() -> None:
    assert build(Robust, {"kind": "robust", "epsilon": 0.1}, "x") == Robust(epsilon=0.1)
    with pytest.raises(InputError, match=r"x\.kind must be robust, got 'plain'"):
        build(Robust, {"kind": "plain", "epsilon": 0.1}, "x")


def test_a_kind_alone_may_stand_for_its_table() -> None:
    assert build(Config, {"seed": 1, "defence": "plain"}, "x").defence == Plain()


@pytest.mark.parametrize(
    ("table", "name", "value"),
    [
        ({"seed": 1e6}, "seed", 1_000_000),
        ({"seed": 1, "rate": 1}, "rate", 1.0),
        ({"seed": 1, "widths": [1e2]}, "widths", (100,)),
        ({"seed": 1, "target": 3}, "target", 3.0),
    ],
)
def test_numbers_become_what_the_field_says(
    table: dict[str, float | list[float]], name: str, value: float | tuple[int]
) -> None:
    read = getattr(build(Config, table, "x"), name)
    assert read == value
    assert type(read) is type(value)


# --- presets, files and --set ----------------------------------------------------------------

KNOWN = ["env", "train"]


def resolved(*overrides: str, **sources: Path | str) -> dict[str, Json]:
    tables = resolve_tables(overrides=overrides, **sources)
    check_tables(tables, KNOWN)
    return tables


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1", 1),
        ("1e6", 1e6),
        ("0.5", 0.5),
        ("true", True),
        ("Hopper-v5", "Hopper-v5"),
        ('"1"', "1"),
        ("[64, 64]", [64, 64]),
        ("{a = 1}", {"a": 1}),
        ("a=b", "a=b"),
        ("", ""),
        ("1\nother = 2", "1\nother = 2"),
        ("[" * 5000, "[" * 5000),
    ],
)
def test_set_reads_toml_or_else_a_string(
    written: str, value: bool | dict[str, int] | float | list[int] | str
) -> None:
    read = resolved(f"train.a={written}")["train"]["a"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("text", ["", "train", "train=1", "train.a", ".a=1", "train.=1", "=1"])
def test_a_malformed_set_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"--set must have the form table\.key=value, got"):
        resolved(text)


@pytest.mark.parametrize(
    "override", ["a." * 5000 + "b=1", "a.b={" + "c." * 5000 + "d=1}", "a.b=0o" + "7" * 5000]
)
def test_an_override_is_within_the_limits_of_a_file(override: str) -> None:
    with pytest.raises(InputError, match=r"^--set holds a (key|number) of more than the") as caught:
        resolved(override)
    assert len(str(caught.value)) < 100


def test_later_sources_win_and_keep_what_they_do_not_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = {"env": {"id": "A"}, "train": {"seed": 1, "rate": 1.0, "noise": {"sigma": 0.1}}}
    monkeypatch.setattr(config, "load_preset", lambda name: preset)
    file = tmp_path / "c.toml"
    file.write_text("[train]\nseed = 2\nrate = 2.0\n[train.noise]\nfloor = 0.0\n")
    tables = resolved("train.seed=3", "train.noise.sigma=0.3", preset="p", config=file)
    assert tables == {
        "env": {"id": "A"},
        "train": {"seed": 3, "rate": 2.0, "noise": {"sigma": 0.3, "floor": 0.0}},
    }
    assert preset["train"]["seed"] == 1


def test_another_kind_drops_the_keys_of_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[train]\nseed = 1\ndefence = {kind = "robust", epsilon = 0.1, steps = 3}\n')
    table = resolved("train.defence.kind=plain", config=file)["train"]
    assert build(Config, table, "train").defence == Plain()
    table = resolved("train.defence=plain", config=file)["train"]
    assert build(Config, table, "train").defence == Plain()
    for same in (("train.defence.kind=robust",), ()):
        table = resolved(*same, "train.defence.epsilon=0.2", config=file)["train"]
        assert build(Config, table, "train").defence == Robust(epsilon=0.2, steps=3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[trian]", r"unknown table 'trian'; did you mean 'train'\?"),
        ("train = 3", r"train must be a table, got 3"),
        ("[train", r"c\.toml is not valid TOML"),
        ("a = " + "[" * 5000, r"c\.toml is not valid TOML"),
        ("a = " + "1" * 5000, r"c\.toml is not valid TOML"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        resolved(config=file)
    assert one_line(caught.value)


def test_a_file_that_is_absent_or_not_utf8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        resolved(config=tmp_path / "absent.toml")
    (tmp_path / "c.toml").write_bytes(b"\xff")
    with pytest.raises(InputError, match="it is not UTF-8"):
        resolved(config=tmp_path / "c.toml")


def test_an_unknown_preset_suggests_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "preset_names", lambda: ["ant", "hopper"])
    with pytest.raises(InputError, match=r"unknown preset 'hoper'; did you mean 'hopper'\?"):
        load_preset("hoper")


def test_a_preset_is_a_name_and_not_a_path() -> None:
    with pytest.raises(InputError, match="unknown preset"):
        load_preset("../presets/hopper")


@pytest.mark.parametrize("name", preset_names())
def test_every_installed_preset_is_a_configuration_with_a_budget(name: str) -> None:
    tables = Configuration.resolve(preset=name).tables
    stages = {"train": TrainConfig, "attack": AttackConfig, "bench": BenchConfig}
    for stage, kind in (stages | {"certify": CertifyConfig}).items():
        value = build(kind, tables.get(stage, {}), stage)
        assert build(kind, to_table(value), stage) == value
    required = {key: tables[key] for key in ("require", "gate") if key in tables}
    budget = Budget.parse(to_toml(required))
    assert {"action_deviation", "sparsity"} <= {each.quantity for each in budget.requirements}


@pytest.mark.parametrize("task", ["hopper", "walker2d", "halfcheetah", "ant"])
def test_the_short_setting_of_the_paper_is_the_long_one_with_fewer_steps(task: str) -> None:
    long, short = load_preset(f"paper-{task}"), load_preset(f"paper-{task}-1m")
    assert short == merge_tables(long, {"train": {"total_steps": 1_000_000}})
    assert long["train"]["total_steps"] == 50_000_000
    assert long["train"]["pruning"]["target"] == "both"


def test_the_mark_with_which_an_editor_begins_a_text_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[train]\nname = "ü"\n', encoding="utf-8-sig")
    assert resolve_tables(config=file) == {"train": {"name": "ü"}}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_text_of_another_encoding_is_named_and_so_is_the_way_out(
    tmp_path: Path, encoding: str
) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[train]\n", encoding=encoding)
    mark = f"byte order mark of {encoding.upper()}: save it as plain UTF-8"
    with pytest.raises(InputError, match=mark):
        resolve_tables(config=file)


def test_a_text_of_one_byte_a_letter_is_refused_at_the_byte(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes('[train]\nname = "ü"\n'.encode("latin-1"))
    with pytest.raises(InputError, match=r"c\.toml is not valid TOML: it is not UTF-8 at byte 16"):
        resolve_tables(config=file)
