"""A model of Stable-Baselines3 to a controller file.

    python -m surefoot.convert.sb3 model.zip --normalize vecnormalize.pkl --out policy.onnx

Loading a model executes what its pickles say: convert only what you trust.
"""

import io
import math
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from surefoot.activation import Activation
from surefoot.artifact import Json, read_file
from surefoot.convert.command_line import library, parser_of, run
from surefoot.convert.conversion import Conversion, metadata_of
from surefoot.convert.ends import (
    clipped_actions,
    raw_observations,
    running_statistics,
    squashed_actions,
)
from surefoot.convert.torch_layers import array_of, identity_layer, layers_of
from surefoot.errors import InputError, MissingLibraryError
from surefoot.installation import how_to_install
from surefoot.policy import (
    Array,
    CategoricalHead,
    Head,
    Normaliser,
    Policy,
)

if TYPE_CHECKING:
    from gymnasium import Env
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.policies import ActorCriticPolicy
    from stable_baselines3.common.vec_env import VecNormalize
    from torch import nn

_PACKAGE = "stable-baselines3"
_VERSION = r"[0-9a-z.+]{1,30}"
"""What enters a command that somebody may paste into a shell."""
_BROUGHT_BY = how_to_install("sb3")
_VERSION_FILE = "_stable_baselines3_version"
_NO_BUFFER: dict[str, Json] = {
    "buffer_size": 1,
    "replay_buffer_class": None,
    "replay_buffer_kwargs": {},
}
"""Replacement of the replay buffer, which no policy needs: that of HER needs an environment."""

_NOTE_NO_STATISTICS = (
    "without --normalize the observations are taken as they are, and nothing clips them: a model "
    "that was trained behind VecNormalize needs its file"
)
_NOTE_Q_VALUES = "the outputs are Q-values, of which the greatest is chosen; they are no logits"


Parts = dict[str, tuple[int, ...]]
"""Shape of each part of the observation by its name, in their order."""

_WHOLE = ""
"""Name of the only part of an observation that is no dictionary."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Actor:
    """What a model acts by.

    Attributes:
        modules: From the observation to the outputs, in order.
        extractor: What it makes of the observation first.
        std: Standard deviation of the actions that are sampled, (act_dim,); None if unknown.
        squashes: Whether actions are tanh of the outputs, brought to the range of the actuators.
    """

    modules: "Sequence[nn.Module]"
    extractor: "nn.Module"
    std: Array | None = None
    squashes: bool = False


def convert(path: Path, statistics: Path | None = None) -> Conversion:
    """Return the deterministic policy of a saved model.

    Args:
        path: What ``model.save`` wrote.
        statistics: What ``VecNormalize.save`` wrote.

    Raises:
        InputError: If the model is of another version, or of a kind that is no controller.
        MissingLibraryError: If Stable-Baselines3 is not installed.
    """
    data = read_file(path)
    installed = _require_version(data, path)
    with library(f"{_PACKAGE} {installed}", _BROUGHT_BY, path):
        model = _load_model(path)
    normalize = None if statistics is None else _load_statistics(statistics, model)
    actor = _actor_of(model)
    parts = _parts_of(model, actor.extractor, path)
    policy = _policy_of(model, actor, _normaliser_of(normalize, parts), path)
    algorithm = type(model).__name__
    metadata = metadata_of(
        policy, data, library=_PACKAGE, library_version=installed, algorithm=algorithm
    )
    if _is_dictionary(model):
        sizes = {name: math.prod(shape) for name, shape in parts.items()}
        metadata["observation"] = {**metadata["observation"], "parts": sizes}
    notes = [_NOTE_NO_STATISTICS] if normalize is None else []
    return Conversion(
        policy=policy,
        predict=lambda obs: _predict(model, normalize, parts, obs),
        metadata=metadata,
        notes=(*notes, *([_NOTE_Q_VALUES] if algorithm == "DQN" else [])),
    )


def _require_version(data: bytes, path: Path) -> str:
    """Return the installed version, which must be that of the model but for the last number.

    Raises:
        InputError: If it is another, or the file is no model.
        MissingLibraryError: If none is installed.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            written = archive.read(_VERSION_FILE).decode().strip()
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{path} is no model of Stable-Baselines3") from error
    if not re.fullmatch(_VERSION, written):
        raise InputError(f"{path} must name a version of {_PACKAGE}, got {written!r:.60}")
    try:
        installed = version(_PACKAGE)
    except PackageNotFoundError as error:
        raise MissingLibraryError(
            f"{_PACKAGE} is not installed: pip install '{_PACKAGE}=={written}'"
        ) from error
    if written.split(".")[:2] != installed.split(".")[:2]:
        raise InputError(
            f"{path} was written by {_PACKAGE} {written}, and {installed} is installed: "
            f"pip install '{_PACKAGE}=={written}'"
        )
    return installed


# --- what Stable-Baselines3 loads


def _load_model(path: Path) -> "BaseAlgorithm":
    """Load a model with the algorithm whose policy it holds.

    Raises:
        InputError: If it is of an algorithm that is not known.
    """
    from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
    from stable_baselines3.common.policies import ActorCriticPolicy
    from stable_baselines3.common.save_util import load_from_zip_file
    from stable_baselines3.dqn.policies import DQNPolicy
    from stable_baselines3.sac.policies import SACPolicy
    from stable_baselines3.td3.policies import TD3Policy

    saved = load_from_zip_file(path, device="cpu", custom_objects=_NO_BUFFER)[0] or {}
    kind = saved.get("policy_class")
    # Two algorithms share each of these classes; only one of them has these parameters.
    on_policy = PPO if "n_epochs" in saved else A2C
    delayed = TD3 if saved.get("target_noise_clip") else DDPG
    known: dict[type, type[BaseAlgorithm]] = {
        ActorCriticPolicy: on_policy,
        TD3Policy: delayed,
        SACPolicy: SAC,
        DQNPolicy: DQN,
    }
    is_recurrent = hasattr(kind, "_process_sequence")
    for policy_class, algorithm in known.items():
        if isinstance(kind, type) and issubclass(kind, policy_class) and not is_recurrent:
            return algorithm.load(path, device="cpu", custom_objects=_NO_BUFFER)
    if getattr(kind, "__name__", "") == "TQCPolicy":
        from sb3_contrib import TQC

        model: BaseAlgorithm = TQC.load(path, device="cpu", custom_objects=_NO_BUFFER)
        return model
    name = getattr(kind, "__name__", kind)
    raise InputError(f"{path}: policies of class {name} are not converted")


def _load_statistics(path: Path, model: "BaseAlgorithm") -> "VecNormalize":
    """Load statistics of the observations of a model.

    Raises:
        InputError: If there is no such file, or they are of other observations.
    """
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    read_file(path)
    with library(_PACKAGE, _BROUGHT_BY, path):
        normalize = VecNormalize.load(str(path), DummyVecEnv([lambda: _spaces_of(model)]))
    normalize.training = False
    return normalize


def _spaces_of(model: "BaseAlgorithm") -> "Env[Array, Array]":
    """Return an environment that has the spaces of a model, and does nothing."""
    from gymnasium import Env

    env: Env[Array, Array] = Env()
    env.observation_space, env.action_space = model.observation_space, model.action_space
    return env


def _predict(
    model: "BaseAlgorithm", normalize: "VecNormalize | None", parts: Parts, obs: Array
) -> Array:
    """Return the library's own actions, (n, act_dim) or (n,), for raw observations."""
    ends = np.cumsum([math.prod(shape) for shape in parts.values()])[:-1]
    split = zip(parts.items(), np.split(obs, ends, axis=1), strict=True)
    by_name = {name: rows.reshape(len(obs), *shape) for (name, shape), rows in split}
    given: Array | dict[str, Array] = by_name if _is_dictionary(model) else by_name[_WHOLE]
    if normalize is not None:
        given = normalize.normalize_obs(given)
    actions, _ = model.predict(given, deterministic=True)
    return np.asarray(actions).reshape(len(obs), -1)


# --- what it acts by


def _actor_of(model: "BaseAlgorithm") -> _Actor:
    """Return the part of a model that acts."""
    from stable_baselines3.common.policies import ActorCriticPolicy
    from stable_baselines3.dqn.policies import DQNPolicy
    from stable_baselines3.td3.policies import TD3Policy

    policy = model.policy
    if isinstance(policy, ActorCriticPolicy):
        return _Actor(
            modules=(policy.mlp_extractor.policy_net, policy.action_net),
            extractor=policy.pi_features_extractor,
            std=_noise_of(policy),
            squashes=policy.squash_output,
        )
    if isinstance(policy, DQNPolicy):
        return _Actor(modules=(policy.q_net.q_net,), extractor=policy.q_net.features_extractor)
    actor = policy.get_submodule("actor")
    mean = actor.get_submodule("mu")
    # The last module of TD3's and DDPG's is the tanh itself; SAC and TQC have a body before.
    is_whole = isinstance(policy, TD3Policy)
    modules = [*mean.children()][:-1] if is_whole else [actor.get_submodule("latent_pi"), mean]
    extractor = actor.get_submodule("features_extractor")
    return _Actor(modules=modules, extractor=extractor, squashes=True)


def _noise_of(policy: "ActorCriticPolicy") -> Array | None:
    """Return the standard deviation of sampled actions, (act_dim,), where it is constant."""
    from stable_baselines3.common.distributions import DiagGaussianDistribution

    if not isinstance(policy.action_dist, DiagGaussianDistribution):
        return None
    return np.asarray(np.exp(array_of(policy.log_std).astype(np.float64)))


def _policy_of(model: "BaseAlgorithm", actor: _Actor, normaliser: Normaliser, path: Path) -> Policy:
    """Return the policy of a model.

    Raises:
        InputError: If its actions or its networks are none of a controller.
    """
    from gymnasium import spaces

    layers = layers_of(actor.modules, str(path))
    if layers[-1].activation is not Activation.IDENTITY:  # of gSDE, which limits the mean
        layers.append(identity_layer(len(layers[-1].bias)))
    head: Head
    match model.action_space:
        case spaces.Discrete(n=number):
            head = CategoricalHead(num_actions=int(number))
        case spaces.Box() as box if actor.squashes:
            head = squashed_actions(box.low, box.high)
        case spaces.Box() as box:
            layers[-1], head = clipped_actions(layers[-1], box.low, box.high, actor.std)
        case other:
            raise InputError(f"{path}: actions must be Box or Discrete, are {other}")
    return Policy(normaliser=normaliser, layers=tuple(layers), head=head)


def _is_dictionary(model: "BaseAlgorithm") -> bool:
    from gymnasium import spaces

    return isinstance(model.observation_space, spaces.Dict)


def _parts_of(model: "BaseAlgorithm", extractor: "nn.Module", path: Path) -> Parts:
    """Return the parts of the observation, which must reach the network as they are.

    Raises:
        InputError: If one is an image or a choice, or a network stands before.
    """
    from gymnasium import spaces
    from stable_baselines3.common.preprocessing import is_image_space
    from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor

    space, is_dictionary = model.observation_space, _is_dictionary(model)
    named = space.spaces if isinstance(space, spaces.Dict) else {_WHOLE: space}
    parts = {}
    for name, part in named.items():
        said = f"{path}: observation {name!r}" if is_dictionary else f"{path}: observations"
        if not isinstance(part, spaces.Box):
            raise InputError(f"{said} must be a Box, got {part}")
        kind = CombinedExtractor if is_dictionary else FlattenExtractor
        if is_image_space(part) or type(extractor) is not kind:
            raise InputError(
                f"{said} must be the features themselves, as MlpPolicy has them, but these are "
                f"made by {type(extractor).__name__} of shape {part.shape}"
            )
        parts[name] = part.shape
    return parts


def _normaliser_of(normalize: "VecNormalize | None", parts: Parts) -> Normaliser:
    """Return the statistics as a normaliser.

    Raises:
        InputError: If they are of some parts only, whose others are not clipped.
    """
    if normalize is None or not normalize.norm_obs:
        return raw_observations(sum(math.prod(shape) for shape in parts.values()))
    held = normalize.obs_rms
    statistics = held if isinstance(held, dict) else {_WHOLE: held}
    if set(statistics) != set(parts):
        raise InputError(
            f"the statistics must be of all observations {[*parts]}, are of {[*statistics]}"
        )
    mean, var = (
        np.concatenate([np.reshape(getattr(statistics[name], kind), -1) for name in parts])
        for kind in ("mean", "var")
    )
    return running_statistics(mean, var, normalize.epsilon, float(normalize.clip_obs))


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert what the command line names, and return the exit code."""
    parser = parser_of("sb3", __doc__, "model.zip, as model.save() wrote it")
    parser.add_argument(
        "--normalize", type=Path, help="statistics that VecNormalize.save() wrote beside it"
    )
    return run(parser, lambda parsed: convert(parsed.source, parsed.normalize), arguments)


if __name__ == "__main__":
    raise SystemExit(main())
