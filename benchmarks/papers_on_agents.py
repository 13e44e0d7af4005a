"""What the papers claim and the kept agents can decide: bounds, prunings and returns, no training.

    python benchmarks/papers_on_agents.py

writes docs/results/papers.json and papers.png from docs/results/agents, in about ten minutes of one
core. ``claims_page.py`` makes a page of the claims from the JSON.
"""

import argparse
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from learning import KEPT, METHODS, TASKS, Cell, cells, epsilon_of, kept
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import spearmanr

from surefoot.ball import Ball, Norm
from surefoot.certify.ascent import climb, objectives
from surefoot.certify.bounds.chain import action_chain, network_chain
from surefoot.certify.bounds.global_bounds import closed_form_bounds, paper_surrogate
from surefoot.certify.bounds.local_bounds import local_bounds, local_region
from surefoot.certify.printed import (
    lemma_1_deviation,
    one_layer_constants,
    parameter_step,
    path_sensitivity,
    theorem_3_terms,
)
from surefoot.compress import Allocation, Method, OneShotConfig, compress_policy
from surefoot.envs import make_env
from surefoot.policy import GaussianHead, Policy
from surefoot.provenance import code_digest, installed_versions
from surefoot.runtime.controller_file import load_controller_file
from surefoot.study.contrasts import contrast
from surefoot.train.visited_recorder import record_visited
from surefoot.unknown import Unknown

Float = NDArray[np.float64]

LEVELS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
TERM_LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
BOUNDS = ("paper_surrogate", "absolute_product", "spectral", "combettes_pesquet")
PAPER_ATTACKS = ("random", "critic", "mad", "rs")
PRUNED = {"sa50": 0.5, "sa70": 0.7, "sa90": 0.9}
NUM_STATES, SEED, STD, DISCOUNT, TOLERANCE = 64, 20251, 0.1, 0.99, 0.05
SMALL_STEPS, SEARCH_STEPS, DRAWS = 100, 10, 2000
GOOD_HOPPER = 2500.0


class Agent:
    """A kept agent: its controller, what it visits, and what its record says."""

    def __init__(self, cell: Cell, keep: Path) -> None:
        self.cell = cell
        self.record = kept(keep, cell)
        self.file = load_controller_file(keep / cell.name / "policy.onnx")
        self.policy: Policy = self.file.policy
        self.epsilon = epsilon_of(cell.preset)

    @property
    def is_dense(self) -> bool:
        return self.policy.sparsity == 0

    @cached_property
    def states(self) -> Float:
        """States of whole episodes, evenly thinned, (NUM_STATES, obs_dim)."""
        env = make_env(self.file.env_id, 8)
        pool = record_visited(self.policy, env, SEED, num_states=8).pool
        chosen = np.linspace(0, len(pool) - 1, NUM_STATES).astype(int)
        return self.policy.state(pool[chosen])

    def pruned(self, level: float) -> Policy:
        sizes = sum(layer.weight.size for layer in self.policy.layers)
        config = OneShotConfig(method=Method.MAGNITUDE, allocation=Allocation.ERK)
        return compress_policy(self.policy, None, round(sizes * (1 - level)), config)

    def found(self, policy: Policy) -> Float:
        """The largest change of each action that a search finds at each state, (n, m)."""
        ball = Ball(norm=Norm.LINF, epsilon=self.epsilon)
        clean, worst = policy.outputs_at(self.states), 0.0
        for objective in objectives(policy, distribution=False):
            step = climb(policy, self.states, ball, objective, steps=SEARCH_STEPS)
            worst = np.maximum(worst, np.abs(policy.outputs_at(self.states + step) - clean))
        return np.asarray(worst)

    def returns(self, *attacks: str) -> Float:
        """Mean over attacks of the return of each episode."""
        played = self.record["attack"]["attacks"]
        return np.mean([played[name]["returns"] for name in attacks], axis=0)

    @property
    def worst(self) -> Float:
        return self.returns(self.record["attack"]["worst"]["attack"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agents", type=Path, default=KEPT)
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    given = parser.parse_args()
    agents = [Agent(cell, given.agents) for cell in cells() if kept(given.agents, cell)]
    found = measure(agents)
    (given.results / "papers.json").write_text(json.dumps(found, indent=1) + "\n")
    (given.results / "papers.png").write_bytes(draw(found))


def measure(agents: Sequence[Agent]) -> dict[str, Any]:
    dense = [agent for agent in agents if agent.is_dense]
    sa = [agent for agent in dense if agent.cell.method == "sa"]
    attacked = [agent for agent in agents if "attack" in agent.record]
    return {
        "command": "python benchmarks/papers_on_agents.py",
        "code_sha256": code_digest(),
        "versions": dict(installed_versions("mujoco", "numpy", "scipy")),
        "agents": len(agents),
        "dense_agents": len(dense),
        "attacked_agents": len(attacked),
        "one_shot": one_shot(dense),
        "lemma_1": lemma_1(dense),
        "theorem_3": theorem_3(sa),
        "small_steps": small_steps(sa),
        "admissible": admissible(dense),
        "contrasts": contrasts(attacked),
        "bounds": trained_bounds(agents),
        "predictors": predictors(attacked),
        "kept_shares": kept_shares(attacked),
        "selection_noise": selection_noise(attacked),
    }


def one_shot(dense: Sequence[Agent]) -> dict[str, Any]:
    """Prune every dense actor at every level: which bounds rise, and what a search finds."""
    rows = [row for agent in dense for row in prunings(agent)]
    by_level = {level: [row for row in rows if row["level"] == level] for level in LEVELS}
    names = (*BOUNDS, "found")
    return {
        "prunings": len(rows),
        "levels": list(LEVELS),
        "rises": {n: sum(row[n] > 1 + 1e-9 for row in rows) for n in BOUNDS},
        "rises_at_5": {n: sum(row[n] > 1 + 1e-9 for row in by_level[0.05]) for n in BOUNDS},
        "median": {
            n: [float(np.median([row[n] for row in by_level[v]])) for v in LEVELS] for n in names
        },
        "mean_found_50": float(np.mean([row["found"] for row in by_level[0.5]])),
        "mean_found_90": float(np.mean([row["found"] for row in by_level[0.9]])),
        "actors_beyond_certified_50": sum(row["beyond"] > 0 for row in by_level[0.5]),
        "states_beyond_certified_50": sum(row["beyond"] for row in by_level[0.5]),
        "states_50": NUM_STATES * len(dense),
    }


def prunings(agent: Agent) -> Iterator[dict[str, float]]:
    before, found = bounds_of(agent.policy), agent.found(agent.policy)
    region = local_region(agent.states, agent.epsilon, Norm.LINF)
    certified = local_bounds(agent.policy, region).action.max(axis=1)
    for level in LEVELS:
        policy = agent.pruned(level)
        now, worse = bounds_of(policy), agent.found(policy)
        yield {
            "level": level,
            **{name: now[name] / before[name] for name in BOUNDS},
            "found": float(worse.max(axis=1).mean() / found.max(axis=1).mean()),
            "beyond": int((worse.max(axis=1) > certified * (1 + 1e-6)).sum()),
        }


def bounds_of(policy: Policy) -> Mapping[str, float]:
    return closed_form_bounds(action_chain(policy)).whole


def lemma_1(dense: Sequence[Agent]) -> dict[str, float]:
    """Lemma 1 as printed beside the surrogate, both times the same length: is it smaller?"""
    at, larger = [], 0
    for agent in dense:
        found = lemma_1_deviation(agent.policy, agent.states, agent.epsilon)
        assert found is not None
        global_bound = paper_surrogate(network_chain(agent.policy)) * agent.epsilon
        at.append(float(np.median(found)) / global_bound)
        larger += bool((found > global_bound).any())
    return {
        "actors": len(dense),
        "actors_above": larger,
        "median_of_surrogate": float(np.median(at)),
    }


def theorem_3(sa: Sequence[Agent]) -> dict[str, Any]:
    """The terms of Theorem 3 in multiples of the trivial bound, at each level."""
    rows = []
    for agent in sa:
        for level in TERM_LEVELS:
            terms = theorem_3_terms(
                agent.pruned(level),
                agent.policy,
                agent.states,
                epsilon=agent.epsilon,
                std=STD,
                discount=DISCOUNT,
            )
            row = {"agent": agent.cell.name, "level": level, **asdict(terms)}
            rows.append(row | {"total": terms.total})
    return {
        "std": STD,
        "discount": DISCOUNT,
        "cases": len(rows),
        "above_dense": sum(row["total"] > row["dense_gap"] for row in rows),
        "above_trivial": sum(row["total"] > 1 for row in rows),
        "least_total": min(row["total"] for row in rows),
        "rows": rows,
    }


def small_steps(sa: Sequence[Agent]) -> dict[str, Any]:
    """The loss term of a path of small magnitude prunings to 50 %, over that of one step."""
    ratios, shares = [], []
    for agent in sa:
        path = [agent.pruned(level) for level in np.linspace(0, 0.5, SMALL_STEPS + 1)[1:]]
        states = agent.states[::8]
        whole = path_sensitivity(path[-1], agent.policy, states)
        steps = [
            (path_sensitivity(after, before, states), parameter_step(after, before))
            for before, after in zip([agent.policy, *path], path, strict=False)
        ]
        once = whole * parameter_step(path[-1], agent.policy)
        ratios.append(sum(sense * size for sense, size in steps) / once)
        shares.append(float(np.mean([sense for sense, _ in steps])) / whole)
    return {
        "steps": SMALL_STEPS,
        "actors": len(sa),
        "least_ratio": min(ratios),
        "median_ratio": float(np.median(ratios)),
        "median_sensitivity": float(np.median(shares)),
    }


def admissible(dense: Sequence[Agent]) -> dict[str, Any]:
    """The share of weights that the constants of 003 let magnitude pruning remove."""
    shares, ratios = [], []
    for agent in dense:
        constants = one_layer_constants(agent.policy, agent.states)
        assert not isinstance(constants, Unknown)
        assert isinstance(agent.policy.head, GaussianHead)
        layers = agent.policy.layers
        limit = TOLERANCE / len(layers) / float(agent.policy.head.half_range.max())
        removed = [
            removable(layer.weight.astype(float), allowed)
            for layer, allowed in zip(layers, constants.admissible(limit), strict=True)
        ]
        shares.append(sum(removed) / sum(layer.weight.size for layer in layers))
        ratios.append(constants.norms_and_biases.max(0) / constants.forward_pass.max(0))
    return {
        "tolerance": TOLERANCE,
        "actors": len(dense),
        "least_share": min(shares),
        "median_share": float(np.median(shares)),
        "largest_share": max(shares),
        "norms_over_forward": np.median(ratios, axis=0).tolist(),
    }


def removable(weight: Float, allowed: float) -> int:
    """How many of the smallest weights may go before the spectral norm of what went exceeds it."""
    order = np.argsort(np.abs(weight), axis=None)
    low, high = 0, weight.size
    while low < high:
        middle = (low + high + 1) // 2
        change = np.zeros(weight.size)
        change[order[:middle]] = weight.ravel()[order[:middle]]
        if np.linalg.norm(change.reshape(weight.shape), 2) <= allowed:
            low = middle
        else:
            high = middle - 1
    return low


def contrasts(attacked: Sequence[Agent]) -> dict[str, Any]:
    """Ratios of arms over dense SA, and of defences over plain PPO, by quantity."""
    found: dict[str, Any] = {}
    for preset in TASKS:
        arms = {m: group(attacked, preset, m) for m in METHODS if group(attacked, preset, m)}
        pairs = [(method, "sa") for method in PRUNED if method in arms]
        pairs += [(m, "dense") for m in ("sa", "arpo", "barpo70") if m in arms]
        pairs += [("barpo70", "arpo"), ("sa70", "dense")]
        for ours, theirs in pairs:
            if ours in arms and theirs in arms:
                name = f"{preset}-{ours}-over-{theirs}"
                found[name] = compared(arms[ours], arms[theirs])
    return found


def group(agents: Sequence[Agent], preset: str, method: str) -> list[Agent]:
    return [agent for agent in agents if (agent.cell.preset, agent.cell.method) == (preset, method)]


def compared(ours: Sequence[Agent], theirs: Sequence[Agent]) -> dict[str, Any]:
    quantities = {
        "published": lambda a: (a.returns("clean"), a.returns(*PAPER_ATTACKS)),
        "clean": lambda a: (a.returns("clean"),),
        "attacked": lambda a: (a.returns(*PAPER_ATTACKS),),
        "worst": lambda a: (a.worst,),
        **{name: (lambda a, n=name: (a.returns(n),)) for name in PAPER_ATTACKS},
    }
    found = {}
    for name, parts in quantities.items():
        result = contrast([parts(a) for a in ours], [parts(a) for a in theirs])
        found[name] = None if result is None else asdict(result)
    return found


def trained_bounds(agents: Sequence[Agent]) -> dict[str, dict[str, float]]:
    """Bounds of trained sparse agents over those of dense SA, ratios of means."""

    def values(method: str) -> dict[str, float]:
        records = [agent.record["certificate"] for agent in group(agents, "hopper", method)]
        return {
            **{
                name: float(np.mean([r["lipschitz_l2"][name] for r in records]))
                for name in ("paper_surrogate", "absolute_product", "spectral", "lipsdp")
            },
            "visited_certified": float(np.mean([r["visited"]["certified"] for r in records])),
            "visited_sampled": float(np.mean([r["visited"]["sampled"] for r in records])),
        }

    base = values("sa")
    return {m: {name: v / base[name] for name, v in values(m).items()} for m in PRUNED}


def predictors(attacked: Sequence[Agent]) -> dict[str, Any]:
    """Rank correlations of bounds with the worst return, among good Hopper agents."""
    good = [
        agent
        for agent in attacked
        if agent.cell.preset == "hopper" and agent.returns("clean").mean() > GOOD_HOPPER
    ]
    worst = [float(agent.worst.mean()) for agent in good]
    quantities = {
        "surrogate": [a.record["certificate"]["lipschitz_l2"]["paper_surrogate"] for a in good],
        "certified": [a.record["certificate"]["visited"]["certified"] for a in good],
        "sampled": [a.record["certificate"]["visited"]["sampled"] for a in good],
    }
    found = {name: spearmanr(values, worst) for name, values in quantities.items()}
    return {
        "agents": len(good),
        **{name: {"rho": float(r.statistic), "p": float(r.pvalue)} for name, r in found.items()},
        "points": {"worst": worst, **quantities},
    }


def kept_shares(attacked: Sequence[Agent]) -> dict[str, dict[str, float]]:
    """Median share of the clean return that the four attacks leave, and that all of them leave."""
    found = {}
    for preset in TASKS:
        ours = [agent for agent in attacked if agent.cell.preset == preset]
        clean = np.array([agent.returns("clean").mean() for agent in ours])
        four = np.array([min(a.returns(n).mean() for n in PAPER_ATTACKS) for a in ours])
        full = np.array([agent.worst.mean() for agent in ours])
        found[preset] = {
            "agents": len(ours),
            "four": float(np.median(four / clean)),
            "full": float(np.median(full / clean)),
        }
    return found


def selection_noise(attacked: Sequence[Agent]) -> dict[str, Any]:
    """What the best of several levels shows on its own seeds, where no level has any effect.

    Each draw gives five seeds to dense SA and to each level, all from one law whose spread is that
    of the kept SA agents, chooses the level of the highest score, and tells its attacked ratio.
    """
    generator = np.random.default_rng(0)
    found: dict[str, Any] = {"levels": len(LEVELS), "seeds": 5}
    for preset in ("hopper", "walker2d", "halfcheetah"):
        agents = group(attacked, preset, "sa")
        pairs = np.array(
            [(a.returns("clean").mean(), a.returns(*PAPER_ATTACKS).mean()) for a in agents]
        )
        spread = pairs.std(axis=0, ddof=1) / pairs.mean(axis=0)
        drawn = 1 + generator.normal(0, 1, (DRAWS, len(LEVELS) + 1, 2)) * spread / math.sqrt(5)
        ratios = drawn[:, 1:] / drawn[:, :1]
        best = ratios.mean(axis=2).argmax(axis=1)
        shown = ratios[np.arange(DRAWS), best, 1]
        found[preset] = {
            "spread": spread.tolist(),
            "mean": float(shown.mean()),
            "high": float(np.quantile(shown, 0.95)),
        }
    return found


def draw(found: Mapping[str, Any]) -> bytes:
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for name, values in found["one_shot"]["median"].items():
        left.plot(found["one_shot"]["levels"], values, label=name.replace("_", " "))
    left.axhline(1, color="black", linewidth=0.8)
    left.set_ylim(0, 1.4)
    left.set(xlabel="one-shot sparsity", ylabel="over the dense actor, median")
    left.legend(frameon=False, fontsize=7)
    rows = found["theorem_3"]["rows"]
    for name in ("performance_loss", "robustness_gap", "total"):
        values = [np.median([r[name] for r in rows if r["level"] == v]) for v in TERM_LEVELS]
        middle.plot(TERM_LEVELS, values, label=name.replace("_", " "))
    dense = np.median([row["dense_gap"] for row in rows])
    middle.axhline(dense, color="grey", linestyle=":", label="without pruning")
    middle.axhline(1, color="black", label="trivial bound")
    middle.set_yscale("log")
    middle.set(xlabel="one-shot sparsity", ylabel="terms of Theorem 3 / trivial bound")
    middle.legend(frameon=False, fontsize=7)
    points = found["predictors"]["points"]
    for name in ("sampled", "certified"):
        label = f"{name}, rho {found['predictors'][name]['rho']:.2f}"
        right.scatter(points[name], points["worst"], s=12, label=label)
    right.set(xlabel="deviation at visited states", ylabel="worst return, Hopper")
    right.legend(frameon=False, fontsize=7)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


if __name__ == "__main__":
    main()
