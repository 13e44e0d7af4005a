"""Every quantity says what a budget, a certificate and its explanation ask of it.

Of all modules of ``quantities``; what each of them proves is held in ``tests/certify``.
"""

from dataclasses import fields
from pathlib import Path
from string import Formatter

import pytest

import surefoot.quantities
from surefoot.budget import Requirement
from surefoot.quantities import QUANTITIES
from surefoot.quantities.base.measurement import Episodes
from surefoot.quantities.base.quantity import AnyQuantity, MeasuredQuantity, Topic

FIELDS = {field.name for field in fields(Requirement)} - {"quantity", "at_most", "at_least"}
WORDS = {"value", "at_least", "norm", "output", "outputs", "units"}
"""What the explanation fills into the sentence of a quantity."""

every_quantity = pytest.mark.parametrize("quantity", QUANTITIES.values(), ids=QUANTITIES)


def test_every_module_of_the_package_holds_a_quantity_that_is_found() -> None:
    folder = Path(surefoot.quantities.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert modules == {
        type(quantity).__module__.rsplit(".", 1)[1] for quantity in QUANTITIES.values()
    }
    assert all(name == quantity.name for name, quantity in QUANTITIES.items())


@every_quantity
def test_a_quantity_needs_and_takes_fields_that_a_requirement_has(quantity: AnyQuantity) -> None:
    assert quantity.needs <= FIELDS
    assert quantity.takes <= FIELDS
    assert not quantity.needs & quantity.takes


@every_quantity
def test_a_sentence_tells_the_value_and_asks_for_nothing_unknown(quantity: AnyQuantity) -> None:
    asked = {name for _, name, _, _ in Formatter().parse(quantity.claim) if name is not None}
    assert "value" in asked
    assert asked <= WORDS
    assert quantity.meaning


def test_every_topic_has_a_quantity_that_speaks_of_it() -> None:
    assert {quantity.topic for quantity in QUANTITIES.values()} == set(Topic)


@every_quantity
def test_what_episodes_say_of_a_quantity_is_a_measurement_of_it(quantity: AnyQuantity) -> None:
    if not isinstance(quantity, MeasuredQuantity):
        return
    episodes = Episodes(
        onnx_sha256="0" * 64,
        source="clean",
        ball=None,
        returns=(1.0, 2.0),
        survived=(True, False),
        successes=(True, True),
    )
    entry = quantity.of_episodes(episodes)
    if entry is not None:
        assert entry.quantity == quantity.name
        assert entry.epsilon is None
        quantity.check(entry)
