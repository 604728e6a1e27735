"""Agents as processes of this machine: the local stand-in for what a cluster's scaler does."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

from marketplace.agents.models import AgentWorker, ReportedState
from marketplace.agents.tokens import worker_token_create
from marketplace.catalog.models import Pool, Worker
from marketplace.planning.scaling.selectors import Scale
from marketplace.planning.scaling.steadier import Steadier

log = logging.getLogger(__name__)

PORTS_EACH = 50
"""An agent has this many ports of its own, for its servers of old and new versions."""

DRAIN_S = 3_600.0
"""As long as a router lets a stream take: so no call is cut off by a worker that leaves."""
STOP_GRACE_S = 60.0
"""What an agent may take beyond its drain: to end its servers, and to say goodbye."""
CREDENTIAL = "agent.json"
"""In an agent's folder once it has registered: later starts need no token."""


@dataclass(slots=True)
class LocalScaler:
    """Starts agents for one pool, and ends those that are too many. They drain as they end.

    ``words`` are further words of each agent: its engine and command. Calls that run there have
    ``drain_s`` to end.
    """

    pool: Pool
    words: Sequence[str]
    folder: Path
    first_port: int
    steadier: Steadier
    drain_s: float = DRAIN_S
    running: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    leaving: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def round(self, scale: Scale) -> int:
        """Bring the number of agents to what is desired; says how many run."""
        self._look_after()
        if scale.desired is None:
            return len(self.running)  # Nothing is known: nothing changes.
        wanted = self.steadier.count(scale.desired, time.monotonic()) - self._others()
        while len(self.running) < wanted:
            self._start()
        while len(self.running) > max(wanted, 0):
            number, process = self.running.popitem()
            log.info("%s: agent %s ends", self.pool.name, number)
            process.terminate()
            self.leaving[number] = process
        return len(self.running)

    def close(self) -> None:
        """End every agent, and wait until they have drained. One that hangs then is killed."""
        for process in self.running.values():
            process.terminate()
        until_s = time.monotonic() + self.drain_s + STOP_GRACE_S
        for number, process in (*self.running.items(), *self.leaving.items()):
            try:
                process.wait(max(until_s - time.monotonic(), 0.0))
            except subprocess.TimeoutExpired:
                log.warning("%s: agent %s hangs and is killed", self.pool.name, number)
                process.kill()
                process.wait()
        self.running.clear()
        self.leaving.clear()

    def _look_after(self) -> None:
        for processes in (self.running, self.leaving):
            for number, process in list(processes.items()):
                if process.poll() is not None:
                    log.info("%s: agent %s ended, %s", self.pool.name, number, process.returncode)
                    del processes[number]

    def _others(self) -> int:
        """Workers of the pool that take calls and are not ours."""
        ours = AgentWorker.objects.filter(
            agent__name__startswith=f"{self.pool.name}-scaled-", agent__pool=self.pool
        ).exclude(state=ReportedState.GONE)
        return (
            Worker.objects.filter(pool=self.pool, healthy=True, draining=False)
            .exclude(pk__in=ours.values("worker"))
            .count()
        )

    def _start(self) -> None:
        number = next(n for n in range(10**6) if n not in self.running and n not in self.leaving)
        name = f"{self.pool.name}-scaled-{number}"
        home = self.folder / name
        home.mkdir(parents=True, exist_ok=True)
        token = ""
        if not (home / CREDENTIAL).exists():
            _row, token = worker_token_create(pool=self.pool, hours=1)
        log_file = home / "agent.log"
        log.info("%s: agent %s starts, see %s", self.pool.name, number, log_file)
        with log_file.open("ab") as output:
            self.running[number] = subprocess.Popen(  # noqa: S603  # the operator's own words
                [
                    *(sys.executable, "-m", "workers.agent"),
                    *("--marketplace", settings.WAYPOST_PUBLIC_URL, "--name", name),
                    *("--state", str(home), "--advertise", "127.0.0.1"),
                    *("--port", str(self.first_port + PORTS_EACH * number)),
                    *self.words,
                    # Last, so that what is waited for is what the agent does.
                    *("--drain-s", f"{self.drain_s:g}"),
                ],
                env=_environment(token),
                cwd=settings.BASE_DIR,
                stdout=output,
                stderr=subprocess.STDOUT,
            )


def _environment(token: str) -> dict[str, str]:
    """An environment without the secrets of this one."""
    devices = {"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"}
    kept = {"PATH", "HOME", "LANG", "PYTHONPATH", "LD_LIBRARY_PATH"} | devices
    return {name: value for name, value in os.environ.items() if name in kept} | {
        "WAYPOST_WORKER_TOKEN": token
    }
