"""``python -m waypost`` is ``waypost``."""

from waypost.cli.main import main

main()
