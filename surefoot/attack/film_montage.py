"""Two episodes side by side: the robot above, its actions and their deviation below.

H, W = height and width of a picture in pixels.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from surefoot.attack.film import FilmedEpisode
from surefoot.envs.camera import Pixels
from surefoot.picture import draw_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 100
_PANEL = 260
"""Height of the plots, pixels."""

_LEFT, _WIDTH = 0.13, 0.84
"""Left end and width of a plot, as shares of its half of the film."""

_ACTIONS, _DEVIATIONS = (0.55, 0.33), (0.14, 0.30)
"""Lower end and height of the plots, as shares of the panel."""

_PROVED, _CURSOR = "#c2491d", np.array((31, 59, 87), np.uint8)
_ROOM = 1.15
"""Height of the axis of deviations, in the largest that it shows."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scene:
    """One half of the film.

    Attributes:
        title: What is seen.
        episode: The episode.
    """

    title: str
    episode: FilmedEpisode


def montage(scenes: Sequence[Scene], certified_deviation: float | None) -> Iterator[Pixels]:
    """Yield the pictures of the film, (H, W, 3).

    Where one episode is over its last picture stays, grey.

    Args:
        scenes: What is shown side by side, of one task and one shot.
        certified_deviation: Proved bound on the change of one output, drawn as a line; None where
            there is none.

    Raises:
        MissingLibraryError: If matplotlib is not installed.
    """
    plots = _plots(scenes, certified_deviation)
    num_pictures = max(len(scene.episode.pictures) for scene in scenes)
    longest = max(scene.episode.length for scene in scenes)
    for number in range(num_pictures):
        robots = np.concatenate([_robot(scene.episode, number) for scene in scenes], axis=1)
        panel = plots.copy()
        for place, scene in enumerate(scenes):
            done = min(number * scene.episode.every, scene.episode.length) / max(longest, 1)
            column = int(plots.shape[1] * (place + _LEFT + _WIDTH * done) / len(scenes))
            panel[_rows(plots), column : column + 2] = _CURSOR
        yield _even(np.concatenate([robots, panel]))


def _robot(episode: FilmedEpisode, number: int) -> Pixels:
    """Return a picture of the robot, grey when the episode is over."""
    if number < len(episode.pictures):
        return episode.pictures[number]
    last = episode.pictures[-1]
    grey = (last.mean(axis=2, keepdims=True) / 2 + 96).astype(np.uint8)
    return np.repeat(grey, 3, axis=2)


def _rows(plots: Pixels) -> slice:
    """Return the rows from the top of the upper plot to the foot of the lower one."""
    top, foot = 1 - _ACTIONS[0] - _ACTIONS[1], 1 - _DEVIATIONS[0]
    return slice(int(len(plots) * top), int(len(plots) * foot))


def _even(picture: Pixels) -> Pixels:
    """Return a picture of even height and width, which codecs of films ask for."""
    height, width = picture.shape[:2]
    return picture[: height - height % 2, : width - width % 2]


def _plots(scenes: Sequence[Scene], certified: float | None) -> Pixels:
    """Draw the plots of all scenes, without cursors."""
    from matplotlib.image import imread

    width = sum(scene.episode.pictures[0].shape[1] for scene in scenes)

    def paint(figure: "Figure") -> None:
        figure.set_layout_engine("none")  # the cursor must know where the axes are
        for place, scene in enumerate(scenes):
            left, share = (place + _LEFT) / len(scenes), _WIDTH / len(scenes)
            upper = figure.add_axes((left, _ACTIONS[0], share, _ACTIONS[1]))
            lower = figure.add_axes((left, _DEVIATIONS[0], share, _DEVIATIONS[1]))
            _plot(upper, lower, scene, scenes, certified)

    drawn = imread(io.BytesIO(draw_png(width / _DPI, _PANEL / _DPI, paint, dpi=_DPI)))
    return np.asarray(drawn[:, :, :3] * 255, np.uint8)


def _plot(
    upper: "Axes", lower: "Axes", scene: Scene, scenes: Sequence[Scene], certified: float | None
) -> None:
    """Draw the actions and deviations of a scene, on axes that all scenes share."""
    episode, all_of = scene.episode, [one.episode for one in scenes]
    longest = max(one.length for one in all_of)
    period = episode.dt_s or 1.0
    times = period * np.arange(episode.length)
    for actions in episode.actions.T:
        upper.plot(times, actions, linewidth=0.7)
    lower.plot(times, episode.deviations.max(axis=1, initial=0.0), color="#1f3b57", linewidth=0.8)
    # Of a controller that overflows, a deviation may be infinite: it leaves the plot.
    finite = [one.deviations[np.isfinite(one.deviations)] for one in all_of]
    reached = max(float(deviations.max(initial=0.0)) for deviations in finite)
    if certified is not None:
        lower.axhline(certified, color=_PROVED, linewidth=1)
        lower.text(0, certified, " proved bound", color=_PROVED, fontsize=7, va="bottom")
    lower.set_ylim(0, _ROOM * max(reached, certified or 0.0, 1e-6))
    lowest = min(float(one.actions.min(initial=0)) for one in all_of)
    highest = max(float(one.actions.max(initial=0)) for one in all_of)
    margin = 0.05 * (highest - lowest or 1.0)
    upper.set_ylim(lowest - margin, highest + margin)
    for axes, name in ((upper, "actions"), (lower, "deviation")):
        axes.set_xlim(0, period * max(longest, 1))
        axes.set_ylabel(name, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    upper.set_xticklabels([])
    upper.set_title(scene.title, fontsize=9, parse_math=False)
    lower.set_xlabel("steps" if episode.dt_s is None else "s", fontsize=8, labelpad=1)
