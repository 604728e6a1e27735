"""What was called, what it cost, and the record of each call."""

import csv
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

from django.core.paginator import Paginator
from django.db.models import Count, Q, QuerySet, Sum
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET

from marketplace.accounts.models import Organisation
from marketplace.accounts.pages import organisation_required
from marketplace.catalog.models import Deployment, Offer, Pool
from marketplace.routing.selectors import price_of
from marketplace.usage.measured import Percentile
from marketplace.usage.models import OUTCOMES, UsageEvent
from router.domain.money import PRICE_SCALE
from router.domain.outcome import Outcome
from router.domain.pricing import Usage, charge_lines

ROWS_PER_PAGE = 50
CSV_ROWS_MAX = 100_000
RANGES = {
    "1h": (_("Last hour"), timedelta(hours=1)),
    "24h": (_("Last 24 hours"), timedelta(days=1)),
    "7d": (_("Last 7 days"), timedelta(days=7)),
    "30d": (_("Last 30 days"), timedelta(days=30)),
}
"""By the name in the URL; no name means all time."""
CSV_FIELDS = (
    "request_id",
    "created_at",
    "model",
    "outcome",
    "http_status",
    "pool",
    "worker_id",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "rows",
    "charge_nano",
    "queue_ms",
    "ttft_ms",
    "total_ms",
)


@require_GET
@organisation_required
def usage(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """The organisation's calls, newest first, with totals over the same filter."""
    calls = _filtered(request, organisation)
    totals = calls.aggregate(
        count=Count("pk"),
        charge_nano=Sum("charge_nano", default=0),
        tokens_in=Sum("prompt_tokens", default=0) + Sum("cached_tokens", default=0),
        tokens_out=Sum("completion_tokens", default=0) + Sum("reasoning_tokens", default=0),
        failed=Count("pk", filter=~Q(outcome=Outcome.COMPLETED)),
        total_ms_p50=Percentile("total_ms", 0.5, filter=Q(outcome=Outcome.COMPLETED)),
        total_ms_p95=Percentile("total_ms", 0.95, filter=Q(outcome=Outcome.COMPLETED)),
    )
    page = Paginator(calls, ROWS_PER_PAGE).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "totals": totals,
        "outcomes": OUTCOMES,
        "models": _models_called(organisation),
        "chosen": {
            "model": request.GET.get("model", ""),
            "outcome": request.GET.get("outcome", ""),
            "range": request.GET.get("range", ""),
        },
        "ranges": {name: label for name, (label, _span) in RANGES.items()},
        "emulated_pools": set(Pool.objects.filter(emulated=True).values_list("name", flat=True)),
    }
    return render(request, "usage/usage.html", context)


@require_GET
@organisation_required
def usage_csv(request: HttpRequest, organisation: Organisation) -> StreamingHttpResponse:
    """The same rows as a file; amounts in nano-USD, times in ms."""
    calls = _filtered(request, organisation).values_list(*CSV_FIELDS)[:CSV_ROWS_MAX]
    writer = csv.writer(_Echo())

    def lines() -> Iterator[str]:
        yield writer.writerow(CSV_FIELDS)
        for row in calls.iterator(chunk_size=2000):
            yield writer.writerow(row)

    response = StreamingHttpResponse(lines(), content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = 'attachment; filename="usage.csv"'
    return response


@require_GET
@organisation_required
def call(request: HttpRequest, organisation: Organisation, request_id: UUID) -> HttpResponse:
    """One call: where it went and why, what it took, and its cost line by line."""
    event = get_object_or_404(UsageEvent, pk=request_id, organisation_id=organisation.pk)
    deployment = (
        Deployment.objects.filter(pk=event.deployment_id).select_related("provider", "pool").first()
    )
    offer = Offer.objects.filter(pk=event.price_id).first()
    context = {
        "event": event,
        "deployment": deployment,
        "lines": _cost_lines(event, offer),
        "first_ms": max(event.ttft_ms - event.queue_ms, 0.0),
        "stream_ms": max(event.total_ms - event.ttft_ms, 0.0) if event.ttft_ms else 0.0,
        "candidates": sorted(
            event.candidates, key=lambda c: (c["verdict"] != "chosen", c["score"])
        ),
    }
    return render(request, "usage/call.html", context)


class _Echo:
    """A file that hands back what is written to it, for a streamed CSV."""

    def write(self, line: str) -> str:
        return line


def _filtered(request: HttpRequest, organisation: Organisation) -> QuerySet[UsageEvent]:
    calls = UsageEvent.objects.filter(organisation_id=organisation.pk)
    if model := request.GET.get("model"):
        calls = calls.filter(model=model)
    if (outcome := request.GET.get("outcome")) in set(Outcome):
        calls = calls.filter(outcome=outcome)
    if span := RANGES.get(request.GET.get("range", "")):
        calls = calls.filter(created_at__gte=timezone.now() - span[1])
    return calls.order_by("-created_at", "-request_id")


def _models_called(organisation: Organisation) -> list[str]:
    calls = UsageEvent.objects.filter(organisation_id=organisation.pk)
    return list(calls.order_by("model").values_list("model", flat=True).distinct())


def _cost_lines(event: UsageEvent, offer: Offer | None) -> list[dict[str, object]]:
    """The charge taken apart by the price version that it was made with, before rounding."""
    if offer is None or not event.charge_nano:
        return []
    used = Usage(
        prompt_tokens=event.prompt_tokens,
        cached_tokens=event.cached_tokens,
        completion_tokens=event.completion_tokens,
        reasoning_tokens=event.reasoning_tokens,
        rows=event.rows,
        images=event.images,
    )
    return [
        {
            "item": line.item.replace("_", " "),
            "quantity": line.quantity,
            "amount_nano": line.amount_scaled / PRICE_SCALE,
        }
        for line in charge_lines(price_of(offer), used)
    ]
