"""Reading the live traffic: the routers' state, and the calls that were recorded last."""

from collections.abc import Sequence
from datetime import timedelta

import httpx
from django.conf import settings
from django.utils import timezone

from marketplace.accounts.models import Organisation
from marketplace.benchmarks.runs.idle_slots import Traffic
from marketplace.benchmarks.runs.platform_account import ORGANISATION
from marketplace.routing.topology.polling import ROUTERS_MAX, Member, members_known
from marketplace.usage.models import UsageEvent
from marketplace.usage.partitions import id_floor

ROUTER_TIMEOUT_S = 1.0
RECENT_S = 3.0
"""A call that ended less than this ago still counts as live: its caller may call again."""
CALL_S_MAX = 120.0
"""Of calls that began longer ago nobody checks whether they just ended."""


def traffic_on(worker_ids: Sequence[str], own: int = 0) -> Traffic:
    """The traffic of these workers now.

    Up to ``own`` of the requests in the routers are the benchmark's; the others are live traffic.
    """
    recent = _recent_calls(worker_ids)
    in_flight, waiting = _routers_state(set(worker_ids))
    if own:
        return Traffic(max(0, in_flight + waiting - own), recent=recent)
    return Traffic(in_flight, waiting, recent)


def _recent_calls(worker_ids: Sequence[str]) -> int:
    now = timezone.now()
    own = Organisation.objects.filter(slug=ORGANISATION).values_list("pk", flat=True).first()
    calls = UsageEvent.objects.filter(
        request_id__gte=id_floor(now - timedelta(seconds=CALL_S_MAX)),
        settled_at__gte=now - timedelta(seconds=RECENT_S),
        worker_id__in=list(worker_ids),
    )
    return calls.exclude(organisation_id=own).count() if own else calls.count()


def _routers_state(worker_ids: set[str]) -> tuple[int, int]:
    """Requests in flight on these workers, and requests that wait, in all routers."""
    if not settings.ROUTER_ADMIN_TOKEN:
        return 0, 0
    members = [member for member in members_known() if member.beats][:ROUTERS_MAX]
    states = [_router_state(member, worker_ids) for member in members]
    return sum(in_flight for in_flight, _ in states), sum(waiting for _, waiting in states)


def _router_state(member: Member, worker_ids: set[str]) -> tuple[int, int]:
    """Those in one router. One that is not there serves nobody; one that does not answer in time
    is busy.
    """
    try:
        response = httpx.get(
            f"{member.url}/admin/state",
            headers={"Authorization": f"Bearer {settings.ROUTER_ADMIN_TOKEN}"},
            timeout=ROUTER_TIMEOUT_S,
            trust_env=False,
        )
        response.raise_for_status()
        body = response.json()
    except httpx.TimeoutException:
        return 0, 1
    except (httpx.HTTPError, ValueError):
        return 0, 0
    in_flight = (w["in_flight"] for w in body["workers"] if w["id"] in worker_ids)
    return sum(in_flight), int(body["waiting"])
