"""``GET /metrics``: what the router counts, in Prometheus's format.

Nothing is counted here. A scrape reads the numbers of :mod:`router.pipeline.recorders.meters` and
the state of the scheduler as they are.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from router.build import build_of
from router.domain.catalog import OWN_MARK
from router.pipeline.attempts.dispatch import Dispatcher
from router.pipeline.gateway import Gateway
from router.pipeline.recorders.meters import BUCKETS_MS, Histogram, Meters
from router.ports.records import Losses
from router.scheduling import scheduler as deciding
from router.scheduling.decisions import Cancel, Eject, Hedge, Probe

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SPANS = {
    "queue": "Wait for a worker",
    "ttft": "Arrival to the first byte of a stream, but for the priority batch",
    "upstream": "Time with the worker that answered",
    "total": "Arrival to the end of the call",
}


class RouterCollector(Collector):
    """See :meth:`collect`."""

    def __init__(
        self,
        meters: Meters,
        gateway: Gateway,
        dispatcher: Dispatcher,
        *,
        running: Callable[[], int],
        unsettled: Callable[[], int],
        losses: Callable[[], Losses],
    ) -> None:
        self._meters = meters
        self._gateway = gateway
        self._dispatcher = dispatcher
        self._scheduler = dispatcher.scheduler
        self._running = running
        self._unsettled = unsettled
        self._losses = losses

    def collect(self) -> Iterable[Metric]:
        """Every metric of the router, with its current value."""
        yield from self._counted()
        yield from self._timed()
        yield from self._scheduled()
        yield from self._learned()
        table = self._gateway.table
        yield _gauge("running_calls", "Calls that run or wait", self._running())
        yield _gauge(
            "unsettled_calls", "Finished calls that wait for the ledger", self._unsettled()
        )
        cut = _counter(
            "overcounted", "Answers with more usage than is believed", ("model", "worker")
        )
        for (name, worker), count in self._gateway.counts.cut.items():
            if not _is_own(name):
                cut.add_metric([name, worker], count)
        yield cut
        unpaid = _counter(
            "unpaid_nano_usd", "What calls cost beyond what was held for them", ("model",)
        )
        for name, nano in self._gateway.unpaid.items():
            unpaid.add_metric([name], nano)
        yield unpaid
        losses = self._losses()
        yield CounterMetricFamily(
            "waypost_router_refused_records",
            "Finished calls that the ledger refused or nobody could read",
            value=losses.refused_records,
        )
        yield _gauge("set_aside_bytes", "Size of the file of such calls", losses.set_aside_bytes)
        yield _gauge(
            "damaged_segments",
            "Segments of the journal with bytes that are no record, until they are moved away",
            losses.damaged_segments,
        )
        yield _gauge(
            "journal_broken", "1 once the journal cannot be written", losses.journal_broken
        )
        yield CounterMetricFamily(
            "waypost_router_lease_failures",
            "Times that the ledger was away when leases of credit were asked for or kept",
            value=self._gateway.lease_failures,
        )
        yield _gauge(
            "snapshot_age_seconds",
            "Time since the catalog in use was known to be the newest",
            self._gateway.snapshot_age_s,
        )
        yield _gauge("snapshot_version", "Version of the catalog in use", table.version)
        build = _gauges("build", "1 for the build of the router that runs", ("build",))
        build.add_metric([build_of(deciding)], 1)
        yield build

    def _counted(self) -> Iterator[Metric]:
        meters = self._meters
        labels = ("model", "kind", "outcome", "status")
        calls = _counter("calls", "Finished calls", labels)
        tokens = _counter("tokens", "Tokens", ("model", "class"))
        for name, model in meters.models.items():
            for (kind, outcome, status), count in model.calls.items():
                calls.add_metric([name, kind, outcome, str(status)], count)
            for token_class, count in model.tokens.items():
                tokens.add_metric([name, token_class], count)
        attempts = _counter("attempts", "Attempts at workers", ("pool", "outcome"))
        for (pool, outcome), count in meters.attempts.items():
            attempts.add_metric([pool, outcome], count)
        errors = _counter("errors", "Errors told to clients", ("code",))
        for code, count in meters.errors.items():
            errors.add_metric([code], count)
        yield from (calls, tokens, attempts, errors)

    def _timed(self) -> Iterator[Metric]:
        bounds = [*(str(bound / 1e3) for bound in BUCKETS_MS), "+Inf"]
        for span, text in SPANS.items():
            family = HistogramMetricFamily(
                f"waypost_router_{span}_seconds", text, labels=("model",)
            )
            for name, model in self._meters.models.items():
                histogram: Histogram = getattr(model, span)
                buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
                family.add_metric([name], buckets, histogram.sum_ms / 1e3)
            yield family

    def _scheduled(self) -> Iterator[Metric]:
        counts = self._dispatcher.counts
        waiting = self._gateway.waiting_by_model.items()
        market = sum(count for model, count in waiting if not _is_own(model))
        yield _gauge("waiting_calls", "Calls that wait for a worker of the market", market)
        for name, text, count in (
            ("hedges", "Second attempts sent beside late ones", counts[Hedge]),
            ("probes", "Probes sent to workers", counts[Probe]),
            ("ejections", "Workers taken out", counts[Eject]),
            ("stops", "Attempts stopped because another was faster", counts[Cancel]),
        ):
            yield CounterMetricFamily(f"waypost_router_{name}", text, value=count)

    def _learned(self) -> Iterator[Metric]:
        scheduler, now_s = self._scheduler, time.monotonic()
        worker = ("worker",)
        slots = _gauges("worker_slots", "Slots that this router may use", worker)
        limit = _gauges("worker_limit", "Slots that it uses at present", worker)
        in_flight = _gauges("worker_in_flight", "Attempts that run", worker)
        ejected = _gauges("worker_ejected", "1 while a worker is taken out", worker)
        for state in scheduler.fleet.workers.values():
            if _is_own(state.id):
                continue
            slots.add_metric([state.id], state.slots)
            limit.add_metric([state.id], state.limit)
            in_flight.add_metric([state.id], len(state.inflight))
            ejected.add_metric([state.id], float(state.ejection.until_s > now_s))
        labels = ("model", "worker", "pool", "deployment")
        service = _gauges("service_seconds", "Learned service time of a mean request", labels)
        samples = _gauges("service_samples", "Answers that it was learned from", labels)
        for place in scheduler.fleet.endpoints.values():
            endpoint = place.endpoint
            if _is_own(endpoint.worker.id):
                continue
            deployment = endpoint.deployment
            named = [deployment.model, place.worker.id, endpoint.pool.name, str(deployment.id)]
            service.add_metric(named, place.estimate.seconds)
            samples.add_metric(named, place.estimate.samples)
        error = _gauges("size_log_error", "Error of predicted sizes", ("model",))
        for model in self._gateway.table.routes:
            known = scheduler.sizes.log_error(model)
            if known is not None and not _is_own(model):
                error.add_metric([model], known)
        yield from (slots, limit, in_flight, ejected, service, samples, error)


class Exposition:
    """Renders a collector's metrics."""

    def __init__(self, collector: RouterCollector) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(collector)
        ProcessCollector(registry=self._registry)

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self._registry)


def _is_own(name: str) -> bool:
    """Whether it is an organisation's own: there may be any number of these, and no operator can
    mend them.
    """
    return name.startswith(OWN_MARK)


def _counter(name: str, text: str, labels: tuple[str, ...]) -> CounterMetricFamily:
    return CounterMetricFamily(f"waypost_router_{name}", text, labels=labels)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"waypost_router_{name}", text, value=value)


def _gauges(name: str, text: str, labels: tuple[str, ...]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"waypost_router_{name}", text, labels=labels)
