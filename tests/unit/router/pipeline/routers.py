"""Routers that meet in memory, on a clock that tests turn."""

import asyncio
import random

from router.adapters.memory import MemoryCluster
from router.contracts.snapshot import Snapshot
from router.domain.errors import LedgerUnavailable
from router.pipeline.access.rate_limit import RateLimiter
from router.pipeline.attempts.dispatch import Dispatcher
from router.pipeline.fleet.cluster import ClusterView
from router.pipeline.plans.routing_table import build_table
from router.ports.cluster import Beat, Member
from router.scheduling.scheduler import Scheduler
from tests.unit.router.pipeline.line import snapshot

TTL_S = 3.0


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Away(MemoryCluster):
    """The database cannot be reached."""

    async def beat(self, *_: object) -> Beat:
        raise LedgerUnavailable("away")


class Router:
    """A view, and the scheduler and the limits below it."""

    def __init__(self, name: str, cluster: MemoryCluster, clock: Clock, shop: Snapshot) -> None:
        self.name = name
        self.scheduler = Scheduler(queue_max=10, random=random.Random(1).random)
        loop = asyncio.get_running_loop()
        dispatcher = Dispatcher(self.scheduler, {}, clock=loop.time)
        me = Member(name, f"http://{name}")
        self.limiter = RateLimiter(clock)
        self.view = ClusterView(me, cluster, dispatcher, self.limiter, ttl_s=TTL_S, clock=clock)
        self.limiter.join = self.view.beat  # Nothing beats by itself here.
        table = build_table(shop)
        dispatcher.apply(table.endpoints.values())
        self.view.use(table)

    @property
    def slots(self) -> dict[str, int]:
        return {w.id: w.slots for w in self.scheduler.fleet.workers.values()}

    def go_away(self) -> None:
        """Lose the database."""
        self._there, self.view._cluster = self.view._cluster, Away(Clock())

    def come_back(self) -> None:
        """Have it again."""
        self.view._cluster = self._there


async def meeting(shop: Snapshot | None = None) -> tuple[Router, Router, Clock]:
    """Two routers called left and right, after enough beats to have settled."""
    clock = Clock()
    cluster = MemoryCluster(clock)
    left, right = (Router(name, cluster, clock, shop or snapshot()) for name in ("left", "right"))
    for _ in range(3):
        await left.view.beat()
        await right.view.beat()
    return left, right, clock
