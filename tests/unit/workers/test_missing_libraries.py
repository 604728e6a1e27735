"""What the engines say on a machine that lacks the libraries they are linked with."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workers.backends.triton import __main__ as triton

ROOT = Path(__file__).resolve().parents[3]


def test_llama_cpp_without_openmp_says_so_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "xllamacpp.py").write_text(
        "raise ImportError('libgomp.so.1: cannot open shared object file')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "workers.backends.llama_cpp", "--port", "1"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "libgomp.so.1 is missing (run `make setup`" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_library_that_was_brought_is_the_pythons(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sysconfig.get_config_var", lambda name: None)
    monkeypatch.setattr(triton, "BROUGHT", tmp_path)
    assert triton.shared_libpython("3.99") is None
    (tmp_path / "libpython3.99.so.1.0").touch()
    assert triton.shared_libpython("3.99") == tmp_path / "libpython3.99.so.1.0"


def test_triton_finds_the_pythons_library_by_the_wheels_name_too(tmp_path: Path) -> None:
    library, carried = tmp_path / "libpython3.13.so.1.0", tmp_path / "carried"
    carried.mkdir()
    for name in ("libpython3-419a3a08.13.so.1.0", "libssl-1.so"):
        (carried / name).touch()
    folder = triton.link_libpython(library, carried, tmp_path / "links")
    assert {link.name: link.readlink() for link in folder.iterdir()} == {
        "libpython3.13.so.1.0": library,
        "libpython3-419a3a08.13.so.1.0": library,
    }
