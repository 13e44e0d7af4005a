"""The configuration of a run: its tables, each as what the stage takes that it is about."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from surefoot.artifact import is_folder_of
from surefoot.budget import Budget
from surefoot.bundle import open_bundle
from surefoot.config import (
    Table,
    build,
    check_tables,
    merge_tables,
    read_text,
    resolve_tables,
    to_table,
    to_toml,
)
from surefoot.errors import InputError
from surefoot.gate import GateRule
from surefoot.run_folder import RunFolder

if TYPE_CHECKING:
    from surefoot.attack import AttackConfig
    from surefoot.certify import Assumptions, CertifyConfig
    from surefoot.export import ExportConfig
    from surefoot.runtime import BenchConfig
    from surefoot.train import TrainConfig

TABLES = ("train", "certify", "assume", "export", "gate", "attack", "bench", "require")
"""The top-level tables of a configuration file."""

ALL = ["all"]
"""In place of targets or backends: every one that this machine can build or run."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """The tables of a run. A stage whose table is missing has its defaults.

    A stage is imported when its configuration is asked for, so that nobody loads another.

    Attributes:
        tables: The tables by name.
    """

    tables: Table = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the names.

        Raises:
            InputError: If a table is unknown, or no table.
        """
        check_tables(self.tables, TABLES, lists=("require",))

    @classmethod
    def resolve(
        cls,
        *,
        preset: str | None = None,
        config: Path | None = None,
        overrides: Sequence[str] = (),
    ) -> Self:
        """Merge a preset, a TOML file and overrides ``table.key=value``, later ones winning.

        Raises:
            InputError: If one of them cannot be read, or names an unknown table.
        """
        return cls(resolve_tables(preset=preset, config=config, overrides=overrides))

    @classmethod
    def beside(cls, path: Path) -> Self:
        """Return the configuration of a run, the budget of a bundle, or else an empty one.

        Args:
            path: What is certified.

        Raises:
            InputError: If it is not valid TOML, or holds an unknown table.
            VerificationError: If it is a bundle that does not verify.
        """
        if is_folder_of(path, "bundle"):
            budget = open_bundle(path, allow_uncertified=True).budget
            return cls(cls().with_budget(budget).tables)
        run = RunFolder(path)
        try:
            return cls(run.tables)
        except InputError as error:
            raise InputError(f"{run.config}: {error}") from error

    def over(self, base: "Configuration") -> "Configuration":
        """Return ``base`` with this one laid over it, table by table."""
        return Configuration(merge_tables(base.tables, self.tables))

    def training(self) -> "TrainConfig":
        """Build the configuration of training.

        Raises:
            InputError: If there is no ``[train]`` table, or it is wrong.
        """
        from surefoot.train import TrainConfig

        if "train" not in self.tables:
            raise InputError("a training needs --preset or a configuration with a [train] table")
        return build(TrainConfig, self.tables["train"], "train")

    def certification(self) -> "CertifyConfig":
        """Build the configuration of certification: the effort of bounds and searches."""
        from surefoot.certify import CertifyConfig

        return build(CertifyConfig, self._table("certify"), "certify")

    def assumptions(self) -> "Assumptions":
        """Build the assumptions that claims about returns rest on."""
        from surefoot.certify import Assumptions

        return build(Assumptions, self._table("assume"), "assume")

    def exporting(self) -> "ExportConfig":
        """Build the configuration of export: the forms that a bundle holds."""
        from surefoot.export import ExportConfig

        return build(ExportConfig, self._without_all("export", "targets"), "export")

    def gating(self) -> GateRule:
        """Build the rule by which the limits of a gate are made."""
        return build(GateRule, self._table("gate"), "gate")

    @property
    def wants_every_target(self) -> bool:
        """Whether a bundle is to hold every form that can be built here."""
        return bool(self._table("export").get("targets") == ALL)

    def attacking(self) -> "AttackConfig":
        """Build the configuration of the attacks."""
        from surefoot.attack import AttackConfig

        return build(AttackConfig, self._table("attack"), "attack")

    def benchmarking(self) -> "BenchConfig":
        """Build the configuration of the benchmark."""
        from surefoot.runtime import BenchConfig

        return build(BenchConfig, self._without_all("bench", "backends"), "bench")

    @property
    def wants_every_backend(self) -> bool:
        """Whether every backend that runs here is to be timed."""
        return bool(self._table("bench").get("backends") == ALL)

    @property
    def has_budget(self) -> bool:
        """Whether it requires anything."""
        return "require" in self.tables

    def budget(self, path: Path | None = None) -> Budget:
        """Return the budget of a file, or else the ``[[require]]`` tables.

        Raises:
            InputError: If there is neither, or it is malformed.
        """
        if path is not None:
            return Budget.parse(read_text(path), str(path), path.parent)
        if not self.has_budget:
            raise InputError(
                "a certificate needs --budget or a configuration with [[require]] tables"
            )
        asked = {name: table for name, table in self.tables.items() if name in ("require", "gate")}
        return Budget.parse(to_toml(asked), "budget", Path())

    def with_budget(self, budget: Budget) -> "Configuration":
        """Return this configuration with another budget."""
        requirements = [requirement.as_written.to_table() for requirement in budget.requirements]
        others = {name: table for name, table in self.tables.items() if name != "gate"}
        gate = {} if budget.gate is None else {"gate": to_table(budget.gate)}
        return Configuration(others | gate | {"require": requirements})

    def _table(self, name: str) -> Table:
        table: Table = self.tables.get(name, {})
        return table

    def _without_all(self, name: str, key: str) -> Table:
        """Return a table without the key if that says ``all``, which is found out later."""
        table = self._table(name)
        return {k: v for k, v in table.items() if k != key or v != ALL}
