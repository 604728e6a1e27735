"""The browser that is brought for the tests."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import pytest

from deploy import bootstrap, chromium, libraries
from deploy.bootstrap import SetupError


@pytest.fixture(autouse=True)
def no_system_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chromium, "NAMES", ())


def unpacked(folder: Path) -> Path:
    program = folder / "usr" / "lib" / "chromium" / "chromium"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$LD_LIBRARY_PATH" "$1"\n')
    program.chmod(0o755)
    for place in ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"):
        (folder / place).mkdir(parents=True)
    return folder


def test_the_browser_that_was_brought_runs_with_its_own_libraries(tmp_path: Path) -> None:
    assert chromium.find(tmp_path) is None
    chromium.bring(lambda package: unpacked(tmp_path / "unpacked"), tmp_path)
    path = chromium.find(tmp_path)
    assert path is not None
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    there = tmp_path / "chromium"
    system, root = (there / place / "x86_64-linux-gnu" for place in ("usr/lib", "lib"))
    assert said == f"{system}:{root}:{system}/pulseaudio --version\n"


def test_the_fonts_of_the_system_are_found_too(tmp_path: Path) -> None:
    """Those that it has are not brought, and without any the browser dies at its first page."""
    chromium.bring(lambda package: unpacked(tmp_path / "unpacked"), tmp_path)
    folder = tmp_path / "chromium"
    told = ElementTree.parse(folder / "fonts.conf").getroot().iter("dir")
    assert [one.text for one in told] == ["/usr/share/fonts", f"{folder}/usr/share/fonts"]


def test_without_packages_the_line_says_how_to_install_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def apt(folder: Path, run: object) -> Iterator[Callable[[str], Path]]:
        raise SetupError("the network can't be reached")
        yield

    monkeypatch.setattr(bootstrap, "TOOLS", tmp_path)
    monkeypatch.setattr(libraries, "apt", apt)
    assert bootstrap.main(["chromium"]) == 1
    assert capsys.readouterr().err == (
        "setup: no Chromium: the network can't be reached; as root: apt-get install chromium\n"
    )
