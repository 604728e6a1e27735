"""What each pool has and should have, for Prometheus and autoscalers."""

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from marketplace.planning.scaling.selectors import scales_now

LABELS = ("pool", "emulated")


class ScaleCollector(Collector):
    """Asks the routers at each scrape, as the topology does."""

    def collect(self) -> Iterable[Metric]:
        """Three gauges for each pool. The desired number is absent while no router answers."""
        workers = GaugeMetricFamily(
            "waypost_pool_workers", "Workers that take calls", labels=LABELS
        )
        desired = GaugeMetricFamily(
            "waypost_pool_desired_workers", "Workers that there should be", labels=LABELS
        )
        models = GaugeMetricFamily(
            "waypost_pool_models", "Models that are live on it", labels=LABELS
        )
        for scale in scales_now():
            labels = [scale.pool, str(scale.emulated).lower()]
            workers.add_metric(labels, scale.workers)
            models.add_metric(labels, scale.models)
            if scale.desired is not None:
                desired.add_metric(labels, scale.desired)
        yield from (workers, desired, models)
