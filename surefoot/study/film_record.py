"""What ``watch.json`` says, beside the film that it is about."""

from dataclasses import dataclass

from surefoot.attack.film import FilmedEpisode
from surefoot.records import Record


@dataclass(frozen=True, kw_only=True, slots=True)
class EpisodeSummary:
    """One half of a film.

    Attributes:
        total: Return.
        length: Steps.
        terminated: Whether the task ended the episode before its time.
        max_deviation: Largest change of one output, action units.
        failure: Why controller or simulation failed; None if they did not.
    """

    total: float
    length: int
    terminated: bool
    max_deviation: float
    failure: str | None

    @classmethod
    def of(cls, episode: FilmedEpisode) -> "EpisodeSummary":
        """Summarise an episode."""
        return cls(
            total=episode.total,
            length=episode.length,
            terminated=episode.terminated,
            max_deviation=float(episode.deviations.max(initial=0.0)),
            failure=episode.failure,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class FilmRecord(Record):
    """What ``watch.json`` says about a film.

    Attributes:
        onnx_sha256: Digest of the controller.
        env: Gymnasium id of the task.
        attack: Name of the attack that is shown: the one that left least.
        variant: Variant of it.
        perturbation: The perturbation set in words.
        seed: Seed of both episodes.
        pictures_per_s: Of the film, so that it runs as fast as the robot.
        certified_deviation: Proved bound on the change of one output, action units; None without.
        clean: The episode without an adversary.
        attacked: The episode under the attack.
    """

    onnx_sha256: str
    env: str
    attack: str
    variant: str
    perturbation: str
    seed: int
    pictures_per_s: float
    certified_deviation: float | None
    clean: EpisodeSummary
    attacked: EpisodeSummary
