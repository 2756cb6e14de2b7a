"""``python -m copick_tools.cli``: the command ``popsicle``."""

from copick_tools.cli.main import main

main()
