"""What `make fresh` says; what it does takes a bare machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fresh import __main__ as fresh
from tests.fresh.__main__ import CaseFailed, Figures


def test_an_ordinary_user_is_told_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fresh"])
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr("shutil.which", lambda name: None if name == "debootstrap" else name)
    assert fresh.main() == 2
    assert capsys.readouterr().err == "fresh: this needs root, debootstrap\n"


def test_a_part_that_was_left_out_fails_the_case() -> None:
    with pytest.raises(CaseFailed, match="Without triton-single: no libpython"):
        fresh.check_answers("  Without triton-single: no libpython\n  Stop Ctrl-C\n", "http://x")


def test_a_run_that_ends_before_it_is_up_fails_with_its_last_line(tmp_path: Path) -> None:
    output = tmp_path / "log"
    output.write_text("starting\nCommandError: port 8000 is taken\n")
    with subprocess.Popen(["true"], text=True) as process:
        process.wait()
        with pytest.raises(CaseFailed, match="port 8000 is taken"):
            fresh.wait_for_banner(process, output)


def test_the_table_has_a_column_for_each_figure() -> None:
    ran, failed = Figures({"cold": 93.4}, {"clone": 2100}), Figures()
    assert fresh.table([("trixie-root", ran, "ok"), ("trixie-ana", failed, "FAILED")]) == (
        "| case | cold, s | clone, MB | outcome |\n"
        "|---|---|---|---|\n"
        "| trixie-root | 93 | 2100 | ok |\n"
        "| trixie-ana |  |  | FAILED |"
    )
