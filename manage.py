#!/usr/bin/env python
"""Command line of Waypost: `manage.py help` lists what it can do."""

import os
import signal
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

from deploy.local.home.environment import (
    adopt_running_stack,
    default_home,
    hint_of_home,
    home_named,
    keep_traceback,
)

# They start and stop services themselves: no stack's environment may look like the caller's wish.
LAUNCHER_COMMANDS = {"up", "down", "status", "restore"}


def main() -> None:
    """Run a command, next to the local stack if one runs."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketplace.config.settings")
    home, words = home_named(sys.argv)
    if sys.argv[1:2] and sys.argv[1] not in LAUNCHER_COMMANDS:
        if home is not None:
            os.environ["WAYPOST_HOME"] = str(home.resolve())
            sys.argv = words
        adopt_running_stack(named=home is not None)
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"error: {error}{hint_of_home()}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        if "--traceback" in sys.argv:
            raise
        sys.exit(f"error: {keep_traceback(error, home or default_home())}")


if __name__ == "__main__":
    main()
