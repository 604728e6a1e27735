"""``waypost``: runs a command, and says what went wrong in one line with its exit status."""

from __future__ import annotations

import sys

from waypost.cli import calls, jobs, manage, presets, settings
from waypost.cli.app import app
from waypost.cli.exits import INTERRUPTED, NOT_ALL_ANSWERED, USAGE, status_of
from waypost.errors import WaypostError

COMMANDS = (calls, jobs, manage, presets, settings)
"""Importing them registers their commands."""


def main() -> None:
    """The program."""
    try:
        app(prog_name="waypost")
    except WaypostError as error:
        sys.stderr.write(f"waypost: {error}\n")
        sys.exit(status_of(error))
    except BrokenPipeError:
        # Who read the output has enough of it.
        sys.stderr.close()
        sys.exit(NOT_ALL_ANSWERED)
    except OSError as error:
        sys.stderr.write(f"waypost: {error}\n")
        sys.exit(NOT_ALL_ANSWERED)
    except ValueError as error:
        # What was given is no tensor, no JSON, or not of this model.
        sys.stderr.write(f"waypost: {error}\n")
        sys.exit(USAGE)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
