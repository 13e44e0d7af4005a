"""A model of CleanRL to a controller file.

    python -m surefoot.convert.cleanrl NAME.cleanrl_model --statistics rms.npz --out policy.onnx

The model is loaded as numbers alone (``weights_only``). It holds no module: the activations are
those of CleanRL's own scripts, or of the class of the agent (``--agent module:Class``). Nor does it
hold the statistics of the observations, which are saved from the environment:
``numpy.savez("rms.npz", mean=rms.mean, var=rms.var)``, where ``rms`` is the ``obs_rms`` of
Gymnasium's ``NormalizeObservation``.
"""

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from surefoot.arrays import arrays_from_npz
from surefoot.artifact import read_file
from surefoot.convert.command_line import Arguments, library, parser_of, run
from surefoot.convert.conversion import Conversion, metadata_of
from surefoot.convert.ends import (
    clipped_actions,
    plain_actions,
    raw_observations,
    running_statistics,
    squashed_actions,
)
from surefoot.convert.torch_layers import array_of, layers_of
from surefoot.errors import InputError
from surefoot.installation import how_to_install
from surefoot.policy import Array, CategoricalHead, Head, Normaliser, Policy

if TYPE_CHECKING:
    from torch import nn

_BROUGHT_BY = how_to_install("train")
_EPSILON, _CLIP = 1e-8, 10.0
"""Constants of ``NormalizeObservation``, and of the clip that CleanRL puts behind it."""

_NOTE_ACTIVATIONS = "activations are not in the model: {} was taken, as in CleanRL's own scripts"
_NOTE_AGENT = "activations are those of {}"
_NOTE_NO_STATISTICS = (
    "without --statistics the observations are taken as they are, and nothing clips them: the PPO "
    "of CleanRL for continuous actions was trained behind NormalizeObservation"
)
_NOTE_NO_RANGE = (
    "without --low and --high no action is clipped, as ClipAction clips them in CleanRL's PPO"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Script:
    """How the scripts of an algorithm call what acts.

    Attributes:
        algorithm: Algorithm of the scripts.
        body: Name of the sequence of layers; of the last layer, behind fc1 and fc2, where actions
            are squashed.
        activation: Name of the module of ``torch.nn`` between the layers.
        chooses: Whether the greatest output is chosen.
        squashes: Whether actions are tanh of the outputs, scaled.
    """

    algorithm: str
    body: str
    activation: str
    chooses: bool = False
    squashes: bool = False

    def layer_names(self, weights: Mapping[str, Array]) -> list[str]:
        """Return the names of the layers of a model, in order; none if it is of other scripts."""
        if self.squashes:
            names = ["fc1", "fc2", self.body]
            return names if all(f"{name}.weight" in weights for name in names) else []
        found = (re.fullmatch(rf"{self.body}\.(\d+)\.weight", key) for key in weights)
        return [f"{self.body}.{number}" for number in sorted(int(m[1]) for m in found if m)]


_SCRIPTS = (
    _Script(algorithm="PPO", body="actor_mean", activation="Tanh"),
    _Script(algorithm="PPO", body="actor", activation="Tanh", chooses=True),
    _Script(algorithm="DQN", body="network", activation="ReLU", chooses=True),
    _Script(algorithm="SAC", body="fc_mean", activation="ReLU", squashes=True),
    _Script(algorithm="TD3", body="fc_mu", activation="ReLU", squashes=True),
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Surroundings:
    """What the environment of a training did to observations and actions, which no model holds.

    Attributes:
        statistics: File of ``mean`` and ``var`` of the observations, .npz; None if there were none.
        low: Least actions, one for all or for each; None if nothing clipped them.
        high: Greatest actions.
    """

    statistics: Path | None = None
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Check that a range has two ends.

        Raises:
            InputError: If it has one.
        """
        if (self.low is None) != (self.high is None):
            raise InputError("--low and --high must be given together")


def convert(path: Path, surroundings: Surroundings, agent: str | None = None) -> Conversion:
    """Return the deterministic policy of a model.

    Args:
        path: What ``torch.save(agent.state_dict(), path)`` wrote.
        surroundings: What the model does not hold.
        agent: Class of the agent, ``module:Class``; None for the activations of CleanRL's scripts.

    Raises:
        InputError: If the model is of no script that is known, or is no file of PyTorch, or the
            class is not that of the model.
        MissingLibraryError: If PyTorch is not installed, or what the class needs.
    """
    data = read_file(path)
    with library("PyTorch", _BROUGHT_BY, path):
        weights, installed = _weights_of(path), version("torch")
    script, names = _script_of(weights, path)
    if agent is None:
        network = _network_of(weights, names, script.activation)
    else:
        network = _network_of_agent(agent, script, weights, names)
    policy = _policy_of(script, weights, network, surroundings)
    words = _NOTE_ACTIVATIONS.format(script.activation)
    notes = [words if agent is None else _NOTE_AGENT.format(agent)]
    if surroundings.statistics is None:
        notes.append(_NOTE_NO_STATISTICS)
    if not script.chooses and not script.squashes and surroundings.low is None:
        notes.append(_NOTE_NO_RANGE)
    return Conversion(
        policy=policy,
        predict=lambda obs: _actions(
            script, weights, surroundings, _outputs(network, policy.state(obs))
        ),
        metadata=metadata_of(
            policy, data, library="torch", library_version=installed, algorithm=script.algorithm
        ),
        notes=tuple(notes),
    )


def _weights_of(path: Path) -> dict[str, Array]:
    """Return the arrays of a model by name; of TD3 and DDPG, those of the actor.

    Raises:
        InputError: If the file holds something else.
    """
    import torch

    saved = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(saved, (tuple, list)) and saved:
        saved = saved[0]
    if not isinstance(saved, dict):
        raise InputError(f"{path} must hold a state_dict, holds {type(saved).__name__}")
    return {
        key: array_of(tensor) for key, tensor in saved.items() if isinstance(tensor, torch.Tensor)
    }


def _script_of(weights: Mapping[str, Array], path: Path) -> tuple[_Script, list[str]]:
    """Return the script of a model, and the names of the layers that act.

    Raises:
        InputError: If it is none that is known, or has layers that are not affine.
    """
    for script in _SCRIPTS:
        names = script.layer_names(weights)
        shapes = {name: weights[f"{name}.weight"].shape for name in names}
        if not names:
            continue
        if "atoms" in weights:
            raise InputError(f"{path}: distributions of returns (C51) are not converted")
        for name, shape in shapes.items():
            if len(shape) != 2 or f"{name}.bias" not in weights:
                raise InputError(f"{path}: {name} must be an affine layer, has shape {shape}")
        return script, names
    raise InputError(
        f"{path}: must be a model of CleanRL's PPO, DQN, SAC, TD3 or DDPG; holds {sorted(weights)}"
    )


def _network_of(
    weights: Mapping[str, Array], names: Sequence[str], activation: str
) -> "nn.Sequential":
    """Return the layers as modules of PyTorch, with an activation between them."""
    import torch
    from torch import nn

    modules: list[nn.Module] = []
    for name in names:
        weight, bias = (torch.from_numpy(weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.load_state_dict({"weight": weight, "bias": bias})
        modules += [layer, getattr(nn, activation)()]
    return nn.Sequential(*modules[:-1])


def _network_of_agent(
    agent: str, script: _Script, weights: Mapping[str, Array], names: Sequence[str]
) -> "nn.Sequential":
    """Return the layers that act in an agent of the user's class, with the weights of a model.

    Raises:
        InputError: If the class is not that of the model, or holds no sequence of layers.
        MissingLibraryError: If something that it needs is not installed.
    """
    if script.squashes:
        raise InputError(f"--agent: the layers of {script.algorithm} stand in no sequence")
    import torch
    from torch import nn

    width, num = weights[f"{names[0]}.weight"].shape[1], len(weights[f"{names[-1]}.bias"])
    with library(f"--agent {agent}", "the script of the training", Path(agent)):
        made = _class_of(agent)(_environments(width, num, chooses=script.chooses))
        made.load_state_dict({key: torch.from_numpy(array) for key, array in weights.items()})
        network = made.get_submodule(script.body)
    if not isinstance(network, nn.Sequential):
        raise InputError(f"--agent {agent}: {script.body} must be a torch.nn.Sequential")
    return network


def _class_of(agent: str) -> "type[nn.Module]":
    """Return the class that ``module:Class`` names.

    Raises:
        InputError: If it names none.
    """
    from torch import nn

    module, _, name = agent.partition(":")
    if not module or not name:
        raise InputError(f"--agent must be module:Class, got {agent!r}")
    found = getattr(importlib.import_module(module), name, None)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise InputError(f"--agent {agent}: {module} has no such class of torch.nn.Module")
    return found


def _environments(width: int, num: int, *, chooses: bool) -> SimpleNamespace:
    """Return what an agent of CleanRL asks of its environments: their spaces."""
    from gymnasium import spaces

    observations = spaces.Box(-np.inf, np.inf, (width,))
    actions = spaces.Discrete(num) if chooses else spaces.Box(-1.0, 1.0, (num,))
    return SimpleNamespace(single_observation_space=observations, single_action_space=actions)


def _policy_of(
    script: _Script,
    weights: Mapping[str, Array],
    network: "nn.Sequential",
    surroundings: Surroundings,
) -> Policy:
    """Return the policy of a model in its surroundings."""
    layers = layers_of(network, "the network")
    width, num = layers[0].weight.shape[1], len(layers[-1].bias)
    head: Head
    if script.chooses:
        head = CategoricalHead(num_actions=num)
    elif script.squashes:
        middle, reach = weights["action_bias"], weights["action_scale"]
        head = squashed_actions(middle - reach, middle + reach)
    else:
        std = np.exp(weights["actor_logstd"].astype(np.float64)).reshape(-1)
        if surroundings.low is None or surroundings.high is None:
            head = plain_actions(num, std)
        else:
            low, high = (_for_each(end, num) for end in (surroundings.low, surroundings.high))
            layers[-1], head = clipped_actions(layers[-1], low, high, std)
    return Policy(
        normaliser=_normaliser_of(surroundings.statistics, width), layers=tuple(layers), head=head
    )


def _for_each(ends: tuple[float, ...], num: int) -> Array:
    """Return the ends of the ranges of all actions, (num,).

    Raises:
        InputError: If there is neither one for all nor one for each.
    """
    if len(ends) not in (1, num):
        raise InputError(f"--low and --high must hold 1 or {num} numbers, got {len(ends)}")
    return np.broadcast_to(np.array(ends, np.float64), num)


def _normaliser_of(path: Path | None, width: int) -> Normaliser:
    """Return the normaliser of saved statistics.

    Raises:
        InputError: If there is no such file, or it holds no statistics of these observations.
    """
    if path is None:
        return raw_observations(width)
    data = read_file(path)
    try:
        arrays = arrays_from_npz(data)
    except ValueError as error:
        raise InputError(f"{path} is no file of numpy.savez: {error}") from error
    sizes = {name: array.size for name, array in arrays.items()}
    if not {("mean", width), ("var", width)} <= set(sizes.items()):
        raise InputError(f"{path} must hold {width} numbers as mean and as var, holds {sizes}")
    return running_statistics(arrays["mean"], arrays["var"], _EPSILON, _CLIP)


def _outputs(network: "nn.Sequential", states: Array) -> Array:
    """Return the outputs of PyTorch's modules at states, (n, num_outputs)."""
    import torch

    with torch.no_grad():
        return array_of(network(torch.from_numpy(states.astype(np.float32))))


def _actions(
    script: _Script, weights: Mapping[str, Array], surroundings: Surroundings, outputs: Array
) -> Array:
    """Return the actions of CleanRL's scripts, (n, act_dim) or (n,)."""
    if script.chooses:
        return np.asarray(outputs.argmax(axis=1))
    if script.squashes:
        return np.asarray(np.tanh(outputs) * weights["action_scale"] + weights["action_bias"])
    if surroundings.low is None or surroundings.high is None:
        return outputs
    return np.clip(outputs, surroundings.low, surroundings.high)


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert what the command line names, and return the exit code."""
    parser = parser_of("cleanrl", __doc__, "NAME.cleanrl_model, as the script saved it")
    parser.add_argument(
        "--statistics", type=Path, help="mean and var of NormalizeObservation, .npz"
    )
    for end in ("low", "high"):
        parser.add_argument(
            f"--{end}",
            type=float,
            nargs="+",
            help=f"{end} end of the actions: one, or one for each",
        )
    parser.add_argument("--agent", help="class of the agent in its script, module:Class")
    return run(
        parser,
        lambda parsed: convert(parsed.source, _surroundings(parsed), parsed.agent),
        arguments,
    )


def _surroundings(parsed: Arguments) -> Surroundings:
    low, high = (None if end is None else tuple(end) for end in (parsed.low, parsed.high))
    return Surroundings(statistics=parsed.statistics, low=low, high=high)


if __name__ == "__main__":
    raise SystemExit(main())
