"""CPUID as the C library tells it, against what the kernel read."""

import platform

import pytest

from surefoot import kernels
from surefoot.cpuid import Cpuid, cpuid, family_and_model


def test_cpuid_is_what_the_kernel_read() -> None:
    account = dict(kernels._cpuinfo())
    if platform.machine() != "x86_64" or (answer := cpuid()) is None:
        pytest.skip("the C library does not tell CPUID")
    flags = set(account["flags"].split())
    assert answer == Cpuid(
        family=int(account["cpu family"]),
        model=int(account["model"]),
        has_avx2_and_fma={"avx2", "fma"} <= flags,
    )


@pytest.mark.parametrize(
    ("signature", "family", "model"),
    [
        (0x000106A3, 6, 26),  # Nehalem
        (0x000306C1, 6, 60),  # Haswell
        (0x00A00F11, 25, 1),  # EPYC Milan
        (0x00B00F21, 26, 2),  # EPYC Turin
        (0x00000543, 5, 4),  # Pentium with MMX, which has no extended model
    ],
)
def test_family_and_model_of_known_processors(signature: int, family: int, model: int) -> None:
    assert family_and_model(signature) == (family, model)
