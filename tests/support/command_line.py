"""The command line, run in this process, and a training of seconds for it."""

import contextlib
import io
import sys
from dataclasses import dataclass
from unittest import mock

from surefoot.cli import main

TINY = """
[train]
env_id = "Hopper-v5"
total_steps = 4096
num_envs = 4
rollout_steps = 256
minibatch_size = 256
hidden = [16, 16]
critic_hidden = [16, 16]
epochs = 2
num_threads = 1
num_evaluations = 2
evaluation_episodes = 2
visited_states = 16
checkpoint_steps = 1024

[train.defence]
kind = "sa"
epsilon = 0.075
kappa = 0.3
inner_steps = 3

[train.pruning]
kind = "magnitude"
sparsity = 0.5
interval = 1

[certify]
search_states = 8
search_steps = 3
lipsdp_iterations = 5
lipsdp_per_actuator = 0

[attack]
epsilon = 0.05
episodes = 2
selection_episodes = 1
num_threads = 1

[bench]
backends = ["numpy"]
num_calls = 200
paced_s = 0.05
under_load = false
batches = []

[[require]]
quantity = "action_deviation"
epsilon = 0.05
norm = "linf"
scope = "everywhere"
at_most = 1.9

[[require]]
quantity = "sparsity"
at_least = 0.5
"""

BRIEF_BENCH = (
    *("--backend", "numpy", "--set", "bench.num_calls=20", "--set", "bench.paced_s=0.01"),
    *("--set", "bench.under_load=false", "--set", "bench.batches=[]"),
)
"""Flags of a benchmark of moments, of one backend on a core that nothing else loads."""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


def run_pipeline(*args: object) -> Done:
    """Run the command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    argv = ["pipeline", *(str(arg) for arg in args)]
    code = 0
    with (
        mock.patch.object(sys, "argv", argv),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Done(code, out.getvalue(), err.getvalue())
