"""Metrics of the ledger's balance, for Prometheus."""

from collections.abc import Iterable

from django.db.models import Count, F, Sum
from django.db.models.functions import Now
from django.utils import timezone
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from marketplace.billing.models import Lease, LeaseState, ReconciliationReport
from marketplace.billing.proof.ledger import gaps_known


class LedgerCollector(Collector):
    """Reads the numbers at each scrape; there are no counters."""

    def collect(self) -> Iterable[Metric]:
        """All metrics of the ledger."""
        report = ReconciliationReport.objects.first()
        if report is not None:
            age_s = (timezone.now() - report.created_at).total_seconds()
            yield _gauge("gaps", "What did not add up in the last report", len(gaps_known()))
            yield _gauge("report_age_seconds", "How old the last report is", age_s)
        whole = ReconciliationReport.objects.filter(whole=True).first()
        if whole is not None:
            age_s = (timezone.now() - whole.created_at).total_seconds()
            text = "How old the last report from the beginning is"
            yield _gauge("whole_report_age_seconds", text, age_s)
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
