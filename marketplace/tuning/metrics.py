"""Stragglers and trials for Prometheus, next to the ledger at ``GET /metrics``."""

from collections.abc import Iterable

import msgspec
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from marketplace.routing.models import Policy, PolicyState
from marketplace.routing.trials.evidence import Slowness
from marketplace.routing.trials.models import Straggler

PREFIX = "waypost_tuning_"


class TuningCollector(Collector):
    """Reads the rows at each scrape; only current stragglers have labels."""

    def collect(self) -> Iterable[Metric]:
        """All metrics of automatic tuning."""
        slow = GaugeMetricFamily(
            f"{PREFIX}straggler_ratio",
            "Service time of a worker that strays, over its peers'",
            labels=["worker", "pool"],
        )
        rows = Straggler.objects.filter(cleared_at=None).select_related("worker__pool")
        for row in rows.order_by("worker_id", "-id").distinct("worker_id"):
            slow.add_metric(
                [row.worker.worker_id, row.worker.pool.name],
                msgspec.convert(row.evidence, Slowness).ratio,
            )
        yield slow
        for name, text, state in (
            ("trials", "Policy versions on trial", PolicyState.CANARY),
            ("proposals", "Policy versions that wait for a person", PolicyState.PROPOSED),
        ):
            yield GaugeMetricFamily(
                f"{PREFIX}{name}", text, value=Policy.objects.filter(state=state).count()
            )
