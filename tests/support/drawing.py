"""What draws without a display, where it is installed."""

from ctypes.util import find_library

import pytest

needs_gl = pytest.mark.skipif(
    not (find_library("EGL") or find_library("OSMesa")),
    reason="drawing without a display needs libEGL or libOSMesa (apt install libosmesa6)",
)
