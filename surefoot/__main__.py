"""The program: ``pipeline`` and ``python -m surefoot``.

Ctrl-C is answered before the command line loads.
"""

from surefoot.early_interruption import end_if_interrupted

end_if_interrupted()


def main() -> None:
    """Run the command line."""
    from surefoot.cli import main as run

    run()


if __name__ == "__main__":
    main()
