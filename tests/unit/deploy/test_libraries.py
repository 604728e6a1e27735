"""System libraries that installed packages need, and the message when they cannot be fetched."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy import bootstrap, libraries
from deploy.bootstrap import SetupError
from deploy.libraries import Library, keep, wanted
from workers.backends.libraries import load_brought

ABSENT = Library("libabsent.so.1", "llama.cpp", "libabsent1")


def site_packages(home: Path, *folders: str) -> Path:
    site = home / "lib" / "python3.12" / "site-packages"
    for folder in folders:
        (site / folder).mkdir(parents=True)
    return site


def test_what_is_installed_says_what_is_wanted(tmp_path: Path) -> None:
    site = site_packages(tmp_path, "xllamacpp", "pytriton/tritonserver/python_backend_stubs/3.12")
    assert [library.soname for library in wanted(site)] == ["libgomp.so.1", "libpython3.12.so.1.0"]


def test_no_library_is_wanted_for_what_is_not_there(tmp_path: Path) -> None:
    site = site_packages(tmp_path, "pytriton/tritonserver/python_backend_stubs/3.9")
    assert list(wanted(site)) == []


def test_what_the_system_or_the_folder_has_is_not_brought(tmp_path: Path) -> None:
    assert Library("libc.so.6", "all", "libc6").is_here(tmp_path)
    assert not ABSENT.is_here(tmp_path)
    (tmp_path / ABSENT.soname).touch()
    assert ABSENT.is_here(tmp_path)


def test_a_library_is_kept_out_of_its_package(tmp_path: Path) -> None:
    unpacked = tmp_path / "usr" / "lib" / "x86_64-linux-gnu"
    unpacked.mkdir(parents=True)
    (unpacked / f"{ABSENT.soname}.2.3").write_text("code")
    (unpacked / ABSENT.soname).symlink_to(f"{ABSENT.soname}.2.3")
    keep(ABSENT, tmp_path, tmp_path / "kept")
    assert (tmp_path / "kept" / ABSENT.soname).read_text() == "code"
    assert not (tmp_path / "kept" / ABSENT.soname).is_symlink()


def test_what_cannot_be_brought_is_named_and_does_not_stop_the_setup(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def apt(folder: Path, run: object) -> Iterator[Callable[[str], Path]]:
        raise SetupError("the network can't be reached")
        yield

    monkeypatch.setattr(bootstrap, "TOOLS", tmp_path)
    monkeypatch.setattr(libraries, "wanted", lambda site: [ABSENT])
    monkeypatch.setattr(libraries, "apt", apt)
    bootstrap.bring_libraries()
    assert capsys.readouterr().out.splitlines()[-1] == (
        "    llama.cpp is left out: libabsent.so.1 is missing (the network can't be reached);"
        " on Debian and Ubuntu: apt-get install libabsent1"
    )


def test_a_brought_library_that_is_no_library_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("workers.backends.libraries.BROUGHT", tmp_path)
    load_brought("libabsent.so.1")
    (tmp_path / "libabsent.so.1").write_text("no ELF")
    with pytest.raises(OSError, match=r"libabsent\.so\.1"):
        load_brought("libabsent.so.1")
