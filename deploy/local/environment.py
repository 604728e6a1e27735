"""Point `manage.py` at the local stack that runs.

`manage.py keys create` in a second terminal must find the database that `manage.py up` started
in the first. Whatever the caller's environment sets itself always wins.
"""

from __future__ import annotations

import os
from pathlib import Path

from deploy.local import state

DEFAULT_HOME = ".waypost"


def default_home() -> Path:
    """Return the state folder that is meant when none is named."""
    return Path(os.environ.get("WAYPOST_HOME", DEFAULT_HOME)).resolve()


def adopt_running_stack() -> None:
    """Fill the environment with what the running stack's services have, if one runs."""
    running = state.load(default_home())
    if running is not None and running.is_live():
        for name, value in running.environment.items():
            os.environ.setdefault(name, value)
