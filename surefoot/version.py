"""The version, apart from the package itself, which offers everything and so imports everything."""

__version__ = "0.1.0"
"""What a result was made by: the code, so that results of two codes are never mixed."""
