import struct

import pytest

from surefoot.attack.returns_picture import draw_attacks


def table(**attacks):
    return {
        "env": "Hopper-v5",
        "norm": "linf",
        "epsilon": 0.075,
        "attacks": {
            name: {"returns": returns, "mean": sum(returns) / len(returns), "failures": failures}
            for name, (returns, failures) in attacks.items()
        },
    }


def size_of(png):
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", png[16:24])


def test_the_picture_is_a_png_that_grows_with_the_attacks():
    two = draw_attacks(table(clean=([3000.0, 2900.0], 0), mad=([700.0, 650.0], 0)))
    three = draw_attacks(table(clean=([1.0], 0), random=([1.0], 0), mad=([-2.0], 1)))
    assert size_of(two)[0] < size_of(three)[0]


def test_the_same_table_gives_the_same_picture():
    one = table(clean=([3.0, 4.0], 0), mad=([1.0, 2.0], 0))
    assert draw_attacks(one) == draw_attacks(one)


@pytest.mark.parametrize("value", [2000.0, 1000.0])
def test_another_return_gives_another_picture(value):
    assert draw_attacks(table(clean=([3000.0], 0))) != draw_attacks(table(clean=([value], 0)))
