"""The largest that is read of what others may have written: every such limit has its home here.

A reader that meets more refuses it by the name of the file and the limit. The limits of a bundle
keep ``verify`` within a second and 200 MB whatever the bundle holds.
"""

MAX_FILE_BYTES = 1 << 30
"""Of any file."""

MAX_MANIFEST_BYTES = 1 << 20
"""Of ``manifest.json``."""

MAX_FILES = 64
"""Of an artifact; the folder of a bundle has less than twenty."""

MAX_BUNDLE_BYTES = 1 << 25
"""Of all files of a bundle together."""

MAX_DEPTH = 64
"""Of lists and tables inside of each other, in JSON and TOML."""

MAX_DIGITS = 400
"""Of a number in JSON or TOML; a double needs 17, its largest 309, a generator's state 39."""
