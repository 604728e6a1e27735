"""Point `manage.py` at the local stack that runs.

`manage.py keys create` in a second terminal must find the database that `manage.py up` started
in the first. What the caller's environment sets itself wins, unless the caller names the stack.
"""

from __future__ import annotations

import argparse
import os
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from deploy.local.home import state
from deploy.local.home.secrets import OWNER_URL

DEFAULT_HOME = ".waypost"


def default_home() -> Path:
    """Return the state folder that is meant when none is named."""
    return Path(os.environ.get("WAYPOST_HOME", DEFAULT_HOME)).resolve()


def home_named(words: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Take `--home DIR` out of a command line, which every command knows."""
    if not any(word == "--home" or word.startswith("--home=") for word in words):
        return None, list(words)
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, prog="manage.py")
    parser.add_argument("--home", type=Path)
    found, rest = parser.parse_known_args(words)
    return found.home, rest


def keep_traceback(error: Exception, home: Path) -> str:
    """Report an unexpected error in one line; its traceback goes to a log, if possible."""
    said = traceback.format_exception_only(error)[-1].strip()
    log = home / "logs" / "manage.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            file.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}\n")
            traceback.print_exception(error, file=file)
    except OSError:
        return said
    return f"{said} (the traceback is in {log})"


def hint_of_home() -> str:
    """Say that no stack was found, where neither the environment nor a stack names a database."""
    if "DATABASE_URL" in os.environ:
        return ""
    return f" (no stack runs in {default_home()}: name another state folder with --home)"


def adopt_running_stack(*, named: bool = False) -> None:
    """Copy the environment of the running stack's services, if a stack runs.

    The stack whose home was ``named`` with ``--home`` is meant, whatever the environment says.
    """
    running = state.load(default_home())
    if running is None or not running.is_live():
        return
    if (named or "DATABASE_URL" not in os.environ) and running.owner_url:
        _set(OWNER_URL, running.owner_url, replace=named)
    for name, value in running.environment.items():
        _set(name, value, replace=named)


def _set(name: str, value: str, *, replace: bool) -> None:
    if replace or name not in os.environ:
        os.environ[name] = value
