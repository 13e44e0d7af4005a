"""Gradient ascent against the strongest adversary, in tables and without sampling.

    python benchmarks/tabular_adversary.py --out docs/results/tabular_adversary.json

The paper of BARPO says that the strongest adversary on states leaves the optima where they are and
reshapes the way to them: it makes stationary points short of the optimum, from which ascent does
not come away. Random decision processes of a few states try it, with exact values and gradients.

States that may be shown as each other have the same best action, which is what that paper's theory
assumes; so the policy that is best without an adversary loses nothing to one. Softmax policies
ascend from the same random starts, with and without the strongest adversary, which is found by
policy iteration at every step. Its gradient is the one that holds it still (Danskin's theorem).
"""

import argparse
import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import binomtest

from surefoot.picture import draw_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
DISCOUNT = 0.9
OBJECTIVES = {"SPO": False, "ARPO": True}
"""Whether the strongest adversary acts while a policy ascends."""
RATES = {"natural": 1.0, "vanilla": 30.0}
"""First step of each gradient."""
SPREADS = (1.0, 5.0)
"""Standard deviations of the first logits: policies that still try everything, and rash ones."""
SHORT = 0.05
"""A run that ends this much below the optimum, as a share of it, has not reached it."""
STILL = 1e-3
"""A run whose last half gained less than this share of the optimum stands still."""


@dataclass(frozen=True, kw_only=True)
class Processes:
    """Decision processes of one size, each of which starts in any of its states.

    Attributes:
        transition: Probabilities, shape (processes, states, actions, states).
        reward: Shape (processes, states, actions).
        shown: Whether a state may be shown as another, shape (processes, states, states).
    """

    transition: Array
    reward: Array
    shown: NDArray[np.bool_]

    def action_values(self, values: Array) -> Array:
        """Return Q, shape (processes, states, actions), of values of the states."""
        ahead: Array = np.einsum("nsat,nt->nsa", self.transition, values)
        return self.reward + DISCOUNT * ahead


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=40)
    parser.add_argument("--starts", type=int, default=5, help="of each process")
    parser.add_argument("--states", type=int, default=12)
    parser.add_argument("--actions", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("tabular_adversary.json"))
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    drawn = random_processes(rng, given.processes, given.states, given.actions)
    processes = repeated(drawn, given.starts)
    curves = {
        (gradient, spread, objective): values_on_the_way(
            processes, given.seed, given.steps, gradient, spread, objective
        )
        for gradient in RATES
        for spread in SPREADS
        for objective in OBJECTIVES
    }
    found = {
        "command": shlex.join(["python", "benchmarks/tabular_adversary.py", *sys.argv[1:]]),
        "rows": [
            {"gradient": gradient, "spread": spread, "objective": objective, **summary(curve)}
            for (gradient, spread, objective), curve in curves.items()
        ],
    }
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    given.out.with_suffix(".png").write_bytes(
        draw_png(9, 5.5, lambda figure: paint(figure, curves))
    )


def random_processes(rng: np.random.Generator, num: int, states: int, actions: int) -> Processes:
    """Draw processes in which a state may be shown as every other with the same best action."""
    transition = rng.dirichlet(np.full(states, 0.3), size=(num, states, actions))
    reward = rng.uniform(size=(num, states, actions))
    unseen = Processes(
        transition=transition, reward=reward, shown=np.zeros((num, states, states), bool)
    )
    best = unseen.action_values(best_values(unseen)).argmax(axis=2)
    return Processes(
        transition=transition, reward=reward, shown=best[:, :, None] == best[:, None, :]
    )


def repeated(processes: Processes, times: int) -> Processes:
    """Return each process several times."""
    return Processes(
        transition=processes.transition.repeat(times, axis=0),
        reward=processes.reward.repeat(times, axis=0),
        shown=processes.shown.repeat(times, axis=0),
    )


def best_values(processes: Processes) -> Array:
    """Return the values of the best policies that no adversary disturbs, by value iteration."""
    values = np.zeros(processes.reward.shape[:2])
    while True:
        better: Array = processes.action_values(values).max(axis=2)
        if np.abs(better - values).max() < 1e-10:
            return better
        values = better


def values_on_the_way(
    processes: Processes, seed: int, steps: int, gradient: str, spread: float, objective: str
) -> Array:
    """Return values without and under the adversary, in shares of the optimum.

    Returns:
        Shape (steps, 2, processes).
    """
    start = spread * np.random.default_rng(seed).normal(size=processes.reward.shape)
    way = ascent(processes, start, steps, gradient, attacked=OBJECTIVES[objective])
    values: Array = np.array(list(way))
    return values / best_values(processes).mean(axis=1)


def ascent(
    processes: Processes, logits: Array, steps: int, gradient: str, *, attacked: bool
) -> Iterator[tuple[Array, Array]]:
    """Ascend; yield the values without and under the strongest adversary.

    The step shrinks with the root of their number, since the strongest adversary changes at kinks
    of its value, on which a constant step would go to and fro.
    """
    unseen = identity(processes)
    seen = unseen
    for step in range(steps):
        policy = softmax(logits, axis=2)
        seen = strongest_adversary(processes, policy, seen)
        yield (
            evaluate(processes, policy, unseen)[0].mean(axis=1),
            evaluate(processes, policy, seen)[0].mean(axis=1),
        )
        visits, advantages = shown_advantages(processes, policy, seen if attacked else unseen)
        rise = advantages if gradient == "natural" else visits * policy * advantages
        logits = logits + RATES[gradient] / np.sqrt(1 + step) * rise


def identity(processes: Processes) -> Indices:
    """Return the adversary who shows every state as it is."""
    num, states, _ = processes.reward.shape
    return np.tile(np.arange(states), (num, 1))


def evaluate(processes: Processes, policy: Array, seen: Indices) -> tuple[Array, Array]:
    """Return the value and the discounted visits of each state where states are seen as others.

    Args:
        processes: The processes.
        policy: Probabilities of the actions at what is seen, shape (processes, states, actions).
        seen: What each state is seen as, shape (processes, states).
    """
    acted = np.take_along_axis(policy, seen[:, :, None], axis=1)
    moves = np.einsum("nsa,nsat->nst", acted, processes.transition)
    states = moves.shape[1]
    system = np.eye(states) - DISCOUNT * moves
    rewards = np.einsum("nsa,nsa->ns", acted, processes.reward)
    values = np.linalg.solve(system, rewards[:, :, None])[:, :, 0]
    start = np.full((len(moves), states, 1), 1 / states)
    visits = np.linalg.solve(system.transpose(0, 2, 1), start)[:, :, 0]
    return values, visits


def strongest_adversary(processes: Processes, policy: Array, seen: Indices) -> Indices:
    """Return what each state is best shown as to harm a policy, by policy iteration."""
    while True:
        values, _ = evaluate(processes, policy, seen)
        left = np.einsum("nta,nsa->nst", policy, processes.action_values(values))
        left[~processes.shown] = np.inf
        now = np.take_along_axis(left, seen[:, :, None], axis=2)[:, :, 0]
        harmed = left.min(axis=2) < now - 1e-12
        if not harmed.any():
            return seen
        seen = np.where(harmed, left.argmin(axis=2), seen)


def shown_advantages(processes: Processes, policy: Array, seen: Indices) -> tuple[Array, Array]:
    """Return how often each state is shown, and the mean advantage of each action there.

    The second is the natural gradient of the value in the logits; with the first and the policy as
    factors it is the gradient.

    Returns:
        Shapes (processes, states, 1) and (processes, states, actions).
    """
    values, visits = evaluate(processes, policy, seen)
    acted = np.take_along_axis(policy, seen[:, :, None], axis=1)
    gains = processes.action_values(values)
    advantages = gains - (acted * gains).sum(axis=2, keepdims=True)
    weights = (seen[:, :, None] == np.arange(seen.shape[1])) * visits[:, :, None]
    total = weights.sum(axis=1)[:, :, None]
    summed = np.einsum("nst,nsa->nta", weights, advantages)
    return total, np.divide(summed, total, out=np.zeros_like(summed), where=total > 0)


def summary(curve: Array) -> dict[str, Any]:
    """Return where runs end, of values in shares of the optimum, shape (steps, 2, runs)."""
    natural, attacked = curve[-1]
    short = attacked < 1 - SHORT
    still = attacked - curve[len(curve) // 2, 1] < STILL
    return {
        "runs": len(attacked),
        "natural": float(natural.mean()),
        "attacked": float(attacked.mean()),
        "worst attacked": float(attacked.min()),
        "short": share(short),
        "still": share(short & still),
    }


def share(of: NDArray[np.bool_]) -> dict[str, float]:
    interval = binomtest(int(of.sum()), len(of)).proportion_ci()
    return {"share": float(of.mean()), "low": interval.low, "high": interval.high}


def paint(figure: "Figure", curves: Mapping[tuple[str, float, str], Array]) -> None:
    """Draw the mean values on the way, without the adversary dashed."""
    grid = figure.subplots(len(RATES), len(SPREADS), sharex=True, sharey=True)
    colours = dict(zip(OBJECTIVES, ("tab:blue", "tab:orange"), strict=True))
    for (gradient, spread, objective), curve in curves.items():
        axis = grid[list(RATES).index(gradient), SPREADS.index(spread)]
        axis.set_title(f"{gradient} gradient, logits spread by {spread:g}", fontsize=9)
        for values, style, what in zip(
            curve.mean(axis=2).T, ("--", "-"), ("alone", "attacked"), strict=True
        ):
            axis.semilogx(
                range(1, len(curve) + 1),
                values,
                style,
                color=colours[objective],
                label=f"{objective}, {what}",
            )
    for axis in grid[-1]:
        axis.set_xlabel("steps")
    for axis in grid[:, 0]:
        axis.set_ylabel("value over the optimum")
    grid[0, 0].legend(fontsize=8)
    figure.tight_layout()


if __name__ == "__main__":
    main()
