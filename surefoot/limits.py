"""The largest that is read of what others may have written: every such limit has its home here.

Who meets more refuses the file, and names it and the limit. A limit stands before the parser that
it protects, and costs no more than a look at each byte. With those of a bundle, ``verify`` reads
whatever it is given within a second and 200 MB.
"""

MAX_FILE_BYTES = 1 << 30
"""Bytes of any file."""

MAX_MANIFEST_BYTES = 1 << 20
"""Bytes of ``manifest.json``."""

MAX_FILES = 64
"""Files of an artifact; the folder of a bundle has less than twenty."""

MAX_BUNDLE_BYTES = 1 << 25
"""Bytes of all files of a bundle together; observations take the most."""

MAX_RECORDED = 1 << 21
"""Numbers of all recorded states of a user, which a bundle has to hold."""

MAX_EXPANDED_BYTES = 1 << 27
"""Bytes that the arrays of a compressed recording may take: eight times the states that count."""

MAX_COLUMNS = 1 << 16
"""Columns of a CSV file: four times the sensors that a controller may have."""

MAX_POLICY_BYTES = 5_000_000
"""Bytes of ``policy.onnx`` in a bundle: 1.25 million weights, of which C may be derived."""

MAX_DOCUMENT_BYTES = 1 << 22
"""Bytes of a JSON document in a bundle; a certificate may hold a hundred thousand multipliers."""

MAX_BOXES = 50_000
"""Boxes into which a certificate cuts the region of one question; each is bounded again."""

MAX_BUDGET_BYTES = 1 << 16
"""Bytes of a budget, enough for a thousand requirements; its parser is slow."""

MAX_ROBOT_BYTES = 1 << 16
"""Bytes of a description of a robot."""

MAX_VNNLIB_BYTES = 1 << 22
"""Bytes of a VNN-LIB file."""

MAX_SPECIFICATION_BYTES = 1 << 18
"""Bytes of a VNN-LIB file that a budget names, since its certificate holds it."""

MAX_DISJUNCTS = 1 << 12
"""Conjunctions into which a VNN-LIB file may be multiplied out."""

MAX_TOML_BYTES = 1 << 20
"""Bytes of any other TOML file."""

MAX_SIGNATURE_BYTES = 1 << 24
"""Bytes of a signature file, which holds the certificate once more."""

MAX_ENTRIES = 1 << 26
"""Numbers of one tensor that is made of an ONNX file, and of all layers."""

MAX_SCALARS = 1 << 18
"""Numbers that a controller computes."""

MAX_SENSORS = 1 << 14
"""Numbers of an observation."""

MAX_OUTPUTS = 1 << 14
"""Numbers that a controller of others gives at once."""

MAX_PAIRS = 1 << 10
"""Limits of a gate on pairs of sensors."""

MAX_NODES = 1 << 14
"""Nodes of an ONNX graph."""

MAX_FIELDS = 1 << 16
"""Fields of an ONNX file, of which each takes up to five hundred bytes of memory."""

MAX_VARINTS = 1 << 22
"""Integers that one field of an ONNX file packs: a byte each there, eight in memory."""

MAX_ARRAYS = 16
"""Arrays of an npz file."""

MAX_DEPTH = 64
"""Depth of lists and tables inside of each other, and parts of a dotted key."""

MAX_DIGITS = 400
"""Digits of a number in JSON or TOML: a double needs 17, its largest 309, a generator 39."""

MAX_VALUES = 1 << 22
"""Values of a JSON document, of which each takes up to a hundred times its bytes of memory."""

MAX_VALUES_OF_BUNDLE = 1 << 18
"""Values of a JSON document in a bundle."""
