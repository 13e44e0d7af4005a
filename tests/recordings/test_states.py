"""Of a recording, one state of each episode is drawn, and nobody chooses which."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import surefoot.recordings.states
from surefoot.errors import InputError
from surefoot.recordings import Sensors, StatesFile
from surefoot.visited import Visited

SENSORS = Sensors(count=2)
NUM_EPISODES, LENGTH = 300, 4


def write(path: Path, states: NDArray[np.float64], episodes: NDArray[np.generic]) -> StatesFile:
    np.savez(path, states=states, episode=episodes)
    return StatesFile(path=path, columns=("states",), episode_column="episode")


def rows(seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(0, 1, (NUM_EPISODES * LENGTH, 2))


def read(path: Path, states: NDArray[np.float64], episodes: NDArray[np.generic]) -> Visited:
    return write(path / "log.npz", states, episodes).read(SENSORS)


def test_one_state_of_each_episode_is_drawn_whatever_episodes_are_called(tmp_path: Path) -> None:
    states = rows()
    numbered = np.repeat(np.arange(NUM_EPISODES), LENGTH)
    named = np.char.add("run ", numbered.astype(str))
    mixed = np.random.default_rng(1).permutation(len(states))
    for episodes in (numbered, numbered + 0.5, named, numbered[mixed]):
        visited = read(tmp_path, states, episodes)
        assert np.array_equal(visited.pool, states)
        found = [int(np.flatnonzero((states == row).all(axis=1))[0]) for row in visited.independent]
        assert len(found) == NUM_EPISODES
        assert set(episodes[found]) == set(episodes)
        before = [int((episodes[:row] == episodes[row]).sum()) for row in found]
        assert before == visited.steps.tolist()


def test_each_row_keeps_the_number_of_its_episode(tmp_path: Path) -> None:
    names = np.array(["b", "a", "b", "c", "a"])
    visited = read(tmp_path, rows()[:5], names)
    assert visited.episodes is not None
    assert visited.episodes.tolist() == [1, 0, 1, 2, 0]


def test_every_step_of_an_episode_is_as_likely_as_another(tmp_path: Path) -> None:
    """300 draws of 4 steps: 75 each, and 5 standard deviations are 37."""
    episodes = np.repeat(np.arange(NUM_EPISODES), LENGTH)
    counts = np.bincount(read(tmp_path, rows(), episodes).steps, minlength=LENGTH)
    assert np.abs(counts - NUM_EPISODES / LENGTH).max() < 37


def test_the_states_decide_the_draw_so_that_nobody_chooses_among_draws(tmp_path: Path) -> None:
    episodes = np.repeat(np.arange(NUM_EPISODES), LENGTH)
    first, again = (read(tmp_path, rows(), episodes) for _ in range(2))
    other = read(tmp_path, rows(seed=2), episodes)
    assert np.array_equal(first.steps, again.steps)
    assert not np.array_equal(first.steps, other.steps)


def test_a_single_episode_is_refused(tmp_path: Path) -> None:
    states = rows()
    with pytest.raises(InputError, match="'episode' must tell at least 2 episodes apart, got 1"):
        read(tmp_path, states, np.zeros(len(states)))


def test_a_row_without_an_episode_is_refused(tmp_path: Path) -> None:
    states = rows()
    episodes = np.repeat(np.arange(NUM_EPISODES), LENGTH).astype(np.float64)
    episodes[8] = np.nan
    with pytest.raises(InputError, match=r"row 9 .* 'episode' must name an episode, got 'nan'$"):
        read(tmp_path, states, episodes)
    with pytest.raises(InputError, match="'episode' must have 1200 rows as the states, has 7"):
        read(tmp_path, states, episodes[:7])


@pytest.mark.parametrize(
    ("names", "counted"),
    [
        (["a", " a", "a ", "b"], [0, 0, 0, 1]),
        ([0.0, -0.0, 1.0, 0.0], [0, 0, 1, 0]),
        ([b"\xff", b"a", b"\xff", b"a"], [0, 1, 0, 1]),
    ],
)
def test_one_episode_that_is_written_in_two_ways_is_one(
    tmp_path: Path, names: list[str] | list[float] | list[bytes], counted: list[int]
) -> None:
    """A second that is none would count as evidence."""
    visited = read(tmp_path, rows()[:4], np.array(names))
    assert visited.episodes is not None
    assert visited.episodes.tolist() == counted


def test_more_than_a_bundle_may_hold_is_refused_with_what_to_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surefoot.recordings.states, "MAX_RECORDED", 1000)
    with pytest.raises(InputError, match=r"at most 500 rows .* holds 1200: keep one row in 3"):
        read(tmp_path, rows(), np.repeat(np.arange(NUM_EPISODES), LENGTH))


def test_columns_of_several_lengths_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "log.npz", a=np.zeros(3), b=np.zeros(4))
    with pytest.raises(InputError, match="as many rows as each other, have 'a' 3, 'b' 4"):
        StatesFile(path=tmp_path / "log.npz").read(SENSORS)


def test_episodes_that_hold_the_same_rows_are_no_evidence_and_both_are_named(
    tmp_path: Path,
) -> None:
    states, episodes = rows(), np.repeat(np.arange(NUM_EPISODES), LENGTH)
    states[episodes == 7] = states[episodes == 3] + 1e-12  # a controller reads float32
    with pytest.raises(InputError, match="'3' and '7' of column 'episode' hold the same rows"):
        read(tmp_path, states, episodes)
    states[-1] += 1
    states[episodes == 7] = states[episodes == 3][::-1]
    assert len(read(tmp_path, states, episodes).independent) == NUM_EPISODES


def table(path: Path) -> Path:
    (path / "log.csv").write_text("ep,q0,q1,v0\n1,1,2,3\n1,4,5,6\n2,7,8,9\n")
    return path / "log.csv"


def test_a_column_is_one_sensor_and_no_episode(tmp_path: Path) -> None:
    path, three = table(tmp_path), Sensors(count=3)
    with pytest.raises(InputError, match="columns must differ, 'q0' is named 2 times"):
        StatesFile(path=path, columns=("q0", "q0", "q1")).read(three)
    with pytest.raises(InputError, match="columns must differ, 'q1' is named 2 times"):
        StatesFile(path=path).read(Sensors(count=3, names=("q0", "q1", "q1")))
    with pytest.raises(InputError, match="episode column 'ep' must be no sensor as well"):
        StatesFile(path=path, columns=("ep", "q0", "q1"), episode_column="ep").read(three)


def test_a_field_and_one_of_its_columns_are_one_column_twice(tmp_path: Path) -> None:
    np.savez(tmp_path / "log.npz", q=rows()[:5])
    with pytest.raises(InputError, match=r"columns must differ, 'q\[1\]' is named 2 times"):
        StatesFile(path=tmp_path / "log.npz", columns=("q", "q[1]")).read(Sensors(count=3))


def test_which_column_is_which_sensor_is_said_where_no_name_tells(tmp_path: Path) -> None:
    path, heard = table(tmp_path), list[str]()
    StatesFile(path=path).read(Sensors(count=4), heard.append)
    mapping = "sensor 0 = ep, sensor 1 = q0, sensor 2 = q1, sensor 3 = v0"
    assert heard == [f"{path}: no names tell, taken in their order: {mapping}"]
    heard.clear()
    StatesFile(path=path, columns=("q1", "q0")).read(Sensors(count=2), heard.append)
    StatesFile(path=path).read(Sensors(count=2, names=("v0", "q0")), heard.append)
    assert heard == []


def test_columns_none_of_which_is_a_sensor_of_the_controller_are_refused(tmp_path: Path) -> None:
    sensors = Sensors(count=4, names=("hip", "knee", "ankle", "base"))
    with pytest.raises(InputError, match="has no column 'hip'"):
        StatesFile(path=table(tmp_path)).read(sensors)


def test_that_each_row_is_an_episode_of_its_own_is_said(tmp_path: Path) -> None:
    heard: list[str] = []
    columns = ("q0", "q1")
    by_state = StatesFile(path=table(tmp_path), columns=columns, episode_column="v0")
    by_state.read(Sensors(count=2), heard.append)
    assert heard == [f"{by_state.path}: each row is an episode of its own by column 'v0'"]
    heard.clear()
    by_episode = StatesFile(path=by_state.path, columns=columns, episode_column="ep")
    by_episode.read(Sensors(count=2), heard.append)
    assert heard == []
