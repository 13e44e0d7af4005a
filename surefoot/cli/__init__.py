"""The command line: one small module per verb, which parses, calls one function, prints and exits.

A verb imports its stage inside the command, so that ``pipeline --help`` is instant and verbs that
run on the robot never load a training library.
"""

try:
    from surefoot.errors import InputError
    from surefoot.kernels import pin_kernels

    pin_kernels()  # before any module of a verb loads NumPy

    from surefoot.cli.main import app, main
except KeyboardInterrupt:
    from surefoot.cli.interruption import end_before_a_verb

    end_before_a_verb()
except InputError as error:
    from surefoot.cli.failures import end_in_one_line

    end_in_one_line(error)

__all__ = ["app", "main"]
