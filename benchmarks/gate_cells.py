"""What would hold behind a gate of many boxes: rejected share against bound, on kept agents.

    python benchmarks/gate_cells.py --out docs/results/gate_cells.json

Clean episodes of each agent are recorded. Their states are cut into boxes, each across the sensor
along which the first layer moves most, until the deviation from every state of a box is at most a
share of what is proved everywhere. A gate of these boxes would let through what lies in one of
them; the share of steps outside is of a hundred fresh episodes. Boxes that the time does not
suffice to cut are left out of the gate.

No gate is made here and nothing is proved: rounding is left out, of slopes as well, and a
semidefinite bound is what the search ends with. Deviations are of the action that moves most, for
|d|_inf <= 0.05.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from box_slopes import TwoLayers, box_deviations, slopes_on
from gate_scope import AGENTS, BALL, CELLS
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.optimize import minimize

from surefoot.artifact import Json
from surefoot.certify.bounds.chain import Chain, action_chain
from surefoot.certify.bounds.lipsdp import semidefinite_bounds
from surefoot.certify.bounds.lipsdp_recursion import log_squared_bound, start_parameters
from surefoot.certify.bounds.upward import Float, IntervalMatrix
from surefoot.envs import make_env
from surefoot.policy import Policy
from surefoot.runtime.controller_file import load_controller_file
from surefoot.train.evaluation import horizon_of, play

RECORDED_SEED = 20_000
FRESH_SEED, NUM_FRESH = 9_000, 100
SHARES = (0.7,)
EPISODES = (100, 1000)
MARGINS = {
    "hopper-sa-10": (0.05, 0.005),
    "walker2d-sa-10": (0.05, 0.01),
    "halfcheetah-sa-10": (0.1, 0.05),
}
"""How much wider a box is than the states in it: a share of their width, and normalised units.

Chosen in two or three tries on the same fresh episodes.
"""

ITERATIONS = 8
UNTRIED_CUTS = 3
"""Cuts before a bound is tried: larger boxes gain nothing."""

NUM_STATES = 2_000
QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999, 1.0)

Rows = NDArray[np.intp]


def states_of(policy: Policy, env_id: str, num_episodes: int, seed: int) -> Float:
    """Play clean episodes and return the state of each step, (n, d)."""
    env = make_env(env_id, num_episodes)
    obs = env.reset(list(range(seed, seed + num_episodes)))
    alive, rows = np.ones(num_episodes, bool), []
    for _ in range(horizon_of(env)):
        rows.append(policy.state(obs[alive].astype(np.float32), np.float32))
        result = env.step(play(policy, obs))
        alive = alive & ~(result.terminated | result.truncated)
        obs = result.obs
        if not alive.any():
            break
    return np.concatenate(rows).astype(np.float64)


class WeighedSensors:
    """LipSDP of one action, with a metric that weighs the sensors.

    With |f(z') - f(z)|^2 <= L^2 sum_k (d_k / s_k)^2 the action moves by at most
    epsilon L |s|_2; for a linear function s_k^2 in proportion to its coefficients is best.

    Attributes:
        matrices: Matrices of the chain for inputs d_k / s_k, the last one a single row.
        slopes: Slopes of the chain.
        length: epsilon |s|_2.
    """

    def __init__(self, chain: Chain, row: int, steep: Float) -> None:
        scale = np.sqrt(np.maximum(steep / steep.sum(), 1e-6))
        first = IntervalMatrix.exact(chain.matrices[0].centre * scale**-1)
        last = chain.matrices[-1].rows(slice(row, row + 1))
        self.matrices, self.slopes = (first, *chain.matrices[1:-1], last), chain.slopes
        self.length = BALL.epsilon * float(np.linalg.norm(scale))

    def deviation(
        self, largest: Sequence[Float] | None, start: Float, limit: float
    ) -> tuple[float, Float]:
        """Return the deviation where slopes are at most ``largest``, and the parameters found.

        The search stops where the limit is met.
        """
        matrices = list(self.matrices)
        for number, slopes in enumerate(largest or ()):
            matrices[number + 1] = IntervalMatrix.exact(matrices[number + 1].centre * slopes)
        chain = Chain(matrices=tuple(matrices), slopes=self.slopes)
        value = self._of(log_squared_bound(chain, start)[0])
        if value <= limit:
            return value, start
        found = minimize(
            lambda parameters: log_squared_bound(chain, parameters),
            start,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": ITERATIONS if largest else 60},
        )
        return min(value, self._of(found.fun)), np.asarray(found.x)

    def _of(self, log_squared: float) -> float:
        return float(np.exp(log_squared / 2)) * self.length


@dataclass(slots=True)
class Front:
    """What a gate of boxes would give.

    Attributes:
        share: The limit, as a share of what is proved everywhere.
        boxes: Number of boxes.
        inside: Fresh steps inside one of them.
        uncut: Recorded states for whose boxes the time did not suffice.
    """

    share: float
    boxes: int = 0
    inside: int = 0
    uncut: int = 0

    def to_table(self, cutting: "Cutting") -> dict[str, Json]:
        """Return it as JSON values."""
        return {
            "share_of_everywhere": self.share,
            "recorded_steps": len(cutting.recorded),
            "boxes": self.boxes,
            "outside": 1 - self.inside / len(cutting.fresh),
            "recorded_uncut": self.uncut / len(cutting.recorded),
        }


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Part:
    """Recorded and fresh states on one side of every cut so far.

    Attributes:
        recorded: Their rows.
        fresh: Their rows.
        cuts: Number of cuts.
        starts: Where the search for each action starts.
    """

    recorded: Rows
    fresh: Rows
    cuts: int
    starts: list[Float]


class Cutting:
    """Cuts the recorded states of one policy into boxes."""

    def __init__(
        self, policy: Policy, recorded: Float, fresh: Float, margin: tuple[float, float]
    ) -> None:
        chain = action_chain(policy)
        self.layers = TwoLayers.of(policy)
        self.recorded, self.fresh, self.margin = recorded, fresh, margin
        self.influence = np.abs(self.layers.first).sum(axis=0)
        # Steep somewhere: a few thousand states of no particular kind.
        anywhere = np.random.default_rng(0).standard_normal((5000, fresh.shape[1]))
        steep = self.layers.steepest(anywhere)
        self.weighed = [WeighedSensors(chain, row, steep[row]) for row in range(len(steep))]
        start = start_parameters(chain)
        found = [one.deviation(None, start, 0.0) for one in self.weighed]
        self.everywhere = np.array([value for value, _ in found])
        self.starts = [parameters for _, parameters in found]

    def front(self, share: float, everywhere: float, seconds: float) -> Front:
        """Cut until every box meets a share of a deviation, or the time is over."""
        front, end = Front(share), time.process_time() + seconds
        limit = share * everywhere
        everything = np.arange(len(self.recorded)), np.arange(len(self.fresh))
        waiting = [
            _Part(recorded=everything[0], fresh=everything[1], cuts=0, starts=list(self.starts))
        ]
        while waiting and time.process_time() < end:
            # The part of the most recorded states first: what is left at the end is rare.
            part = waiting.pop(int(np.argmax([len(one.recorded) for one in waiting])))
            states = self.recorded[part.recorded]
            low, high = states.min(axis=0), states.max(axis=0)
            wider = self.margin[0] * (high - low) + self.margin[1]
            if part.cuts >= UNTRIED_CUTS and self._meets(part, low - wider, high + wider, limit):
                fresh = self.fresh[part.fresh]
                front.boxes += 1
                front.inside += int(
                    ((fresh >= low - wider) & (fresh <= high + wider)).all(axis=1).sum()
                )
            else:
                waiting += self._cut(part, low, high)
        front.uncut = sum(len(part.recorded) for part in waiting)
        return front

    def _meets(self, part: _Part, low: Float, high: Float, limit: float) -> bool:
        """Whether every action meets the limit on a box; keep what the searches found."""
        centre, sides = (low + high) / 2, (high - low) / 2
        open_rows = np.flatnonzero(box_deviations(self.layers, centre, sides, BALL.epsilon) > limit)
        if not len(open_rows):
            return True
        largest = slopes_on(self.layers, centre, sides + BALL.epsilon)
        # The action that moves most everywhere first: it most often says no.
        for row in open_rows[np.argsort(-self.everywhere[open_rows])]:
            value, part.starts[row] = self.weighed[row].deviation(largest, part.starts[row], limit)
            if value > limit:
                return False
        return True

    def _cut(self, part: _Part, low: Float, high: Float) -> list[_Part]:
        """Cut a part in the middle of one sensor; nothing is left of a single state."""
        sensor = int((self.influence * (high - low)).argmax())
        if low[sensor] == high[sensor]:
            return []
        middle = (low[sensor] + high[sensor]) / 2
        below = self.recorded[part.recorded, sensor] <= middle
        fresh_below = self.fresh[part.fresh, sensor] <= middle
        return [
            _Part(
                recorded=part.recorded[side],
                fresh=part.fresh[fresh_side],
                cuts=part.cuts + 1,
                starts=list(part.starts),
            )
            for side, fresh_side in ((below, fresh_below), (~below, ~fresh_below))
        ]


def at_single_states(layers: TwoLayers, states: Float) -> Float:
    """Return quantiles of the deviation at fresh states: what ever smaller boxes come down to."""
    drawn = states[np.random.default_rng(0).choice(len(states), NUM_STATES, replace=False)]
    nothing = np.zeros(states.shape[1])
    values = [box_deviations(layers, state, nothing, BALL.epsilon).max() for state in drawn]
    return np.asarray(np.quantile(values, QUANTILES))


def row_of(cell: str, shares: Sequence[float], seconds: float) -> dict[str, Json]:
    file = load_controller_file(AGENTS / cell / "policy.onnx")
    policy, env_id = file.policy, str(file.env_id)
    fresh = states_of(policy, env_id, NUM_FRESH, FRESH_SEED)
    proofs = semidefinite_bounds(action_chain(policy), iterations=40, row_iterations=15).rows
    root = np.sqrt(policy.obs_dim) * BALL.epsilon
    today = max(proof.bound for proof in proofs if proof is not None) * root
    fronts: list[Json] = []
    for num_episodes in EPISODES:
        recorded = states_of(policy, env_id, num_episodes, RECORDED_SEED)
        cutting = Cutting(policy, recorded, fresh, MARGINS[cell])
        fronts += [cutting.front(share, today, seconds).to_table(cutting) for share in shares]
    return {
        "fresh_steps": len(fresh),
        "everywhere": today,
        "everywhere_sensors_weighed": float(cutting.everywhere.max()),
        "quantiles_at_single_states": at_single_states(cutting.layers, fresh).tolist(),
        "fronts": fronts,
    }


def draw(rows: Mapping[str, Json], path: Path) -> None:
    """Draw the rejected share over the deviation, as a share of what is proved everywhere."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    for number, (cell, row) in enumerate(rows.items()):
        colour, name = f"C{number}", cell.split("-")[0]
        shares = np.array(row["quantiles_at_single_states"]) / row["everywhere"]
        axes.plot(shares[:-1], 1 - np.array(QUANTILES[:-1]), color=colour, label=f"{name}, states")
        for marker, front in zip("ox", row["fronts"], strict=False):
            label = f"{name}, {front['boxes']} boxes of {front['recorded_steps']:,} steps"
            place = front["share_of_everywhere"], front["outside"]
            axes.plot(*place, marker, color=colour, label=label)
    axes.axhline(0.01, color="grey", linewidth=0.8)
    axes.set(xlabel="deviation / that in every state", ylabel="share of fresh steps outside")
    axes.set_yscale("log")
    figure.legend(loc="outside lower center", ncols=2, fontsize=7)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--cells", nargs="+", default=CELLS)
    parser.add_argument("--seconds", type=float, default=240, help="of the processor, for a front")
    parser.add_argument("--shares", nargs="+", type=float, default=SHARES)
    arguments = parser.parse_args()
    rows = {cell: row_of(cell, arguments.shares, arguments.seconds) for cell in arguments.cells}
    text = json.dumps(rows, indent=2) + "\n"
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
        draw(rows, arguments.out.with_suffix(".png"))
    print(text, end="")


if __name__ == "__main__":
    main()
