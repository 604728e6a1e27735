"""Probes workers; a change of health reaches the routers in a new snapshot."""

import asyncio
import logging

from marketplace.catalog.health import probe
from marketplace.catalog.selectors import workers_to_probe
from marketplace.catalog.services import worker_health_record
from marketplace.shared.jobs.periodic import Queue, every

log = logging.getLogger(__name__)


@every(5.0, queue=Queue.CONTROL)
def probe_workers() -> list[str]:
    """Probe all workers at once; returns the ids of those whose health changed."""
    workers = workers_to_probe()
    readings = asyncio.run(probe(workers)) if workers else []
    changed = worker_health_record(readings=readings)
    if changed:
        log.info("health changed: %s", ", ".join(changed))
    return changed
