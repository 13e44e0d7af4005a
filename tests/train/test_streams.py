"""One seed, and one independent stream for each purpose."""

import numpy as np
import torch

from surefoot.train.streams import Stream, env_seeds, numpy_stream, torch_stream


def test_no_two_purposes_seeds_or_indices_share_a_stream() -> None:
    keys = [(seed, stream, *index) for seed in (0, 1) for stream in Stream for index in ((), (0,))]
    drawn = {tuple(numpy_stream(*key).integers(2**63, size=4).tolist()) for key in keys}
    assert len(drawn) == len(keys)


def test_no_two_purposes_share_a_stream_of_pytorch() -> None:
    cpu = torch.device("cpu")
    drawn = {
        tuple(torch.randint(2**62, (4,), generator=torch_stream(0, stream, cpu)).tolist())
        for stream in Stream
    }
    assert len(drawn) == len(Stream)


def test_equal_seeds_make_equal_streams() -> None:
    for stream in Stream:
        one, other = (numpy_stream(7, stream).random(5) for _ in range(2))
        assert np.array_equal(one, other)


def test_seeds_of_environments_are_what_gymnasium_takes() -> None:
    seeds = env_seeds(numpy_stream(0, Stream.ENVIRONMENTS), 1000)
    assert len(seeds) == 1000
    assert all(type(seed) is int and 0 <= seed < 2**31 for seed in seeds)
