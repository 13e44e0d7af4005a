"""Records whose numbers nobody measured: for tests of what is done with them."""

from collections.abc import Sequence

from surefoot.ball import Norm
from surefoot.records import (
    AttackOutcome,
    AttackRecord,
    BackendRecord,
    BenchRecord,
    LatencyRecord,
    WorstAttack,
)


def outcome_of(returns: Sequence[float], failures: int = 0) -> AttackOutcome:
    """The outcome of an attack with these returns; its first episodes failed."""
    count, mean = len(returns), sum(returns) / len(returns)
    return AttackOutcome(
        returns=tuple(returns),
        mean=mean,
        iqm=mean,
        interval=(min(returns), max(returns)),
        max_deviation=0.125,
        max_deviation_per_output=(0.125, 0.0),
        certified_deviation=0.25,
        reached_share=0.5,
        lengths=(1,) * count,
        terminated=(False,) * count,
        failures=failures,
        failure_reasons=("not finite",) * failures + (None,) * (count - failures),
        variant="one",
        effort={"queries": 3},
        selection={},
    )


def attack_record_of(
    *, onnx_sha256: str = "0" * 64, **attacks: Sequence[float] | AttackOutcome
) -> AttackRecord:
    """The record of attacks with these returns, by name."""
    outcomes = {
        name: given if isinstance(given, AttackOutcome) else outcome_of(given)
        for name, given in attacks.items()
    }
    worst = min(outcomes, key=lambda name: outcomes[name].mean)
    return AttackRecord(
        epsilon=0.075,
        norm=Norm.LINF,
        backend="onnx",
        suite="quick",
        episodes=len(outcomes["clean"].returns),
        attacks=outcomes,
        worst=WorstAttack(attack=worst, mean=outcomes[worst].mean, failures=0),
        gradient_masking=None,
        onnx_sha256=onnx_sha256,
        env="Hopper-v5",
    )


def bench_record_of(onnx_sha256: str = "0" * 64) -> BenchRecord:
    """The record of a benchmark of one backend."""
    latency = LatencyRecord(n=9, p50_us=1.5, p90_us=None, p99_us=None, p999_us=None, max_us=2.5)
    backend = BackendRecord(
        n=9,
        p50_us=1.5,
        p90_us=None,
        p99_us=None,
        p999_us=None,
        max_us=2.5,
        inference=latency,
        paced={"50": latency, "1000": latency},
        paced_under_load={},
        misses={"50": 0, "1000": 3},
        misses_under_load={},
        batches={},
        size_bytes=1000,
        memory_bytes=None,
        warm_up=3,
    )
    return BenchRecord(
        backends={"numpy": backend},
        timer_floor_us=0.05,
        machine={"cpu": "a CPU"},
        onnx_sha256=onnx_sha256,
    )
