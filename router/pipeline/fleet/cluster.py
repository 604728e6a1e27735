"""Several routers over the same workers: who owns which model, and how they share slots.

A model has one owner, whose queue is exact. A call that arrives at another router is forwarded to
the owner, one hop. Slots are leased: a router sends to a worker only as much as its lease on that
worker's slots allows. A router claims slots on a worker when it places calls of a model there.
Usually that is one router, which gets all of them. Several routers claim where a worker serves
models of several owners, or a model is shared.

Every beat tells the other routers of this one and its demand, renews its leases, and learns which
routers are there. A router that stops beating loses its membership and its leases after the same
time, and its models get new owners. While the beat itself fails (the database is away), routers go
on with what they have. Only what the others said of their work on engines expires, when their
membership would. Once it is back, all memberships have expired, and each router has that time to
renew its own: one that took itself for alone would queue calls for slots that others have.

A router that stops withdraws: it owns nothing more, sends what still comes to the others, and keeps
no more slots than its calls use. Until it leaves, the others do without these.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from math import ceil, inf

from msgspec import structs

from router.contracts.word import SILENT
from router.domain.errors import LedgerUnavailable
from router.pipeline.access.rate_limit import RateLimiter
from router.pipeline.attempts.dispatch import Dispatcher
from router.pipeline.plans.routing_table import EMPTY_TABLE, RoutingTable
from router.ports.cluster import Beat, Cluster, Member, SlotClaim
from router.scheduling.fleet.sharding import owner
from router.scheduling.fleet.slot_share import slot_shares

BEATS_PER_TTL = 3
WITHDRAWN = ""
"""The URL of a router that takes no more calls."""

log = logging.getLogger(__name__)


class ClusterView:
    """What this router knows of the other routers. ``clock`` is monotonic seconds."""

    def __init__(
        self,
        me: Member,
        cluster: Cluster,
        dispatcher: Dispatcher,
        limiter: RateLimiter,
        *,
        ttl_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._me = me
        self._cluster = cluster
        self._dispatcher = dispatcher
        self._limiter = limiter
        limiter.join = self.beat_now
        self._ttl_s = ttl_s
        self._clock = clock
        self._table = EMPTY_TABLE
        self._members: dict[str, Member] = {me.router_id: me}
        self._is_alone = True
        self._suspects: dict[str, float] = {}
        self._owners: dict[str, str] = {}
        self._changed = asyncio.Event()
        self._begun = 0
        self._done = 0
        self._beaten = asyncio.Condition()
        self._my_demands: Mapping[str, float] = {}
        self._heard_s = clock()
        self._is_cut_off = False
        self._absent_until_s = -inf
        self._turn = asyncio.Lock()
        self._is_withdrawn = False
        self._has_left = False

    @property
    def members(self) -> Mapping[str, Member]:
        """Every known router by id that takes calls, including this one."""
        return self._members

    @property
    def others(self) -> list[Member]:
        """Every known router except this one."""
        return [m for id_, m in self._members.items() if id_ != self._me.router_id]

    def use(self, table: RoutingTable) -> None:
        """The catalog changed."""
        self._table = table
        self._owners.clear()
        self._changed.set()

    def elsewhere(self, model: str) -> Member | None:
        """The router to forward a call of this model to; None when it is this one."""
        route = self._table.routes.get(model)
        if self._is_alone or route is None or route.policy.shared:
            return None
        owner_id = self._owner(model)
        return None if owner_id == self._me.router_id else self._members[owner_id]

    def suspect(self, member: Member) -> None:
        """It does not answer: ignore it until it has had time to lose its membership."""
        self._suspects[member.router_id] = self._clock() + self._ttl_s
        self._owners.clear()

    async def run(self) -> None:
        """Beat until cancelled: regularly, and at once when the catalog has changed."""
        while True:
            self._changed.clear()
            await self.beat()
            with contextlib.suppress(TimeoutError):
                # Not wait_for: before Python 3.12 it can lose a cancellation, and with it a stop.
                async with asyncio.timeout(self._ttl_s / BEATS_PER_TTL):
                    await self._changed.wait()

    async def beat(self) -> None:
        """Renew membership and leases once, and learn which routers are there."""
        async with self._turn:
            if not self._has_left:
                await self._beat()

    async def _beat(self) -> None:
        self._begun += 1
        number = self._begun
        self._my_demands = self._demands() | self._limiter.demands()
        claims = self._claims() | self._limit_claims()
        word = self._dispatcher.word() if len(self._members) > 1 else SILENT
        try:
            beat = await self._cluster.beat(self._me, self._ttl_s, self._my_demands, claims, word)
        except LedgerUnavailable as error:
            log.warning("cluster: going on with what is known: %s", error)
            self._is_cut_off = True
            if self._clock() >= self._heard_s + self._ttl_s:
                self._dispatcher.others_said(())
        else:
            self._take_in(beat)
        async with self._beaten:
            self._done = number
            self._beaten.notify_all()

    async def withdraw(self) -> None:
        """Own nothing from now on: the others no longer forward calls to this router."""
        self._me = structs.replace(self._me, url=WITHDRAWN)
        self._is_withdrawn = True
        await self.beat()

    async def leave(self) -> None:
        """Give up membership and leases at once instead of letting them expire. No beat follows."""
        async with self._turn:
            self._has_left = True
            try:
                await self._cluster.leave(self._me.router_id)
            except LedgerUnavailable as error:
                log.warning("cluster: left without a word: %s", error)

    def _take_in(self, beat: Beat) -> None:
        now_s = self._clock()
        if self._is_cut_off:
            self._is_cut_off, self._absent_until_s = False, now_s + self._ttl_s
        known = self._members if now_s < self._absent_until_s else {}
        members = {**known, **{member.router_id: member for member in beat.members}}
        members[self._me.router_id] = self._me
        members = {id_: member for id_, member in members.items() if member.url != WITHDRAWN}
        members = members or {self._me.router_id: self._me}
        if members.keys() != self._members.keys():
            log.info("cluster: routers are now %s", ", ".join(sorted(members)))
        self._members = members
        self._is_alone = members.keys() == {self._me.router_id}
        self._owners.clear()
        self._heard_s = now_s
        self._dispatcher.others_said([member.word for member in self.others])
        self._dispatcher.lease(beat.granted)
        self._limiter.routers = len(members)
        self._limiter.lease(
            beat.granted, frozenset(id_ for known in self._others().values() for id_ in known)
        )

    async def beat_now(self) -> None:
        """Wait for the end of a beat that begins after now, for at most about one beat."""
        if not self._others():
            return
        number = self._begun + 1
        self._changed.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._ttl_s / BEATS_PER_TTL), self._beaten:
                await self._beaten.wait_for(lambda: self._done >= number)

    def _others(self) -> dict[str, Mapping[str, float]]:
        """The demands of every other router."""
        me = self._me.router_id
        return {
            router_id: member.demands
            for router_id, member in self._members.items()
            if router_id != me
        }

    def _owner(self, model: str) -> str:
        known = self._owners.get(model)
        if known is None:
            now_s = self._clock()
            self._suspects = {
                router_id: until for router_id, until in self._suspects.items() if until > now_s
            }
            there = [router_id for router_id in self._members if router_id not in self._suspects]
            known = self._owners[model] = owner(model, there or [self._me.router_id])
        return known

    def _demands(self) -> dict[str, float]:
        """Requests in flight by worker, plus this router's waiting requests spread over them."""
        scheduler = self._dispatcher.scheduler
        workers = scheduler.fleet.workers
        spread = scheduler.waiting / max(len(workers), 1)
        return {worker.id: len(worker.inflight) + spread for worker in workers.values()}

    def _claims(self) -> dict[str, SlotClaim]:
        """By worker: how many slots to ask for, and how many it has."""
        if self._is_withdrawn:
            return {
                endpoint.worker.id: SlotClaim(
                    ceil(self._my_demands.get(endpoint.worker.id, 0.0)), endpoint.worker.slots
                )
                for endpoint in self._table.endpoints.values()
            }
        claimants: dict[str, set[str]] = {}
        slots: dict[str, int] = {}
        for endpoint in self._table.endpoints.values():
            worker = endpoint.worker
            route = self._table.routes[endpoint.deployment.model]
            shared = route.policy.shared
            routers = set(self._members) if shared else {self._owner(route.model.name)}
            claimants.setdefault(worker.id, set()).update(routers)
            slots[worker.id] = worker.slots
        claims: dict[str, SlotClaim] = {}
        for worker_id, routers in claimants.items():
            demands = {
                router_id: self._demand_of(router_id).get(worker_id, 0.0) for router_id in routers
            }
            wanted = slot_shares(slots[worker_id], demands).get(self._me.router_id, 0)
            claims[worker_id] = SlotClaim(wanted, slots[worker_id])
        return claims

    def _limit_claims(self) -> dict[str, SlotClaim]:
        """By limit of a key or organisation: how many parts to ask for, and how many there are."""
        claims: dict[str, SlotClaim] = {}
        for id_, (parts, used) in self._limiter.leasable().items():
            demands = {
                router_id: known[id_] for router_id, known in self._others().items() if id_ in known
            }
            demands[self._me.router_id] = self._my_demands[id_]
            wanted = slot_shares(parts, demands)[self._me.router_id]
            claims[id_] = SlotClaim(max(wanted, used), parts)
        return claims

    def _demand_of(self, router_id: str) -> Mapping[str, float]:
        me = self._me.router_id
        return self._my_demands if router_id == me else self._members[router_id].demands
