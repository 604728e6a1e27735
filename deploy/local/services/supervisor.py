"""Start services in the order of their needs, keep them running, stop them all.

One thread and no event loop, on purpose: the kernel's parent-death signal belongs to the
thread that started a child, and ten services polled ten times a second cost nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.home.secrets import NOT_FOR_SERVICES
from deploy.local.home.state import Condition, ServiceState
from deploy.local.processes.process import Process, stopped
from deploy.local.processes.reaper import Reaper

POLL_S = 0.1
HEALTH_PERIOD_S = 5.0
# One health check may be late on a busy machine. If all are, the service hangs.
HUNG_S = 60.0
# A service whose process is stopped (SIGSTOP) answers nobody, whatever it listens on.
STOPPED_S = 10.0
REAPER_GRACE_S = 8.0
# A guard against services that hang, not a promise: on a busy machine each takes minutes.
READY_TIMEOUT_S = 300.0
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0
# A service that ran this long before it crashed starts over with the shortest backoff.
BACKOFF_RESET_S = 60.0
LOG_MAX_BYTES = 32 * 1024 * 1024
LOG_TAIL_LINES = 15
# A stop does not change these: they did not run, or they ended on their own.
NEVER_STOPPED = frozenset(
    {Condition.WAITING, Condition.DONE, Condition.UNAVAILABLE, Condition.FAILED}
)
LOG_TAIL_BYTES = 64 * 1024
_GROUP_MARGIN = re.compile(r"^ +(?:\| ?|\+ |\+-\+?-[-+ \d.]*$)")
"""What Python draws to the left of, and between, the errors of a group."""


def inherited() -> dict[str, str]:
    """The part of the launcher's environment that a service gets."""
    return {name: value for name, value in os.environ.items() if name not in NOT_FOR_SERVICES}


class StartFailed(Exception):
    """A service did not come up. `log_tail` holds the end of what it wrote."""

    def __init__(self, service: str, reason: str, log: Path) -> None:
        super().__init__(f"{service} {reason}")
        self.service = service
        self.log = log
        self.log_tail = tail(log)


class StopRequested(Exception):
    """The owner asked to stop while the services were starting."""


@dataclass(frozen=True, slots=True)
class Service:
    """What a service is; nothing about whether it runs.

    `ready` is polled until true, then every few seconds as the health check unless there is an
    `alive` for that, or `ready_once`: then it is healthy as long as it runs. A `job` is ready when
    it has exited with 0. `prepare` runs in the launcher just before the start and gets
    the services that could not start, with the reason of each.
    """

    name: str
    argv: tuple[str, ...]
    ready: Callable[[Path], bool] = lambda log: True
    needs: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    build: str = ""
    alive: Callable[[Path], bool] | None = None
    ready_once: bool = False
    job: bool = False
    prepare: Callable[[Mapping[str, str]], None] = lambda unavailable: None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_grace_s: float = 10.0
    ready_timeout_s: float = READY_TIMEOUT_S
    # If a service that is not essential cannot start, the stack runs without it.
    essential: bool = True


class _Running:
    """One service and its process, if it has one."""

    def __init__(self, service: Service, log: Path) -> None:
        self.service = service
        self.log = log
        self.state = ServiceState(
            service.name, address=service.address, build=service.build, since=time.time()
        )
        self.popen: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.checked = 0.0
        self.silent_since: float | None = None
        self.killed_for = ""
        self.restart_at = 0.0
        self.backoff_s = BACKOFF_FIRST_S

    def start(self, cwd: Path, reaper: Reaper) -> None:
        self.started = time.monotonic()
        # Somebody may have deleted the logs since.
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists():
            self.log.replace(self._older_log)
        # Appending, so that the service goes on at the new end when the log is cut.
        with self.log.open("ab") as output:
            self.popen = subprocess.Popen(
                self.service.argv,
                cwd=cwd,
                env={**inherited(), **self.service.env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Its own group: Ctrl-C reaches only the launcher, which stops services in order.
                start_new_session=True,
            )
        # A child that has left already is a zombie: not alive, but its pid is still its own.
        process = Process.find(self.popen.pid)
        if process is not None:
            reaper.add(process, self.service.stop_signal)
        self.silent_since, self.killed_for = None, ""
        self.state = self.state.now(Condition.STARTING, process=process)

    @property
    def is_stopped(self) -> bool:
        """Whether its process is: it runs no more, and has not left."""
        return self.popen is not None and stopped(self.popen.pid)

    def answers(self) -> bool:
        """Whether it is well, or after a crash ready again."""
        service = self.service
        is_back = self.state.condition is not Condition.RESTARTING
        check = service.alive if service.alive and is_back else service.ready
        return check(self.log)

    def hung(self, healthy: bool, now: float) -> str:
        """Note a health check; return why the service must be stopped, "" if it need not."""
        if healthy:
            self.silent_since = None
            return ""
        if self.silent_since is None:
            self.silent_since = now
        silent_s = now - self.silent_since
        if self.is_stopped and silent_s > STOPPED_S:
            return f"was stopped for {silent_s:.0f} s"
        starting = self.state.condition is Condition.RESTARTING
        if silent_s > (self.service.ready_timeout_s if starting else HUNG_S):
            return f"did not answer for {silent_s:.0f} s"
        return ""

    @property
    def _older_log(self) -> Path:
        return self.log.with_suffix(".1.log")

    def bound_log(self) -> None:
        """Move a log that is too long aside; lines written during the move are lost."""
        # On a full disk it stays as it is, and so may be deleted by somebody.
        with contextlib.suppress(OSError):
            if self.log.stat().st_size > LOG_MAX_BYTES:
                shutil.copyfile(self.log, self._older_log)
                os.truncate(self.log, 0)

    def exit_status(self, reaper: Reaper) -> int | None:
        """Reap the process if it has left, and end what it left in its group."""
        if self.popen is None:
            return None
        left = os.waitid(os.P_PID, self.popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if left is None:
            return None
        # Not yet waited for, so the pid can't be anybody else's.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        status = self.popen.wait()
        reaper.remove(self.popen.pid)
        self.popen = None
        return status

    def signal(self, number: signal.Signals) -> None:
        # Not Popen.send_signal: it would reap a child that has left, and exit_status() must.
        if self.popen is not None:
            os.kill(self.popen.pid, number)

    def kill(self) -> None:
        if self.popen is not None:
            os.killpg(self.popen.pid, signal.SIGKILL)


class Supervisor:
    """Runs a set of services. Call it from the main thread only.

    `on_turn` is told all states about ten times a second, changed or not; `stop_requested`
    is asked as often.
    """

    def __init__(
        self,
        services: Iterable[Service],
        *,
        logs: Path,
        cwd: Path,
        on_turn: Callable[[tuple[ServiceState, ...]], None] = lambda states: None,
        stop_requested: Callable[[], bool] = lambda: False,
    ) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._running = {
            service.name: _Running(service, logs / f"{service.name}.log") for service in services
        }
        self._cwd = cwd
        self._on_turn = on_turn
        self._stop_requested = stop_requested
        self._reaper = Reaper(REAPER_GRACE_S)
        for running in self._running.values():
            unknown = set(running.service.needs) - set(self._running)
            if unknown:
                raise ValueError(f"{running.service.name} needs unknown {sorted(unknown)}")

    @property
    def states(self) -> tuple[ServiceState, ...]:
        """Every service as it is now, in the order given."""
        return tuple(running.state for running in self._running.values())

    def start(self) -> None:
        """Start everything and return when all is ready.

        Raises StartFailed or StopRequested; call stop() in any case.
        """
        settled = {Condition.READY, Condition.DONE, Condition.UNAVAILABLE}
        while not all(running.state.condition in settled for running in self._running.values()):
            if self._stop_requested():
                raise StopRequested
            for running in self._running.values():
                if running.state.condition is Condition.WAITING:
                    self._start_if_possible(running, settled)
                elif running.state.condition is Condition.STARTING:
                    self._await_ready(running)
            self._on_turn(self.states)
            time.sleep(POLL_S)

    def _start_if_possible(self, running: _Running, settled: set[Condition]) -> None:
        needed = [self._running[name].state.condition for name in running.service.needs]
        if all(condition in settled for condition in needed):
            running.service.prepare(
                {
                    state.name: state.reason
                    for state in self.states
                    if state.condition is Condition.UNAVAILABLE
                }
            )
            running.start(self._cwd, self._reaper)

    def _await_ready(self, running: _Running) -> None:
        service = running.service
        elapsed_s = time.monotonic() - running.started
        status = running.exit_status(self._reaper)
        if status is not None:
            if service.job and status == 0:
                running.state = running.state.now(Condition.DONE, seconds_to_ready=elapsed_s)
            elif service.essential:
                self._fail(running, f"left with {describe_status(status)} before it was ready")
            else:
                self._leave_out(running, explain_end(status, running.log))
        elif not service.job and service.ready(running.log):
            running.state = running.state.now(Condition.READY, seconds_to_ready=elapsed_s)
        elif elapsed_s > service.ready_timeout_s:
            late = f"was not ready within {service.ready_timeout_s:.0f} s"
            if service.essential:
                self._fail(running, late)
            running.kill()
            self._leave_out(running, late)

    def _leave_out(self, running: _Running, reason: str) -> None:
        running.state = running.state.now(Condition.UNAVAILABLE, process=None, reason=reason)

    def _fail(self, running: _Running, reason: str) -> None:
        running.state = running.state.now(Condition.FAILED, reason=reason)
        self._on_turn(self.states)
        raise StartFailed(running.service.name, reason, running.log)

    def watch(self) -> None:
        """Keep the services running until asked to stop."""
        while not self._stop_requested():
            for running in self._running.values():
                if not running.service.job:
                    self._look_after(running)
            self._on_turn(self.states)
            time.sleep(POLL_S)

    def _look_after(self, running: _Running) -> None:
        now = time.monotonic()
        condition = running.state.condition
        if condition is Condition.RESTARTING and running.popen is None:
            if now >= running.restart_at:
                self._start_again(running)
        elif running.popen is not None:
            status = running.exit_status(self._reaper)
            if condition is Condition.UNAVAILABLE:
                return
            if status is not None:
                left = running.killed_for or f"left with {describe_status(status)}"
                self._plan_restart(running, left)
            elif condition is Condition.RESTARTING or now - running.checked > HEALTH_PERIOD_S:
                running.checked = now
                running.bound_log()
                known = running.service.ready_once and condition is Condition.READY
                # Not asked while it is stopped: it would take its whole timeout to say nothing.
                healthy = not running.is_stopped and (known or running.answers())
                self._note_health(running, healthy)
                if why := running.hung(healthy, now):
                    # Its end is seen at the next turn, and it starts again as after a crash.
                    running.killed_for = why
                    running.kill()

    def _start_again(self, running: _Running) -> None:
        try:
            running.start(self._cwd, self._reaper)
        except OSError as error:
            # A full disk, or no memory for a process: the others go on meanwhile.
            self._plan_restart(running, f"cannot be started: {error}")
            return
        running.state = running.state.now(Condition.RESTARTING, restarts=running.state.restarts + 1)

    def _plan_restart(self, running: _Running, reason: str) -> None:
        now = time.monotonic()
        if now - running.started > BACKOFF_RESET_S:
            running.backoff_s = BACKOFF_FIRST_S
        running.restart_at = now + running.backoff_s
        running.backoff_s = min(2 * running.backoff_s, BACKOFF_MAX_S)
        running.state = running.state.now(Condition.RESTARTING, process=None, reason=reason)

    def _note_health(self, running: _Running, healthy: bool) -> None:
        condition = running.state.condition
        if healthy and condition is not Condition.READY:
            running.state = running.state.now(Condition.READY, reason="")
        elif not healthy and condition is Condition.READY:
            running.state = running.state.now(Condition.UNHEALTHY, reason="does not answer")

    def stop(self, *, hurry: Callable[[], bool] = lambda: False) -> None:
        """Stop everything, what is needed by others last. `hurry` cuts every grace short."""
        left = {name for name, running in self._running.items() if running.popen is not None}
        while left:
            needed = {need for name in left for need in self._all_needs(name)}
            wave = [self._running[name] for name in left - needed]
            self._stop_wave(wave, hurry)
            left -= {running.service.name for running in wave}
        for running in self._running.values():
            if running.state.condition not in NEVER_STOPPED:
                running.state = running.state.now(Condition.STOPPED, process=None)
        self._on_turn(self.states)
        self._reaper.close()

    def _all_needs(self, name: str) -> set[str]:
        direct = set(self._running[name].service.needs)
        return direct.union(*(self._all_needs(need) for need in direct))

    def _stop_wave(self, wave: list[_Running], hurry: Callable[[], bool]) -> None:
        asked = time.monotonic()
        for running in wave:
            running.signal(running.service.stop_signal)
        while any(running.popen is not None for running in wave):
            for running in wave:
                running.exit_status(self._reaper)
                if hurry() or time.monotonic() - asked > running.service.stop_grace_s:
                    running.kill()
            time.sleep(POLL_S / 2)


def tail(log: Path, lines: int = LOG_TAIL_LINES) -> list[str]:
    """Return the last lines of a log that have anything on them."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOG_TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    found = (_GROUP_MARGIN.sub("", line) for line in text.splitlines())
    return [line for line in found if line.strip() and not _is_frame(line)][-lines:]


def _is_frame(line: str) -> bool:
    """Whether it is of a traceback; what the error was is on the line after the last frame."""
    return line.startswith(("Traceback (most recent call last)", "Exception Group Traceback", "  "))


def explain_end(status: int, log: Path) -> str:
    """Return in one line why a process ended: its last output, if it ended on its own."""
    said = " ".join(tail(log)[-1:])
    if said and status > 0:
        return said
    return f"left with {describe_status(status)}{': ' if said else ''}{said}"


def describe_status(status: int) -> str:
    """Return a readable name of an exit status."""
    if status < 0:
        return signal.Signals(-status).name
    return f"exit status {status}"
