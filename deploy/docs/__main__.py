"""``python -m deploy.docs [--check]``: build the site of ``docs/`` into ``site/docs``.

Zensical wants pages, theme and configuration in one folder, so they are copied into a temporary
one. With ``--check`` a broken link fails, and the site that is served stays as it is.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from whitenoise.compress import main as compress

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SITE = ROOT / "site"
"""What WhiteNoise serves below `/`."""
NODE_MODULES = ROOT / "frontend" / "node_modules"
ASSETS = (
    ROOT / "frontend" / "public" / "favicon.svg",
    NODE_MODULES / "@fontsource-variable/inter/files/inter-latin-wght-normal.woff2",
    NODE_MODULES / "@mermaid-js/tiny/dist/mermaid.tiny.js",
)
ANSI = re.compile(r"\x1b\[[0-9;]*m")
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
"""Pages of the repository's top that the site has too."""


def stage(folder: Path) -> None:
    """Put everything that the site is made of into ``folder``."""
    shutil.copy(HERE / "zensical.toml", folder)
    shutil.copytree(HERE / "theme", folder / "theme")
    for asset in ASSETS:
        shutil.copy(asset, folder / "theme" / "assets")
    shutil.copytree(ROOT / "docs", folder / "docs")
    for name in PAGES:
        text = (ROOT / name).read_text()
        (folder / "docs" / name).write_text(text.replace("](docs/", "]("))


def build(*, check: bool) -> int:
    """Build the site; returns Zensical's exit status."""
    with tempfile.TemporaryDirectory(prefix="waypost-docs-") as name:
        folder = Path(name)
        stage(folder)
        done = subprocess.run(
            [sys.executable, "-m", "zensical", "build", *(["--strict"] if check else [])],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode == 0 and not check:
            compress(["--quiet", "--no-brotli", str(folder / "site")])
            shutil.rmtree(SITE, ignore_errors=True)
            shutil.move(folder / "site", SITE)
    if done.returncode != 0:
        # Coloured letter by letter, and followed by a traceback.
        print(ANSI.sub("", done.stdout).partition("Traceback")[0], end="", file=sys.stderr)
    return done.returncode


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m deploy.docs", description="Build the docs.")
    parser.add_argument("--check", action="store_true", help="fail on broken links; keep nothing")
    sys.exit(build(check=parser.parse_args().check))
