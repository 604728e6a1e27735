"""`manage.py up`, `down` and `status`, over a stack of two small servers."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

from deploy.local import ROOT
from deploy.local.home import state
from deploy.local.processes.ports import accepts
from deploy.local.processes.process import Process
from tests.embedded import wait_until
from tests.examples import rest_nightly
from tests.patience import PATIENCE_S
from tests.ports import free_ports

ARGV = [sys.executable, "-m", "tests.integration.local.fake_stack"]
TIMEOUT_S = 300


class Local:
    """The commands on one home folder and one pair of free ports."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.web_port, self.router_port, self.grpc_port = free_ports(3)
        self.environ = {
            name: value
            for name, value in os.environ.items()
            if name not in {"DJANGO_SETTINGS_MODULE", "WAYPOST_HOME"}
        }

    def argv(self, *words: str) -> list[str]:
        ports = ["--port", str(self.web_port), "--router-port", str(self.router_port)]
        ports += ["--router-grpc-port", str(self.grpc_port)]
        more = ports if words[0] == "up" else []
        return [*ARGV, *words, "--home", str(self.home), *more]

    def run(self, *words: str, mode: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*words),
            cwd=ROOT,
            env={**self.environ, "FAKE_STACK": mode},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def state(self) -> state.StackState:
        found = state.load(self.home)
        assert found is not None
        return found

    def answers(self) -> bool:
        return accepts(self.web_port) and accepts(self.router_port)


WITHOUT_AND_WITH_DETACH = pytest.mark.parametrize(
    "detach", rest_nightly([(), ("--detach",)], [("--detach",)])
)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    local = Local(tmp_path / "home")
    yield local
    call_command("down", home=local.home, stdout=StringIO())


def test_up_detached_returns_when_all_is_healthy_and_down_stops_it(local: Local) -> None:
    up = local.run("up", "--detach")
    assert up.returncode == 0, up.stderr
    assert f"http://127.0.0.1:{local.web_port}/" in up.stdout
    with urllib.request.urlopen(f"http://127.0.0.1:{local.web_port}/", timeout=120) as page:
        assert page.status == 200

    status = local.run("status", "--json")
    report = json.loads(status.stdout)
    assert status.returncode == 0
    assert [service["name"] for service in report["services"]] == ["router", "web"]
    assert all(service["healthy"] for service in report["services"])
    assert "web" in local.run("status").stdout

    down = local.run("down")
    assert (down.returncode, down.stdout.strip()) == (0, "Stopped.")
    assert not local.answers()
    assert local.run("status").returncode == 1
    assert "Nothing runs" in local.run("down").stdout


def test_ctrl_c_stops_everything_and_leaves_with_0(local: Local) -> None:
    process = subprocess.Popen(
        local.argv("up"), cwd=ROOT, env=local.environ, stdout=subprocess.DEVNULL
    )
    wait_until(local.answers, TIMEOUT_S, "the stack did not come up")
    wait_until(lambda: local.state().phase is state.Phase.RUNNING, TIMEOUT_S, "not running")
    process.send_signal(signal.SIGINT)
    assert process.wait(TIMEOUT_S) == 0
    assert not accepts(local.web_port)
    assert not accepts(local.router_port)


def test_a_stack_outlives_who_read_its_output(local: Local) -> None:
    with subprocess.Popen(
        local.argv("up"), cwd=ROOT, env=local.environ, stdout=subprocess.PIPE
    ) as up:
        wait_until(local.answers, TIMEOUT_S, "the stack did not come up")
        wait_until(lambda: local.state().phase is state.Phase.RUNNING, TIMEOUT_S, "not running")
        assert up.stdout is not None
        up.stdout.close()
        web = local.state().services[1].process
        assert web is not None
        web.send(signal.SIGKILL)
        # It would say that the service starts again.
        wait_until(
            lambda: local.state().services[1].restarts == 1 and local.state().is_healthy,
            TIMEOUT_S,
            "the service did not come back",
        )
        up.send_signal(signal.SIGINT)
        up.wait(TIMEOUT_S)
    assert local.run("status").stdout.startswith("Nothing runs in")
    assert "failed" not in local.run("status").stdout


@pytest.mark.nightly  # Starts two stacks of its own.
def test_what_a_killed_launcher_left_takes_no_port_from_the_next_start(local: Local) -> None:
    assert local.run("up", "--detach").returncode == 0
    running = local.state()
    assert local.run("down").returncode == 0
    words = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(local.web_port)]
    with subprocess.Popen(words, start_new_session=True, stderr=subprocess.DEVNULL) as leftover:
        wait_until(lambda: accepts(local.web_port), TIMEOUT_S, "the leftover does not listen")
        services = (replace(running.services[0], process=Process.find(leftover.pid)),)
        state.save(local.home, replace(running, services=services))
        up = local.run("up", "--detach")
        leftover.kill()
    assert up.returncode == 0, up.stderr
    assert local.answers()


def test_everything_ends_when_the_launcher_is_sigkilled(local: Local) -> None:
    assert local.run("up", "--detach").returncode == 0
    running = local.state()
    os.kill(running.launcher.pid, signal.SIGKILL)
    services = [service.process for service in running.services if service.process]
    assert len(services) == 2
    wait_until(
        lambda: not any(service.is_alive() for service in services), PATIENCE_S, "services live on"
    )
    assert local.run("status").returncode == 1
    # The folder is free again.
    assert local.run("up", "--detach").returncode == 0


def test_a_second_stack_on_the_same_folder_is_refused_in_one_line(local: Local) -> None:
    assert local.run("up", "--detach").returncode == 0
    before = local.state().launcher
    for words in (("up",), ("up", "--detach")):
        second = local.run(*words)
        assert second.returncode == 1
        assert second.stderr.startswith("CommandError: a stack already runs in")
        assert second.stderr.count("\n") == 1
    assert local.state().launcher == before
    assert local.answers()


@WITHOUT_AND_WITH_DETACH
def test_a_taken_port_is_named_in_one_line(local: Local, detach: tuple[str, ...]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", local.web_port))
        taken.listen()
        up = local.run("up", *detach)
    assert up.returncode == 1
    assert up.stderr == (
        f"CommandError: port {local.web_port} is taken by another program: choose one with --port\n"
    )


@WITHOUT_AND_WITH_DETACH
def test_a_failing_service_is_named_with_the_end_of_its_log(
    local: Local, detach: tuple[str, ...]
) -> None:
    up = local.run("up", *detach, mode="broken")
    assert up.returncode == 1
    assert "web left with exit status 1 before it was ready" in up.stderr
    assert "ImportError: no module named nothing" in up.stderr
    assert "Traceback" not in up.stderr
    assert not accepts(local.router_port)
    status = local.run("status")
    assert status.returncode == 1
    assert "the last start failed: web left with exit status 1" in status.stdout


@WITHOUT_AND_WITH_DETACH
def test_a_fault_nobody_thought_of_is_one_line_too(local: Local, detach: tuple[str, ...]) -> None:
    up = local.run("up", *detach, mode="fault")
    log = local.home / "logs" / "manage.log"
    assert up.returncode == 1
    assert up.stderr.splitlines()[-1].endswith(
        f"KeyError: 'nobody thought of this' (the traceback is in {log})"
    )
    assert up.stderr.count("\n") == 1
    assert "Traceback" in log.read_text()


def test_a_full_disk_is_one_line(local: Local) -> None:
    up = local.run("up", mode="disk-full")
    assert up.stderr == f"CommandError: the disk of {local.home} is full (web could not write)\n"


@pytest.mark.nightly  # Starts a stack of its own.
def test_down_never_touches_a_process_that_only_has_a_recorded_pid(local: Local) -> None:
    assert local.run("up", "--detach").returncode == 0
    running = local.state()
    assert local.run("down").returncode == 0
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as bystander:
        impostor = Process(bystander.pid, running.launcher.started_ticks)
        services = tuple(replace(service, process=impostor) for service in running.services)
        state.save(local.home, replace(running, launcher=impostor, services=services))
        assert "Nothing runs" in local.run("down").stdout
        assert bystander.poll() is None
        bystander.kill()


@pytest.mark.nightly  # Starts a stack of its own.
def test_down_ends_what_a_killed_launcher_and_its_killed_reaper_left(local: Local) -> None:
    assert local.run("up", "--detach").returncode == 0
    running = local.state()
    assert local.run("down").returncode == 0
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as leftover:
        process = Process.find(leftover.pid)
        services = (replace(running.services[0], process=process), *running.services[1:])
        state.save(local.home, replace(running, services=services))
        assert local.run("down").stdout.strip() == "Stopped."
        assert leftover.wait(PATIENCE_S) != 0
