"""The cells of a study: an arm on one seed, known by the digest of all that it depends on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from surefoot.artifact import Json, sha256_hex, to_json
from surefoot.attack import AttackConfig
from surefoot.certify import Assumptions, CertifyConfig
from surefoot.config import Table, build, merge_tables, to_table
from surefoot.errors import InputError
from surefoot.provenance import code_digest, installed_versions
from surefoot.study.cell_record import Maker
from surefoot.study.grid import Arm, Grid, Purpose, Stage
from surefoot.train import TrainConfig
from surefoot.train.defence_ball import perturbation_of
from surefoot.train.train_config import WITHOUT_EFFECT

_LIBRARIES = ("gymnasium", "mujoco", "numpy", "onnxruntime", "scipy", "torch")
"""Libraries on whose versions the numbers of a cell depend."""

_ONE_CORE: Table = {
    "train": {"num_threads": 1, "torch_threads": 1},
    "attack": {"num_threads": 1},
}
"""Cells run side by side, each on one core."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CellSettings:
    """The resolved tables of a cell.

    Attributes:
        stages: Stages that are done.
        train: How it is trained, its seed included.
        certify: Effort of bounds and searches.
        assume: Assumptions of the certificate.
        attack: The attacks.
        require: Requirements of the certificate.
    """

    stages: tuple[Stage, ...]
    train: TrainConfig
    certify: CertifyConfig = field(default_factory=CertifyConfig)
    assume: Assumptions = field(default_factory=Assumptions)
    attack: AttackConfig = field(default_factory=AttackConfig)
    require: tuple[Mapping[str, Json], ...] = ()

    def __post_init__(self) -> None:
        """Check that the stages have what they need.

        Raises:
            InputError: If a certificate has nothing to answer, attacks know no epsilon, or a
                defence is in the words of a robot.
        """
        if "certify" in self.stages and not self.require:
            raise InputError("a study that certifies needs [[require]] tables, got none")
        if "attack" in self.stages and self.attack.epsilon is None:
            raise InputError("attack.epsilon must be given: the arms are attacked alike")
        if perturbation_of(self.train.defence) is not None:
            # A cell is its settings, and what a robot.toml says is none of them.
            raise InputError("train.defence must have epsilon in a study, got perturb")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """An arm on one seed.

    Attributes:
        arm: Name of the arm.
        purpose: What its seed serves for.
        settings: What is done.
        digest: Digest of the settings and of who makes it.
    """

    arm: str
    purpose: Purpose
    settings: CellSettings
    digest: str

    @property
    def name(self) -> str:
        """The cell for people."""
        return f"{self.arm}/{self.seed}"

    @property
    def seed(self) -> int:
        """Training seed."""
        return self.settings.train.seed


def this_maker() -> Maker:
    """Return the code and the libraries that run here.

    Nothing of a cell is made by ``cli`` and ``study``, which stand above the stages.
    """
    return Maker(
        code_sha256=code_digest(without=("cli", "study")),
        versions=installed_versions(*_LIBRARIES),
    )


def cell_digest(settings: CellSettings, maker: Maker) -> str:
    """Return the digest of all that a cell's numbers depend on."""
    table = settings_table(settings)
    for stage, keys in (("train", WITHOUT_EFFECT), ("attack", ("num_threads",))):
        table[stage] = {key: value for key, value in table[stage].items() if key not in keys}
    return sha256_hex(to_json([table, maker.to_table()]))


def settings_table(settings: CellSettings) -> Table:
    """Return settings as tables, which :func:`settings_of` reads back."""
    table: Table = to_table(settings)
    return table


def settings_of(tables: Table, what: str) -> CellSettings:
    """Build settings from tables.

    Args:
        tables: The tables of a cell.
        what: How error messages call the cell.

    Raises:
        InputError: If a key is unknown, missing or wrong.
    """
    return build(CellSettings, tables, what)


def cells_of(grid: Grid, arms: Iterable[str], purpose: Purpose, maker: Maker) -> list[Cell]:
    """Return the cells of some arms, seed by seed, so that a partial table compares equals.

    Raises:
        InputError: If a setting is wrong, or two arms are the same.
    """
    seeds = grid.file.seeds.select if purpose == "select" else grid.file.seeds.report
    names = list(arms)
    cells = [_cell(grid, grid.arms[name], seed, purpose, maker) for seed in seeds for name in names]
    _check_distinct(cells)
    return cells


def _cell(grid: Grid, arm: Arm, seed: int, purpose: Purpose, maker: Maker) -> Cell:
    tables = merge_tables(arm.tables, _ONE_CORE)
    tables = merge_tables(tables, {"train": {"seed": seed}, "stages": list(grid.file.stages)})
    if purpose == "report":
        tables = merge_tables(tables, {"attack": dict(grid.file.report.attack)})
    # A result must not depend on which machine of several takes the cell.
    if tables["train"].get("device", "auto") == "auto":
        tables = merge_tables(tables, {"train": {"device": "cpu"}})
    settings = settings_of(tables, f"arm {arm.name}")
    return Cell(
        arm=arm.name, purpose=purpose, settings=settings, digest=cell_digest(settings, maker)
    )


def _check_distinct(cells: Sequence[Cell]) -> None:
    """Check that no two arms are the same.

    Raises:
        InputError: If two are.
    """
    seen: dict[str, Cell] = {}
    for cell in cells:
        if (other := seen.setdefault(cell.digest, cell)).arm != cell.arm:
            raise InputError(f"arms {other.arm} and {cell.arm} must differ, their settings are one")


def chosen_cells(cells: Sequence[Cell], pattern: str | None) -> list[Cell]:
    """Return the cells whose name, arm/seed, matches a shell pattern.

    Raises:
        InputError: If none does.
    """
    if pattern is None:
        return list(cells)
    chosen = [cell for cell in cells if fnmatchcase(cell.name, pattern)]
    if not chosen and cells:
        raise InputError(f"only must match a cell, such as {cells[0].name}, got {pattern!r}")
    return chosen
