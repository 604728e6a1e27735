"""A gateway's process: started on its core, ready when it answers one call, measured, stopped."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Generator
from pathlib import Path

import psutil

from deploy.local.processes.child import prefix
from tests.judge.callers.http_client import Client
from tests.judge.callers.load import body
from tests.judge.gateways.peers import PEERS, Site

NICE = -10
READY_S = 90.0
TRY_S = 5.0
AGAIN_S = 0.2
STOP_S = 5.0


class GatewayFailed(Exception):
    """The gateway did not start; the message is its last output."""


class Running:
    """A gateway that runs."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process, self._log = process, log

    async def ready(self, client: Client) -> None:
        """Return once it has answered a call. Raises ``GatewayFailed``."""
        loop = asyncio.get_running_loop()
        deadline_s, said = loop.time() + READY_S, ""
        while self._process.poll() is None and loop.time() < deadline_s:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TRY_S):
                    answer = await client.ask(body(0, seed=0, events=0))
                if answer.status == 200:
                    return
                said = f"; the last answer was {answer.error or answer.status}"
            await asyncio.sleep(AGAIN_S)
        raise GatewayFailed(f"not ready within {READY_S:g} s{said}; it says: {self._last_line()}")

    def spent_s(self) -> float:
        """CPU time so far, of all its processes."""
        total = 0.0
        for process in self._family():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def resident_mib(self) -> float:
        """Memory of all its processes."""
        total = 0
        for process in self._family():
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
        return total / 2**20

    def _last_line(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "nothing"

    def _family(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            first = psutil.Process(self._process.pid)
            return [first, *first.children(recursive=True)]
        return []


def prefer(pid: int) -> None:
    """Give a process and its children priority on this machine, where that is allowed.

    Linux shares a core between sessions first, each as nice as its autogroup (sched(7)).
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, NICE)
        Path(f"/proc/{pid}/autogroup").write_text(str(NICE))


@contextlib.contextmanager
def started(name: str, site: Site, *, core: int) -> Generator[Running]:
    """Run it on that core, in its own session, and stop all of it at the end."""
    peer = PEERS[name]
    command = [*prefix(signal.SIGTERM), *peer.command(site)]
    log = site.folder / "gateway.log"
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})  # What it starts with.
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env={**os.environ, **peer.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    finally:
        os.sched_setaffinity(0, mine)
    prefer(process.pid)
    try:
        yield Running(process, log)
    finally:
        for stop in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, stop)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
                break
