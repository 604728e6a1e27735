"""Probes the servers of organisations' own hosts, as the catalog does the market's workers."""

import asyncio
import logging

import httpx
from django.utils import timezone

from marketplace.catalog.addresses import PinnedTransport
from marketplace.catalog.health import probe, readings_that_count
from marketplace.catalog.heartbeats import hears_since, is_heard, report_faults
from marketplace.catalog.selectors import workers_to_probe
from marketplace.catalog.services import HealthReading, worker_health_record
from marketplace.endpoints.models import OwnWorker
from marketplace.endpoints.selectors import own_workers_to_probe
from marketplace.endpoints.services import policies
from marketplace.shared.jobs.periodic import Queue, every

log = logging.getLogger(__name__)

ASKS_FOR_A_KEY = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)


@every(5.0, queue=Queue.CONTROL)
def probe_own_workers() -> list[str]:
    """Probe all of them at once; returns the ids of those whose health changed.

    One whose agent is silent or says that it is down is not asked.
    """
    servers = own_workers_to_probe()
    now = timezone.now()
    # The market's agents tell as well whether the pages hear anybody.
    faults = report_faults(servers, now, hears_since([*servers, *workers_to_probe()], now))
    readings = [
        HealthReading(server.pk, fault, reached=is_heard(server, now))
        for server, fault in zip(servers, faults, strict=True)
        if fault
    ]
    asked = [server for server, fault in zip(servers, faults, strict=True) if not fault]
    if asked:
        readings += asyncio.run(probe(asked, _transport(), is_up))
    changed = worker_health_record(readings=readings_that_count(servers, readings), of=OwnWorker)
    if changed:
        log.info("health of own hosts changed: %s", ", ".join(changed))
    return changed


def is_up(status: int) -> bool:
    """Whether a server answers. One that asks for a key does: only routers have it."""
    return httpx.codes.is_success(status) or status in ASKS_FOR_A_KEY


def _transport() -> PinnedTransport:
    allowed = policies()
    return PinnedTransport(allowed["https"], plain=allowed["http"])
