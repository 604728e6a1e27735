"""The doctor names what is wrong on this machine and what is down, and never fails itself."""

import json
import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from marketplace.operations.doctor import checks, data_services, machine, work
from marketplace.operations.doctor.findings import Check, Finding, Verdict, bad, examine, good
from router.adapters.file_disk import FileDisk
from router.metering.journal import Journal
from tests.ports import free_ports

ROOT = Path(__file__).parents[4]
MACHINE = {"settings", "front end", "disk", "journals", "files", "mail", "certificate"}
DOWN = {"database", "broker", "router"}
USAGE = namedtuple("USAGE", "total used free")


def fails() -> list[Finding]:
    raise ConnectionRefusedError("connection refused\nby 127.0.0.1")


def silent() -> list[Finding]:
    raise TimeoutError


def test_what_a_check_raises_is_a_finding_and_what_needs_it_is_not_looked_at() -> None:
    found = examine(
        (
            Check("first", fails, "start it"),
            Check("second", lambda: [good("second", "never looked at")], "", ("first",)),
            Check("third", lambda: [good("third", "fine")], ""),
            Check("fourth", silent, "wait"),
        )
    )
    assert found == [
        Finding("first", Verdict.BAD, "connection refused", "start it"),
        Finding("second", Verdict.UNKNOWN, "not looked at without: first"),
        Finding("third", Verdict.GOOD, "fine"),
        Finding("fourth", Verdict.BAD, "TimeoutError", "wait"),
    ]


def test_each_check_is_named_once_and_needs_one_before_it() -> None:
    names = [check.name for check in checks.CHECKS]
    assert len(set(names)) == len(names)
    for place, check in enumerate(checks.CHECKS):
        assert set(check.needs) <= set(names[:place])
        assert check.advice


def doctor(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "doctor", *words],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.nightly
def test_with_all_parts_down_each_has_a_line_and_an_advice(tmp_path: Path) -> None:
    database, broker, router = free_ports(3)
    result = doctor(
        {
            "WAYPOST_HOME": str(tmp_path),
            "DJANGO_SECRET_KEY": "x" * 50,
            "WAYPOST_KEY_PEPPER": "pepper",
            "DATABASE_URL": f"postgres://a:b@127.0.0.1:{database}/c",
            "BROKER_URL": f"redis://127.0.0.1:{broker}/0",
            "WAYPOST_ROUTER_URL": f"http://127.0.0.1:{router}",
        },
        "--json",
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    told = json.loads(result.stdout)
    assert told["healthy"] is False
    found = {finding["name"]: finding for finding in told["findings"]}
    assert {name for name, one in found.items() if one["verdict"] == "bad"} >= DOWN
    assert all(one["advice"] for one in found.values() if one["verdict"] == "bad")
    rest = found.keys() - MACHINE - DOWN
    assert rest
    assert {found[name]["verdict"] for name in rest} == {"unknown"}


@pytest.mark.nightly
def test_without_any_setting_it_names_those_that_are_missing(tmp_path: Path) -> None:
    result = doctor({"WAYPOST_HOME": str(tmp_path)})
    assert result.returncode == 1
    assert "Traceback" not in result.stdout + result.stderr
    line = next(line for line in result.stdout.splitlines() if "settings" in line)
    assert line.startswith("✗")
    for name in machine.NEEDED:
        assert name in line
    assert "→ start the stack" in result.stdout


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    try:
        call_command("doctor", *words)
    except SystemExit as left:
        return int(left.code or 0), capsys.readouterr().out
    return 0, capsys.readouterr().out


def test_the_exit_status_and_the_lines_say_whether_anything_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = "marketplace.operations.management.commands.doctor.CHECKS"
    fine = Check("one", lambda: [good("one", "fine")], "")
    monkeypatch.setattr(command, (fine,))
    assert said(capsys) == (0, "✓ one  fine\nNothing is wrong.\n")
    worse = Check("three", lambda: [bad("three", "down", "start it")], "")
    monkeypatch.setattr(command, (fine, worse))
    assert said(capsys) == (
        1,
        "✓ one    fine\n✗ three  down\n         → start it\n1 of 2 are wrong.\n",
    )
    status, text = said(capsys, "--json")
    assert status == 1
    assert json.loads(text)["findings"][1] == {
        "name": "three",
        "verdict": "bad",
        "text": "down",
        "advice": "start it",
    }


def test_what_a_router_left_in_its_journal_is_found(tmp_path: Path, settings: Any) -> None:
    settings.WAYPOST_HOME = tmp_path
    assert [one.verdict for one in machine.journals()] == [Verdict.GOOD]
    folder = tmp_path / "journal" / "8080"
    disk = FileDisk(folder)
    disk.claim()
    journal = Journal(disk)
    journal.append(b"a call")
    assert [one.verdict for one in machine.journals()] == [Verdict.GOOD], "its router runs"
    (folder / "00000001.torn").write_bytes(b"torn")
    (tmp_path / "journal" / "8080-rejected.jsonl").write_bytes(b"{}\n")
    left = tmp_path / "journal" / "9090"
    Journal(FileDisk(left)).append(b"a call")
    found = machine.journals()
    assert {one.verdict for one in found} == {Verdict.BAD}
    texts = [one.text for one in found]
    assert len(texts) == 3
    assert "8080-rejected.jsonl holds calls" in texts[0]
    assert "8080 has 1 damaged segments" in texts[1]
    assert "9090 has calls of a router that does not run" in texts[2]
    assert f"manage.py ledger replay {left}" in found[2].advice


@pytest.mark.parametrize(("free", "verdict"), [(6, Verdict.GOOD), (4, Verdict.BAD)])
def test_a_full_disk_is_found(
    free: int, verdict: Verdict, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Any
) -> None:
    settings.WAYPOST_HOME = tmp_path / "not" / "made" / "yet"
    gib = 1024**3
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: USAGE(100 * gib, 0, free * gib))
    (found,) = machine.disk()
    assert found.verdict is verdict
    assert str(tmp_path) in found.text


def test_files_that_cannot_be_written_are_found(tmp_path: Path, settings: Any) -> None:
    def look() -> Finding:
        settings.STORAGES = settings.STORAGES | {
            "files": {
                "BACKEND": "django.core.files.storage.FileSystemStorage",
                "OPTIONS": {"location": str(tmp_path / "files")},
            }
        }
        (found,) = examine((Check("files", machine.files, "may this user write there?"),))
        return found

    assert look().verdict is Verdict.GOOD
    assert [path for path in (tmp_path / "files").rglob("*") if path.is_file()] == []
    (tmp_path / "files" / "doctor").rmdir()
    (tmp_path / "files" / "doctor").write_text("in the way")
    assert look().verdict is Verdict.BAD


def test_a_broker_a_mail_server_and_a_router_that_are_down_are_found(settings: Any) -> None:
    broker, mail, router = free_ports(3)
    settings.BROKER_URL = f"redis://127.0.0.1:{broker}/0"
    settings.MAIL_ON = True
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", mail
    settings.WAYPOST_ROUTER_URL = f"http://127.0.0.1:{router}"
    found = examine(
        (
            Check("broker", data_services.broker, "start it"),
            Check("mail", machine.mail, "start it"),
            Check("router", work.router_answers, "start it"),
        )
    )
    assert [(one.name, one.verdict, one.advice) for one in found] == [
        ("broker", Verdict.BAD, "start it"),
        ("mail", Verdict.BAD, "start it"),
        ("router", Verdict.BAD, "start it"),
    ]


def test_a_certificate_that_cannot_be_read_is_found(settings: Any) -> None:
    (port,) = free_ports(1)
    settings.WAYPOST_PUBLIC_URL = f"https://127.0.0.1:{port}"
    (found,) = examine((Check("certificate", machine.certificate, "does it lead there?"),))
    assert found.verdict is Verdict.BAD
