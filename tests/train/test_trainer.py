import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from surefoot.errors import DivergenceError, InputError, InterruptedRun, MissingLibraryError
from surefoot.policy import weights_sha256
from surefoot.train.config import LearnedNoise, MagnitudePruning, StateAdversarial, TrainConfig
from surefoot.train.run import Run
from surefoot.train.trainer import pick_device, train_policy

# Everything that has a state is on: defence, pruning of both networks, learned noise, normalisers.
TINY = TrainConfig(
    env_id="Hopper-v5",
    total_steps=2048,
    num_envs=4,
    rollout_steps=32,
    num_threads=1,
    device="cpu",
    hidden=(8, 8),
    critic_hidden=(8,),
    noise=LearnedNoise(initial=0.5),
    epochs=2,
    minibatch_size=32,
    defence=StateAdversarial(epsilon=0.1, kappa=0.1, inner_steps=2, fraction=0.5),
    pruning=MagnitudePruning(sparsity=0.5, target="both", interval=3),
    num_evaluations=4,
    evaluation_episodes=2,
    visited_states=2,
    checkpoint_steps=256,
)

_CHILD = """
import sys
from pathlib import Path
from surefoot.config import build, parse_toml
from surefoot.policy import weights_sha256
from surefoot.train import TrainConfig, train_policy

table = parse_toml(Path(sys.argv[1]).read_text(), "test")
result = train_policy(build(TrainConfig, table, "train"), out=Path(sys.argv[2]))
print(weights_sha256(result.policy))
"""


def digest(config, **more):
    return weights_sha256(train_policy(config, **more).policy)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    return train_policy(TINY, out=out), out


def child(tmp_path, config):
    from surefoot.config import to_table, to_toml

    (tmp_path / "config.toml").write_text(to_toml(to_table(config)))
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD, tmp_path / "config.toml", tmp_path / "out"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, process):
    deadline = time.monotonic() + 60
    while not condition() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_killed_at_any_moment_and_started_again_it_ends_with_the_same_digest(tmp_path, whole_run):
    rng = np.random.default_rng(0)
    checkpoints = tmp_path / "out" / "checkpoints"
    num_kills = 0
    while True:
        process = child(tmp_path, TINY)
        seen = set(checkpoints.glob("*")) if checkpoints.exists() else set()
        if num_kills < 3:
            # Wait until this process has written something, so that every start makes progress.
            wait_for(lambda seen=seen: set(checkpoints.glob("*")) - seen, process)
            time.sleep(rng.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=120)
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, stderr
        num_kills += 1
    assert num_kills > 0
    assert stdout.split() == [weights_sha256(whole_run[0].policy)]
