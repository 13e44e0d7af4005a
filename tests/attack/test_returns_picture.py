import struct

import pytest

from surefoot.attack.returns_picture import draw_attacks
from surefoot.ball import Norm
from surefoot.records import AttackOutcome, AttackRecord, WorstAttack


def outcome(returns: list[float], failures: int) -> AttackOutcome:
    count = len(returns)
    return AttackOutcome(
        returns=tuple(returns),
        mean=sum(returns) / count,
        iqm=sum(returns) / count,
        interval=(min(returns), max(returns)),
        max_deviation=0.0,
        max_deviation_per_output=(0.0,),
        certified_deviation=None,
        reached_share=None,
        lengths=(1,) * count,
        terminated=(False,) * count,
        failures=failures,
        failure_reasons=(None,) * count,
        variant="one",
        effort={},
        selection={},
    )


def record(**attacks: tuple[list[float], int]) -> AttackRecord:
    return AttackRecord(
        epsilon=0.075,
        norm=Norm.LINF,
        backend="onnx",
        suite="quick",
        episodes=len(attacks["clean"][0]),
        attacks={name: outcome(*given) for name, given in attacks.items()},
        worst=WorstAttack(attack="mad", mean=0.0, failures=0),
        gradient_masking=None,
        onnx_sha256="0" * 64,
        env="Hopper-v5",
    )


def size_of(png: bytes) -> tuple[int, int]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def test_the_picture_is_a_png_that_grows_with_the_attacks() -> None:
    two = draw_attacks(record(clean=([3000.0, 2900.0], 0), mad=([700.0, 650.0], 0)))
    three = draw_attacks(record(clean=([1.0], 0), random=([1.0], 0), mad=([-2.0], 1)))
    assert size_of(two)[0] < size_of(three)[0]


def test_the_same_record_gives_the_same_picture() -> None:
    one = record(clean=([3.0, 4.0], 0), mad=([1.0, 2.0], 0))
    assert draw_attacks(one) == draw_attacks(one)


@pytest.mark.parametrize("value", [2000.0, 1000.0])
def test_another_return_gives_another_picture(value: float) -> None:
    assert draw_attacks(record(clean=([3000.0], 0))) != draw_attacks(record(clean=([value], 0)))
