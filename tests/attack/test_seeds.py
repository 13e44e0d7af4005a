import numpy as np
import pytest

from surefoot.attack.seeds import TRAINING_END, evaluation_seeds, selection_seeds
from surefoot.errors import InputError
from surefoot.train.streams import Stream, env_seeds, numpy_stream


def test_training_selection_and_evaluation_share_no_episode() -> None:
    selection, evaluation = set(selection_seeds(5000)), set(evaluation_seeds(5000))
    assert len(selection) == len(evaluation) == 5000
    assert not selection & evaluation
    assert min(selection | evaluation) >= TRAINING_END


@pytest.mark.parametrize("stream", list(Stream))
def test_whatever_training_draws_lies_below_the_attacks(stream: Stream) -> None:
    drawn = env_seeds(numpy_stream(0, stream), 100_000)
    assert 0.99 * TRAINING_END < max(drawn) < TRAINING_END  # the very end of the range, no less


def test_the_last_seed_still_fits_a_random_state() -> None:
    np.random.RandomState(evaluation_seeds(10**6)[-1])
    np.random.RandomState(2**31 + 2**30 + 2**30 - 1)


def test_more_episodes_begin_with_the_same_ones() -> None:
    assert selection_seeds(20)[:7] == selection_seeds(7)
    assert evaluation_seeds(20)[:7] == evaluation_seeds(7)


@pytest.mark.parametrize("num", [0, -1, 2**30 + 1])
def test_numbers_of_episodes_that_have_no_range_are_refused(num: int) -> None:
    with pytest.raises(InputError, match="number of episodes must be in"):
        evaluation_seeds(num)
