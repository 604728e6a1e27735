"""``GET /metrics`` of the control plane: whether the books balance, for Prometheus to watch."""

import hmac
from collections.abc import Iterable

from django.conf import settings
from django.db.models import Count, F, Sum
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from marketplace.benchmarks.metrics import ProfileCollector
from marketplace.billing.models import Lease, LeaseState, ReconciliationReport
from marketplace.routing.tuning.metrics import TuningCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class LedgerCollector(Collector):
    """Reads the numbers at each scrape; nothing is counted in between."""

    def collect(self) -> Iterable[Metric]:
        """Every metric of the ledger, as it is now."""
        report = ReconciliationReport.objects.first()
        if report is not None:
            age_s = (timezone.now() - report.created_at).total_seconds()
            yield _gauge("gaps", "What did not add up in the last report", len(report.gaps))
            yield _gauge("report_age_seconds", "How old the last report is", age_s)
        open_leases = Lease.objects.filter(state=LeaseState.OPEN)
        yield from _leases("open", open_leases.aggregate(n=Count("pk"), nano=_REST))
        expired = open_leases.filter(expires_at__lt=Now())
        yield from _leases("expired", expired.aggregate(n=Count("pk"), nano=_REST))


_REST = Sum(F("amount_nano") - F("spent_nano"), default=0)


def _leases(which: str, found: dict[str, int]) -> Iterable[Metric]:
    yield _gauge(f"{which}_leases", f"Leases of routers that are {which}", found["n"])
    yield _gauge(f"{which}_leases_usd", f"What leases that are {which} hold", found["nano"] / 1e9)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"waypost_ledger_{name}", text, value=value)


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """For whoever has ``WAYPOST_METRICS_TOKEN`` as a bearer; without one, for nobody."""
    token = settings.WAYPOST_METRICS_TOKEN
    given = request.headers.get("Authorization", "")
    if not token or not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        return HttpResponse(
            "this needs the header Authorization: Bearer <WAYPOST_METRICS_TOKEN>\n",
            status=401,
            content_type="text/plain; charset=utf-8",
            headers={"WWW-Authenticate": "Bearer"},
        )
    registry = CollectorRegistry(auto_describe=False)
    registry.register(LedgerCollector())
    registry.register(ProfileCollector())
    registry.register(TuningCollector())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE)
