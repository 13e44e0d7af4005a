"""Two episodes beside each other: the cursor goes with the time, and what is over is grey."""

import numpy as np

from surefoot.attack.film import FilmedEpisode
from surefoot.attack.film_montage import Scene, montage
from surefoot.envs.camera import Pixels

_CURSOR = (31, 59, 87)


def episode_of(num_pictures: int, *, every: int = 2) -> FilmedEpisode:
    steps = every * (num_pictures - 1)
    pictures = tuple(np.full((33, 64, 3), (200, 20, 20), np.uint8) for _ in range(num_pictures))
    return FilmedEpisode(
        pictures=pictures,
        every=every,
        actions=np.linspace(-1, 1, steps)[:, None],
        deviations=np.full((steps, 1), 0.1),
        total=1.0,
        terminated=True,
        failure=None,
        dt_s=0.01,
    )


def cursor_of(half: Pixels) -> int:
    """The column in which the cursor stands, a line over most of the rows of the plots."""
    return int((half[33:] == _CURSOR).all(axis=2).sum(axis=0).argmax())


def test_an_episode_that_is_over_stays_grey_while_the_other_goes_on() -> None:
    scenes = [Scene(title="a", episode=episode_of(5)), Scene(title="b", episode=episode_of(3))]
    film = list(montage(scenes, 0.2))
    assert len(film) == 5
    assert all(not size % 2 for picture in film for size in picture.shape[:2])
    robots = [picture[:32, 64:128] for picture in film]
    colourful = [bool((robot[..., 0] != robot[..., 1]).any()) for robot in robots]
    assert colourful == [True, True, True, False, False]
    left, right = ([cursor_of(p[:, half]) for p in film] for half in (slice(64), slice(64, 128)))
    assert left == sorted(set(left))
    assert right[2] == right[3] == right[4] == left[2]


def test_a_film_without_a_bound_has_no_line_of_one() -> None:
    scenes = [Scene(title="a", episode=episode_of(2))]
    with_bound, without = (next(montage(scenes, bound)) for bound in (0.2, None))
    red = [
        (picture[33:, :, 0] > picture[33:, :, 2].astype(int) + 80).any()
        for picture in (with_bound, without)
    ]
    assert red == [True, False]


def test_an_infinite_deviation_leaves_the_plot_and_not_the_film() -> None:
    episode = episode_of(2)
    episode.deviations[1] = np.inf
    assert len(list(montage([Scene(title="a", episode=episode)], None))) == 2
