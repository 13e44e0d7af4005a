"""The command line: one small module per verb, which parses, calls one function, prints and exits.

A verb imports its stage inside the command, so that ``pipeline --help`` is instant and verbs that
run on the robot never load a training library.
"""

from surefoot.early_interruption import end_if_interrupted, raise_if_interrupted

end_if_interrupted()  # before anything else loads

try:
    from surefoot.errors import InputError
    from surefoot.kernels import pin_kernels

    pin_kernels()  # before any module of a verb loads NumPy

    from surefoot.cli.main import app, main
except InputError as error:
    from surefoot.cli.failures import end_in_one_line

    end_in_one_line(error)
finally:
    raise_if_interrupted()

__all__ = ["app", "main"]
