"""A converted file is written if, and only if, the library's answers are its own.

Also of ``convert/command_line.py``, with the tests of each converter.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from support.policies import random_policy
from surefoot.convert.conversion import Conversion, in_float32, metadata_of, write_conversion
from surefoot.errors import CheckError, InputError
from surefoot.onnx_file import policy_from_onnx
from surefoot.policy import Array, CategoricalHead, Policy, Squash, weights_sha256
from surefoot.workflow.adopting import adopt_controller

Change = Callable[[Policy], Policy]


def drawn(squash: Squash | None = Squash.CLIP) -> Policy:
    return random_policy(np.random.default_rng(0), (4, 16, 16, 3), squash=squash)


def double(policy: Policy) -> Policy:
    """The same with constants that float32 does not hold."""
    shift = 1 + 2.0**-30
    layers = [replace(layer, weight=layer.weight * shift) for layer in policy.layers]
    mean = policy.normaliser.mean.astype(np.float64) + 1e-9
    return replace(policy, normaliser=replace(policy.normaliser, mean=mean), layers=tuple(layers))


def conversion_of(policy: Policy, library: Policy | None = None) -> Conversion:
    """A conversion of a library that computes in float32, and chooses where it has choices."""
    library = library or policy

    def predict(obs: Array) -> Array:
        return library.head.select(library.outputs(obs, np.float32))

    metadata = metadata_of(policy, b"", library="a", library_version="1", algorithm="b")
    return Conversion(policy=policy, predict=predict, metadata=metadata)


@pytest.mark.parametrize("squash", [*Squash, None])
def test_the_file_holds_the_policy_in_float32(tmp_path: Path, squash: Squash | None) -> None:
    exact = double(drawn(squash))
    policy, agreement = write_conversion(conversion_of(exact), tmp_path / "policy.onnx")
    read = policy_from_onnx((tmp_path / "policy.onnx").read_bytes()).policy
    for layer, written, own in zip(exact.layers, read.layers, policy.layers, strict=True):
        np.testing.assert_array_equal(written.weight, layer.weight.astype(np.float32))
        np.testing.assert_array_equal(written.weight, own.weight)
    assert agreement.num_observations == 1000
    assert (agreement.largest is None) == isinstance(read.head, CategoricalHead)


def with_normaliser_left_out(policy: Policy) -> Policy:
    ones = np.ones_like(policy.normaliser.scale)
    return replace(policy, normaliser=replace(policy.normaliser, scale=ones))


def with_another_clip(policy: Policy) -> Policy:
    return replace(policy, normaliser=replace(policy.normaliser, clip=5.0))


def with_another_weight(policy: Policy) -> Policy:
    first, *others = policy.layers
    weight = first.weight.copy()
    weight[0, 0] += 0.01
    return replace(policy, layers=(replace(first, weight=weight), *others))


@pytest.mark.parametrize(
    ("change", "squash"),
    [
        (with_normaliser_left_out, Squash.TANH),
        (with_another_clip, Squash.TANH),
        (with_another_weight, Squash.TANH),
        (with_normaliser_left_out, None),  # a choice shows large differences only
    ],
)
def test_a_policy_that_is_not_the_librarys_is_not_written(
    tmp_path: Path, change: Change, squash: Squash | None
) -> None:
    library = drawn(squash)
    with pytest.raises(CheckError, match="is not what the library computes"):
        write_conversion(conversion_of(change(library), library), tmp_path / "policy.onnx")
    assert not list(tmp_path.iterdir())


def test_constants_that_float32_does_not_hold_are_refused() -> None:
    policy = drawn()
    tiny = replace(policy.normaliser, scale=np.full(4, 1e-60))
    with pytest.raises(InputError, match="scale must be positive"):
        in_float32(replace(policy, normaliser=tiny))
    huge = replace(policy.normaliser, mean=np.full(4, 1e60))
    with pytest.raises(InputError, match="mean must be finite"):
        in_float32(replace(policy, normaliser=huge))


def test_a_controller_file_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "policy.onnx"
    write_conversion(conversion_of(drawn(Squash.TANH)), out)
    write_conversion(conversion_of(drawn()), out)
    before = out.read_bytes()
    assert policy_from_onnx(before).policy.head.squash is Squash.CLIP  # type: ignore[union-attr]
    out.write_bytes(before[:-1])
    with pytest.raises(InputError, match="controller file"):
        write_conversion(conversion_of(drawn()), out)
    assert out.read_bytes() == before[:-1]


@pytest.mark.parametrize("squash", [Squash.CLIP, None])
def test_adopting_a_converted_file_changes_no_bit_and_loses_nothing(
    tmp_path: Path, squash: Squash | None
) -> None:
    policy = drawn(squash)
    write_conversion(conversion_of(policy), tmp_path / "policy.onnx")
    adopted = adopt_controller(tmp_path / "policy.onnx", tmp_path / "run")
    assert adopted.difference.is_none
    assert weights_sha256(adopted.file.policy) == weights_sha256(policy)
    assert adopted.file.metadata["origin"]["library"] == "a"
    head = adopted.file.policy.head
    assert isinstance(head, CategoricalHead) == (squash is None)
    if not isinstance(head, CategoricalHead):
        np.testing.assert_array_equal(head.noise, policy.head.noise)


def test_metadata_name_the_range_of_the_actions() -> None:
    policy = drawn()
    head = policy.head
    assert not isinstance(head, CategoricalHead)
    metadata = metadata_of(policy, b"x", library="a", library_version="1", algorithm="b")
    reach = policy.outputs(np.full((1, 4), 1e6)), policy.outputs(np.full((1, 4), -1e6))
    low, high = np.array(metadata["action"]["low"]), np.array(metadata["action"]["high"])
    assert all(((low - 1e-6 <= found) & (found <= high + 1e-6)).all() for found in reach)
    np.testing.assert_allclose(high - low, 2 * head.half_range, rtol=1e-6)
    assert metadata["observation"] == {"size": 4, "clip": 10.0}
