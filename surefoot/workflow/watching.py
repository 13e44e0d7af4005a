"""Watching: a film of a deployed controller, without an adversary and under the strongest."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from surefoot.artifact import is_folder_of, write_file
from surefoot.attack import AttackConfig, AttackReport, DeployedController, NoAdversary, run_suite
from surefoot.attack.film import FilmedEpisode, film_episode
from surefoot.attack.film_montage import Scene, montage
from surefoot.attack.suite_inputs import deployed_gate
from surefoot.attack.suite_report import AttackResult
from surefoot.envs.filming import Shot, filmed_env
from surefoot.errors import InputError
from surefoot.output_path import FILM_RECORD, ResultKind, check_result_file
from surefoot.records import perturbation_words
from surefoot.run_folder import RunFolder, run_of
from surefoot.runtime.load import controller_of
from surefoot.study.film_record import EpisodeSummary, FilmRecord
from surefoot.workflow.attacking import shipped_critics
from surefoot.workflow.configuration import Configuration
from surefoot.workflow.film_files import encode, is_film, require_encoder
from surefoot.workflow.listener import SILENCE, Listener
from surefoot.workflow.opening import Deployed, environment_module, open_deployed
from surefoot.workflow.robot_file import robot_of

FILM = ResultKind("a film of surefoot", is_film)
_PICTURES_PER_S = 25.0
_FILMED = 3
"""Steps of progress: two episodes and their film."""


def watch_controller(
    bundle: Path,
    out: Path | None = None,
    *,
    config: Configuration | None = None,
    shot: Shot | None = None,
    allow_uncertified: bool = False,
    output: str | None = None,
    listener: Listener = SILENCE,
) -> FilmRecord:
    """Find the strongest attack of a suite, and film the controller without and under it.

    Both episodes have the seed whose attacked return is the median of the evaluation episodes.
    Writes an MP4, a GIF of the same name and a JSON file of what is seen. What a run has already
    found of its attacks is not searched again.

    Args:
        bundle: A run, or a bundle; with ``allow_uncertified`` a policy folder or ``.onnx`` file.
        out: The film, a name that ends in .mp4; ``watch.mp4`` in the run by default.
        config: The ``[attack]`` table, laid over that of the run.
        shot: Size of the pictures; the steps between them are chosen so that the film runs as fast
            as the robot.
        allow_uncertified: Film what is not certified, too.
        output: Output of a foreign file that holds the actions, if it has several outputs.
        listener: Is told of progress.

    Raises:
        InputError: If the path holds no controller, the task can be drawn in no way, or ``out``
            cannot be written.
        MissingLibraryError: If nothing that draws without a display, or that encodes, is installed.
        VerificationError: If the bundle does not verify.
        CheckError: If the runtime is not its twin, or a certified bound does not hold.
        InterruptedRun: If a signal asked to stop.
    """
    run = run_of(bundle)
    film = out or (Path("watch.mp4") if run is None else run.film)
    _check_places(film)
    target = open_deployed(
        _deployed(bundle, run), listener, allow_uncertified=allow_uncertified, output=output
    )
    table = (config or Configuration()).over(_settings_of(run))
    attacking = table.attacking()
    module = environment_module(target.file, bundle, attacking.env_module)
    attacking = replace(attacking, env_module=module)
    shot = shot or Shot()
    _check_can_be_filmed(attacking.env_id or target.file.env_id, shot, module)
    report = _attacked(bundle, run, target, attacking, listener)
    result = report.attacks[report.worst]
    record = _film(film, target, attacking, report, result, shot, listener)
    write_file(film.with_suffix(".json"), record.to_json())
    return record


def _check_places(film: Path) -> None:
    """Check that the film and what lies beside it may be written.

    Raises:
        InputError: If not.
    """
    if film.suffix != ".mp4":
        raise InputError(f"out must end in .mp4, got {film}")
    for suffix in (".mp4", ".gif"):
        check_result_file(film.with_suffix(suffix), FILM)
    check_result_file(film.with_suffix(".json"), FILM_RECORD)


def _check_can_be_filmed(env_id: str | None, shot: Shot, env_module: str | None) -> None:
    """Check that what draws and encodes is there, before a suite is played.

    Raises:
        InputError: If the task can be drawn in no way, or none is named.
        MissingLibraryError: If a library is not installed.
    """
    require_encoder()
    if env_id is None:
        raise InputError("attack.env_id must be given: the controller file names no environment")
    with filmed_env(env_id, shot, env_module):
        pass


def _deployed(bundle: Path, run: RunFolder | None) -> Path:
    """Return the bundle of a run if it has one, else the path itself."""
    if run is not None and run.path == bundle and is_folder_of(run.bundle, "bundle"):
        return run.bundle
    return bundle


def _settings_of(run: RunFolder | None) -> Configuration:
    """Return how a run was attacked."""
    if run is None:
        return Configuration()
    tables = run.tables
    return Configuration({"attack": tables["attack"]} if "attack" in tables else {})


def _attacked(
    bundle: Path,
    run: RunFolder | None,
    target: Deployed,
    config: AttackConfig,
    listener: Listener,
) -> AttackReport:
    """Play the suite, from what a run already found."""
    work = None if run is None else run.attack.with_suffix(".work")
    if config.suite_name == "quick" or work is None or not work.is_dir():
        work = None
    with listener.progress(f"attack {config.suite_name}", config.num_steps) as update:
        return run_suite(
            target.file,
            target.certificate,
            config,
            on_progress=update,
            critics=shipped_critics(bundle, target.file.sha256),
            work=work,
            robot=robot_of(bundle),
            gate=target.gate,
        )


def _film(
    out: Path,
    target: Deployed,
    config: AttackConfig,
    report: AttackReport,
    result: AttackResult,
    shot: Shot,
    listener: Listener,
) -> FilmRecord:
    """Film two episodes of one seed, and write the film."""
    env_id = report.spec.env_id
    shot, pictures_per_s = _in_real_time(shot, report.spec.dt_s)
    deployed = DeployedController(
        controller=controller_of(target.file, config.backend), policy=target.file.policy
    )
    gate = deployed_gate(target.file, target.gate, config)
    seed = _median_seed(result)
    episodes: list[FilmedEpisode] = []
    with listener.progress("film", _FILMED) as update:
        for adversary in (NoAdversary(), result.adversary):
            update(len(episodes), "playing")
            episodes.append(
                film_episode(
                    deployed,
                    env_id,
                    adversary,
                    seed,
                    shot,
                    certified_deviation=result.certified,
                    gate=gate,
                    samples=config.samples,
                    env_module=config.env_module,
                )
            )
        clean, attacked = episodes
        scenes = (
            Scene(title=_title("clean", clean), episode=clean),
            Scene(title=_title(f"{report.worst}, {result.variant}", attacked), episode=attacked),
        )
        update(len(episodes), "drawing")
        film, gif = encode(montage(scenes, result.certified), pictures_per_s)
        write_file(out, film)
        write_file(out.with_suffix(".gif"), gif)
        update(_FILMED, "done")
    _warn_of_another(attacked, _return_of(result, seed), config, listener)
    ball = report.ball
    return FilmRecord(
        onnx_sha256=target.file.sha256,
        env=env_id,
        attack=report.worst,
        variant=result.variant,
        perturbation=perturbation_words(ball.norm, ball.epsilon, report.readings),
        seed=seed,
        pictures_per_s=pictures_per_s,
        certified_deviation=result.certified,
        clean=EpisodeSummary.of(clean),
        attacked=EpisodeSummary.of(attacked),
    )


def _warn_of_another(
    filmed: FilmedEpisode, played: float, config: AttackConfig, listener: Listener
) -> None:
    """Say why the filmed episode has not the return of the one that the suite played."""
    if filmed.total == played:
        return
    # NumPy rounds the product of one row otherwise than that of many; samples are of the twin.
    why = (
        "sampled actions are rounded by how many episodes play at once"
        if config.samples
        else "the task does not repeat itself"
    )
    listener.remark(
        f"WARNING: the filmed return {filmed.total!r} is not that of the attacked episode, "
        f"{played!r}: {why}"
    )


def _in_real_time(shot: Shot, dt_s: float | None) -> tuple[Shot, float]:
    """Return a shot, and the pictures per second at which its film runs as fast as the robot."""
    if dt_s is None:
        return shot, _PICTURES_PER_S
    every = max(1, round(1 / (_PICTURES_PER_S * dt_s)))
    return replace(shot, every=every), 1 / (every * dt_s)


def _median_seed(result: AttackResult) -> int:
    """Return the seed of the evaluation episode whose return is the median, the lower of two."""
    returns = result.evaluation.returns
    middle = int(np.argsort(returns, kind="stable")[(len(returns) - 1) // 2])
    return result.evaluation.seeds[middle]


def _return_of(result: AttackResult, seed: int) -> float:
    return float(result.evaluation.returns[result.evaluation.seeds.index(seed)])


def _title(words: str, episode: FilmedEpisode) -> str:
    """Say what a scene shows and how it ends."""
    if episode.failure is not None:
        end = f", fails after {episode.length} steps"
    elif not episode.terminated:
        end = ""
    elif episode.dt_s is None:
        end = f", ends after {episode.length} steps"
    else:
        end = f", ends after {episode.length * episode.dt_s:.1f} s"
    return f"{words}: return {episode.total:.0f}{end}"
