"""The inputs that a layer sees, on states that the frozen policy visits."""

import numpy as np

from surefoot.compress.second_order import Float
from surefoot.errors import InputError
from surefoot.policy import Array, Policy


def calibration_states(policy: Policy, observations: Array, *, fits_weights: bool = True) -> Float:
    """Return the states of visited observations, as the deployed controller makes them.

    Args:
        policy: Its normaliser and clip are applied, in float32.
        observations: Raw units, shape (n, obs_dim).
        fits_weights: Whether weights are chosen or moved by them: then there must be as many as the
            widest layer has inputs, so that they can tell its weights apart.

    Returns:
        Shape (n, obs_dim), normalised units.

    Raises:
        InputError: If there are too few, they are of another size, or one is not finite.
    """
    if observations.ndim != 2 or observations.shape[1] != policy.obs_dim:
        raise InputError(
            f"calibration observations must have shape (n, {policy.obs_dim}), got "
            f"{observations.shape}"
        )
    needed = max(layer.weight.shape[1] for layer in policy.layers) if fits_weights else 1
    if len(observations) < needed:
        why = ", as many as the widest layer has inputs" if fits_weights else ""
        raise InputError(
            f"calibration needs at least {needed} observations{why}, got {len(observations)}"
        )
    if not np.isfinite(observations).all():
        row = int(np.flatnonzero(~np.isfinite(observations).all(axis=1))[0])
        raise InputError(f"calibration observations must be finite, row {row} is not")
    return policy.state(observations, np.float32).astype(np.float64)


def layer_inputs(policy: Policy, states: Float) -> list[Float]:
    """Return the inputs of each layer in float64, each of shape (n, fan_in)."""
    inputs = [states]
    for layer in policy.layers[:-1]:
        before = inputs[-1] @ layer.weight.T.astype(np.float64) + layer.bias
        inputs.append(np.asarray(layer.activation(before)))
    return inputs
