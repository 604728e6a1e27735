"""Routers that know of one another, over one cluster in memory."""

import contextlib
import random
import time
from collections.abc import AsyncIterator

import httpx

from router.adapters.memory import MemoryCluster
from router.contracts.snapshot import Snapshot
from router.domain.addresses import EVERYWHERE, AddressPolicy
from router.ingress.proxy.forward import Forwarder
from router.ingress.proxy.judging import OwnersJudge
from router.pipeline.access.rate_limit import RateLimiter
from router.pipeline.attempts.dispatch import Dispatcher
from router.pipeline.fleet.cluster import ClusterView
from router.pipeline.plans.routing_table import build_table
from router.ports.cluster import Member
from router.scheduling.fleet.sharding import owner
from router.scheduling.scheduler import Scheduler
from router.settings import Limits
from router.upstream.http import HTTPClient
from tests.unit.router.ingress.serving import calling
from tests.unit.router.pipeline.line import PEPPER, Line

GONE = "http://127.0.0.1:1"


async def view_of(cluster: MemoryCluster, name: str, url: str, catalog: Snapshot) -> ClusterView:
    """A member's view, apart from any line: slots are not what this is about."""
    clock = time.monotonic
    dispatcher = Dispatcher(Scheduler(queue_max=1, random=random.Random(5).random), {}, clock=clock)
    view = ClusterView(
        Member(name, url), cluster, dispatcher, RateLimiter(clock), ttl_s=60, clock=clock
    )
    view.use(build_table(catalog))
    await view.beat()
    return view


@contextlib.asynccontextmanager
async def owned_elsewhere(
    model: str, catalog: Snapshot, here: Line, there: Line
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the router ``here``, which knows that ``there`` owns the model."""
    names = (f"router-{number}" for number in range(100))
    name = next(name for name in names if owner(model, [name, "here"]) == name)
    cluster = MemoryCluster(time.monotonic)
    client: HTTPClient
    async with HTTPClient(Limits(), AddressPolicy(EVERYWHERE)) as client, calling(there) as owning:
        await view_of(cluster, name, str(owning.base_url).rstrip("/"), catalog)
        view = await view_of(cluster, "here", GONE, catalog)
        forwarder = Forwarder(view, client, PEPPER, 10_000)
        here.gateway.guarding.elsewhere = OwnersJudge(forwarder, PEPPER)
        async with calling(here, forwarder=forwarder) as asking:
            yield asking
