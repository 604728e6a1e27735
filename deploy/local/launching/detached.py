"""A stack in the background: start its launcher, wait for it, stop it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from deploy.local import ROOT
from deploy.local.home import state
from deploy.local.home.state import Phase, ServiceState
from deploy.local.launching import launch
from deploy.local.launching.launch import LaunchError
from deploy.local.processes.process import Process
from deploy.local.services.stack import Options
from deploy.local.services.supervisor import tail

POLL_S = 0.1
# Longer than the longest way to stop: requests drained, then PostgreSQL's checkpoint.
STOP_TIMEOUT_S = 90.0
REAPED_TIMEOUT_S = 20.0
LAUNCHER = (sys.executable, str(ROOT / "manage.py"))
ERROR_SIGNS = ("CommandError: ", "error: ")


def start(options: Options, *, show: Callable[[tuple[ServiceState, ...]], None]) -> None:
    """Start a separate launcher and return when its stack is healthy.

    Raises LaunchError with the launcher's reason. Ctrl-C stops the launcher.
    """
    launch.end_leftovers(options.home)
    launch.check_ports(options)
    logs = options.home / "logs"
    try:
        logs.mkdir(parents=True, exist_ok=True)
        log = (logs / "launcher.log").open("wb")
    except OSError as error:
        raise LaunchError(f"cannot write to {logs}: {error.strerror}") from error
    with log:
        launcher = subprocess.Popen(
            _command(options),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while not _is_running(options.home, launcher.pid, show):
            if launcher.poll() is not None:
                raise LaunchError(_reason(logs / "launcher.log"))
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        launcher.terminate()
        launcher.wait()
        raise LaunchError("interrupted while starting; everything was stopped") from None


def _command(options: Options) -> list[str]:
    words = ["--port", options.web_port, "--router-port", options.router_port]
    words += ["--router-grpc-port", options.router_grpc_port, "--routers", options.routers]
    words += ["--home", options.home, *([] if options.emulated else ["--no-emulated"])]
    return [*LAUNCHER, "up", *map(str, words)]


def _is_running(home: Path, pid: int, show: Callable[[tuple[ServiceState, ...]], None]) -> bool:
    found = state.load(home)
    if found is None or found.launcher.pid != pid:
        return False
    show(found.services)
    return found.phase is Phase.RUNNING


def _reason(log: Path) -> str:
    """What the launcher said when it left: from its error on, since a log's end may follow."""
    lines = log.read_text(errors="replace").splitlines()
    for number in reversed(range(len(lines))):
        for sign in ERROR_SIGNS:
            if lines[number].startswith(sign):
                return "\n".join([lines[number].removeprefix(sign), *lines[number + 1 :]])
    return f"the launcher left: {' '.join(tail(log)[-1:])} (all of it: {log})"


def stop(home: Path) -> bool:
    """Stop the stack of `home`; False when none ran. Raises LaunchError when it won't stop."""
    running = state.load(home)
    if running is None:
        return False
    if not running.is_live():
        ended = launch.end_leftovers(home)
        state.state_path(home).unlink(missing_ok=True)
        return ended > 0
    running.launcher.send(signal.SIGTERM)
    if _gone([running.launcher], STOP_TIMEOUT_S):
        return True
    # Its reaper ends the services once it is gone.
    running.launcher.send(signal.SIGKILL)
    services = [service.process for service in running.services if service.process]
    if not _gone(services, REAPED_TIMEOUT_S):
        left = ", ".join(str(process.pid) for process in services if process.is_alive())
        raise LaunchError(f"could not stop the processes {left}")
    return True


def _gone(processes: list[Process], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while any(process.is_alive() for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
