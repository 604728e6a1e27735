"""Finding a browser for the tests that need a real one."""

from __future__ import annotations

import shutil

HOW_TO_INSTALL = "install Debian's browser with `apt-get install chromium` to run it"


def chromium_path() -> str | None:
    """Return the path of Chromium or Chrome on this machine, if it has one."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    return None
