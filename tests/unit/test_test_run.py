"""The end of a test run's log: whatever fails is there in a line, and the exit status says so."""

import signal
import sys
from pathlib import Path

import pytest

from tests.__main__ import Ended, Part, close, lanes, main, run, timed

PYTEST = """\
FAILED printed by a test, not by pytest
=========================== short test summary info ============================
FAILED tests/unit/test_x.py::test_a - assert 1 == 2
ERROR tests/unit/test_x.py::test_b - OSError: away
============= 1 failed, 12 passed, 1 skipped, 1 error in 75.03s (0:01:15) ==============
"""
MAKE = """\
.venv/bin/ruff check .
E501 Line too long
make[1]: *** [Makefile:49: check-lint] Error 1
make[1]: *** [Makefile:55: check-types] Error 2
make[1]: Target 'x' not remade because of errors.
make: *** [Makefile:42: check] Error 2
"""


def ended(output: str, status: int, name: str = "unit") -> Ended:
    return Ended(Part(name, ()), status, 1.0, 1.0, output)


def end_of_log(capsys: pytest.CaptureFixture[str], *parts: Ended) -> tuple[int, list[str]]:
    status = close(parts, 75.03)
    return status, capsys.readouterr().out.splitlines()


def test_each_failure_is_a_line_before_the_one_that_counts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, log = end_of_log(capsys, ended(MAKE, 2, "check"), ended(PYTEST, 1))
    assert status == 1
    assert log[-5:-1] == [
        "FAILED check-lint",
        "FAILED check-types",
        "FAILED tests/unit/test_x.py::test_a - assert 1 == 2",
        "ERROR tests/unit/test_x.py::test_b - OSError: away",
    ]
    closing = log[-1].strip("= ")
    assert closing == "3 failed, 12 passed, 1 skipped, 1 error in 75.03s (0:01:15)"


def test_a_run_without_a_failure_says_what_passed(capsys: pytest.CaptureFixture[str]) -> None:
    well = ended("===== 12 passed in 3.00s =====\n", 0)
    status, log = end_of_log(capsys, ended("all well\n", 0, "check"), well, well)
    assert status == 0
    assert [line.strip("= ") for line in log] == ["24 passed in 75.03s (0:01:15)"]


@pytest.mark.parametrize("output", ["", "INTERNALERROR> away\n", "=== no tests ran in 0.01s ===\n"])
def test_a_part_that_failed_without_a_word_is_named(
    output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, log = end_of_log(capsys, ended(output, 5))
    assert status == 1
    assert log[-2].startswith("FAILED unit: exit status 5")
    assert log[-1].strip("= ").startswith("1 failed in")


def test_a_part_is_ended_when_its_time_is_over() -> None:
    waits = "import time\nprint('begun', flush=True)\ntime.sleep(600)"
    found = run(Part("x", (sys.executable, "-c", waits)), timeout_s=5.0)
    assert found.status != 0
    assert "begun" in found.output
    assert "KeyboardInterrupt" in found.output


def test_every_folder_of_tests_is_run_and_only_what_is_about_time_alone() -> None:
    tests = Path(__file__).resolve().parent.parent
    folders = {path.parent for path in tests.rglob("test_*.py")}
    for nightly in (False, True):
        beside = {
            tests.parent / word
            for lane in lanes(nightly=nightly)
            for part in lane
            for word in part.argv
        }
        alone = {tests.parent / word for word in timed(nightly=nightly).argv}
        assert {tests / "chaos" / "timed"} == alone & folders
        assert not alone & beside & folders
        for folder in folders:
            assert (beside | alone) & {folder, *folder.parents}, folder


def test_without_a_chromium_a_run_ends_with_how_to_install_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tests.__main__.chromium_path", lambda: None)
    assert main([]) == 1
    assert "apt-get install chromium" in capsys.readouterr().err


def test_after_ctrl_c_no_further_part_begins(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class NoServices:
        database_url = broker_url = "none"

        def start(self) -> None: ...

        def close(self) -> None: ...

    stops = "import os, signal; os.kill(os.getppid(), signal.SIGINT)"
    lane = [Part("first", (sys.executable, "-c", stops)), Part("second", ("true",))]
    quick = Part("quick", ("true",))
    for name, value in {
        "chromium_path": lambda: "chromium",
        "DataServices": NoServices,
        "CHECKS": quick,
        "COLLECTION": quick,
        "lanes": lambda *, nightly: [lane],
        "timed": lambda *, nightly: Part("alone", ("true",)),
    }.items():
        monkeypatch.setattr(f"tests.__main__.{name}", value)
    for name in ("DATABASE_URL", "BROKER_URL"):
        monkeypatch.setenv(name, "none")  # `main` sets them: what they were is back afterwards.
    before = signal.getsignal(signal.SIGINT)
    try:
        assert main([]) == 1
    finally:
        signal.signal(signal.SIGINT, before)
    printed = capsys.readouterr().out
    assert "✓ first" in printed
    assert "second" not in printed
    assert "alone" not in printed
