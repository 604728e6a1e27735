"""Which server to start, drain or stop next. Pure: time comes in, steps come out.

The agent wants one server of one spec. A changed spec is a new version: the new server is started
and warmed, and takes calls, before the old one drains; so no call fails. A part of a gang takes
calls once all parts are up. When the agent leaves, every server drains.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from workers.agent.launch import meeting_port
from workers.agent.settings import EngineSpec

NAMES = ("a", "b", "c", "d")
"""Of servers at the marketplace. A name is used again once its server is gone."""

QUIET_S = 5.0
"""Nothing must run for so long where the routers cannot say that they have nothing there."""

RESTART_AFTER_S = 60.0
"""A server that we started and that answers no more is started again after so long."""

BACKOFF_FIRST_S, BACKOFF_MAX_S = 2.0, 300.0


class Phase(StrEnum):
    """Of a server."""

    STARTING = "starting"
    READY = "ready"
    """It has answered a first call."""
    DOWN = "down"
    """It was ready and does not answer now."""
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Server:
    """A server as it is now. ``since_s`` is when its phase began.

    ``known`` says that the marketplace has taken a report of it, ``refused`` that it takes none;
    ``told`` that it knows that it drains. ``in_flight`` are the calls that the routers have there,
    ``running`` those that the server itself reports, None for unknown; ``idle_since_s`` is since
    when neither says that anything runs. ``fault`` is why the marketplace does not let it take
    calls.
    """

    name: str
    spec: EngineSpec
    phase: Phase
    since_s: float
    routable: bool = False
    known: bool = False
    refused: bool = False
    told: bool = False
    in_flight: int | None = None
    running: int | None = None
    idle_since_s: float | None = None
    fault: str = ""

    @property
    def is_idle(self) -> bool:
        """As far as known. An unknown number does not count as idle."""
        counts = (self.in_flight, self.running)
        return self.told and counts != (None, None) and not any(counts)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the agent is to bring about; ``spec`` None is to leave."""

    spec: EngineSpec | None
    drain_s: float
    start_timeout_s: float
    not_before_s: float = 0.0
    """No start is tried before this time: the last one failed."""


@dataclass(frozen=True, slots=True)
class Start:
    """Start or adopt a server under this name."""

    name: str
    spec: EngineSpec


@dataclass(frozen=True, slots=True)
class Drain:
    """Let a server finish what it has."""

    name: str


@dataclass(frozen=True, slots=True)
class Stop:
    """``failed`` servers never became ready, or answer no more."""

    name: str
    why: str
    failed: bool = False


Step = Start | Drain | Stop


def change_refused(running: Sequence[EngineSpec], new: EngineSpec) -> str:
    """Why a new version cannot come up beside what runs, "" where it can."""
    for old in running:
        if not new.gang or not old.gang or old == new:
            continue
        if old.gang == new.gang:
            return (
                f"the gang {old.gang} serves until the next one does: give that another --gang, "
                "alike on all its hosts"
            )
        if meeting_port(old.gang) == meeting_port(new.gang):
            return f"gangs {old.gang} and {new.gang} would meet at one port: name the new one else"
    return ""


def next_steps(servers: Sequence[Server], wanted: Wanted, now_s: float) -> list[Step]:
    """What to do now. The same question, asked after the steps are done, has none left."""
    steps: list[Step] = []
    current = [s for s in servers if s.spec == wanted.spec and s.phase is not Phase.DRAINING]
    if (
        wanted.spec is not None
        and not current
        and now_s >= wanted.not_before_s
        and not _still_drains(servers, wanted.spec.gang)
    ):
        taken = {server.name for server in servers}
        free = [name for name in NAMES if name not in taken]
        steps += [Start(free[0], wanted.spec)] if free else []
    may_go = wanted.spec is None or any(s.routable and s.phase is Phase.READY for s in current)
    for server in servers:
        if server.refused:
            steps.append(Stop(server.name, "the marketplace does not take it"))
        elif server.phase is Phase.DRAINING:
            steps += _drained(server, wanted.drain_s, now_s)
        elif server not in current and server.phase is Phase.STARTING:
            steps.append(Stop(server.name, "it is not wanted any more"))
        elif server not in current and may_go:
            steps.append(Drain(server.name))
        else:
            others = [s for s in servers if s not in current]
            steps += _stuck(server, wanted.start_timeout_s, now_s) or _alone(
                server, others, wanted.start_timeout_s, now_s
            )
    return steps


def _still_drains(servers: Sequence[Server], gang: str) -> bool:
    """Whether the gang's last part here is not gone: it has the gang's worker and meeting port."""
    return bool(gang) and any(s.spec.gang == gang and s.phase is Phase.DRAINING for s in servers)


def _drained(server: Server, drain_s: float, now_s: float) -> list[Step]:
    if server.is_idle and server.idle_since_s is not None:
        is_certain = server.in_flight == 0
        if is_certain or now_s - server.idle_since_s >= QUIET_S:
            return [Stop(server.name, "nothing runs there any more")]
    if now_s - server.since_s >= drain_s:
        return [Stop(server.name, f"it drained for {drain_s:g} s")]
    return []


def _stuck(server: Server, start_timeout_s: float, now_s: float) -> list[Step]:
    """One that was adopted is waited for: it is not ours to start."""
    waited_s = now_s - server.since_s
    if server.spec.adopt:
        return []
    if server.phase is Phase.STARTING and waited_s >= start_timeout_s:
        return [Stop(server.name, f"it was not ready after {start_timeout_s:g} s", failed=True)]
    if server.phase is Phase.DOWN and waited_s >= RESTART_AFTER_S:
        return [Stop(server.name, f"it has not answered for {RESTART_AFTER_S:g} s", failed=True)]
    return []


def _alone(
    server: Server, others: Sequence[Server], start_timeout_s: float, now_s: float
) -> list[Step]:
    """A part of a new gang whose others do not come up gives its room back; the old gang serves."""
    is_ready = server.phase is Phase.READY and not server.routable
    is_late = now_s - server.since_s >= start_timeout_s
    if not (server.spec.gang and is_ready and is_late and any(s.routable for s in others)):
        return []
    why = server.fault or "its rank 0 is not up"
    said = f"its gang takes no calls after {start_timeout_s:g} s ({why}), and the old one goes on"
    return [Stop(server.name, said, failed=True)]


def backoff_s(failures: int) -> float:
    """How long to wait after so many failed starts in a row."""
    return float(min(BACKOFF_FIRST_S * 2 ** max(failures - 1, 0), BACKOFF_MAX_S))
