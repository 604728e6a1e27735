"""``python -m tests.judge.cell``: one target, one scenario, one seed, in its own process.

Fleet and load share this process and its core; the gateway is another process on another. It says
"ready" and reads when the load begins (on the monotonic clock), so that several begin together.
"""

import argparse
import asyncio
import gc
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec
import uvloop
from msgspec import Struct

from router.simulator.engines.sessions import Load as Chats
from tests.judge.callers import load, sessions
from tests.judge.callers.http_client import Client
from tests.judge.callers.load import Load
from tests.judge.callers.targets import PATH, Gateway, InTurn, Target
from tests.judge.figures.results import Result, assessed
from tests.judge.gateways.gateway import GatewayFailed, Running, prefer, started
from tests.judge.gateways.peers import DIRECT, ORACLE, PEERS, Site
from tests.judge.oracles.engine_oracle import EngineOracle
from tests.judge.oracles.slot_oracle import SlotOracle
from tests.judge.scenarios import SCENARIOS, Closed, Poisson, Scenario
from tests.judge.timer import Timer
from tests.judge.workers.engines import EngineServer
from tests.judge.workers.fleet import Server
from tests.judge.workers.hardware import SlotClass
from tests.judge.workers.slots import SlotServer
from tests.ports import free_ports

Play = Callable[[Load, float], Awaitable[None]]
"""The load, from a moment on."""
Start = Callable[[], Awaitable[float]]
"""Everything is ready and waits for the start time of the load."""
GRACE_S = 60.0
"""The time that a run may take beyond its load and a caller's patience."""


def main() -> int:
    """Measure, and write the result into the folder."""
    parser = argparse.ArgumentParser(prog="python -m tests.judge.cell", description=__doc__)
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("target", choices=(ORACLE, DIRECT, *PEERS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, help="instead of the scenario's")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--tools", type=Path, required=True)
    parser.add_argument("--cores", type=int, nargs=2, required=True, help="gateway's, and ours")
    options = parser.parse_args()
    prefer(os.getpid())
    os.sched_setaffinity(0, {options.cores[1]})
    scenario = SCENARIOS[options.scenario]
    if options.seconds:
        scenario = msgspec.structs.replace(scenario, seconds=options.seconds)
    cell = Cell(scenario, options.target, options.seed, options.folder, options.tools)
    result = uvloop.run(cell.measure(_told, core=options.cores[0]))
    (options.folder / "result.json").write_bytes(msgspec.json.encode(result))
    return 0


async def _told() -> float:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    return float(await asyncio.to_thread(sys.stdin.readline))


class Cell(Struct, frozen=True):
    """One target, one scenario, one seed; the folder is the cell's own."""

    scenario: Scenario
    target: str
    seed: int
    folder: Path
    tools: Path

    async def measure(self, start: Start, *, core: int) -> Result:
        """A fresh fleet, a fresh gateway on that core, one load."""
        timer = Timer()
        servers = self._servers(timer)
        try:
            for server in servers:
                await server.listen()
            if self.target not in PEERS:
                return await self._run(servers, self._ungated(servers), None, start)
            site = self._site(servers)
            with started(self.target, site, core=core) as gateway:
                headers = PEERS[self.target].headers
                await gateway.ready(Client(site.port, PATH, headers))
                return await self._run(servers, Gateway(site.port, headers), gateway, start)
        except (GatewayFailed, TimeoutError) as error:
            why = str(error) or "the load did not end"
            return Result(self.scenario.name, self.target, self.seed, _now(), failed=why)
        finally:
            for server in servers:
                server.close()
            timer.close()

    async def _run(
        self, servers: Sequence[Server], asked: Target, gateway: Running | None, start: Start
    ) -> Result:
        scenario, at = self.scenario, _now()
        seen = Load(asked, servers[0].timer, scenario.timeout_s)
        play = prepared(scenario, self.seed)
        gc.collect()
        gc.freeze()
        gc.disable()  # A pause of this process would delay everybody.
        start_s = await start()
        before_s = gateway.spent_s() if gateway else 0.0
        for server in servers:
            server.begin(start_s)
        if isinstance(asked, SlotOracle):
            asked.begin(start_s, servers[0].timer)
        async with asyncio.timeout(scenario.seconds + scenario.timeout_s + GRACE_S):
            await play(seen, start_s)
        spent_s = gateway.spent_s() - before_s if gateway else 0.0
        resident_mib = gateway.resident_mib() if gateway else 0.0
        asked.close()
        return assessed(
            scenario,
            seen.records,
            target=self.target,
            seed=self.seed,
            at=at,
            late_s=seen.late_s,
            fleet=[server.report() for server in servers],
            gateway_s=spent_s,
            gateway_mib=resident_mib,
        )

    def _site(self, servers: Sequence[Server]) -> Site:
        port, spare = free_ports(2)
        ports = tuple(server.port for server in servers)
        scenario = self.scenario
        timeout_s = scenario.upstream_timeout_s
        return Site(port, spare, self.folder, self.tools, scenario.workers, ports, timeout_s)

    def _servers(self, timer: Timer) -> list[Server]:
        workers = self.scenario.workers
        speaks = PEERS[self.target].speaks if self.target in PEERS else "vllm"
        return [
            SlotServer(worker, port, timer, speaks, self.seed)
            if isinstance(worker.hardware, SlotClass)
            else EngineServer(worker, port, timer, speaks)
            for worker, port in zip(workers, free_ports(len(workers)), strict=True)
        ]

    def _ungated(self, servers: Sequence[Server]) -> Target:
        ports = [server.port for server in servers]
        if self.target == DIRECT:
            return InTurn(ports)
        engines = [server for server in servers if isinstance(server, EngineServer)]
        if engines:
            return EngineOracle(engines)
        poisson = self.scenario.load
        assert isinstance(poisson, Poisson), "without a rate there is nothing to know"
        return SlotOracle(self.scenario.workers, ports, poisson.calls_hz)


def prepared(scenario: Scenario, seed: int) -> Play:
    """Everything that can be prepared before the load, which then follows the clock."""
    kind, seconds = scenario.load, scenario.seconds
    hardware = scenario.workers[0].hardware
    if isinstance(kind, Chats):
        planned = sessions.conversations(kind, seconds=seconds, seed=seed)
        return partial(sessions.hold_all, planned=planned, seconds=seconds)
    assert isinstance(hardware, SlotClass)
    events = hardware.events if kind.streamed else 0
    if isinstance(kind, Closed):
        return partial(
            Load.closed_loop, callers=kind.callers, seconds=seconds, events=events, seed=seed
        )
    calls = load.calls(kind.phases, seconds=seconds, events=events, seed=seed)
    return partial(Load.send, calls=calls)


def _now() -> str:
    return time.strftime("%F %T")


if __name__ == "__main__":
    sys.exit(main())
