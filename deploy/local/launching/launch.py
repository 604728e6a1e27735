"""Run a stack in this process until it is asked to stop."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

from deploy.local import ROOT
from deploy.local.home import secrets, state
from deploy.local.home.state import Phase, ServiceState, StackState
from deploy.local.processes.ports import is_free
from deploy.local.processes.process import Process, boot_id
from deploy.local.services import stack
from deploy.local.services.postgres import PostgresError
from deploy.local.services.stack import Options
from deploy.local.services.supervisor import StartFailed, StopRequested, Supervisor
from deploy.local.services.wheels import WheelMissing

DISK_NEEDED_BYTES = 1024**3
PORT_MAX = 65_535
LOG_FOLLOWS = ". The end of "
DISK_FULL_SIGN = "No space left on device"


class LaunchError(Exception):
    """Why the stack does not run: one line, perhaps followed by the end of a log."""


def run(
    options: Options,
    *,
    show: Callable[[tuple[ServiceState, ...]], None],
    on_running: Callable[[], None],
    on_stopping: Callable[[], None],
) -> None:
    """Start the stack, keep it up until SIGINT, SIGTERM or SIGHUP, stop it.

    Raises LaunchError when it can't start; nothing of it runs any more then.
    """
    with claim(options.home), _requests_to_stop() as asked:
        end_leftovers(options.home)
        check_ports(options)
        _check_disk(options.home)
        try:
            layout = stack.build(options, secrets.load_or_make(options.home, os.environ))
            record = _Record(
                options.home,
                StackState(
                    launcher=Process.own(),
                    phase=Phase.STARTING,
                    started_at=time.time(),
                    environment=dict(layout.environment),
                    owner_url=layout.owner_url,
                ),
            )
        except (WheelMissing, OSError) as error:
            raise LaunchError(explain(error, options.home)) from error

        def on_turn(services: tuple[ServiceState, ...]) -> None:
            record.change(services=services)
            show(services)

        supervisor = Supervisor(
            layout.services,
            logs=options.home / "logs",
            cwd=ROOT,
            on_turn=on_turn,
            stop_requested=lambda: asked() > 0,
        )
        try:
            with contextlib.suppress(StopRequested):
                supervisor.start()
                record.change(phase=Phase.RUNNING)
                on_running()
                supervisor.watch()
            record.change(phase=Phase.STOPPING)
            on_stopping()
        except (StartFailed, PostgresError, OSError) as error:
            reason = explain(error, options.home)
            record.change(phase=Phase.FAILED, reason=reason.split(LOG_FOLLOWS)[0])
            raise LaunchError(reason) from error
        finally:
            supervisor.stop(hurry=lambda: asked() > 1)
        record.remove()


def check_ports(options: Options) -> None:
    """Refuse a port that is none, is named twice, or has a listener. Raises LaunchError."""
    running = state.load(options.home)
    if running is not None and running.is_live():
        raise LaunchError(_already_running(options.home, running))
    choices = [
        ("--port", options.web_port),
        ("--router-port", options.router_port),
        ("--router-grpc-port", options.router_grpc_port),
    ]
    if options.routers > 1:
        choices += [("--router-port", port) for port in options.own_router_ports]
    chosen: dict[int, str] = {}
    for option, port in choices:
        if not 1 <= port <= PORT_MAX:
            raise LaunchError(f"{option} needs {port}, and ports are from 1 to {PORT_MAX}")
        if port in chosen:
            raise LaunchError(f"{chosen[port]} and {option} both need {port}")
        chosen[port] = option
    for option, port in choices:
        if not is_free(port):
            raise LaunchError(f"port {port} is taken by another program: choose one with {option}")


def _check_disk(home: Path) -> None:
    free_bytes = shutil.disk_usage(home).free
    if free_bytes < DISK_NEEDED_BYTES:
        raise LaunchError(
            f"the disk of {home} is full: {free_bytes / 1024**2:.0f} MB free,"
            f" {DISK_NEEDED_BYTES / 1024**2:.0f} MB needed"
        )


def _already_running(home: Path, running: StackState | None) -> str:
    pid = f" (pid {running.launcher.pid})" if running is not None else ""
    return f"a stack already runs in {home}{pid}: see `manage.py status`, or `manage.py down`"


def explain(error: Exception, home: Path) -> str:
    """Say in one line what went wrong; for a service, add the end of its log."""
    text = str(error)
    if isinstance(error, StartFailed):
        log_tail = "\n".join(f"    {line}" for line in error.log_tail)
        if DISK_FULL_SIGN in log_tail:
            return f"the disk of {home} is full ({error.service} could not write)"
        return f"{text}{LOG_FOLLOWS}{error.log}:\n{log_tail}" if log_tail else f"{text}, silently"
    return f"the disk of {home} is full" if DISK_FULL_SIGN in text else text


class _Record:
    """The state file, written when something changed."""

    def __init__(self, home: Path, first: StackState) -> None:
        self._home = home
        self.state = first
        state.save(home, first)

    def change(
        self,
        *,
        phase: Phase | None = None,
        services: tuple[ServiceState, ...] | None = None,
        reason: str = "",
    ) -> None:
        changed = replace(
            self.state,
            phase=phase or self.state.phase,
            services=self.state.services if services is None else services,
            reason=reason or self.state.reason,
        )
        if changed != self.state:
            self.state = changed
            # A disk that filled up must not take the running stack down with it.
            with contextlib.suppress(OSError):
                state.save(self._home, changed)

    def remove(self) -> None:
        state.state_path(self._home).unlink(missing_ok=True)


@contextlib.contextmanager
def claim(home: Path) -> Iterator[IO[str]]:
    """Lock the home folder for this launcher; the kernel unlocks it when we die."""
    try:
        (home / "run").mkdir(parents=True, exist_ok=True)
        (home / "journal").mkdir(exist_ok=True)
        lock = (home / "run" / "lock").open("w")
    except OSError as error:
        raise LaunchError(f"cannot use {home} as the state folder: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LaunchError(_already_running(home, state.load(home))) from None
        yield lock


@contextlib.contextmanager
def _requests_to_stop() -> Iterator[Callable[[], int]]:
    """Count the signals that ask to stop: the second one asks to hurry."""
    count = 0

    def note(number: int, frame: object) -> None:
        nonlocal count
        count += 1

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # As by nohup.
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield lambda: count
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_leftovers(home: Path) -> int:
    """End services of a launcher that died together with its reaper; return how many.

    Only processes that have both the recorded pid and the recorded start time are touched.
    """
    stale = state.load(home)
    if stale is None or stale.is_live() or stale.boot != boot_id():
        return 0
    alive = [
        service.process
        for service in stale.services
        if service.process is not None and service.process.is_alive()
    ]
    for process in alive:
        process.send(signal.SIGINT)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and any(process.is_alive() for process in alive):
        time.sleep(0.05)
    for process in alive:
        process.kill_group()
    return len(alive)


def demo_access(home: Path) -> dict[str, str]:
    """Return the demo's email, password and api_key; empty when it was not seeded."""
    try:
        found: dict[str, str] = json.loads((home / "demo.json").read_text())
    except FileNotFoundError:
        return {}
    return found
