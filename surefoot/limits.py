"""The largest that is read of what others may have written: every such limit has its home here.

A reader that meets more refuses it by the name of the file and the limit. The limits of a bundle
keep ``verify`` within a second and 200 MB whatever the bundle holds.
"""

MAX_FILE_BYTES = 1 << 30
"""Bytes of any file."""

MAX_MANIFEST_BYTES = 1 << 20
"""Bytes of ``manifest.json``."""

MAX_FILES = 64
"""Files of an artifact; the folder of a bundle has less than twenty."""

MAX_BUNDLE_BYTES = 1 << 25
"""Bytes of all files of a bundle together."""

MAX_DEPTH = 64
"""Depth of lists and tables inside of each other, in JSON and TOML."""

MAX_DIGITS = 400
"""Digits of a number in JSON or TOML: a double needs 17, its largest 309, a generator 39."""
