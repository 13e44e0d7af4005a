"""Sphinx roles of docstrings, such as ``:func:`build```, shown as code on the pages."""

import re
from typing import Any

from griffe import Extension, Object

ROLE = re.compile(r":(?:attr|class|data|func|meth|mod|obj):`~?([^`]+)`")


class SphinxRoles(Extension):
    """Replaces roles by plain code before a docstring is parsed."""

    def on_object(self, *, obj: Object, **_: Any) -> None:  # noqa: ANN401 - griffe's own signature
        """Rewrite the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = ROLE.sub(r"`\1`", obj.docstring.value)
