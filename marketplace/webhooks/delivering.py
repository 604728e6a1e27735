"""Deliveries that are due, by one job process at a time, many at once and few of each organisation.

A delivery is claimed by moving its ``due_at`` on: if the process dies, it is due again by itself.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import httpx
from asgiref.sync import async_to_sync, sync_to_async
from django.db import transaction
from django.db.models import F, Min, QuerySet
from django.utils import timezone

from marketplace.shared.jobs.locks import key_held
from marketplace.webhooks.models import (
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    DisabledEndpoint,
    Outcome,
)
from marketplace.webhooks.schedule import due_after
from marketplace.webhooks.sending import Message, Result, attempt_make, client_open
from marketplace.webhooks.services import secrets_signing

AT_ONCE = 32
OF_AN_ORGANISATION = 4
"""Attempts at once: who does not answer keeps nobody else waiting."""
LEASE = timedelta(seconds=60)
"""Longer than an attempt takes: after it, the process of the attempt counts as dead."""
RUN_FOR_S = 60.0
LOOK_EVERY_S = 1.0
ATTEMPTS_KEPT = 50
LOCK_SPACE = 0x5750_5748  # "WPWH"
ENDINGS: Mapping[Outcome, DeliveryState] = {
    Outcome.HEARD: DeliveryState.DELIVERED,
    Outcome.GONE: DeliveryState.DISABLED,
}
"""What ends a delivery at its first attempt."""

log = logging.getLogger(__name__)


def deliver(run_for_s: float = RUN_FOR_S) -> int:
    """Make the attempts that are due, unless another process does; returns how many."""
    made, until_s = 0, time.monotonic() + run_for_s
    while _due(timezone.now()).exists() and time.monotonic() < until_s:
        with key_held(LOCK_SPACE, 0) as is_alone:
            if not is_alone:
                return made
            made += async_to_sync(_deliver_all)(until_s)
    return made


async def _deliver_all(until_s: float) -> int:
    made, under_way = 0, set[asyncio.Task[None]]()
    busy: Counter[int] = Counter()
    async with client_open() as client:
        while True:
            free = AT_ONCE - len(under_way) if time.monotonic() < until_s else 0
            for message in await sync_to_async(deliveries_claim)(timezone.now(), free, busy):
                made += 1
                busy[message.organisation_id] += 1
                under_way.add(asyncio.create_task(_deliver_one(client, message, busy)))
            if not under_way:
                return made
            # Wake up now and then, to find deliveries that were added meanwhile.
            done, under_way = await asyncio.wait(
                under_way, timeout=LOOK_EVERY_S, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()


async def _deliver_one(client: httpx.AsyncClient, message: Message, busy: Counter[int]) -> None:
    try:
        result = await attempt_make(client, message, timezone.now())
        await sync_to_async(attempt_record)(message, result)
    finally:
        busy[message.organisation_id] -= 1


@transaction.atomic
def deliveries_claim(now: datetime, free: int, busy: Mapping[int, int]) -> list[Message]:
    """Claim up to ``free`` that are due: whose wait is longest first, few of each organisation."""
    full = [item for item, count in busy.items() if count >= OF_AN_ORGANISATION]
    waiting = _due(now).exclude(organisation_id__in=full).order_by()
    first = waiting.values_list("organisation_id").annotate(first=Min("due_at")).order_by("first")
    claimed: list[Message] = []
    for organisation_id, _first in first[: max(free, 0)]:
        share = min(OF_AN_ORGANISATION - busy.get(organisation_id, 0), free - len(claimed))
        claimed += _claim_of(organisation_id, now, max(share, 0))
    return claimed


def _claim_of(organisation_id: int, now: datetime, count: int) -> list[Message]:
    rows = _due(now).filter(organisation_id=organisation_id).order_by("due_at", "pk")
    due = list(rows.select_for_update(skip_locked=True, of=("self",))[:count])
    if not due:
        return []
    Delivery.objects.filter(pk__in=[row.pk for row in due]).update(
        due_at=now + LEASE, tries=F("tries") + 1, attempts=F("attempts") + 1
    )
    secrets = secrets_signing(organisation_id, now)
    return [
        Message(row.pk, organisation_id, row.attempts + 1, row.url, row.event_id, row.body, secrets)
        for row in due
    ]


@transaction.atomic
def attempt_record(message: Message, result: Result) -> None:
    """Keep what happened to an attempt, unless another process has the delivery by now."""
    row = Delivery.objects.select_for_update().filter(
        pk=message.delivery_id, attempts=message.attempt, state=DeliveryState.WAITING
    )
    delivery = row.first()
    if delivery is None:
        return
    DeliveryAttempt.objects.create(
        delivery=delivery,
        started_at=result.started_at,
        duration_ms=result.duration_ms,
        outcome=result.outcome,
        status=result.status,
        error=result.error,
        response=result.response,
    )
    kept = delivery.log.values_list("pk", flat=True)[:ATTEMPTS_KEPT]
    delivery.log.exclude(pk__in=list(kept)).delete()
    now = timezone.now()
    delivery.error = "" if result.outcome == Outcome.HEARD else _said(result)
    if result.outcome in ENDINGS:
        delivery.due_at = None
    elif delivery.tries:  # Else it was asked for again meanwhile, and is due as that says.
        delivery.due_at = due_after(delivery.tries, now)
    if delivery.due_at is None:
        delivery.state = ENDINGS.get(result.outcome, DeliveryState.FAILED)
        delivery.ended_at = now
    delivery.save(update_fields=["error", "due_at", "state", "ended_at"])
    _follow(delivery, result.outcome, now)


def _follow(delivery: Delivery, outcome: Outcome, now: datetime) -> None:
    """A 410 ends whatever waits for the endpoint; what is heard there enables it again."""
    endpoint: dict[str, Any] = {"organisation_id": delivery.organisation_id, "url": delivery.url}
    if outcome == Outcome.HEARD:
        DisabledEndpoint.objects.filter(**endpoint).delete()
    elif outcome == Outcome.GONE:
        DisabledEndpoint.objects.get_or_create(**endpoint)
        waiting = Delivery.objects.filter(**endpoint, state=DeliveryState.WAITING)
        waiting.update(state=DeliveryState.DISABLED, due_at=None, ended_at=now)


def _said(result: Result) -> str:
    return result.error or f"HTTP {result.status}"


def _due(now: datetime) -> QuerySet[Delivery]:
    return Delivery.objects.filter(state=DeliveryState.WAITING, due_at__lte=now)
