"""Processes that are looked after: their logs, health and ends."""

import os
import subprocess
import sys
from pathlib import Path

from deploy.local.launching.launch import explain
from deploy.local.processes import health, ports
from deploy.local.services.postgres import Postgres
from deploy.local.services.supervisor import StartFailed, describe_status, tail
from tests.patience import PATIENCE_S


def test_a_failed_start_is_explained_with_its_log(home: Path) -> None:
    log = home / "web.log"
    log.write_text("first\n\nlast\n")
    text = explain(StartFailed("web", "left with exit status 1", log), home)
    assert text.splitlines()[0] == f"web left with exit status 1. The end of {log}:"
    assert text.endswith("    first\n    last")
    log.write_text("could not extend file: No space left on device\n")
    full = explain(StartFailed("postgres", "left with exit status 1", log), home)
    assert full == f"the disk of {home} is full (postgres could not write)"


def test_a_log_tail_has_the_errors_of_a_group_and_no_frames(home: Path) -> None:
    log = home / "x.log"
    script = (
        "import asyncio\n"
        "async def wrong():\n"
        "    raise KeyError('transcription')\n"
        "async def main():\n"
        "    async with asyncio.TaskGroup() as group:\n"
        "        group.create_task(wrong())\n"
        "        group.create_task(wrong())\n"
        "asyncio.run(main())\n"
    )
    with log.open("wb") as file:
        subprocess.run([sys.executable, "-c", script], stderr=file, check=False, timeout=PATIENCE_S)
    group, *errors = tail(log)
    assert group.startswith("ExceptionGroup: ")
    assert errors == ["KeyError: 'transcription'"] * 2


def test_a_log_tail_skips_blank_lines_and_missing_files(home: Path) -> None:
    log = home / "x.log"
    log.write_text("".join(f"{number}\n\n" for number in range(100)))
    assert tail(log, lines=2) == ["98", "99"]
    assert tail(home / "absent") == []


def test_statuses_are_named() -> None:
    assert describe_status(-9) == "SIGKILL"
    assert describe_status(3) == "exit status 3"


def test_a_pid_file_that_names_another_program_is_forgotten(home: Path) -> None:
    cluster = home / "pg"
    cluster.mkdir()
    (cluster / "PG_VERSION").write_text("18\n")
    pid_file = cluster / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{cluster}\n")
    Postgres(cluster, 1, "x", "y", "z").prepare()
    assert not pid_file.exists()


def test_health_checks_never_raise(home: Path) -> None:
    (port,) = ports.free_ports(1)
    assert not health.answers_http(port, "/")(home / "x.log")
    assert not health.logged("ready")(home / "absent.log")
    (home / "x.log").write_text("celery@host ready.\n")
    assert health.logged(" ready.")(home / "x.log")


def test_a_service_is_not_ready_before_its_log_says_so_in_each_start(home: Path) -> None:
    log = home / "x.log"
    ready = health.once_logged("warm", lambda log: True)
    assert not ready(log)
    log.write_text("listening\n")
    assert not ready(log)
    log.write_text("listening\nwarm\n")
    assert ready(log)
    # Cut when it grew too long; then of another start.
    log.write_text("")
    assert ready(log)
    log.rename(home / "x.1.log")
    log.write_text("listening\n")
    assert not ready(log)
