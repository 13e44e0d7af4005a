"""A grid: which arms a study compares, on which seeds, and which claims it is to decide.

preset = "hopper"
baseline = "dense"

[seeds]
select = [10, 11, 12]             # choose a level
report = [20, 21, 22]             # judge it

[[arm]]
name = "dense"
train.pruning.kind = "none"

[[arm]]
name = "magnitude"                # three arms: magnitude-0.5, magnitude-0.7, magnitude-0.9
train.pruning.kind = "magnitude"
cross."train.pruning.sparsity" = [0.5, 0.7, 0.9]

[[claim]]
id = "E9"
sentence = "Pruning has a sweet spot"
arms = ["magnitude"]
metric = "published"
rule = "at_least"
printed = 1.1
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from surefoot.artifact import Json
from surefoot.config import Table, build, load_preset, merge_tables, read_toml
from surefoot.errors import InputError, did_you_mean
from surefoot.ranges import require_positive
from surefoot.study.metrics import check_metric

Stage = Literal["train", "certify", "attack"]
Purpose = Literal["select", "report"]
Choice = Literal["published", "certified"]
Rule = Literal["at_least", "at_most", "equal"]

STAGES: tuple[Stage, ...] = ("train", "certify", "attack")
TABLES = ("train", "certify", "assume", "attack")
"""The tables of a configuration that a cell is made of, beside its requirements."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seeds:
    """The training seeds of a study.

    Attributes:
        select: Seeds on which a level is chosen.
        report: Other seeds, on which what was chosen is judged; none to judge on the first ones.
    """

    select: tuple[int, ...]
    report: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check that there are seeds, each once.

        Raises:
            InputError: If there are none, or one stands twice or in both lists.
        """
        if not self.select:
            raise InputError("select must hold at least one seed, got an empty list")
        for name in ("select", "report"):
            if twice := _first_twice(getattr(self, name)):
                raise InputError(f"{name} must hold each seed once, got {twice[0]} twice")
        if both := sorted({*self.select} & {*self.report}):
            raise InputError(f"report must hold other seeds than select, got {both[0]} in both")


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What is done on the report seeds.

    Attributes:
        arms: Every arm, or the chosen levels, the baseline and what claims name.
        attack: Keys of ``[attack]`` that are others there.
    """

    arms: Literal["all", "chosen"] = "all"
    attack: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmTable:
    """One ``[[arm]]``: a method, or a family of levels.

    Attributes:
        name: Name of the arm; its crossed values are appended to it.
        cross: Lists of values by dotted key; every combination is an arm.
        train: Keys of ``[train]``.
        certify: Keys of ``[certify]``.
        assume: Keys of ``[assume]``.
        attack: Keys of ``[attack]``.
    """

    name: str
    cross: Mapping[str, Json] = field(default_factory=dict)
    train: Mapping[str, Json] = field(default_factory=dict)
    certify: Mapping[str, Json] = field(default_factory=dict)
    assume: Mapping[str, Json] = field(default_factory=dict)
    attack: Mapping[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the name and the lists.

        Raises:
            InputError: If the name cannot be that of a folder, or no list of values stands under a
                crossed key.
        """
        is_word = self.name.isprintable() and not set(self.name) & set("/*?[]|")
        if not is_word or self.name in ("", ".", ".."):  # it names a folder of its cells
            raise InputError(f"name must be a word without /*?[]|, got {self.name!r}")
        for key, values in self.cross.items():
            if key.partition(".")[0] not in TABLES or "." not in key:
                raise InputError(f"cross must name keys of {', '.join(TABLES)}, got {key!r}")
            if not isinstance(values, list) or not values:
                raise InputError(f"cross.{key} must be a list of values, got {values!r}")

    @property
    def tables(self) -> Table:
        """Tables that the arm lays over those of the grid."""
        return {name: dict(getattr(self, name)) for name in TABLES if getattr(self, name)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A sentence of a paper, as a ratio of two arms that a rule decides.

    Attributes:
        id: Number of the claim.
        sentence: Sentence in our words.
        arms: Arms that it is about; the name of a family stands for its chosen level.
        baseline: Arm that they are held against; that of the grid if it is not given.
        metric: Quantity that is compared.
        rule: Whether the ratio is to be at least, at most or equal to the printed value.
        printed: Ratio that the paper prints.
        margin: Relative distance from the printed value that still counts as equal.
        choice: Rule by which the level of a family is chosen.
    """

    id: str
    sentence: str
    arms: tuple[str, ...]
    baseline: str | None = None
    metric: str
    rule: Rule = "at_least"
    printed: float = 1.0
    margin: float = 0.05
    choice: Choice = "published"

    def __post_init__(self) -> None:
        """Check ranges, and that there are arms.

        Raises:
            InputError: If one does not hold.
        """
        if not self.arms:
            raise InputError(f"arms of claim {self.id} must name at least one arm, got none")
        check_metric(self.metric)
        require_positive(self, "printed", "margin")


@dataclass(frozen=True, kw_only=True, slots=True)
class GridFile:
    """The keys of a grid file.

    Attributes:
        preset: Preset under every arm.
        baseline: Arm that the others are compared with.
        seeds: Training seeds.
        arm: The methods.
        claim: The claims.
        stages: Stages of a cell; ``train`` is always the first.
        report: What is done on the report seeds.
        keep_clean: Share of the baseline's clean return that a level must keep to be chosen by its
            certified deviation.
        require: Requirements of the certificate in place of the preset's.
        train: Keys of ``[train]`` for every arm.
        certify: Keys of ``[certify]`` for every arm.
        assume: Keys of ``[assume]`` for every arm.
        attack: Keys of ``[attack]`` for every arm.
    """

    preset: str
    baseline: str
    seeds: Seeds
    arm: tuple[ArmTable, ...]
    claim: tuple[Claim, ...] = ()
    stages: tuple[Stage, ...] = STAGES
    report: Report = field(default_factory=Report)
    keep_clean: float = 0.95
    require: tuple[Mapping[str, Json], ...] = ()
    train: Mapping[str, Json] = field(default_factory=dict)
    certify: Mapping[str, Json] = field(default_factory=dict)
    assume: Mapping[str, Json] = field(default_factory=dict)
    attack: Mapping[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the stages and the share.

        Raises:
            InputError: If training is not the first stage, or the share not in (0, 1].
        """
        if self.stages != tuple(name for name in STAGES if name in self.stages):
            raise InputError(f"stages must be some of {', '.join(STAGES)} in this order")
        if "train" not in self.stages:
            raise InputError("stages must begin with train")
        if not self.arm:
            raise InputError("arm must hold at least one [[arm]], got an empty list")
        if not 0 < self.keep_clean <= 1:
            raise InputError(f"keep_clean must be in (0, 1], got {self.keep_clean}")


@dataclass(frozen=True, slots=True)
class Arm:
    """One setting that is compared with others.

    Attributes:
        name: Name of the arm.
        family: Name of the ``[[arm]]`` whose level it is; the same name where it has no levels.
        tables: Its tables over those of the grid and of the preset.
    """

    name: str
    family: str
    tables: Table


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid with its arms crossed and its names checked.

    Attributes:
        file: What the file says.
        arms: The arms by name, in the order of the file.
    """

    file: GridFile
    arms: Mapping[str, Arm]

    @property
    def families(self) -> dict[str, list[str]]:
        """Arms by family, of the families that have levels."""
        found: dict[str, list[str]] = {}
        for arm in self.arms.values():
            if arm.name != arm.family:
                found.setdefault(arm.family, []).append(arm.name)
        return found

    @property
    def judged_on(self) -> Purpose:
        """Seeds on which claims are judged."""
        return "report" if self.file.seeds.report else "select"

    @property
    def named_arms(self) -> list[str]:
        """Arms that are judged whatever is chosen: the baseline, and what claims name."""
        named = {self.file.baseline}
        for claim in self.file.claim:
            named |= {*claim.arms, claim.baseline or self.file.baseline}
        return [name for name in self.arms if name in named]


def read_grid(path: Path) -> Grid:
    """Read a grid file.

    Raises:
        InputError: If it cannot be read, a key is unknown or wrong, a list is empty, a name stands
            twice, or one that is used is not there.
    """
    return grid_of(build(GridFile, read_toml(path), path.name), path.name)


def grid_of(file: GridFile, where: str) -> Grid:
    """Cross the arms of a grid and check the names that it uses.

    Args:
        file: The keys.
        where: Name of the file, for error messages.

    Raises:
        InputError: If a name stands twice, or one that is used is not there.
    """
    base = merge_tables(_of_cells(load_preset(file.preset)), _own_tables(file))
    arms = [arm for table in file.arm for arm in _crossed(table, base)]
    _check_unique([arm.name for arm in arms], where, "arm")
    _check_unique([table.name for table in file.arm], where, "arm")
    _check_unique([claim.id for claim in file.claim], where, "claim")
    grid = Grid(file, {arm.name: arm for arm in arms})
    _check_known(file.baseline, grid.arms, f"{where}: baseline")
    for claim in file.claim:
        what = f"{where}: claim {claim.id}"
        for name in claim.arms:
            _check_known(name, {*grid.arms, *grid.families}, what)
        if claim.baseline is not None:
            _check_known(claim.baseline, grid.arms, what)
    return grid


def _of_cells(preset: Table) -> Table:
    """Return the tables of a preset that a cell uses: none is exported or timed."""
    return {name: table for name, table in preset.items() if name in (*TABLES, "require")}


def _own_tables(file: GridFile) -> Table:
    tables: Table = {name: dict(getattr(file, name)) for name in TABLES if getattr(file, name)}
    return tables | ({"require": [dict(entry) for entry in file.require]} if file.require else {})


def _crossed(table: ArmTable, base: Table) -> Iterator[Arm]:
    """Yield an arm for each combination of the crossed values."""
    own = merge_tables(base, table.tables)
    for values in itertools.product(*table.cross.values()):
        tables = own
        for key, value in zip(table.cross, values, strict=True):
            tables = merge_tables(tables, _nested(key, value))
        name = "-".join([table.name, *map(_words, values)])
        yield Arm(name, table.name, tables)


def _nested(key: str, value: Json) -> Table:
    nested: Any = value
    for part in reversed(key.split(".")):
        nested = {part: nested}
    table: Table = nested
    return table


def _words(value: Json) -> str:
    """Return a crossed value as part of a name."""
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)


def _check_unique(names: Iterable[str], where: str, what: str) -> None:
    """Check that no name stands twice.

    Raises:
        InputError: If one does.
    """
    if twice := _first_twice(names):
        raise InputError(f"{where}: each {what} must have another name, got {twice[0]!r} twice")


def _first_twice(entries: Iterable[Any]) -> list[Any]:
    return [entry for entry, count in Counter(entries).items() if count > 1][:1]


def _check_known(name: str, known: Iterable[str], what: str) -> None:
    """Check that an arm is there.

    Raises:
        InputError: If not.
    """
    names = list(known)
    if name not in names:
        raise InputError(
            f"{what} names the arm {name!r}, which is not there{did_you_mean(name, names)}"
        )
