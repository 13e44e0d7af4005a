"""A checkpoint of rsl_rl to a controller file.

    python -m surefoot.convert.rsl_rl model_1500.pt --config params/agent.yaml --out policy.onnx

The checkpoint is loaded as numbers alone (``weights_only``). The configuration names the classes of
the actor, which rsl_rl imports and builds: convert only what you trust.
"""

import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from surefoot.artifact import Json, from_json, read_file
from surefoot.convert.command_line import library, parser_of, run
from surefoot.convert.conversion import Conversion, metadata_of
from surefoot.convert.ends import clipped_actions, plain_actions, raw_observations
from surefoot.convert.torch_layers import array_of, layers_of
from surefoot.errors import InputError
from surefoot.installation import how_to_install
from surefoot.policy import Array, Layer, Normaliser, Policy

if TYPE_CHECKING:
    import torch
    from rsl_rl.models import MLPModel
    from rsl_rl.modules.distribution import Distribution

_PACKAGE = "rsl-rl-lib"
_BROUGHT_BY = how_to_install("rsl-rl")
_MAJOR = "5"
_ROLES = "actor", "student"
_GROUP = "observation"
_CONFIG_PLACE = Path("params", "agent.yaml")
"""Where Isaac Lab and mjlab write the configuration, beside the checkpoints."""


def convert(path: Path, config: Path | None = None, *, clips: bool = False) -> Conversion:
    """Return the deterministic policy of a checkpoint.

    Args:
        path: What ``OnPolicyRunner.save`` wrote.
        config: Configuration of the runner, YAML or JSON; ``params/agent.yaml`` beside the
            checkpoint if nothing is said.
        clips: Whether actions are clipped to the configuration's ``clip_actions``, as its
            environment clipped them.

    Raises:
        InputError: If the checkpoint is of another version, or its actor is no feed-forward network
            of vectors.
        MissingLibraryError: If rsl_rl is not installed.
    """
    data = read_file(path)
    with library(_PACKAGE, _BROUGHT_BY, path):
        installed = _require_version()
        role, weights = _actor_weights(path)
    table = _read_config(_config_place(path, config))
    with library(f"{_PACKAGE} {installed}", _BROUGHT_BY, path):
        actor = _build_actor(table, role, weights)
    limit = _action_limit(table, clips=clips)
    policy = _policy_of(actor, limit)
    metadata = metadata_of(
        policy, data, library=_PACKAGE, library_version=installed, algorithm=_algorithm_of(table)
    )
    return Conversion(
        policy=policy,
        predict=lambda obs: np.clip(_predict(actor, obs), -limit, limit),
        metadata=_with_groups(metadata, table, role),
        notes=() if clips else _notes_of(table),
    )


def _require_version() -> str:
    """Return the version that is installed.

    Raises:
        InputError: If its actors are not those that this converter knows.
    """
    installed = version(_PACKAGE)
    if installed.partition(".")[0] != _MAJOR:
        raise InputError(f"{_PACKAGE} {_MAJOR} is needed, {installed} is installed")
    return installed


def _actor_weights(path: Path) -> "tuple[str, dict[str, torch.Tensor]]":
    """Return the part that acts (actor, or student of a distillation), and its weights.

    Raises:
        InputError: If the file is no checkpoint of this version.
    """
    import torch

    saved = torch.load(path, map_location="cpu", weights_only=True)
    keys = list(saved) if isinstance(saved, dict) else []
    for role in _ROLES:
        if f"{role}_state_dict" in keys:
            return role, saved[f"{role}_state_dict"]
    if "model_state_dict" in keys:
        raise InputError(
            f"{path} was written by an older {_PACKAGE}, with actor and critic in one model: "
            f"export it with the version that wrote it, and adopt the policy.onnx"
        )
    raise InputError(f"{path} must hold actor_state_dict, holds {keys or type(saved).__name__}")


# --- the configuration


def _config_place(path: Path, config: Path | None) -> Path:
    """Return the path of the configuration.

    Raises:
        InputError: If none is named, and none is beside the checkpoint.
    """
    if config is not None:
        return config
    beside = path.parent / _CONFIG_PLACE
    if not beside.is_file():
        raise InputError(f"--config must name the runner's configuration: there is no {beside}")
    return beside


def _read_config(path: Path) -> dict[str, Json]:
    """Return a configuration as plain values; nothing in it is executed.

    Raises:
        InputError: If it is no table.
    """
    data = read_file(path)
    table = from_json(data, str(path)) if path.suffix == ".json" else _from_yaml(data, path)
    if not isinstance(table, dict):
        raise InputError(f"{path} must hold a table, holds {type(table).__name__}")
    return table


def _from_yaml(data: bytes, path: Path) -> Json:
    """Return the plain values of a YAML document, tuples as lists and other objects as nothing."""
    with library("PyYAML", _BROUGHT_BY, path):
        import yaml

        class Plain(yaml.SafeLoader):  # type: ignore[misc]
            """Builds no object of Python."""

        sequence = lambda loader, node: loader.construct_sequence(node, deep=True)  # noqa: E731
        Plain.add_constructor("tag:yaml.org,2002:python/tuple", sequence)
        Plain.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
        return yaml.load(data, Loader=Plain)


def _section(table: Mapping[str, Json], name: str) -> dict[str, Json]:
    """Return a part of a configuration.

    Raises:
        InputError: If it is not there.
    """
    section = table.get(name)
    if not isinstance(section, dict) or "class_name" not in section:
        raise InputError(
            f"the configuration must have a class_name under {name!r}, as {_PACKAGE} {_MAJOR} "
            f"writes it; it has {sorted(table)}"
        )
    return section


def _algorithm_of(table: Mapping[str, Json]) -> str:
    name = str(_section(table, "algorithm")["class_name"])
    return name.replace(":", ".").rpartition(".")[2]


def _with_groups(
    metadata: dict[str, Json], table: Mapping[str, Json], role: str
) -> dict[str, Json]:
    """Return metadata with the names of the groups of observations, in their order."""
    groups = table.get("obs_groups")
    names = groups.get(role) if isinstance(groups, dict) else None
    if isinstance(names, list):
        metadata["observation"] = {**metadata["observation"], "groups": names}
    return metadata


def _action_limit(table: Mapping[str, Json], *, clips: bool) -> float:
    """Return the largest magnitude of an action, infinity where nothing clips it.

    Raises:
        InputError: If it is to be clipped, and the configuration says no positive limit.
    """
    if not clips:
        return math.inf
    limit = table.get("clip_actions")
    if not isinstance(limit, int | float) or not 0 < limit < math.inf:
        raise InputError(f"--clip-actions: clip_actions must be a positive number, is {limit!r}")
    return float(limit)


def _notes_of(table: Mapping[str, Json]) -> tuple[str, ...]:
    limit = table.get("clip_actions")
    if limit is None:
        return ()
    return (
        f"the environment clipped actions to [-{limit}, {limit}], which is no part of the actor: "
        "--clip-actions makes it a part of the file",
    )


# --- the actor


def _build_actor(
    table: Mapping[str, Json], role: str, weights: "Mapping[str, torch.Tensor]"
) -> "MLPModel":
    """Return the actor with its weights.

    Raises:
        InputError: If it is of another class than MLPModel, or its distribution is not known.
    """
    import torch
    from rsl_rl.models import MLPModel
    from rsl_rl.modules.distribution import (
        GaussianDistribution,
        HeteroscedasticGaussianDistribution,
    )
    from rsl_rl.utils import resolve_class
    from tensordict import TensorDict

    kind, options = resolve_class(_section(table, role))
    if kind is not MLPModel:
        raise InputError(f"actors of class {kind.__name__} are not converted, only MLPModel")
    matrices = [tensor for name, tensor in weights.items() if name.startswith("mlp.")]
    fan_in, num_outputs = matrices[0].shape[1], len(matrices[-1])
    if options.get("distribution_cfg") is not None:
        distribution, _ = resolve_class(options["distribution_cfg"])
        if distribution is HeteroscedasticGaussianDistribution:
            num_outputs //= 2  # the other half is the deviation
        elif distribution is not GaussianDistribution:
            raise InputError(f"actions of a {distribution.__name__} are not converted")
    observation = TensorDict({_GROUP: torch.zeros(1, fan_in)}, batch_size=[1])
    actor = MLPModel(observation, {role: [_GROUP]}, role, num_outputs, **options)
    actor.load_state_dict(weights)
    return actor.eval()


def _predict(actor: "MLPModel", obs: Array) -> Array:
    """Return the library's own deterministic actions, (n, act_dim), for raw observations."""
    import torch
    from tensordict import TensorDict

    given = TensorDict({_GROUP: torch.from_numpy(obs)}, batch_size=[len(obs)])
    with torch.inference_mode():
        return array_of(actor(given))


def _policy_of(actor: "MLPModel", limit: float) -> Policy:
    modules = list(actor.mlp)
    layers = layers_of(modules[:-1] if _has_two_halves(actor) else modules, "the actor")
    num_actions = len(layers[-1].bias)
    if _has_two_halves(actor):
        num_actions //= 2
        last = layers[-1]
        layers[-1] = Layer(
            weight=last.weight[:num_actions],
            bias=last.bias[:num_actions],
            activation=last.activation,
        )
    std, ends = _noise_of(actor.distribution), np.full(num_actions, limit)
    head = plain_actions(num_actions, std)
    if math.isfinite(limit):
        layers[-1], head = clipped_actions(layers[-1], -ends, ends, std)
    return Policy(normaliser=_normaliser_of(actor), layers=tuple(layers), head=head)


def _has_two_halves(actor: "MLPModel") -> bool:
    """Return True if the network gives means and then deviations, which its last module splits."""
    from rsl_rl.modules.distribution import HeteroscedasticGaussianDistribution

    return isinstance(actor.distribution, HeteroscedasticGaussianDistribution)


def _normaliser_of(actor: "MLPModel") -> Normaliser:
    if not actor.obs_normalization:
        return raw_observations(actor.obs_dim)
    statistics = actor.obs_normalizer
    scale = statistics._std + statistics.eps  # the library adds them in float32
    return Normaliser(
        mean=array_of(statistics._mean).reshape(-1), scale=array_of(scale).reshape(-1), clip=np.inf
    )


def _noise_of(distribution: "Distribution | None") -> Array | None:
    """Return the standard deviation of sampled actions, (act_dim,), where it is constant."""
    from rsl_rl.modules.distribution import GaussianDistribution

    if distribution is None or type(distribution) is not GaussianDistribution:
        return None
    if distribution.std_type == "log":
        std = np.exp(np.clip(array_of(distribution.log_std_param), *distribution.log_std_range))
    else:
        std = np.clip(array_of(distribution.std_param), *distribution.std_range)
    return np.asarray(std, np.float64)


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert what the command line names, and return the exit code."""
    parser = parser_of("rsl_rl", __doc__, "model_*.pt, as the runner saved it")
    parser.add_argument(
        "--config",
        type=Path,
        help="configuration of the runner, YAML or JSON; else params/agent.yaml beside the source",
    )
    parser.add_argument(
        "--clip-actions", action="store_true", help="clip actions to the configuration's limit"
    )
    return run(
        parser,
        lambda parsed: convert(parsed.source, parsed.config, clips=parsed.clip_actions),
        arguments,
    )


if __name__ == "__main__":
    raise SystemExit(main())
