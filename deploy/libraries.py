"""Fetch shared libraries that installed packages need into `.tools/lib`.

Standard library only: the setup runs this on a bare `python3`. Debian's packages are downloaded and
unpacked, which needs no root and installs nothing; what the system has is not brought.
"""

from __future__ import annotations

import ctypes
import shutil
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

Run = Callable[[list[str]], None]
"""Runs a command; raises when it fails."""


@dataclass(frozen=True, slots=True)
class Library:
    """A shared library, who needs it, and the Debian and Ubuntu package that has it."""

    soname: str
    wanted_by: str
    package: str

    def is_here(self, folder: Path) -> bool:
        """Whether the loader finds it, or it is in `folder` or next to this Python."""
        beside_python = Path(sysconfig.get_config_var("LIBDIR") or "/nowhere")
        if any((place / self.soname).exists() for place in (folder, beside_python)):
            return True
        try:
            ctypes.CDLL(self.soname)
        except OSError:
            return False
        return True


def wanted(site_packages: Path) -> Iterator[Library]:
    """Yield the libraries that the packages installed there don't carry themselves."""
    if (site_packages / "xllamacpp").exists():
        yield Library("libgomp.so.1", "llama.cpp", "libgomp1")
    version = site_packages.parent.name.removeprefix("python")
    if (site_packages / "pytriton/tritonserver/python_backend_stubs" / version).exists():
        yield Library(f"libpython{version}.so.1.0", "Triton", f"libpython{version}")


@contextmanager
def apt(folder: Path, run: Run) -> Iterator[Callable[[str], Path]]:
    """Yield a function that unpacks a package, and what it depends on and is not installed, into
    a folder inside `folder` and returns that. What it raises and `apt` itself is what `run` does.
    """
    with tempfile.TemporaryDirectory(prefix="apt-", dir=folder) as made:
        place = Path(made)
        archives, unpacked = place / "cache" / "archives", place / "unpacked"
        for needed in (place / "lists" / "partial", archives / "partial"):
            needed.mkdir(parents=True)
        settings = {
            "Dir::State::Lists": place / "lists",
            "Dir::Cache": place / "cache",
            # This needs neither the system's package lock nor a separate user.
            "Debug::NoLocking": "1",
            "APT::Sandbox::User": "root",
            "APT::Update::Error-Mode": "any",
            "Acquire::Languages": "none",
            "Acquire::http::Timeout": "15",
            "Acquire::Retries": "1",
        }
        options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        run(["apt-get", *options, "update"])

        def unpack(package: str) -> Path:
            only = ["--yes", "--download-only", "--no-install-recommends"]
            run(["apt-get", *options, "install", *only, package])
            unpacked.mkdir(exist_ok=True)  # The caller may have moved the last one.
            for archive in sorted(archives.glob("*.deb")):
                run(["dpkg-deb", "--extract", str(archive), str(unpacked)])
                archive.unlink()
            return unpacked

        yield unpack


def keep(library: Library, unpacked: Path, folder: Path) -> None:
    """Copy a library out of an unpacked package into `folder`. Raises FileNotFoundError."""
    places = (f"usr/lib/*/{library.soname}", f"lib/*/{library.soname}")
    found = next((path for place in places for path in unpacked.glob(place)), None)
    if found is None:
        raise FileNotFoundError(f"the package {library.package} has no {library.soname}")
    folder.mkdir(exist_ok=True)
    partial = folder / f"{library.soname}.partial"
    shutil.copy(found, partial)
    partial.replace(folder / library.soname)
