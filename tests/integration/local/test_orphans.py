"""Services never outlive their launcher."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import ROOT
from deploy.local.processes import child
from deploy.local.processes.process import Process, group_members
from deploy.local.processes.reaper import Reaper, read_orders
from tests.embedded import wait_until
from tests.patience import PATIENCE_S


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, int]]]:
    argv = [sys.executable, "-m", "tests.integration.local.launcher", str(tmp_path)]
    launcher = subprocess.Popen(argv, cwd=ROOT)
    wait_until(
        (tmp_path / "pids.json").exists, PATIENCE_S, "the launcher did not start its services"
    )
    pids: dict[str, int] = json.loads((tmp_path / "pids.json").read_text())
    wait_until(
        lambda: len(group_members(pids["stubborn"])) == 2, PATIENCE_S, "stubborn did not fork"
    )
    yield launcher, pids
    launcher.kill()
    launcher.wait()


def test_services_die_with_a_sigkilled_launcher(
    launched: tuple[subprocess.Popen[bytes], dict[str, int]],
) -> None:
    launcher, pids = launched
    os.kill(launcher.pid, signal.SIGKILL)
    launcher.wait()
    for name, pid in pids.items():
        wait_until(
            lambda pid=pid: not group_members(pid), PATIENCE_S, f"{name} outlived its launcher"
        )


def test_a_child_dies_with_its_parent_even_without_a_reaper(tmp_path: Path) -> None:
    program = (
        "import subprocess, sys, time\n"
        "from deploy.local.processes import child\n"
        "import signal\n"
        "argv = [*child.prefix(signal.SIGTERM), 'sh', '-c', 'echo up; exec sleep 600']\n"
        "p = subprocess.Popen(argv)\n"
        "print(p.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    lines = {parent.stdout.readline().strip(), parent.stdout.readline().strip()}
    orphan = Process.find(int((lines - {b"up"}).pop()))
    assert orphan is not None
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not orphan.is_alive(), PATIENCE_S, "the child outlived its parent")


def test_the_reaper_leaves_alone_what_was_taken_off_its_list() -> None:
    sleeper = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        process = Process.find(sleeper.pid)
        assert process is not None
        reaper = Reaper(grace_s=0.1)
        reaper.add(process, signal.SIGTERM)
        reaper.remove(process.pid)
        reaper.close()
        assert process.is_alive()
    finally:
        sleeper.kill()
        sleeper.wait()


def test_the_reaper_leaves_alone_a_foreign_process_with_a_recycled_pid() -> None:
    sleeper = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        process = Process.find(sleeper.pid)
        assert process is not None
        reaper = Reaper(grace_s=0.1)
        reaper.add(Process(process.pid, process.started_ticks - 100), signal.SIGTERM)
        reaper.close()
        assert process.is_alive()
    finally:
        sleeper.kill()
        sleeper.wait()


def test_orders_are_followed_in_turn() -> None:
    lines = ["+ 10 111 15\n", "+ 20 222 2\n", "- 10\n", "- 99\n"]
    assert read_orders(lines) == {Process(20, 222): signal.SIGINT}


def test_a_child_whose_launcher_is_gone_already_does_not_start() -> None:
    prefix = child.prefix(signal.SIGTERM)
    prefix[prefix.index(str(os.getpid()))] = "1"
    done = subprocess.run([*prefix, "echo", "started"], capture_output=True, check=False)
    assert done.returncode == child.EXIT_ORPHANED
    assert done.stdout == b""
