"""``python -m surefoot`` is ``pipeline``."""

from surefoot.cli import main

main()
