"""Whether a training may resume under a configuration, and what is then said of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from surefoot.artifact import Json
from surefoot.config import Table, build, differences, to_table
from surefoot.errors import InputError
from surefoot.train.defence_config import Ramp
from surefoot.train.pruning_config import NoPruning
from surefoot.train.train_config import WITHOUT_EFFECT, TrainConfig
from surefoot.version import __version__


@dataclass(frozen=True, slots=True)
class Begun:
    """A training as a run folder has it.

    Attributes:
        config: Its configuration, as plain values.
        code_version: Version of surefoot that began it.
        where: Its folder, for error messages.
    """

    config: Mapping[str, Json]
    code_version: str
    where: str

    def check_same(self, config: Table, free: Collection[str] = WITHOUT_EFFECT) -> None:
        """Refuse to go on under another configuration, but for a larger ``total_steps``.

        Args:
            config: Requested configuration, as plain values.
            free: Keys that may differ.

        Raises:
            InputError: If another key differs, or this version does not know one.
        """
        before = self._settled()
        longer = config["total_steps"] > before["total_steps"]
        free = {*free, "total_steps"} if longer else free
        if changes := differences(before, config, free):
            raise InputError(
                f"{self.where} holds the training of another configuration ({changes}):"
                " use another output folder or the same configuration"
            )

    @property
    def total_steps(self) -> int:
        """Environment steps that it was to have."""
        return int(self.config["total_steps"])

    def _settled(self) -> Table:
        """Return its configuration with what an older version did not know at its default.

        Raises:
            InputError: If it holds what this version does not know.
        """
        try:
            return dict(to_table(build(TrainConfig, self.config, "train")))
        except InputError as error:
            raise InputError(
                f"{self.where} holds a training of surefoot {self.code_version}, this is"
                f" {__version__}: {error}; resume with that version, or use another output folder"
            ) from error


@dataclass(frozen=True, slots=True)
class Extension:
    """More steps than a training was to have when it was begun.

    Attributes:
        step: Environment steps that were done.
        total_steps: Environment steps that it was to have.
    """

    step: int
    total_steps: int


def words_of(extension: Extension, config: TrainConfig) -> str:
    """Describe what an extended training is, and is not."""
    follows = {
        "the learning rate": config.anneal_to != 1,
        "the averaging": config.averaging > 0,
        "the grid of evaluations": True,
    }
    stays = {
        "the sparsity": not isinstance(config.pruning, NoPruning),
        "the ramp of the defence": isinstance(config.defence, Ramp),
    }
    words = f"{_listed(follows)} are from here on those of {config.total_steps} steps"
    if any(stays.values()):
        words += f", {_listed(stays)} those of {extension.total_steps}"
    return (
        f"a training of {extension.total_steps} steps is continued from step {extension.step}:"
        f" {words}; the result is not that of a training that was this long from its start"
    )


def _listed(parts: Mapping[str, bool]) -> str:
    *names, last = (name for name, is_in in parts.items() if is_in)
    return f"{', '.join(names)} and {last}" if names else last
