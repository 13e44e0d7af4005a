"""Which attacks a gate detects, and what is left of the return behind it.

    python benchmarks/gate_attacks.py --out docs/results/gate_attacks.json

The full suite on the demo's bundle (examples/hopper): without its gate, behind it, and behind one
with limits on rates as well, made of recorded episodes. Behind each the robot holds its last
action, or falls back to actuators at rest; two attacks also meet a fallback to the policy at the
nearest reading in range. Learned adversaries and critics are trained briefly,
once for all: they know no gate. Finished pieces stay in --work, so that the same command goes on.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from gate_scope import episodes_of

from surefoot.artifact import Json
from surefoot.attack import AttackConfig, run_suite
from surefoot.attack.sarsa import SarsaSettings
from surefoot.bundle import Bundle, open_bundle
from surefoot.certify.gate_thresholds import make_gate
from surefoot.gate import Gate, GateRule, Reaction
from surefoot.records import AttackRecord

BUNDLE = Path(__file__).parents[1] / "examples" / "hopper"
REACTIONS = (Reaction.HOLD, Reaction.FALLBACK)
CONFIG = AttackConfig(
    suite="full",
    episodes=10,
    selection_episodes=2,
    critic_steps=8_192,
    sarsa=SarsaSettings(records=4_800, epochs=5),
    adversary_steps=16_384,
    num_threads=1,
)
AT_THE_LIMIT = replace(
    CONFIG,
    attacks=("mad", "push"),
    env_module=str(Path(__file__).parent / "gate_fallback.py"),
    fallback="at_the_limit",
)
"""Of the attacks only those that need no training, which is another one beside a module."""


def gates_of(bundle: Bundle) -> dict[str, Gate]:
    """Return the gate of a bundle, and one of whole recorded episodes with the same margin."""
    assert bundle.gate is not None
    assert bundle.controller.env_id is not None
    policy = bundle.controller.policy
    rule = GateRule(margin=bundle.gate.rule.margin)
    with_rates = make_gate(policy, episodes_of(policy, bundle.controller.env_id), rule)
    return {"ranges": bundle.gate.gate, "ranges and rates": with_rates.gate}


def settings_of(bundle: Bundle) -> Iterator[tuple[str, Gate | None, AttackConfig]]:
    """Yield what is attacked: its name, its gate, and how."""
    gates = gates_of(bundle)
    yield "without a gate", None, CONFIG
    for name, gate in gates.items():
        for reaction in REACTIONS:
            yield f"{name}, {reaction}", replace(gate, reaction=reaction), CONFIG
    falling = replace(gates["ranges"], reaction=Reaction.FALLBACK)
    yield "ranges, fallback to the policy at the nearest reading in range", falling, AT_THE_LIMIT


def row_of(record: AttackRecord) -> dict[str, Json]:
    """Return of each attack its mean return, its variant, and when the gate fired."""
    return {
        name: {
            "mean": outcome.mean,
            "variant": outcome.variant,
            "failures": outcome.failures,
            "terminated": sum(outcome.terminated),
            "fired": None if outcome.gate is None else outcome.gate.fired,
            "median_step": None if outcome.gate is None else outcome.gate.median_steps,
        }
        for name, outcome in record.attacks.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("gate_attacks.work"))
    arguments = parser.parse_args()
    bundle, start, rows = open_bundle(BUNDLE), time.process_time(), {}
    for name, gate, config in settings_of(bundle):
        print(f"{name}, after {time.process_time() - start:.0f} s", flush=True)
        report = run_suite(
            bundle.controller,
            bundle.certificate,
            config,
            work=arguments.work,
            gate=gate,
        )
        rows[name] = row_of(report.record())
    result = {
        "episodes": CONFIG.episodes,
        "selection_episodes": CONFIG.selection_episodes,
        "adversary_steps": CONFIG.adversary_steps,
        "critic_steps": CONFIG.critic_steps,
        "epsilon": report.ball.epsilon,
        "attacks": rows,
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
