"""Probes workers; a change of health reaches the routers in a new snapshot."""

import asyncio
import logging

from django.utils import timezone

from marketplace.catalog.health import probe, readings_that_count
from marketplace.catalog.heartbeats import gang_fault, hears_since, is_heard, report_faults
from marketplace.catalog.selectors import workers_to_probe
from marketplace.catalog.services import (
    HealthReading,
    member_health_record,
    worker_health_record,
)
from marketplace.shared.jobs.periodic import Queue, every

log = logging.getLogger(__name__)


@every(5.0, queue=Queue.CONTROL)
def probe_workers() -> list[str]:
    """Probe all workers at once; returns the ids of those whose health changed.

    A worker whose agent is silent or says that it is down is not asked, and neither is a gang that
    is not whole: it falls at once.
    """
    workers = workers_to_probe()
    members = [member for worker in workers for member in worker.members.all()]
    now = timezone.now()
    faults = report_faults([*workers, *members], now, hears_since(workers, now))
    of_members = dict(zip((member.pk for member in members), faults[len(workers) :], strict=True))
    member_health_record(faults=of_members)
    asked, readings = [], []
    for worker, fault in zip(workers, faults, strict=False):
        others = worker.members.all()
        ranks = {member.rank: of_members[member.pk] for member in others}
        heard = is_heard(worker, now) or any(is_heard(member, now) for member in others)
        if broken := gang_fault(worker.gang_size, ranks):
            readings.append(HealthReading(worker.pk, broken, certain=True, reached=heard))
        elif fault:
            readings.append(HealthReading(worker.pk, fault, reached=heard))
        else:
            asked.append(worker)
    if asked:
        readings += asyncio.run(probe(asked))
    changed = worker_health_record(readings=readings_that_count(workers, readings))
    if changed:
        log.info("health changed: %s", ", ".join(changed))
    return changed
