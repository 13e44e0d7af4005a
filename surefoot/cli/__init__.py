"""The command line: one small module per verb, which parses, calls one function, prints and exits.

A verb imports its stage inside the command, so that ``pipeline --help`` is instant and verbs that
run on the robot never load a training library.
"""

# NumPy reads the number of threads once, when it loads. One thread a product: the products here
# are small, and on a busy machine two threads of BLAS wait for each other up to 60 times longer
# than one would work. Who sets the variable is obeyed.
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from surefoot.cli.main import app, main

__all__ = ["app", "main"]
