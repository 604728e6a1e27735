"""A Chromium for the browser tests where the system has none: Debian's, unpacked into the clone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
PACKAGE = "chromium"
LAUNCHER = """#!/bin/sh
here={folder}
export LD_LIBRARY_PATH={libraries} FONTCONFIG_FILE="$here/fonts.conf"
exec "$here/usr/lib/chromium/chromium" "$@"
"""
# What the installed packages' own configuration comes to, with the one family that they depend on:
# it is not brought where the system has it.
FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <dir>/usr/share/fonts</dir>
  <dir>{folder}/usr/share/fonts</dir>
  <cachedir>{folder}/font-cache</cachedir>
  <alias><family>serif</family><prefer><family>DejaVu Serif</family></prefer></alias>
  <alias><family>sans-serif</family><prefer><family>DejaVu Sans</family></prefer></alias>
  <alias><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
</fontconfig>
"""


def find(tools: Path) -> str | None:
    """Return the path of the system's Chromium or Chrome, else of the one in `tools`."""
    ours = tools / "chromium" / "chromium"
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return found or (str(ours) if ours.exists() else None)


def bring(unpack: Callable[[str], Path], tools: Path) -> None:
    """Unpack the browser and what it depends on (210 MB to download, 730 MB then)."""
    folder = tools / "chromium"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.move(unpack(PACKAGE), folder)
    # Debian 12 still has some of them outside of /usr.
    places = [*folder.glob("usr/lib/*-linux-gnu"), *folder.glob("lib/*-linux-gnu")]
    libraries = ":".join(map(str, [*places, *(place / "pulseaudio" for place in places[:1])]))
    (folder / "fonts.conf").write_text(FONTS.format(folder=folder))
    partial = folder / "chromium.partial"
    partial.write_text(LAUNCHER.format(folder=folder, libraries=libraries))
    partial.chmod(0o755)
    partial.replace(folder / "chromium")
