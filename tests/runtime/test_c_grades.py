"""Tanh and sigmoid of lower grades err by what certificates of their arithmetic count on."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from support.oracles import FLOAT64_ACTIVATIONS
from support.policies import random_policy
from surefoot.certify.bounds.arithmetics import ARITHMETICS
from surefoot.certify.everywhere import Everywhere
from surefoot.export.parity import parity_observations
from surefoot.policy import Activation, Squash
from surefoot.runtime.arithmetic import TAU, Grade, runtime_error
from surefoot.runtime.c_activations import c_tau, twin
from surefoot.runtime.c_grades import graded_text, is_graded
from surefoot.runtime.c_layers import Machine
from surefoot.runtime.c_source import CConfig, c_source, twin_outputs
from surefoot.unknown import Unknown

LOWER = [Grade.FINE, Grade.COARSE]
GRADED = [Activation.TANH, Activation.SIGMOID]


def sweep(stride: int) -> NDArray[np.float32]:
    """Every ``stride``-th float32 of both signs, zeros and infinities included."""
    bits = np.arange(0, 0x7F800001, stride, dtype=np.uint32)
    positive = np.concatenate([bits.view(np.float32), np.float32([np.inf])])
    return np.concatenate([positive, -positive])


@pytest.mark.parametrize("activation", GRADED)
@pytest.mark.parametrize("grade", LOWER)
def test_no_error_exceeds_that_of_the_grade_and_no_value_the_range(
    activation: Activation, grade: Grade
) -> None:
    x = sweep(4001)
    computed = twin(activation, x, grade)
    exact = FLOAT64_ACTIVATIONS[activation](x.astype(np.float64))
    assert computed.dtype == np.float32
    error = np.abs(computed.astype(np.float64) - exact).max()
    assert TAU < error <= c_tau(grade)
    assert computed.max() == 1
    assert computed.min() == (-1 if activation is Activation.TANH else 0)
    assert np.isnan(twin(activation, np.float32([np.nan]), grade)).all()


def test_a_lower_grade_is_what_the_certifier_counts_on_under_its_name() -> None:
    assert [ARITHMETICS[f"float32-{grade}"].tau for grade in LOWER] == [c_tau(g) for g in LOWER]
    assert c_tau(Grade.FULL) <= ARITHMETICS["float32"].tau < c_tau(Grade.FINE)
    assert not is_graded(Activation.SILU, Grade.COARSE)
    assert graded_text({Activation.TANH}, Grade.FULL) == ""


@pytest.mark.parametrize("activation", GRADED)
@pytest.mark.parametrize("grade", LOWER)
def test_proved_rounding_covers_the_c_of_its_grade_and_that_of_full_does_not(
    activation: Activation, grade: Grade
) -> None:
    policy = random_policy(np.random.default_rng(4), (6, 16, 12, 2), activation, Squash.TANH)
    obs = parity_observations(policy, np.random.default_rng(5), 400)
    computed = twin_outputs(policy, obs, grade).astype(np.float64)
    error = np.abs(computed - policy.outputs(obs)).max(axis=0)
    assert (error <= runtime_error(policy, state_limit=10.0, tau=c_tau(grade))).all()
    proved, of_full = (
        Everywhere(policy, ARITHMETICS[name]).rounding(0.0)
        for name in (f"float32-{grade}", "float32")
    )
    assert not isinstance(proved, Unknown)
    assert not isinstance(of_full, Unknown)
    assert (error <= proved.action).all()
    assert (error > of_full.action).any()


@pytest.mark.parametrize(
    ("compiler", "activation"), [("gcc", Activation.TANH), ("clang", Activation.SIGMOID)]
)
def test_c_of_a_lower_grade_has_the_bits_of_its_twin(
    tmp_path: Path, compiler: str, activation: Activation
) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"not installed: {compiler}")
    policy = random_policy(np.random.default_rng(6), (5, 16, 11, 3), activation, Squash.TANH)
    obs = parity_observations(policy, np.random.default_rng(7), 40)
    for grade, machine in zip(LOWER, Machine, strict=True):
        source = c_source(policy, CConfig(activations=grade, machine=machine))
        for name, data in source.files.items():
            (tmp_path / name).write_bytes(data)
        strict = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion")
        flags = ("-O2", "-ffp-contract=off", "-DPOLICY_SELF_TEST", "-fsanitize=undefined")
        command = [compiler, *strict, *flags, "policy.c", "policy_main.c", "-o", "policy"]
        subprocess.run(command, cwd=tmp_path, check=True)
        text = "\n".join(" ".join(f"{value:.9g}" for value in row) for row in obs)
        done = subprocess.run(
            [tmp_path / "policy", "-"], input=text, capture_output=True, text=True, check=True
        )
        found = np.array([line.split() for line in done.stdout.splitlines()], np.float32)
        expected = twin_outputs(policy, obs, grade)
        assert (found.view(np.uint32) == expected.view(np.uint32)).all()
        assert f"within {c_tau(grade):.2g}" in source.files["policy.h"].decode()
