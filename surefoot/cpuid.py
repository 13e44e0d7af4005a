"""What a program is told of the processor by CPUID, on which libraries choose their kernels.

``/proc/cpuinfo`` is the account of the kernel. Under an emulator, and in containers that show a
file of their own, a program runs on another processor than that account names.
"""

import ctypes
from dataclasses import dataclass

_REGISTERS = 4  # EAX, EBX, ECX, EDX
_LEAF_1, _LEAF_7 = 0, 1
_EAX, _EBX, _ECX = 0, 1, 2
_FMA, _AVX2 = (_LEAF_1, _ECX, 12), (_LEAF_7, _EBX, 5)
"""Leaf, register and bit of a feature, as ``<sys/platform/x86.h>`` of the C library has them."""


class _Leaf(ctypes.Structure):
    """``struct cpuid_feature`` of ``<sys/platform/x86.h>``."""

    _fields_ = (
        ("cpuid", ctypes.c_uint32 * _REGISTERS),
        ("active", ctypes.c_uint32 * _REGISTERS),
    )


@dataclass(frozen=True, slots=True)
class Cpuid:
    """What CPUID answers.

    Attributes:
        family: Family of the processor.
        model: Its model.
        has_avx2_and_fma: Whether it has both.
    """

    family: int
    model: int
    has_avx2_and_fma: bool


def cpuid() -> Cpuid | None:
    """Return what CPUID answers; None where the C library does not tell: glibc does since 2.33."""
    ask = getattr(ctypes.CDLL(None), "__x86_get_cpuid_feature_leaf", None)
    if ask is None:
        return None
    ask.restype = ctypes.POINTER(_Leaf)
    leaves = [ask(leaf).contents.cpuid for leaf in (_LEAF_1, _LEAF_7)]
    family, model = family_and_model(leaves[_LEAF_1][_EAX])
    has_both = all(leaves[leaf][register] >> bit & 1 for leaf, register, bit in (_FMA, _AVX2))
    return Cpuid(family, model, has_both)


def family_and_model(signature: int) -> tuple[int, int]:
    """Return family and model by EAX of leaf 1.

    Source: Intel's Software Developer's Manual, volume 2A, "CPUID"; AMD's says the same.
    """
    family, model = signature >> 8 & 0xF, signature >> 4 & 0xF
    if family in (0x6, 0xF):
        model += (signature >> 16 & 0xF) << 4
    if family == 0xF:
        family += signature >> 20 & 0xFF
    return family, model
