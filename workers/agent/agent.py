"""The agent: does what the lifecycle decides, and reports the result."""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from workers.agent.addresses import LOOPBACK, LOOPBACK_V6, host_and_port, is_v6
from workers.agent.engines import KINDS
from workers.agent.hardware import Device, fingerprint
from workers.agent.identity import Identity
from workers.agent.lifecycle import (
    NAMES,
    Drain,
    Phase,
    Server,
    Start,
    Step,
    Stop,
    Wanted,
    backoff_s,
    change_refused,
    next_steps,
)
from workers.agent.marketplace import Host, Invalid, Marketplace, Refused, Unreachable, Word
from workers.agent.servers import Asked, NotReady, Process, process_start
from workers.agent.settings import EngineSpec, Settings

log = logging.getLogger("agent")

VERSION = "1"
PORTS_EACH = 10
"""A server has this many ports from its first; Triton needs three."""

LOOK_S = 1.0
"""How often the servers are looked at."""


@dataclass(slots=True)
class Place:
    """Where a server is: its URL, its process if the agent started it, and what it said last."""

    url: str
    process: Process | None
    version: str = ""
    error: str = ""
    warm_up: asyncio.Task[None] | None = None


class Agent:
    """Runs until :meth:`leave` and all servers are gone. Raises :class:`Refused`.

    One loop looks at the servers and does what follows; another tells the marketplace, so that a
    server that takes long to stop delays no heartbeat of another.
    """

    def __init__(
        self,
        settings: Settings,
        identity: Identity,
        marketplace: Marketplace,
        asked: Asked,
        devices: Sequence[Device],
        cpu: str,
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._marketplace = marketplace
        self._asked = asked
        self._devices = devices
        self._cpu = cpu
        self._wanted = Wanted(settings.engine, settings.drain_s, settings.start_timeout_s)
        self._servers: dict[str, Server] = {}
        self._places: dict[str, Place] = {}
        self._failures = 0
        self._refused: Refused | None = None
        self._to_look, self._to_tell = asyncio.Event(), asyncio.Event()

    def leave(self) -> None:
        """Drain every server and end. A second time: at once."""
        drain_s = 0.0 if self._wanted.spec is None else self._wanted.drain_s
        log.info("leaving" if drain_s else "leaving at once")
        self._wanted = replace(self._wanted, spec=None, drain_s=drain_s)
        self._to_look.set()

    def change(self, spec: EngineSpec) -> None:
        """Bring up this server, and let the one that runs now go once it takes calls."""
        if self._wanted.spec is None or spec == self._wanted.spec:
            return
        if refused := change_refused([one.spec for one in self._servers.values()], spec):
            log.error("nothing changes: %s", refused)
            return
        log.info("a new version: %s", spec.model_version or spec.called)
        self._failures = 0
        self._wanted = replace(self._wanted, spec=spec, not_before_s=0.0)
        self._to_look.set()

    async def run(self) -> None:
        """Look, decide, do, and tell, until nothing is left."""
        telling = asyncio.create_task(self._tell_on())
        try:
            while self._wanted.spec is not None or self._servers:
                now_s = time.monotonic()
                changed = await self._look(now_s)
                steps = next_steps(list(self._servers.values()), self._wanted, now_s)
                for step in steps:
                    await self._do(step)
                if steps or changed:
                    self._to_tell.set()
                if telling.done():
                    telling.result()
                await _either(self._to_look, LOOK_S)
        finally:
            telling.cancel()
            await self._end_processes()
        await self._tell()
        if self._refused is not None:
            raise self._refused

    # --- looking -----------------------------------------------------------------------------

    async def _look(self, now_s: float) -> bool:
        """Ask every server how it is; says whether a phase changed."""
        before = {name: server.phase for name, server in self._servers.items()}
        for name in before:
            await self._look_at(name, now_s)
        return before != {name: server.phase for name, server in self._servers.items()}

    async def _look_at(self, name: str, now_s: float) -> None:
        place, spec = self._places[name], self._servers[name].spec
        if place.process is not None and (ended := place.process.ended):
            log.error("server %s: %s", name, ended)
            self._forget(name)
            self._failed(now_s)
            return
        try:
            await self._asked.ready(spec, place.url)
            place.error = ""
        except NotReady as error:
            place.error = str(error)[:200]
        running = None
        if self._servers[name].phase is Phase.DRAINING:
            running = await self._asked.running(spec, place.url)
        # Read again: what the marketplace said meanwhile is in it.
        self._servers[name] = self._seen(self._servers[name], place, running, now_s)

    def _seen(self, server: Server, place: Place, running: int | None, now_s: float) -> Server:
        if server.phase is Phase.DRAINING:
            seen = replace(server, running=running)
            idle_since_s = server.idle_since_s if server.idle_since_s is not None else now_s
            return replace(seen, idle_since_s=idle_since_s if seen.is_idle else None)
        if place.error:
            if server.phase is Phase.READY:
                log.warning("server %s is down: %s", server.name, place.error)
                return replace(server, phase=Phase.DOWN, since_s=now_s, routable=False)
            return server
        if server.phase is Phase.DOWN:
            log.info("server %s is back", server.name)
            return replace(server, phase=Phase.READY, since_s=now_s)
        if server.phase is Phase.STARTING and self._is_warm(server.spec, place):
            log.info("server %s is ready at %s", server.name, place.url)
            self._failures = 0
            return replace(server, phase=Phase.READY, since_s=now_s)
        return server

    def _is_warm(self, spec: EngineSpec, place: Place) -> bool:
        """Whether it has answered a first call; else one is under way."""
        if place.warm_up is None:
            place.warm_up = asyncio.create_task(self._warm_up(spec, place))
        return place.warm_up.done()

    async def _warm_up(self, spec: EngineSpec, place: Place) -> None:
        try:
            await self._asked.warm_up(spec, place.url)
        except NotReady as error:
            log.warning("the first call failed: %s", error)
            place.warm_up = None
        else:
            place.version = await self._asked.version(spec, place.url)
        self._to_look.set()

    # --- doing -------------------------------------------------------------------------------

    async def _do(self, step: Step) -> None:
        now_s = time.monotonic()
        match step:
            case Start(name, spec):
                await self._start(name, spec, now_s)
            case Drain(name):
                log.info("server %s drains", name)
                server = self._servers[name]
                self._servers[name] = replace(server, phase=Phase.DRAINING, since_s=now_s)
            case Stop(name, why, failed):
                log.info("server %s stops: %s", name, why)
                place = self._forget(name)
                if place.process is not None:
                    await place.process.stop()
                if failed:
                    self._failed(now_s)

    async def _start(self, name: str, spec: EngineSpec, now_s: float) -> None:
        if spec.adopt:
            log.info("server %s is adopted: %s", name, spec.adopt)
            self._places[name] = Place(spec.adopt, None)
        else:
            # The two servers of a change are at the same ports each time: firewalls name them.
            port = self._settings.port + PORTS_EACH * NAMES.index(name)
            log.info("server %s starts on port %s", name, port)
            try:
                process = await process_start(spec, port, self._log_of(name), self._environment)
            except OSError as error:
                log.error("server %s cannot start: %s", name, error)
                self._failed(now_s)
                return
            # SGLang takes "::" for IPv6 alone.
            here = LOOPBACK_V6 if is_v6(self._settings.advertise) else LOOPBACK
            self._places[name] = Place(f"http://{host_and_port(here, port)}{spec.path}", process)
        self._servers[name] = Server(name, spec, Phase.STARTING, now_s)

    @property
    def _environment(self) -> dict[str, str]:
        gpus = ",".join(map(str, self._settings.gpus))
        if not gpus:
            return {}
        # Else CUDA counts the fastest first, and nvidia-smi by their places on the bus.
        return {"CUDA_VISIBLE_DEVICES": gpus, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}

    def _log_of(self, name: str) -> Path:
        return self._settings.state / f"server-{name}.log"

    def _forget(self, name: str) -> Place:
        place = self._places.pop(name)
        if place.warm_up is not None:
            place.warm_up.cancel()
        del self._servers[name]
        return place

    def _failed(self, now_s: float) -> None:
        self._failures += 1
        wait_s = backoff_s(self._failures)
        log.warning("trying again in %g s", wait_s)
        self._wanted = replace(self._wanted, not_before_s=now_s + wait_s)

    async def _end_processes(self) -> None:
        for place in self._places.values():
            if place.process is not None:
                await place.process.stop()

    # --- telling -----------------------------------------------------------------------------

    @property
    def _pace_s(self) -> float:
        """Often while somebody waits for the routers, else as often as the marketplace asks."""
        is_waiting = any(
            server.phase is Phase.DRAINING or (server.phase is Phase.READY and not server.routable)
            for server in self._servers.values()
        )
        return LOOK_S if is_waiting else self._marketplace.heartbeat_s

    async def _tell_on(self) -> None:
        while True:
            await self._tell()
            await _either(self._to_tell, self._pace_s)

    async def _tell(self) -> None:
        told = [
            server
            for server in self._servers.values()
            if server.phase is not Phase.STARTING and not server.refused
        ]
        try:
            words = await self._marketplace.heartbeat(
                self._identity, self._host(), [self._report(server) for server in told]
            )
        except Unreachable as error:
            log.error("the marketplace does not hear: %s", error)
            return
        except Invalid as error:
            log.error("the marketplace does not take this report: %s", error)
            self._leave_out(told)
            return
        except Refused as error:
            self._end_as(error, told)
            return
        by_name = {word.name: word for word in words}
        for server in told:
            if word := by_name.get(server.name):
                self._heed(server, word)

    def _leave_out(self, told: Sequence[Server]) -> None:
        """Stop the servers that are new in a refused report: the next one is of the old alone."""
        old = [one for one in told if one.known and one.phase is not Phase.DRAINING]
        new = [one for one in told if not one.known and self._is_as_told(one)]
        for server in new if old else ():
            self._servers[server.name] = replace(server, refused=True)
            if server.spec == self._wanted.spec:
                log.error("nothing changes: server %s goes, and %s stays", server.name, old[0].name)
                self._wanted = replace(self._wanted, spec=old[0].spec)
            self._to_look.set()

    def _end_as(self, refused: Refused, told: Sequence[Server]) -> None:
        """Who is refused gets nothing new from routers: what runs ends, and so do we."""
        if self._refused is None:
            log.error("the marketplace refuses this agent: %s", refused)
            self._refused = refused
            if self._wanted.spec is not None:
                self.leave()
        for server in told:
            self._heed(server, Word(server.name, "", routable=False, in_flight=None))

    def _heed(self, told: Server, word: Word) -> None:
        if not self._is_as_told(told):
            return  # It has changed since its last report: the next answer is about that.
        server = self._servers[told.name]
        if word.routable and not server.routable:
            log.info("server %s takes calls as %s", server.name, word.worker_id)
            self._to_look.set()
        if word.fault and word.fault != server.fault:
            log.warning("server %s takes no calls: %s", server.name, word.fault)
        is_draining = server.phase is Phase.DRAINING
        self._servers[server.name] = replace(
            server,
            routable=word.routable,
            known=True,
            told=is_draining,
            in_flight=word.in_flight if is_draining else None,
            fault=word.fault,
        )

    def _is_as_told(self, told: Server) -> bool:
        server = self._servers.get(told.name)
        return server is not None and (server.phase, server.since_s) == (told.phase, told.since_s)

    def _report(self, server: Server) -> dict[str, Any]:
        spec, place = server.spec, self._places[server.name]
        return {
            "name": server.name,
            "state": server.phase.value,
            "url": "" if spec.rank else advertised(self._settings.advertise, spec, place.url),
            "protocol": KINDS[spec.engine].protocol,
            "slots": spec.slots,
            "engine": spec.engine,
            "engine_version": place.version,
            "served_model": spec.called,
            "model_version": spec.model_version,
            "error": place.error,
            "gang": spec.gang,
            "gang_size": spec.gang_size,
            "rank": spec.rank,
        }

    def _host(self) -> Host:
        engine = {
            server.spec.engine: self._places[server.name].version
            for server in self._servers.values()
            if server.phase is not Phase.DRAINING
        }
        return Host(self._devices, fingerprint(self._devices, self._cpu, engine), VERSION)


def advertised(advertise: str, spec: EngineSpec, url: str) -> str:
    """The server's URL as routers reach it; without a word on that, where it was adopted."""
    parts = urlsplit(url)
    if not advertise:
        return url
    if "://" not in advertise:
        return parts._replace(netloc=host_and_port(advertise, parts.port)).geturl()
    return advertise.replace("{port}", str(parts.port or "")) + spec.path


async def _either(event: asyncio.Event, timeout_s: float) -> None:
    """Wait until the event is set, or for so long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
    event.clear()
