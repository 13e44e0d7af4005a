"""The command line: one small module per verb, which parses, calls its stage, prints and exits.

A verb imports its stage inside the command, so that ``pipeline --help`` is instant and verbs that
run on the robot never load a training library.
"""

from surefoot.cli.main import app, main

__all__ = ["app", "main"]
