"""Generated C of adopted policies against ONNX Runtime on the files that they were adopted from.

    python benchmarks/adopted_policy.py --out docs/results/adopted_policy.json

Two policies with random weights, of ordinary sizes: a PPO model of Stable-Baselines3 that the
converter writes, and an actor of rsl_rl that rsl_rl's own exporter writes to ONNX. Both are adopted
as ``pipeline adopt`` does it. What is compared takes turns in short blocks on one thread, so that
all of it meets the same load of the machine; ratios are between medians of one run.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import numpy as np
import onnxruntime
import torch
from c_runtime import BLOCK, harness, write
from gymnasium import spaces
from rsl_rl.models import MLPModel
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from tensordict import TensorDict

from surefoot.artifact import Json
from surefoot.convert import sb3
from surefoot.onnx_file import ControllerFile
from surefoot.policy import Array
from surefoot.runtime.benchmark import back_to_back
from surefoot.runtime.c_compiler import FLAGS
from surefoot.runtime.c_layers import Machine
from surefoot.runtime.c_source import CConfig
from surefoot.runtime.load import Backend, controller_of
from surefoot.runtime.machine import machine_facts
from surefoot.workflow.adopting import adopt_controller


class Spaces(gym.Env):
    """Seventeen sensors and six actuators."""

    observation_space = spaces.Box(-np.inf, np.inf, (17,))
    action_space = spaces.Box(-1.0, 1.0, (6,))


def of_sb3(folder: Path) -> Path:
    """Return the file that the converter writes of a PPO model behind VecNormalize."""
    env = VecNormalize(DummyVecEnv([Spaces]))
    PPO("MlpPolicy", env, device="cpu", seed=0).save(folder / "model.zip")
    env.save(str(folder / "statistics.pkl"))
    out = folder / "sb3.onnx"
    options = ["--normalize", str(folder / "statistics.pkl"), "--out", str(out)]
    assert sb3.main([str(folder / "model.zip"), *options]) == 0
    return out


def of_rsl_rl(folder: Path) -> Path:
    """Return the file that rsl_rl's own exporter writes of an actor."""
    torch.manual_seed(0)
    observation = TensorDict({"policy": torch.zeros(1, 48)}, batch_size=[1])
    actor = MLPModel(observation, {"actor": ["policy"]}, "actor", 12, [512, 256, 128], "elu", True)
    module, out = actor.as_onnx(verbose=False).eval(), folder / "rsl_rl.onnx"
    names = {"input_names": module.input_names, "output_names": module.output_names}
    torch.onnx.export(module, module.get_dummy_inputs(), out, opset_version=18, **names)
    return out


def on_onnx_runtime(path: Path) -> Callable[[Array], object]:
    """Return a call of the original file, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)
    name = session.get_inputs()[0].name
    return lambda obs: session.run(None, {name: obs})


def measure(path: Path, file: ControllerFile, num_calls: int) -> dict[str, Json]:
    """Time the original and the adopted policy in turns; return medians and ratios."""
    write(path.parent / "c", file.policy, CConfig(machine=Machine.PC))
    from_c = harness(path.parent / "c", FLAGS)
    ways = {
        "ONNX Runtime, original": on_onnx_runtime(path),
        "ONNX Runtime, adopted": controller_of(file, Backend.ONNX).engine.infer,
        "C, called from Python": controller_of(file, Backend.C).engine.infer,
    }
    rng = np.random.default_rng(1)
    batches = list(rng.normal(size=(256, 1, file.policy.obs_dim)).astype(np.float32))
    samples, times = {name: [] for name in ways}, []
    for block in range(-1, num_calls // BLOCK):
        for name, call in ways.items():
            timed = back_to_back(call, batches, BLOCK)
            if block >= 0:  # the first round only warms up
                samples[name].append(timed.samples_us)
        times.append(from_c())
    medians = {name: float(np.median(np.concatenate(parts))) for name, parts in samples.items()}
    medians["C, called from C"] = float(np.median(times))
    original = medians["ONNX Runtime, original"]
    ratios = {name: original / median for name, median in medians.items()}
    return {"p50_us": medians, "times_faster_than_the_original": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-calls", type=int, default=20_000)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.num_calls < BLOCK:
        parser.error(f"--num-calls must be at least {BLOCK}")
    result: dict[str, Json] = {"policies": {}, "machine": machine_facts()}
    makers = {
        "Stable-Baselines3, 17-64-64-6 tanh": of_sb3,
        "rsl_rl, 48-512-256-128-12 elu": of_rsl_rl,
    }
    for name, make in makers.items():
        with tempfile.TemporaryDirectory() as folder:
            path = make(Path(folder))
            adopted = adopt_controller(path, Path(folder) / "run")
            measured = measure(path, adopted.file, arguments.num_calls)
        result["policies"][name] = measured
        for way, ratio in measured["times_faster_than_the_original"].items():
            p50 = measured["p50_us"][way]
            print(f"{name:36} {way:24} p50 {p50:7.2f} us, {ratio:5.2f} x", file=sys.stderr)
    text = json.dumps(result, indent=2) + "\n"
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
