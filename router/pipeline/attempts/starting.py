"""Holds calls to a model without workers while a pool starts one for them.

Their credit is held too, so that nobody has workers started that cannot pay for the call.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable

from router.domain.errors import CallError, DeadlineExceeded, NothingEligible, QueueFull
from router.pipeline.plans.plan import Plan, find_eligible
from router.pipeline.plans.routing_table import EMPTY_TABLE, Route, RoutingTable
from router.scheduling.waiting.standing import Standing
from router.scheduling.waiting.starting import Starts

FULL_RETRY_S = 1.0


class WaitingRoom:
    """Where calls wait for a start, ``wait_s`` at most.

    ``clock`` is the event loop's, in monotonic seconds.
    """

    def __init__(self, starts: Starts, *, wait_s: float, clock: Callable[[], float]) -> None:
        self.starts = starts
        self._wait_s = wait_s
        self._clock = clock
        self._table: RoutingTable = EMPTY_TABLE
        self._news: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def use(self, table: RoutingTable) -> None:
        """The catalog changed: wake those who may find a worker, or need not wait any more."""
        self._table = table
        for model in self.starts.waiting_by_model:
            route = table.routes.get(model)
            pools = _pools_up(route) if route is not None else []
            if pools:
                self.starts.started(model, pools, self._clock())
            if pools or route is None or not route.starts:
                self._news.pop(model, asyncio.Event()).set()

    def standing(self, call_id: str) -> Standing | None:
        """Where a call stands; None if it does not wait here."""
        return self.starts.standing(call_id, self._clock())

    async def started(self, plan: Plan, told: Callable[[Standing], None]) -> Plan:
        """The plan, once it has endpoints. ``told`` is where the call stands as it comes.

        Raises ``QueueFull`` if too many wait, ``DeadlineExceeded`` or ``NothingEligible`` if no
        worker came in time, and what a plan raises if none will.
        """
        request = plan.request
        until_s, deadline_ms = self._clock() + self._wait_s, request.wishes.deadline_ms
        if deadline_ms:
            until_s = min(until_s, request.arrived_s + deadline_ms / 1e3)
        while not (found := find_eligible(self._table, request)).endpoints:
            await self._news_of(plan, until_s, told)
        return plan.started(found)

    async def _news_of(self, plan: Plan, until_s: float, told: Callable[[Standing], None]) -> None:
        """Wait until the catalog says something new of the model."""
        id_, model = plan.request.id, plan.request.model
        tenant = plan.grant.organisation_id
        standing = self.starts.arrive(id_, model, tenant, plan.starts, self._clock())
        if standing is None:
            raise QueueFull(
                f"too many calls wait for a worker of {model!r} to start, try again",
                retry_after_s=FULL_RETRY_S,
            )
        told(standing)
        try:
            async with asyncio.timeout_at(until_s):
                await self._news[model].wait()
        except TimeoutError:
            raise self._too_late(plan) from None
        finally:
            self.starts.leave(id_, self._clock())

    def _too_late(self, plan: Plan) -> CallError:
        request = plan.request
        standing = self.standing(request.id)
        retry_after_s = standing.eta_s if standing is not None else FULL_RETRY_S
        deadline_ms = request.wishes.deadline_ms
        if deadline_ms and self._clock() >= request.arrived_s + deadline_ms / 1e3:
            return DeadlineExceeded(
                f"the request's deadline of {deadline_ms} ms passed before a worker had started; "
                f"raise deadline_ms or try again in {retry_after_s:.0f} s",
                param="deadline_ms",
                retry_after_s=retry_after_s,
            )
        return NothingEligible(
            f"model {request.model!r} has no worker, and none has started within "
            f"{self._wait_s:g} s; try again in {retry_after_s:.0f} s",
            retry_after_s=retry_after_s,
        )


def _pools_up(route: Route) -> list[str]:
    """The pools with a worker that takes calls."""
    return sorted(
        {
            endpoint.pool.name
            for endpoint in route.endpoints
            if endpoint.worker.healthy and not endpoint.worker.draining
        }
    )
