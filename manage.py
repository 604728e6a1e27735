#!/usr/bin/env python
"""Command line of Waypost: `manage.py help` lists what it can do."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

from deploy.local.environment import adopt_running_stack

# They start and stop the stack themselves: its environment must not look like the caller's wish.
LAUNCHER_COMMANDS = {"up", "down", "status"}


def main() -> None:
    """Run a command, next to the local stack if one runs."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketplace.config.settings")
    if sys.argv[1:2] and sys.argv[1] not in LAUNCHER_COMMANDS:
        adopt_running_stack()
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
