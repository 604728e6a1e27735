"""Background work for Prometheus: heartbeats of the queues, jobs, dead letters, webhooks."""

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from marketplace.operations.selectors import (
    dead_letters_new,
    heartbeat_ages_s,
    jobs_counted,
    webhooks_waiting,
)

PREFIX = "waypost_jobs"


class JobsCollector(Collector):
    """Reads the rows at each scrape."""

    def collect(self) -> Iterable[Metric]:
        """All metrics of background work."""
        beats = _gauges(
            f"{PREFIX}_heartbeat_age_seconds", "Time since a queue was last worked on", "queue"
        )
        for queue, age_s in heartbeat_ages_s().items():
            beats.add_metric([queue], age_s)
        yield beats
        jobs = _gauges(PREFIX, "Jobs by kind and state", "kind", "state")
        lost = _gauges(f"{PREFIX}_lost", "Jobs that run and have lost their process", "kind")
        waiting = _gauges(
            f"{PREFIX}_waiting_seconds", "Time that the oldest job waits that never began", "kind"
        )
        for counts in jobs_counted():
            jobs.add_metric([counts.kind, "queued"], counts.queued)
            jobs.add_metric([counts.kind, "running"], counts.running)
            lost.add_metric([counts.kind], counts.lost)
            waiting.add_metric([counts.kind], counts.waiting_s)
        yield from (jobs, lost, waiting)
        yield GaugeMetricFamily(
            f"{PREFIX}_dead_letters",
            "Dead letters of the last day that nobody sent again",
            value=dead_letters_new(),
        )
        due, late_s = webhooks_waiting()
        yield GaugeMetricFamily(f"{PREFIX}_webhooks_due", "Webhooks that are due", value=due)
        yield GaugeMetricFamily(
            f"{PREFIX}_webhooks_late_seconds", "Time that the oldest of them is due", value=late_s
        )


def _gauges(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=labels)
