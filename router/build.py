"""Which build of the router runs: its sources as they are, or a compiled copy.

A compiled build lies outside the sources, in a folder named by the digest of what it was made from.
A build of other sources or for another Python is therefore not found.
"""

import hashlib
import sysconfig
from pathlib import Path
from types import ModuleType

PLAIN, COMPILED = BUILDS = ("plain", "compiled")
SOURCES = Path(__file__).resolve().parent
BUILDS_FOLDER = SOURCES.parent / ".tools" / "compiled"
RECIPE = SOURCES.parent / "deploy" / "compiled.py"
"""The program that compiles a build."""


class BuildMissing(SystemExit):
    """The wanted build does not exist. A program ends with the reason in one line."""


def package_folder(wanted: str) -> Path:
    """The folder of a build's modules. Raises ``BuildMissing``."""
    if wanted == PLAIN:
        return SOURCES
    if wanted != COMPILED:
        raise BuildMissing(f"ROUTER_BUILD is {wanted!r}; it must be {PLAIN} or {COMPILED}")
    folder = build_folder() / SOURCES.name
    if not folder.exists():
        raise BuildMissing(
            f"ROUTER_BUILD is {COMPILED}, and these sources are not compiled for this Python: run "
            f"`make compile`, or set it to {PLAIN}"
        )
    return folder


def build_folder() -> Path:
    """The folder for a build of the current sources with this Python."""
    digest = hashlib.sha256(str(sysconfig.get_config_var("SOABI")).encode())
    digest.update(RECIPE.read_bytes())
    for path in sorted(SOURCES.rglob("*.py")):
        digest.update(f"\0{path.relative_to(SOURCES)}\0".encode())
        digest.update(path.read_bytes())
    return BUILDS_FOLDER / digest.hexdigest()[:16]


def build_of(module: ModuleType) -> str:
    """The build that a module belongs to."""
    return PLAIN if str(module.__file__).endswith(".py") else COMPILED
