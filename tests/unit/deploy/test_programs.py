"""The programs that are brought for the tests."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import pytest

from deploy import bootstrap, libraries
from deploy.bootstrap import SetupError
from deploy.programs import CHROMIUM, CURL, PROMTOOL


@pytest.fixture(autouse=True)
def nothing_of_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("deploy.programs.shutil.which", lambda name: None)


def unpacked(folder: Path) -> Path:
    program = folder / "usr" / "lib" / "chromium" / "chromium-headless-shell"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$LD_LIBRARY_PATH" "$1"\n')
    program.chmod(0o755)
    for place in ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"):
        (folder / place).mkdir(parents=True)
    return folder


def test_the_browser_that_was_brought_runs_with_its_own_libraries(tmp_path: Path) -> None:
    assert CHROMIUM.find(tmp_path) is None
    CHROMIUM.bring(lambda package: unpacked(tmp_path / "unpacked"), tmp_path)
    path = CHROMIUM.find(tmp_path)
    assert path is not None
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    there = tmp_path / "chromium-headless-shell"
    system, root = (there / place / "x86_64-linux-gnu" for place in ("usr/lib", "lib"))
    assert said == f"{system}:{root}:{system}/pulseaudio --version\n"


@pytest.mark.parametrize("folder", ["a b", "it's", 'say "no"', "$HOME", "a & <b>"])
def test_a_launcher_works_wherever_the_checkout_is(tmp_path: Path, folder: str) -> None:
    tools = tmp_path / folder / ".tools"
    tools.mkdir(parents=True)
    CHROMIUM.bring(lambda package: unpacked(tmp_path / "unpacked"), tools)
    path = CHROMIUM.find(tools)
    assert path is not None
    said = subprocess.run([path, "--a b"], capture_output=True, text=True, check=True).stdout
    there = tools / "chromium-headless-shell"
    system, root = (there / place / "x86_64-linux-gnu" for place in ("usr/lib", "lib"))
    assert said == f"{system}:{root}:{system}/pulseaudio --a b\n"
    fonts = ElementTree.parse(there / "fonts.conf").getroot()
    assert f"{there}/usr/share/fonts" in [found.text for found in fonts.iter("dir")]


def test_the_fonts_of_the_system_are_found_too(tmp_path: Path) -> None:
    """Those that it has are not brought, and without any the browser dies at its first page."""
    CHROMIUM.bring(lambda package: unpacked(tmp_path / "unpacked"), tmp_path)
    folder = tmp_path / "chromium-headless-shell"
    received = ElementTree.parse(folder / "fonts.conf").getroot().iter("dir")
    assert [event.text for event in received] == ["/usr/share/fonts", f"{folder}/usr/share/fonts"]


def test_a_program_that_was_brought_is_called_with_all_its_words(tmp_path: Path) -> None:
    program = tmp_path / "unpacked" / "usr" / "bin" / "curl"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    program.chmod(0o755)
    CURL.bring(lambda package: tmp_path / "unpacked", tmp_path)
    path = CURL.find(tmp_path)
    assert path is not None
    said = subprocess.run([path, "-H", "a: b c"], capture_output=True, text=True, check=True)
    assert said.stdout == "-H|a: b c|"


def test_a_program_that_needs_no_launcher_is_called_where_its_package_has_it(
    tmp_path: Path,
) -> None:
    program = tmp_path / "unpacked" / "usr" / "bin" / "promtool"
    program.parent.mkdir(parents=True)
    program.write_text("")
    (tmp_path / "unpacked" / "usr" / "share").mkdir()
    assert PROMTOOL.find(tmp_path) is None
    PROMTOOL.bring(lambda package: tmp_path / "unpacked", tmp_path)
    assert PROMTOOL.find(tmp_path) == str(tmp_path / "prometheus/usr/bin/promtool")
    assert [path.name for path in (tmp_path / "prometheus/usr").iterdir()] == ["bin"]


def test_without_packages_the_line_says_how_to_install_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def apt(folder: Path, run: object) -> Iterator[Callable[[str], Path]]:
        raise SetupError("the network can't be reached")
        yield

    monkeypatch.setattr(bootstrap, "TOOLS", tmp_path)
    monkeypatch.setattr(libraries, "apt", apt)
    assert bootstrap.main(["test-programs"]) == 1
    assert capsys.readouterr().err == (
        "setup: no chromium-headless-shell curl rabbitmq-server prometheus:"
        " the network can't be reached; as root:"
        " apt-get install chromium-headless-shell curl rabbitmq-server prometheus\n"
    )
