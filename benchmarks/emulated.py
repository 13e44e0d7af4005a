"""Compare what comes out on this processor with what comes out on one that QEMU emulates.

    python benchmarks/emulated.py --under "qemu-x86_64 -cpu Haswell-v4" --record
    SUREFOOT_KERNELS=native python benchmarks/emulated.py --under ...     # the control

An emulator shows programs the CPUID of another processor, and libraries choose kernels by it: the
same training, compression, certificate and attack are computed with and without it, in one process
each. It runs some sixty times slower, so all are small. ``docs/results/emulated.json`` holds what
came out. It says nothing of what a processor itself rounds in its own way, and no emulator enters
the table of processors in ``reproduce.json``.
"""

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import surefoot

surefoot.pin_kernels()

from surefoot.artifact import sha256_hex, to_json  # noqa: E402
from surefoot.compress import calibration_states  # noqa: E402
from surefoot.config import build, to_table  # noqa: E402
from surefoot.onnx_file import policy_from_onnx, policy_to_onnx  # noqa: E402
from surefoot.policy import weights_sha256  # noqa: E402
from surefoot.provenance import MadeOn, made_on  # noqa: E402
from surefoot.train.defence_config import StateAdversarial  # noqa: E402

TABLE = Path(__file__).parents[1] / "docs" / "results" / "emulated.json"
TRAINING = surefoot.TrainConfig(
    env_id="Hopper-v5",
    total_steps=1024,
    num_envs=4,
    rollout_steps=64,
    num_threads=1,
    device="cpu",
    hidden=(32, 32),
    critic_hidden=(32, 32),
    epochs=2,
    minibatch_size=64,
    defence=StateAdversarial(epsilon=0.1, kappa=0.1, inner_steps=3),
    num_evaluations=1,
    evaluation_episodes=2,
    visited_states=32,
)
CERTIFICATE = surefoot.CertifyConfig(search_states=4, search_steps=2, lipsdp_iterations=5)
ATTACK = surefoot.AttackConfig(
    env_id="Hopper-v5",
    epsilon=0.05,
    attacks=("random", "mad", "push"),
    episodes=1,
    selection_episodes=1,
    critic_steps=0,
    num_threads=1,
)
BUDGET = """[[require]]
quantity = "action_deviation"
epsilon = 0.05
norm = "linf"
scope = "everywhere"
at_most = 0.5
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """What came out in one process.

    Attributes:
        digests: SHA-256 of each result, by its name.
        made_on: What computed it.
    """

    digests: Mapping[str, str]
    made_on: MadeOn


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What came out with and without an emulator.

    Attributes:
        emulator: Its name and version, as it gives them.
        here: What came out on this processor.
        emulated: What came out under the emulator.
        differ: Names of the results that differ.
    """

    emulator: str
    here: Results
    emulated: Results
    differ: tuple[str, ...]


def digests() -> Iterator[tuple[str, str]]:
    """Yield the name and the digest of each result, as it is computed."""
    trained = surefoot.train_policy(TRAINING)
    states = trained.visited.independent
    yield "policy", weights_sha256(trained.policy)
    yield "visited", sha256_hex(trained.visited.to_bytes())
    few = calibration_states(trained.policy, states)
    small = surefoot.compress_policy(trained.policy, few, 700, surefoot.OneShotConfig())
    yield "compressed", weights_sha256(small)
    file = policy_from_onnx(policy_to_onnx(trained.policy))
    budget, evidence = surefoot.Budget.parse(BUDGET), surefoot.Evidence(observations=states)
    certificate = surefoot.certify_policy(file, budget, evidence, CERTIFICATE)
    yield "certificate", sha256_hex(certificate.to_json())
    attacks = surefoot.run_suite(file, certificate, ATTACK).to_table()["attacks"]
    yield "attacks", sha256_hex(to_json(attacks))


def compute() -> Results:
    """Compute every result in this process."""
    found = {}
    for name, digest in digests():
        print(f"{name:12} {digest}", file=sys.stderr, flush=True)
        found[name] = digest
    return Results(digests=found, made_on=made_on())


def results_under(emulator: tuple[str, ...]) -> Results:
    """Compute every result in a process of its own, in which an emulator runs it.

    Raises:
        CalledProcessError: If it fails.
    """
    call = [*emulator, sys.executable, __file__]
    done = subprocess.run(call, stdout=subprocess.PIPE, text=True, check=True)
    return build(Results, json.loads(done.stdout), shlex.join(call))


def compare(emulator: tuple[str, ...]) -> Comparison:
    """Compute every result with and without an emulator.

    Raises:
        SystemExit: If CPUID shows the same processor in the emulator as outside of it.
    """
    here, emulated = results_under(()), results_under(emulator)
    if emulated.made_on.processor == here.made_on.processor:
        raise SystemExit(f"{shlex.join(emulator)}: programs see the processor of this machine")
    told = subprocess.run([emulator[0], "--version"], capture_output=True, text=True, check=True)
    return Comparison(
        emulator=told.stdout.splitlines()[0],
        here=here,
        emulated=emulated,
        differ=tuple(name for name in here.digests if here.digests[name] != emulated.digests[name]),
    )


def main() -> None:
    """Compare with an emulator, or compute what is compared."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--under", type=shlex.split, help="an emulator and its options")
    parser.add_argument("--record", action="store_true", help="take up what came out in the table")
    given = parser.parse_args()
    if not given.under:
        print(to_json(to_table(compute(), nulls=True)).decode())
        return
    result = compare(tuple(given.under))
    print(f"{result.emulated.made_on.processor}: {', '.join(result.differ) or 'nothing'} differs")
    if given.record:
        table = json.loads(TABLE.read_bytes()) if TABLE.is_file() else {}
        kernels = "pinned" if result.here.made_on.unpinned is None else "native"
        table[f"{shlex.join(given.under)}, {kernels} kernels"] = to_table(result, nulls=True)
        TABLE.write_bytes(to_json(table))
    sys.exit(1 if result.differ else 0)


if __name__ == "__main__":
    main()
