"""``python -m tests.bench.routers``: what two routers of one machine carry, against one.

Real routers behind one port, a ledger on disk, and callers with a worker that answers at once, in
a process of their own. One router and two take turns, so that a change of the machine meets both.

Routers, callers and PostgreSQL share this machine's processors, so calls by the clock say little
where there are few. What is carried *by processor* is calls by the second of processor time of the
busiest router: what the routers would carry if each had a core to itself. It counts everything
that a second router costs in the routers, and nothing that PostgreSQL or the network may add.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
import uvloop

from router.contracts.snapshot import Snapshot
from router.domain.catalog import ApiKey, Deployment, Model, Policy, Pool, Worker
from router.domain.keys import digest_key
from router.domain.pricing import Price
from tests.bench import plain_calls
from tests.bench.database import cpu_s, migrated_database
from tests.contract.router.conftest import open_accounts
from tests.integration.router.routers import KEY, PEPPER, Router, publish, running, until
from tests.ports import free_ports

PATH = "/v1/chat/completions"
HEADERS = f"authorization: Bearer {KEY}\r\n"
MODEL = "m"
COUNTS = (1, 2)
CALLERS = 256
WORKERS = 12
SLOTS = 1_000
CREDIT_NANO = 10**15
WARM_UP_S = 2.0


@dataclass(frozen=True, slots=True)
class Carried:
    """Calls of one run, and the processor time of each router."""

    calls: float
    seconds: float
    cpu_s: tuple[float, ...]

    @property
    def by_clock_hz(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds

    @property
    def by_processor_hz(self) -> float:
        """Calls by a second of the busiest router's processor."""
        return self.calls / max(self.cpu_s)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--owned", action="store_true", help="one router places all calls")
    parser.add_argument("--load", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        return uvloop.run(_load(*options.load, options.seconds))
    carried = _measure(options.rounds, options.seconds, shared=not options.owned)
    for count in COUNTS:
        runs = [run[count] for run in carried]
        cpu_us = statistics.median(1e6 * sum(run.cpu_s) / run.calls for run in runs)
        shares = ", ".join(f"{cpu / sum(runs[-1].cpu_s):.0%}" for cpu in runs[-1].cpu_s)
        print(
            f"{count} of them: {statistics.median(run.by_clock_hz for run in runs):,.0f} calls/s "
            f"by the clock, {statistics.median(run.by_processor_hz for run in runs):,.0f} by "
            f"processor; {cpu_us:.0f} µs a call, of which each had {shares}"
        )
    one, two = COUNTS
    for how in ("by_clock_hz", "by_processor_hz"):
        ratios = sorted(getattr(run[two], how) / getattr(run[one], how) for run in carried)
        print(f"{how}: {', '.join(f'{ratio:.2f}' for ratio in ratios)} times one router")
    return 0


def _measure(rounds: int, seconds: float, *, shared: bool) -> list[dict[int, Carried]]:
    worker_port, public_port, *ports = free_ports(2 + max(COUNTS))
    with migrated_database() as database, tempfile.TemporaryDirectory() as folder:
        _open_shop(database, f"http://127.0.0.1:{worker_port}", shared=shared)
        carried = []
        for _ in range(rounds):
            carried.append({})
            for count in COUNTS:
                with _routers(database, Path(folder), public_port, ports[:count]) as routers:
                    run = _carried(routers, (worker_port, public_port), seconds)
                carried[-1][count] = run
        return carried


@contextlib.contextmanager
def _routers(
    database: str, home: Path, public_port: int, ports: Sequence[int]
) -> Iterator[list[Router]]:
    with contextlib.ExitStack() as stack:
        shared = {"ROUTER_PUBLIC_PORT": str(public_port)}
        routers = [
            stack.enter_context(running(f"r{port}", database, home, port=port, **shared))
            for port in ports
        ]
        until(lambda: all(len(router.state()["routers"]) == len(ports) for router in routers))
        yield routers


def _carried(routers: Sequence[Router], ports: tuple[int, int], seconds: float) -> Carried:
    words = [*map(str, ports), "--seconds", str(seconds)]
    command = [sys.executable, "-m", "tests.bench.routers", "--load", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as load:
        assert load.stdout is not None
        assert load.stdout.readline(), "the callers could not begin"
        before = [cpu_s(router.process.pid) for router in routers]
        rate = json.loads(load.stdout.readline())
        spent = (cpu_s(router.process.pid) for router in routers)
        cpu = tuple(after - earlier for after, earlier in zip(spent, before, strict=True))
    return Carried(rate * seconds, seconds, cpu)


async def _load(worker_port: int, public_port: int, seconds: float) -> int:
    """The other process: the worker and the callers."""
    loop = asyncio.get_running_loop()
    await loop.create_server(plain_calls.Worker, "127.0.0.1", worker_port)
    await plain_calls.answers(public_port, PATH, HEADERS)
    await plain_calls.load(public_port, PATH, WARM_UP_S, HEADERS, CALLERS)
    print("warm", flush=True)
    print(await plain_calls.load(public_port, PATH, seconds, HEADERS, CALLERS), flush=True)
    return 0


def _open_shop(database: str, worker_url: str, *, shared: bool) -> None:
    customer, provider = open_accounts(database, CREDIT_NANO)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DELETE FROM routing_snapshot")
    publish(
        database,
        Snapshot(
            version=1,
            published_at_ms=1,
            models=(Model(MODEL, "chat", "1", 1),),
            pools=(Pool("p", "cpu"),),
            workers=tuple(
                Worker(f"w{n}", "p", worker_url, "openai", SLOTS) for n in range(WORKERS)
            ),
            deployments=(Deployment(1, MODEL, "lab", provider, "p", "up", Price(1)),),
            policies=(Policy(1, 1, MODEL, shared=shared),),
            keys=(ApiKey(1, digest_key(KEY, PEPPER.encode()), 1, customer),),
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
