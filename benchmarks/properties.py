"""How many random questions are answered, how fast, and whether an independent search disagrees.

    python benchmarks/properties.py --out docs/results/properties.json

Boxes around random states of random networks, 64 to 256 wide, with 3 to 17 inputs; and networks of
the size of ACAS Xu (six layers of 50 ReLU, 5 inputs), as drawn and fitted to smooth functions. Each
has a limit near the largest value that a search of its own finds. And narrow boxes of 16 to 64
sensors around ReLU networks, with limits between what an ascent finds and what CROWN bounds, which
neither decides alone. Seconds are those of the process
on one thread, so that others on the machine do not count.
"""

import argparse
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy loads

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from surefoot.activation import AnyActivation
from surefoot.artifact import Json, to_json, write_file
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.bounds.conditions import ConditionBounds
from surefoot.certify.bounds.upward import Float
from surefoot.certify.counterexamples import deployed_arithmetic
from surefoot.certify.question_search import answer
from surefoot.certify.questions import proved_violation
from surefoot.inequality import Inequality
from surefoot.onnx_file import policy_from_onnx, policy_to_onnx
from surefoot.policy import Activation, GaussianHead, Layer, Normaliser, Policy, Squash
from surefoot.question import Condition, NormalisedBox, Question

_ROOM = 0.5
"""Limits lie within this share of the range of the sum from the largest that was found."""

_HELD_OUT = 1000
"""Number of the first question that nothing in the search was chosen by."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A question about a policy.

    Attributes:
        kind: Kind of the network, in words.
        policy: The policy.
        question: The question.
        found: Largest excess that an independent search found.
    """

    kind: str
    policy: Policy
    question: Question
    found: float


def network(rng: np.random.Generator, sizes: list[int], activation: AnyActivation) -> Policy:
    """Return a policy without normaliser and squash, weights of He's size."""
    layers = []
    for number, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        is_last = number == len(sizes) - 2
        gain = 1.0 if is_last or activation is Activation.TANH else np.sqrt(2)
        weight = rng.normal(0, gain / np.sqrt(fan_in), (fan_out, fan_in))
        layers.append(
            Layer(
                weight=weight.astype(np.float32),
                bias=rng.normal(0, 0.1, fan_out).astype(np.float32),
                activation=Activation.IDENTITY if is_last else activation,
            )
        )
    zeros, ones = (np.full(sizes[-1], value, np.float32) for value in (0, 1))
    return Policy(
        normaliser=Normaliser(
            mean=np.zeros(sizes[0], np.float32), scale=np.ones(sizes[0], np.float32), clip=10.0
        ),
        layers=tuple(layers),
        head=GaussianHead(std=None, squash=Squash.IDENTITY, centre=zeros, half_range=ones),
    )


def fitted(rng: np.random.Generator, sizes: list[int]) -> Policy:
    """Return a policy whose outputs are fitted to distances from random points, by Adam."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(int(rng.integers(2**31)))
    modules: list[torch.nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        modules += [torch.nn.Linear(fan_in, fan_out), torch.nn.ReLU()]
    model = torch.nn.Sequential(*modules[:-1])
    points = torch.randn(sizes[-1], sizes[0])
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(300):
        inputs = torch.rand(256, sizes[0]) * 2 - 1
        loss = (model(inputs) - torch.cdist(inputs, points)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    drawn = network(rng, sizes, Activation.RELU)
    linear = [module for module in model if isinstance(module, torch.nn.Linear)]
    layers = [
        Layer(
            weight=module.weight.detach().numpy(),
            bias=module.bias.detach().numpy(),
            activation=layer.activation,
        )
        for module, layer in zip(linear, drawn.layers, strict=True)
    ]
    return Policy(normaliser=drawn.normaliser, layers=tuple(layers), head=drawn.head)


def case(rng: np.random.Generator, kind: str, policy: Policy, centre: Float, side: float) -> Case:
    """Return a question about a sum of two outputs on a box; its limit may hold or not."""
    low, high = centre - side, centre + side
    signs = rng.choice([-1.0, 1.0], policy.num_outputs)
    chosen = rng.permutation(policy.num_outputs)[:2]
    weights = np.zeros(policy.num_outputs)
    weights[chosen] = signs[chosen]
    sums = policy.outputs_at(low + rng.random((20_000, len(low))) * (high - low)) @ weights
    best = _climbed(rng, policy, weights, low, high)
    limit = best + rng.uniform(-_ROOM, _ROOM) * float(best - sums.min())
    terms = tuple((int(output), float(weights[output])) for output in sorted(chosen))
    condition = Condition(clauses=((Inequality(terms=terms, limit=limit),),))
    box = NormalisedBox(low=tuple(low.tolist()), high=tuple(high.tolist()))
    question = Question(where=box, condition=condition)
    return Case(kind=kind, policy=policy, question=question, found=best - limit)


def _climbed(
    rng: np.random.Generator, policy: Policy, weights: Float, low: Float, high: Float
) -> float:
    """Return the largest sum that a random search finds: it uses values alone."""
    points = low + rng.random((512, len(low))) * (high - low)
    for step in range(60):
        size = 0.5 * 0.92**step * (high - low)
        moved = np.clip(points + rng.normal(0, 1, points.shape) * size, low, high)
        better = policy.outputs_at(moved) @ weights > policy.outputs_at(points) @ weights
        points[better] = moved[better]
    return float((policy.outputs_at(points) @ weights).max())


def wide_cases(count: int, first: int = 0) -> Iterator[Case]:
    """Yield questions from a number on, about random networks of 64 to 256 neurons a layer."""
    kinds = (Activation.TANH, Activation.RELU, Activation.ELU)
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        width, sensors = int(rng.choice([64, 128, 256])), int(rng.integers(3, 18))
        activation = kinds[number % 3]
        policy = network(rng, [sensors, width, width, 4], activation)
        side = float(rng.uniform(0.01, 0.1))
        yield case(rng, f"{width}x{width} {activation}", policy, rng.normal(0, 1, sensors), side)


def acas_cases(count: int) -> Iterator[Case]:
    """Yield questions about networks of the size of ACAS Xu, half of them fitted."""
    for number in range(count):
        rng = np.random.default_rng(10_000 + number)
        sizes = [5, *[50] * 6, 5]
        is_fitted = number % 2 == 1
        policy = fitted(rng, sizes) if is_fitted else network(rng, sizes, Activation.RELU)
        kind = f"6x50 relu, {'fitted' if is_fitted else 'as drawn'}"
        side = float(rng.uniform(0.05, 0.25))
        yield case(rng, kind, policy, rng.uniform(-0.7, 0.7, 5), side)


def many_cases(count: int) -> Iterator[Case]:
    """Yield questions about many sensors that neither an ascent nor one bound decides."""
    for number in range(count):
        rng = np.random.default_rng(20_000 + number)
        sensors, width = int(rng.integers(16, 65)), int(rng.choice([64, 128]))
        policy = network(rng, [sensors, width, width, 4], Activation.RELU)
        side = float(rng.uniform(0.01, 0.04))
        easy = case(
            rng, f"{sensors} sensors, {width}x{width}", policy, rng.normal(0, 1, sensors), side
        )
        (inequality,) = easy.question.condition.inequalities
        low, high = easy.question.box.ends
        arithmetic = ARITHMETICS["float32"]
        bounds = ConditionBounds(policy, easy.question.condition, low, high, arithmetic)
        points = low + rng.random((64, sensors)) * (high - low)
        for step in range(30):
            slopes = np.sign(bounds.slopes_at(points)[:, 0])
            points = np.clip(points + slopes * (high - low) / 2 * (1 - step / 30), low, high)
        seen = float(bounds.excesses_at(points).max())
        raised = rng.uniform(0.1, 0.5) * (
            float(bounds.crown_excesses(low[None], high[None])[0, 0]) - seen
        )
        limit = inequality.limit + seen + raised
        condition = Condition(clauses=((replace(inequality, limit=limit),),))
        question = replace(easy.question, condition=condition)
        yield replace(easy, question=question, found=-raised)


def answered(one: Case, seconds: float) -> dict[str, Json]:
    """Answer a question and compare with the independent search."""
    file = policy_from_onnx(policy_to_onnx(one.policy))
    arithmetic, replay = ARITHMETICS["float32"], deployed_arithmetic(file)
    start = time.process_time()
    growth = answer(
        one.question,
        file.policy,
        arithmetic,
        replay,
        num_boxes=1 << 20,
        seconds=max(20.0, 2 * seconds),
    )
    taken = time.process_time() - start
    verdict = "unsat" if growth.witness is None else "sat"
    conflict = False
    if not growth.is_decided:
        verdict = "unknown"
    elif verdict == "unsat":
        again = proved_violation(one.question, file.policy, arithmetic, growth.tree)
        conflict = one.found > 0 or again.value > 0
    return {
        "kind": one.kind,
        "verdict": verdict if taken <= seconds else "unknown",
        "seconds": taken,
        "boxes": growth.tree.num_parts,
        "along_neurons": sum(len(tree.cuts) // 2 + 1 for _, tree in growth.tree.closed),
        "conflict": conflict,
    }


def summary(entries: list[dict[str, Json]], seconds: float) -> dict[str, Json]:
    """Return counts and shares over the answers."""
    verdicts = [entry["verdict"] for entry in entries]
    taken = np.array([entry["seconds"] for entry in entries])
    return {
        "questions": len(entries),
        "decided": 1 - verdicts.count("unknown") / len(entries),
        "within_seconds": seconds,
        **{word: verdicts.count(word) for word in ("unsat", "sat", "unknown")},
        "conflicts": sum(bool(entry["conflict"]) for entry in entries),
        "seconds_median": float(np.median(taken)),
        "seconds_p90": float(np.quantile(taken, 0.9)),
    }


def main() -> None:
    """Answer the questions and write the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("properties.json"))
    parser.add_argument("--wide", type=int, default=300)
    parser.add_argument("--held-out", type=int, default=300)
    parser.add_argument("--acas", type=int, default=12)
    parser.add_argument("--many", type=int, default=40)
    arguments = parser.parse_args()
    result: dict[str, Json] = {"command": "python benchmarks/properties.py"}
    for name, cases, seconds in (
        ("wide", wide_cases(arguments.wide), 1.0),
        ("held_out", wide_cases(arguments.held_out, first=_HELD_OUT), 1.0),
        ("acas", acas_cases(arguments.acas), 60.0),
        ("many", many_cases(arguments.many), 1.0),
    ):
        entries = []
        for one in cases:
            entries.append(answered(one, seconds))
            print(name, *entries[-1].values(), flush=True)
        if entries:
            result[name] = {**summary(entries, seconds), "answers": entries}
        write_file(arguments.out, to_json(result))


if __name__ == "__main__":
    main()
