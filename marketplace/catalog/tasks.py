"""Probes workers; a change of health reaches the routers in a new snapshot."""

import asyncio
import logging

from django.utils import timezone

from marketplace.catalog.health import probe
from marketplace.catalog.heartbeats import report_faults
from marketplace.catalog.selectors import workers_to_probe
from marketplace.catalog.services import HealthReading, worker_health_record
from marketplace.shared.jobs.periodic import Queue, every

log = logging.getLogger(__name__)


@every(5.0, queue=Queue.CONTROL)
def probe_workers() -> list[str]:
    """Probe all workers at once; returns the ids of those whose health changed.

    A worker whose agent is silent or says that it is down is not asked.
    """
    workers = workers_to_probe()
    faults = report_faults(workers, timezone.now())
    asked = [worker for worker in workers if worker.pk not in faults]
    readings = asyncio.run(probe(asked)) if asked else []
    readings += [HealthReading(pk, fault) for pk, fault in faults.items()]
    changed = worker_health_record(readings=readings)
    if changed:
        log.info("health changed: %s", ", ".join(changed))
    return changed
