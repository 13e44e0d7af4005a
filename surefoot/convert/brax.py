"""Parameters of brax to a controller file.

    python -m surefoot.convert.brax params --activation swish --out policy.onnx

brax loads the parameters, which are a pickle: convert only what you trust. They hold no module: the
activation is the one that is said, and the head is the usual one, tanh of a Gaussian's mean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import count, takewhile
from pathlib import Path

import numpy as np

from surefoot.activation import Activation
from surefoot.artifact import read_file
from surefoot.convert.command_line import Arguments, library, parser_of, run
from surefoot.convert.conversion import Conversion, metadata_of
from surefoot.convert.ends import raw_observations, squashed_actions
from surefoot.errors import InputError
from surefoot.policy import Array, Layer, Normaliser, Policy

_BROUGHT_BY = "pip install brax"
_ACTIVATIONS = {
    "elu": Activation.ELU,
    "relu": Activation.RELU,
    "sigmoid": Activation.SIGMOID,
    "softplus": Activation.SOFTPLUS,
    "swish": Activation.SILU,
    "tanh": Activation.TANH,
}
"""By their names in ``flax.linen``."""

_NOTE = "activations are not in the parameters: {} was taken"


@dataclass(frozen=True, kw_only=True, slots=True)
class BraxNetwork:
    """What parameters do not say about the network that they belong to.

    Attributes:
        activation: Name of the function between the layers, in ``flax.linen``.
        key: Which observation the policy takes, where there are several by name.
        normalises: Whether training normalised the observations.
    """

    activation: str = "swish"
    key: str = "state"
    normalises: bool = True

    def __post_init__(self) -> None:
        """Check the activation.

        Raises:
            InputError: If no controller may have it.
        """
        if self.activation not in _ACTIVATIONS:
            known = ", ".join(_ACTIVATIONS)
            raise InputError(f"--activation must be one of {known}, got {self.activation!r}")


def convert(path: Path, network: BraxNetwork) -> Conversion:
    """Return the deterministic policy of parameters.

    Args:
        path: What ``brax.io.model.save_params`` wrote: the statistics of the observations, the
            parameters of the policy, and perhaps those of a value.
        network: What they do not say.

    Raises:
        InputError: If the file holds something else, or a network that is not dense.
        MissingLibraryError: If brax is not installed.
    """
    data = read_file(path)
    with library("brax", _BROUGHT_BY, path):
        from brax.io.model import load_params

        installed = version("brax")
        parameters: tuple[object, ...] = tuple(load_params(path))
    policy = policy_of(parameters, network, path)
    return Conversion(
        policy=policy,
        predict=lambda obs: _predict(parameters, policy, network, obs),
        metadata=metadata_of(
            policy, data, library="brax", library_version=installed, algorithm="brax"
        ),
        notes=(_NOTE.format(network.activation),),
    )


def policy_of(parameters: Sequence[object], network: BraxNetwork, path: Path) -> Policy:
    """Return what parameters compute.

    Args:
        parameters: Statistics with ``mean`` and ``std``, and the parameters of flax.
        network: What they do not say.
        path: How error messages call them.

    Raises:
        InputError: If they are of another network than dense layers and a Gaussian's tanh.
    """
    if len(parameters) < 2:
        raise InputError(f"{path} must hold statistics and parameters of a policy")
    layers = _layers_of(_table(_table(parameters[1]).get("params")), network, path)
    ends = np.ones(len(layers[-1].bias))
    return Policy(
        normaliser=_normaliser_of(parameters[0], layers[0].weight.shape[1], network, path),
        layers=tuple(layers),
        head=squashed_actions(-ends, ends),
    )


def _table(value: object) -> Mapping[str, object]:
    """Return a value that is a table, and an empty one for any other."""
    return value if isinstance(value, Mapping) else {}


def _layers_of(table: Mapping[str, object], network: BraxNetwork, path: Path) -> list[Layer]:
    """Return the dense layers, the last with the half of its outputs that are means.

    Raises:
        InputError: If there are others, or an odd number of outputs.
    """
    names = list(takewhile(table.__contains__, (f"hidden_{number}" for number in count())))
    if not names or set(names) != set(table):
        raise InputError(
            f"{path}: the policy must have dense layers hidden_0, hidden_1, ... alone, has "
            f"{sorted(table)}"
        )
    layers = []
    for name in names:
        arrays = _table(table[name])
        if set(arrays) != {"kernel", "bias"}:
            raise InputError(f"{path}: {name} must hold kernel and bias, holds {sorted(arrays)}")
        weight, bias = (np.asarray(arrays[part]) for part in ("kernel", "bias"))
        activation = _ACTIVATIONS[network.activation]
        layers.append(Layer(weight=weight.T, bias=bias, activation=activation))
    last = layers.pop()
    if len(last.bias) % 2:
        raise InputError(f"{path}: outputs must be means and deviations, are {len(last.bias)}")
    means = slice(len(last.bias) // 2)
    weight, bias = last.weight[means], last.bias[means]
    return [*layers, Layer(weight=weight, bias=bias, activation=Activation.IDENTITY)]


def _normaliser_of(statistics: object, width: int, network: BraxNetwork, path: Path) -> Normaliser:
    """Return (o - mean) / std, which brax does not clip.

    Raises:
        InputError: If there are no statistics of these observations.
    """
    if not network.normalises:
        return raw_observations(width)
    found = {}
    for name in ("mean", "std"):
        entry = getattr(statistics, name, None)
        if isinstance(entry, Mapping):
            if network.key not in entry:
                raise InputError(f"{path}: --key must be one of {[*entry]}, got {network.key!r}")
            entry = entry[network.key]
        found[name] = np.asarray(entry)
        if found[name].shape != (width,):
            raise InputError(f"{path}: {name} must have shape ({width},), has {found[name].shape}")
    mean, scale = (found[name].astype(np.float64) for name in ("mean", "std"))
    return Normaliser(mean=mean, scale=scale, clip=np.inf)


def _predict(
    parameters: Sequence[object], policy: Policy, network: BraxNetwork, obs: Array
) -> Array:
    """Return brax's own deterministic actions, (n, act_dim), for raw observations."""
    import jax
    from brax.training.acme.running_statistics import normalize
    from brax.training.agents.ppo.networks import make_inference_fn, make_ppo_networks
    from flax import linen

    by_name = isinstance(getattr(parameters[0], "mean", None), Mapping)
    options = {"preprocess_observations_fn": normalize} if network.normalises else {}
    networks = make_ppo_networks(
        {network.key: (policy.obs_dim,)} if by_name else policy.obs_dim,
        policy.num_outputs,
        policy_hidden_layer_sizes=[len(layer.bias) for layer in policy.layers[:-1]],
        activation=getattr(linen, network.activation),
        policy_obs_key=network.key,
        value_obs_key=network.key,
        **options,
    )
    act = make_inference_fn(networks)(parameters, deterministic=True)
    actions, _ = act({network.key: obs} if by_name else obs, jax.random.PRNGKey(0))
    return np.asarray(actions)


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert what the command line names, and return the exit code."""
    parser = parser_of("brax", __doc__, "parameters, as brax.io.model.save_params() wrote them")
    parser.add_argument(
        "--activation",
        default="swish",
        help="function between the layers, by its name in flax.linen; default: that of brax's PPO",
    )
    parser.add_argument(
        "--key", default="state", help="observation of the policy, where there are several"
    )
    parser.add_argument(
        "--raw", action="store_true", help="training did not normalise the observations"
    )
    return run(parser, lambda parsed: convert(parsed.source, _network(parsed)), arguments)


def _network(parsed: Arguments) -> BraxNetwork:
    return BraxNetwork(activation=parsed.activation, key=parsed.key, normalises=not parsed.raw)


if __name__ == "__main__":
    raise SystemExit(main())
