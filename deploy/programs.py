"""Programs that tests call, where the system has none: Debian's, unpacked into `.tools/`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from xml.sax.saxutils import escape

LAUNCHER = """#!/bin/sh
here={folder}
LD_LIBRARY_PATH={libraries}
FONTCONFIG_FILE="$here/fonts.conf"
export LD_LIBRARY_PATH FONTCONFIG_FILE
exec "$here"/{executable} "$@"
"""
# The effect of the installed packages' own configuration, with the one family that they need:
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


@dataclass(frozen=True, slots=True)
class Program:
    """A program, its package of Debian and Ubuntu, and what else does as well.

    ``also`` are other names that the system may have it under. A launcher's program is called as
    its package is.
    """

    package: str
    executable: str
    """Where the package has it."""
    also: tuple[str, ...] = ()
    launched: bool = True
    """Whether a launcher calls it, with the libraries that were brought."""
    alone: bool = False
    """Whether it needs nothing else of what was unpacked."""

    def find(self, tools: Path) -> str | None:
        """Return the path of the system's, else of the one in `tools`."""
        ours = tools / self.package / (self.package if self.launched else self.executable)
        name = self.package if self.launched else Path(self.executable).name
        found = next(filter(None, map(shutil.which, (name, *self.also))), None)
        return found or (str(ours) if ours.exists() else None)

    def bring(self, unpack: Callable[[str], Path], tools: Path) -> None:
        """Unpack it and what it depends on, and write the launcher where it has one."""
        folder = tools / self.package
        shutil.rmtree(folder, ignore_errors=True)
        unpacked = unpack(self.package)
        if self.alone:
            (folder / self.executable).parent.mkdir(parents=True)
            shutil.move(unpacked / self.executable, folder / self.executable)
            shutil.rmtree(unpacked)
        else:
            shutil.move(unpacked, folder)
        if self.launched:
            self._write_launcher(folder)

    def _write_launcher(self, folder: Path) -> None:
        # Debian 12 still has some of them outside of /usr.
        places = [*folder.glob("usr/lib/*-linux-gnu"), *folder.glob("lib/*-linux-gnu")]
        libraries = ":".join(map(str, [*places, *(place / "pulseaudio" for place in places[:1])]))
        (folder / "fonts.conf").write_text(FONTS.format(folder=escape(str(folder))))
        partial = folder / f"{self.package}.partial"
        partial.write_text(
            LAUNCHER.format(
                folder=quote(str(folder)),
                libraries=quote(libraries),
                executable=quote(self.executable),
            )
        )
        partial.chmod(0o755)
        partial.replace(folder / self.package)


CHROMIUM = Program(
    "chromium-headless-shell",
    "usr/lib/chromium/chromium-headless-shell",
    also=("chromium", "chromium-browser", "google-chrome"),
)
"""64 MB to download, and what it depends on; 520 MB then in a bare root. It is Chromium without its
own window: a page in a fresh context takes 0.08 s of processor, not 0.28.
"""
CURL = Program("curl", "usr/bin/curl")
RABBITMQ = Program("rabbitmq-server", "usr/sbin/rabbitmq-server", launched=False)
"""22 MB to download, 60 MB then. Its own script wants a user: `tests/rabbitmq.py` starts it."""
PROMTOOL = Program("prometheus", "usr/bin/promtool", launched=False, alone=True)
"""19 MB to download, and what it depends on. 48 MB then."""
FOR_TESTS = (CHROMIUM, CURL, RABBITMQ, PROMTOOL)
