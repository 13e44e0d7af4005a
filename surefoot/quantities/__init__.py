"""What a budget may require: one module per quantity or family, found by listing this package.

To add a quantity, add a module that holds an object of a class of it; everything else that has to
know it (budgets, certificates, their explanation, the checker, the reference pages) asks here.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from pkgutil import iter_modules

from surefoot.quantities.base.quantity import AnyQuantity


def _found() -> Iterator[AnyQuantity]:
    for module in iter_modules(__path__):
        if not module.ispkg:
            content = vars(import_module(f"{__name__}.{module.name}"))
            yield from (value for value in content.values() if isinstance(value, AnyQuantity))


QUANTITIES: Mapping[str, AnyQuantity] = {quantity.name: quantity for quantity in _found()}
"""All quantities by name."""
