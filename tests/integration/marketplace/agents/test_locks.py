"""Heartbeats beside the prober: each locks several workers, in one order."""

import functools

from marketplace.catalog.models import Worker
from tests.integration.marketplace.agents.reporting import READY, beat, registered
from tests.integration.marketplace.locks import meanwhile
from tests.integration.marketplace.shop import Shop


def test_a_report_that_drains_and_a_probe_of_all_workers_wait_for_each_other(
    committed_shop: Shop,
) -> None:
    agent = registered(committed_shop)
    beat(agent, READY, {**READY, "name": "b"})
    first = Worker.objects.filter(pk=committed_shop.worker.pk)
    drains = functools.partial(beat, agent, {**READY, "name": "b"}, {**READY, "state": "draining"})
    with meanwhile(drains, locked=first) as answers:
        # As the prober does. Each would have had a row that the other waits for.
        list(Worker.objects.select_for_update().order_by("pk"))
    (answer,) = answers
    assert answer.status_code == 200
    assert Worker.objects.get(worker_id="gpu-a").draining
