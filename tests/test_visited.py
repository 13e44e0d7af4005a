"""Visited observations are read back as they were written, or refused."""

import io
from dataclasses import replace

import numpy as np
import pytest

from surefoot.errors import IntegrityError
from surefoot.visited import SampledEpisodes, Visited


def drawn(num: int = 6, obs_dim: int = 3) -> Visited:
    rng = np.random.default_rng(0)
    sampled = SampledEpisodes(
        observations=rng.normal(size=(num, obs_dim)),
        steps=rng.integers(20, size=num),
        alive=rng.random(num) < 0.5,
        returns=rng.normal(size=num),
        horizon=20,
    )
    return Visited(
        independent=rng.normal(size=(num, obs_dim)),
        steps=rng.integers(20, size=num),
        num_discarded=4,
        pool=rng.normal(size=(30, obs_dim)),
        sampled=sampled,
        earlier=rng.normal(size=(num, 4, obs_dim)),
    )


def npz(**arrays: object) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_what_was_written_is_read_back() -> None:
    visited = drawn()
    again = Visited.from_bytes(visited.to_bytes())
    for name in ("independent", "steps", "num_discarded", "pool", "earlier"):
        assert np.array_equal(getattr(again, name), getattr(visited, name))
    for name in ("observations", "steps", "alive", "returns", "horizon"):
        written, read = (getattr(entry.sampled, name) for entry in (visited, again))
        assert np.array_equal(written, read)


def test_a_file_may_have_no_sampled_episodes() -> None:
    assert Visited.from_bytes(replace(drawn(), sampled=None).to_bytes()).sampled is None


@pytest.mark.parametrize(
    "change",
    [
        {"steps": np.arange(5)},
        {"returns": np.zeros((6, 1))},
        {"alive": np.ones(7, np.bool_)},
        {"observations": np.zeros(6)},
        {"steps": np.arange(15, 21)},
        {"steps": np.arange(-1, 5)},
        {"horizon": 0},
    ],
)
def test_sampled_episodes_that_do_not_fit_each_other_are_refused(
    change: dict[str, np.ndarray | int],
) -> None:
    visited = drawn()
    assert visited.sampled is not None
    damaged = replace(visited, sampled=replace(visited.sampled, **change))
    with pytest.raises(IntegrityError, match="do not fit"):
        Visited.from_bytes(damaged.to_bytes())


@pytest.mark.parametrize(
    "earlier", [np.zeros((6, 3)), np.zeros((5, 4, 3)), np.full((6, 4, 3), np.nan)]
)
def test_what_came_before_other_states_is_refused(earlier: np.ndarray) -> None:
    with pytest.raises(IntegrityError, match="does not hold visited states"):
        Visited.from_bytes(replace(drawn(), earlier=earlier).to_bytes())


def test_the_episodes_of_the_pool_are_read_back_or_refused() -> None:
    numbered = replace(drawn(), episodes=np.arange(30) // 4)
    again = Visited.from_bytes(numbered.to_bytes())
    assert again.episodes is not None
    assert np.array_equal(again.episodes, np.arange(30) // 4)
    assert Visited.from_bytes(drawn().to_bytes()).episodes is None
    for wrong in (np.arange(29), np.zeros(30)):
        with pytest.raises(IntegrityError, match="does not hold visited states"):
            Visited.from_bytes(replace(drawn(), episodes=wrong).to_bytes())


def test_which_states_are_of_episodes_of_the_pool_is_read_back_or_refused() -> None:
    marked = replace(drawn(), in_pool=np.arange(6) < 2)
    again = Visited.from_bytes(marked.to_bytes())
    assert again.in_pool is not None
    assert np.array_equal(again.in_pool, np.arange(6) < 2)
    assert Visited.from_bytes(drawn().to_bytes()).in_pool is None
    for wrong in (np.arange(5) < 2, np.zeros(6)):
        with pytest.raises(IntegrityError, match="does not hold visited states"):
            Visited.from_bytes(replace(drawn(), in_pool=wrong).to_bytes())


def test_the_trials_of_a_gate_are_read_back_or_refused() -> None:
    tried = replace(drawn(), trials=np.ones((7, 3)))
    again = Visited.from_bytes(tried.to_bytes())
    assert again.trials is not None
    assert np.array_equal(again.trials, np.ones((7, 3)))
    for wrong in (np.ones((7, 2)), np.ones(3), np.full((7, 3), np.nan), np.ones((7, 3), np.int64)):
        with pytest.raises(IntegrityError, match="does not hold visited states"):
            Visited.from_bytes(replace(drawn(), trials=wrong).to_bytes())


@pytest.mark.parametrize("missing", ["independent", "steps", "num_discarded", "pool"])
def test_a_file_in_which_an_array_is_missing_is_refused(missing: str) -> None:
    arrays = {"independent": 0.0, "steps": 0, "num_discarded": 0, "pool": 0.0}
    arrays.pop(missing)
    with pytest.raises(IntegrityError, match=rf"visited\.npz .*{missing}"):
        Visited.from_bytes(npz(**arrays))


@pytest.mark.parametrize("data", [b"", b"PK", b"\x80\x04]\x94."])
def test_what_is_no_file_of_visited_states_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"visited\.npz"):
        Visited.from_bytes(data)
