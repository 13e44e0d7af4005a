"""The picture of the attacks: as wide as there are attacks, the same for the same record."""

import struct

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from support.records import attack_record_of, outcome_of
from surefoot.attack.returns_picture import draw_attacks
from surefoot.picture import Painter


def size_of(png: bytes) -> tuple[int, int]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def test_the_picture_is_a_png_that_grows_with_the_attacks() -> None:
    two = draw_attacks(attack_record_of(clean=[3000.0, 2900.0], mad=[700.0, 650.0]))
    mad = outcome_of([-2.0], failures=1)
    three = draw_attacks(attack_record_of(clean=[1.0], random=[1.0], mad=mad))
    assert size_of(two)[0] < size_of(three)[0]


def test_the_same_record_gives_the_same_picture() -> None:
    one = attack_record_of(clean=[3.0, 4.0], mad=[1.0, 2.0])
    assert draw_attacks(one) == draw_attacks(one)


def test_nearly_equal_returns_are_written_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    def offset_of(width: float, height: float, paint: Painter) -> bytes:
        figure = Figure((width, height))
        paint(figure)
        FigureCanvasAgg(figure).draw()
        return figure.axes[0].yaxis.get_offset_text().get_text().encode()

    monkeypatch.setattr("surefoot.attack.returns_picture.draw_png", offset_of)
    assert draw_attacks(attack_record_of(clean=[188.681], random=[188.686])) == b""


@pytest.mark.parametrize("value", [2000.0, 1000.0])
def test_another_return_gives_another_picture(value: float) -> None:
    assert draw_attacks(attack_record_of(clean=[3000.0])) != draw_attacks(
        attack_record_of(clean=[value])
    )
