"""What `reset` and `step` of an environment owe their caller, checked and copied.

Nothing that an environment returns is kept: it may fill and return one array for ever.

Reference: Gymnasium 1.4.0, `gymnasium/utils/env_checker.py`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

Obs = NDArray[Any]


class ContractError(Exception):
    """What an environment returned is not what `gymnasium.Env` promises."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a step returned.

    Attributes:
        obs: Copy of the observation in the dtype of its space, (O,).
        reward: Reward of the step.
        terminated: Whether the task ended.
        truncated: Whether the episode was cut.
    """

    obs: Obs
    reward: float
    terminated: bool
    truncated: bool


def take_reset(result: object, space: spaces.Box) -> Obs:
    """Return a copy of the observation that `reset` returned, (O,), in the dtype of its space.

    Raises:
        ContractError: If the result is not (observation, info).
    """
    if not isinstance(result, tuple) or len(result) != 2:
        raise ContractError(f"reset() must return (obs, info), got {_shown(result)}")
    _require_info(result[1])
    return _take_obs(result[0], space)


def take_step(result: object, space: spaces.Box) -> Taken:
    """Return copies of what `step` returned.

    Raises:
        ContractError: If the result is not (observation, reward, terminated, truncated, info).
    """
    if not isinstance(result, tuple) or len(result) != 5:
        raise ContractError(
            f"step() must return (obs, reward, terminated, truncated, info), got {_shown(result)}"
        )
    obs, reward, terminated, truncated, info = result
    _require_info(info)
    return Taken(
        _take_obs(obs, space),
        _take_reward(reward),
        _take_flag(terminated, "terminated"),
        _take_flag(truncated, "truncated"),
    )


def require_finite(obs: Obs, reward: float = 0.0) -> None:
    """Refuse numbers that are not finite.

    Raises:
        ContractError: If there is one.
    """
    for what, value in (("observation", obs), ("reward", reward)):
        if not np.isfinite(value).all():
            raise ContractError(f"its {what} is not finite")


def require_unmasked(values: object) -> None:
    """Refuse an array that masks an entry: nothing is known to be there.

    Raises:
        ContractError: If it does.
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.getmaskarray(values).any():
        raise ContractError("no number may be masked: nothing is known to be there")


def require_rows(values: Obs, num: int, num_axes: int) -> None:
    """Refuse anything but one number, or one row of numbers, for each simulation.

    Raises:
        ContractError: If the shape is another.
    """
    if values.ndim != num_axes or len(values) != num:
        wanted = f"({num},)" if num_axes == 1 else f"({num}, any number)"
        raise ContractError(f"it must return numbers of shape {wanted}, got {values.shape}")


def require_width(rows: Obs, width: int) -> None:
    """Refuse rows that are longer or shorter than those before.

    Raises:
        ContractError: If they are.
    """
    if rows.shape[1] != width:
        raise ContractError(
            f"it must return rows of {width} numbers as before, got {rows.shape[1]}"
        )


def require_flags(flags: Obs, num: int) -> None:
    """Refuse anything but one flag for each simulation.

    Raises:
        ContractError: If type or shape are others.
    """
    if flags.dtype != np.bool_ or flags.shape != (num,):
        raise ContractError(
            f"it must return flags of shape ({num},), got {flags.dtype} of shape {flags.shape}"
        )


def _take_obs(obs: object, space: spaces.Box) -> Obs:
    require_unmasked(obs)
    array = np.array(obs)
    if array.dtype.kind not in "fiub" or not np.can_cast(array.dtype, space.dtype, "same_kind"):
        raise ContractError(
            f"an observation must hold numbers of its space's type {space.dtype}, got {array.dtype}"
        )
    if array.shape != space.shape:
        raise ContractError(
            f"an observation must have the shape of its space {space.shape}, got {array.shape}"
        )
    with np.errstate(over="ignore"):  # what is infinite then is refused as divergence
        return array.astype(space.dtype, copy=False)


def _take_reward(reward: object) -> float:
    require_unmasked(reward)
    array = np.asarray(reward)
    if array.ndim or array.dtype.kind not in "fiub":
        raise ContractError(f"a reward must be one real number, got {_shown(reward)}")
    return float(array)


def _take_flag(flag: object, name: str) -> bool:
    require_unmasked(flag)
    array = np.asarray(flag)
    if array.ndim or array.dtype.kind not in "biu" or int(array) not in (0, 1):
        raise ContractError(f"{name} must be True or False, got {_shown(flag)}")
    return bool(array)


def _require_info(info: object) -> None:
    if not isinstance(info, dict):
        raise ContractError(f"info must be a dict, got {_shown(info)}")


def _shown(value: object) -> str:
    """Return a value in a few words: an array by its shape, a tuple by its length."""
    match value:
        case np.ndarray():
            return f"an array of shape {value.shape}"
        case tuple():
            return f"a tuple of {len(value)}"
        case None | int() | float() | str():
            return f"{value!r:.60}"
        case _:
            return type(value).__name__
