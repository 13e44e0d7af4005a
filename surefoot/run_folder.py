"""The run folder: where each result of a run lies, and which folder a path of the user means.

policy/            the policy folder: policy.onnx, what it visits, its critic, its curves
certificate.json   what is proved, with every measurement; draft-certificate.json without
bundle/            what is deployed; there only if the verdict is PROVED
attack.json        the attacks, bench.json the latencies, summary.json both and the verdict
report.html        the page about all of it
watch.mp4          a film, clean and attacked, if somebody asked for one; watch.gif, watch.json
config.toml        the resolved configuration
checkpoints/       of the training, with train.toml, train.json and tensorboard/
stages.json        what the finished stages read, wrote and took
"""

from dataclasses import dataclass
from pathlib import Path

from surefoot.artifact import is_folder_of
from surefoot.config import Table, read_toml

CRITIC_FILE, CURVES_FILE = "critic.safetensors", "curves.json"
"""What a training adds to a policy folder beside the controller and what it visits."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The places of a run.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def policy(self) -> Path:
        """Policy folder of the trained policy."""
        return self.path / "policy"

    @property
    def certificate(self) -> Path:
        """Certificate that rests on the measurements of the run."""
        return self.path / "certificate.json"

    @property
    def draft_certificate(self) -> Path:
        """Certificate of before the measurements, against which the attacks are held."""
        return self.path / "draft-certificate.json"

    @property
    def bundle(self) -> Path:
        """Bundle of the certified policy."""
        return self.path / "bundle"

    @property
    def attack(self) -> Path:
        """Record of the attacks."""
        return self.path / "attack.json"

    @property
    def bench(self) -> Path:
        """Record of the latencies."""
        return self.path / "bench.json"

    @property
    def summary(self) -> Path:
        """Summary of the run."""
        return self.path / "summary.json"

    @property
    def report(self) -> Path:
        """Page about the run."""
        return self.path / "report.html"

    @property
    def film(self) -> Path:
        """Film of a clean and an attacked episode."""
        return self.path / "watch.mp4"

    @property
    def config(self) -> Path:
        """Resolved configuration of the run."""
        return self.path / "config.toml"

    @property
    def training(self) -> Path:
        """Record of the training."""
        return self.path / "train.json"

    @property
    def training_config(self) -> Path:
        """Resolved configuration of the training, written when it begins."""
        return self.path / "train.toml"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints of the training."""
        return self.path / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        """Event files of the training."""
        return self.path / "tensorboard"

    @property
    def stages(self) -> Path:
        """What the finished stages read, wrote and took."""
        return self.path / "stages.json"

    @property
    def results(self) -> frozenset[Path]:
        """Files that a run writes again and again: whatever is there is its own."""
        drawn = (self.certificate, self.draft_certificate, self.attack, self.bench)
        return frozenset({*drawn, *map(picture_of, drawn), self.summary, self.report})

    @property
    def tables(self) -> Table:
        """Resolved configuration; empty where there is none.

        Raises:
            InputError: If it is not valid TOML.
        """
        return read_toml(self.config) if self.config.is_file() else {}


def picture_of(result: Path) -> Path:
    """Return the path of a result's picture, which lies beside it."""
    return result.with_suffix(".png")


def policy_places(path: Path) -> tuple[Path, Path]:
    """Return the two candidates for a policy folder: the one of a run, and the path itself."""
    return RunFolder(path).policy, path


def policy_folder(path: Path) -> Path | None:
    """Return the policy folder of a run, or the path if it is one; None if there is none."""
    return next((place for place in policy_places(path) if is_folder_of(place, "policy")), None)


def controller_folder(path: Path) -> Path | None:
    """Return the path if it is a bundle, else the policy folder that it means, if any."""
    return path if is_folder_of(path, "bundle") else policy_folder(path)


def run_of(controller: Path) -> RunFolder | None:
    """Return the run that a path means: the folder itself, or the one of its policy folder."""
    runs = (RunFolder(controller), RunFolder(controller.parent))
    return next((run for run in runs if is_folder_of(run.policy, "policy")), None)
