"""A bundle is loaded only on the arithmetic that its certificate is about."""

from pathlib import Path

import numpy as np
import pytest

from support.bundles import bundle_files
from support.certificates import certificate_of
from support.policies import file_of, random_policy
from surefoot.bundle import Bundle, open_bundle, write_bundle
from surefoot.errors import VerificationError
from surefoot.runtime.arithmetic import ARITHMETIC
from surefoot.runtime.load import Backend, controller_of, load_controller


def bundle_in(tmp_path: Path, arithmetic: str) -> Bundle:
    policy = random_policy(np.random.default_rng(0), (4, 8, 2))
    file = file_of(policy)
    certificate = certificate_of(file, arithmetic=arithmetic)
    write_bundle(tmp_path / "bundle", bundle_files(file, certificate), allow_uncertified=False)
    return open_bundle(tmp_path / "bundle")


@pytest.mark.parametrize("backend", [Backend.NUMPY, Backend.ONNX])
def test_the_bundle_s_controller_is_its_file(tmp_path: Path, backend: Backend) -> None:
    bundle = bundle_in(tmp_path, ARITHMETIC)
    obs = np.random.default_rng(1).normal(0, 3, (8, 4)).astype(np.float32)
    expected = controller_of(bundle.controller, backend)(obs)
    assert np.array_equal(load_controller(bundle, backend)(obs), expected)


@pytest.mark.parametrize("backend", Backend)
def test_another_arithmetic_than_the_certified_one_is_refused(
    tmp_path: Path, backend: Backend
) -> None:
    with pytest.raises(
        VerificationError, match="about arithmetic 'tf32', the runtime has 'float32'"
    ):
        load_controller(bundle_in(tmp_path, "tf32"), backend)
