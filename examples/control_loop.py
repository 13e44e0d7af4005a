"""A bundle in a control loop of fixed rate, with deadlines counted from the schedule.

python examples/control_loop.py BUNDLE [SECONDS]
"""

import sys
import time
from pathlib import Path

import gymnasium

from surefoot.bundle import open_bundle
from surefoot.runtime import Backend, OnBadObservation, load_controller

# Every digest, the certificate and the verdict, or an error.
bundle = open_bundle(Path(sys.argv[1]))
control = load_controller(bundle, Backend.ONNX, OnBadObservation.HOLD)
head = bundle.controller.policy.head  # which knows what the environment calls a discrete action
robot = gymnasium.make(bundle.controller.env_id)
obs, _ = robot.reset(seed=0)
period_s = bundle.controller.metadata["control"]["dt_s"] or 0.02  # where the task names none
steps = round(float(sys.argv[2] if len(sys.argv) > 2 else 10) / period_s)
misses, worst_s, total = 0, 0.0, 0.0
start = time.perf_counter()
for step in range(steps):
    release = start + step * period_s
    time.sleep(max(0.0, release - time.perf_counter()))
    action = head.select(control(obs[None]))[0]
    latency_s = time.perf_counter() - release  # a late wake-up is charged, too
    misses, worst_s = misses + (latency_s > period_s), max(worst_s, latency_s)
    obs, reward, terminated, truncated, _ = robot.step(action)
    total += float(reward)
    if terminated or truncated:
        obs, _ = robot.reset()
print(
    f"{steps} steps at {1 / period_s:.0f} Hz: {misses} deadlines missed, "
    f"worst latency {worst_s * 1e6:.0f} us, reward {total:.1f}"
)
