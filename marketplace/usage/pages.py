"""Pages of calls: the list with its figures, the CSV file, and one call."""

import csv
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from marketplace.accounts.models import Organisation
from marketplace.accounts.organisations.current import organisation_required
from marketplace.catalog.models import Deployment, Offer, Pool
from marketplace.catalog.prices import ITEMS, price_of, quantity_text, unit_price_text
from marketplace.catalog.verdicts import TERMS
from marketplace.shared.spreadsheets import Echo, inert
from marketplace.usage.decisions.terms import stacks, widest_ms
from marketplace.usage.decisions.tries import hedge_of, places, reasons, retries, tries
from marketplace.usage.models import OUTCOMES, UsageEvent
from marketplace.usage.refusals.selectors import refused_in
from marketplace.usage.rollups.selectors import fewest_rollups_of, models_called, sums_of
from marketplace.usage.rollups.summary import GROUPS, Step, choices_of, names_of, summary_of
from marketplace.usage.selectors import calls_in, calls_page
from marketplace.usage.windows import CUSTOM, RANGES, Window, filters_of, window_of
from router.domain.money import NANO_PER_USD, PRICE_SCALE, format_usd
from router.domain.pricing import Usage, charge_lines

ROWS_PER_PAGE = 50
CSV_ROWS_MAX = 1_000_000
"""For more calls, ask for a shorter window or use the API."""
CSV_FIELDS = (
    "request_id",
    "created_at",
    "model",
    "outcome",
    "http_status",
    "key_id",
    "user_id",
    "pool",
    "worker_id",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "rows",
    "images",
    "hardware_ms",
    "price_id",
    "charge_nano",
    "queue_ms",
    "ttft_ms",
    "total_ms",
)
WORKER, QUEUE, KEY, USER, CHARGE = map(
    CSV_FIELDS.index, ("worker_id", "queue_ms", "key_id", "user_id", "charge_nano")
)


@require_safe
@organisation_required
def usage(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """The organisation's calls, newest first, with figures over the same filter."""
    window, filters = window_of(request.GET, timezone.now()), filters_of(request.GET)
    by = request.GET.get("by", "")
    by = by if by in GROUPS else "model"
    summary = summary_of(organisation, window, by=by, **filters)
    # A model that was not called in the window may be chosen all the same.
    models = {*models_called(organisation.pk, window), filters.get("model", "")} - {""}
    calls, older = calls_page(
        organisation.pk, window, before=_cursor(request), count=ROWS_PER_PAGE, **filters
    )
    refused, refused_calls = refused_in(organisation.pk, window, **filters)
    context = {
        "window": window,
        "refused": refused,
        "refused_calls": refused_calls,
        "calls": calls,
        "older": older,
        "summary": summary,
        "totals": summary.totals,
        "before": sums_of(fewest_rollups_of(organisation.pk, window.before, **filters)),
        "chart": _chart(summary.steps),
        "steps_shown": "steps" in request.GET,
        "group_names": {name: label for name, (_field, label) in GROUPS.items()},
        "by": by,
        "outcomes": OUTCOMES,
        "models": sorted(models),
        "keys": choices_of(organisation, "key", filters.get("key_id")),
        "members": choices_of(organisation, "member", filters.get("user_id")),
        "chosen": _chosen(request, window),
        "ranges": {**{name: label for name, (label, _span) in RANGES.items()}, CUSTOM: _("Custom")},
        "emulated_pools": set(Pool.objects.filter(emulated=True).values_list("name", flat=True)),
    }
    return render(request, "usage/usage.html", context)


@require_safe
@organisation_required
def usage_csv(request: HttpRequest, organisation: Organisation) -> StreamingHttpResponse:
    """The same calls as a file, newest first; amounts in USD and nano-USD, times in ms."""
    window, filters = window_of(request.GET, timezone.now()), filters_of(request.GET)
    keys, members = names_of(organisation, "key"), names_of(organisation, "member")
    writer = csv.writer(Echo())

    def lines() -> Iterator[str]:
        header = (*CSV_FIELDS[: QUEUE + 1], "hedge_ms", *CSV_FIELDS[QUEUE + 1 :])
        yield writer.writerow((*header, "key", "member", "charge_usd"))
        calls = calls_in(organisation.pk, window, (*CSV_FIELDS, "attempts"), **filters)
        for *row, attempts in islice(calls, CSV_ROWS_MAX):
            # Time next to a late attempt is not time in the queue.
            hedged_ms = hedge_of(tries(attempts), row[WORKER], row[QUEUE])
            row[QUEUE] -= hedged_ms
            key, member = keys.get(row[KEY], ""), members.get(row[USER], "")
            charged = format_usd(row[CHARGE])
            row.insert(QUEUE + 1, hedged_ms)
            yield writer.writerow((*row, inert(str(key)), inert(str(member)), charged))

    response = StreamingHttpResponse(lines(), content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = 'attachment; filename="usage.csv"'
    return response


@require_safe
@organisation_required
def call(request: HttpRequest, organisation: Organisation, request_id: UUID) -> HttpResponse:
    """One call: its route and why, its timings, and its cost line by line.

    A full page, or without the frame for the drawer of the list (htmx).
    """
    event = get_object_or_404(UsageEvent, pk=request_id, organisation_id=organisation.pk)
    deployment = (
        Deployment.objects.filter(pk=event.deployment_id).select_related("provider", "pool").first()
    )
    offer = Offer.objects.filter(pk=event.price_id).first()
    ordered, sent = places(event.candidates), tries(event.attempts)
    hedged_ms = hedge_of(sent, event.worker_id, event.queue_ms)
    engines = stacks([place.candidate for place in ordered])
    context = {
        "event": event,
        "deployment": deployment,
        "lines": _cost_lines(event, offer),
        "offer": offer,
        "waited_ms": event.queue_ms - hedged_ms,
        "hedged_ms": hedged_ms,
        "first_ms": max((event.ttft_ms or event.total_ms) - event.queue_ms, 0.0),
        "stream_ms": max(event.total_ms - event.ttft_ms, 0.0) if event.ttft_ms else 0.0,
        "places": ordered,
        "reasons": reasons(ordered, sent),
        "engines": engines,
        "widest_ms": widest_ms(engines),
        "terms": TERMS,
        "tries": sent,
        "retries": retries(sent),
    }
    in_drawer = request.headers.get("HX-Request") and not request.headers.get("HX-Boosted")
    template = "usage/call_detail.html" if in_drawer else "usage/call.html"
    response = render(request, template, context | {"in_drawer": in_drawer})
    response.headers["Vary"] = "HX-Request, Cookie, Accept-Language"
    return response


def _chosen(request: HttpRequest, window: Window) -> dict[str, str]:
    """The form's values. A custom range starts from the days of the present window."""
    asked = request.GET.get("range", "")
    days = {"from": window.start, "to": window.until - timedelta(days=1)}
    return {
        "range": asked if asked == CUSTOM else window.name,
        **{name: request.GET.get(name) or day.date().isoformat() for name, day in days.items()},
        **{name: request.GET.get(name, "") for name in ("model", "outcome", "key", "member")},
    }


def _cursor(request: HttpRequest) -> UUID | None:
    try:
        return UUID(request.GET.get("before", ""))
    except ValueError:
        return None


def _chart(steps: Sequence[Step]) -> dict[str, list[Any]]:
    """Columns for the charts: Unix seconds, and a value or null for each."""
    figures = [step.figures for step in steps]
    return {
        "at": [int(step.at.timestamp()) for step in steps],
        "spend": [figure.charge_nano / NANO_PER_USD for figure in figures],
        "calls": [figure.calls for figure in figures],
        "failed": [figure.failed for figure in figures],
        "tokens_in": [figure.tokens_in for figure in figures],
        "tokens_out": [figure.tokens_out for figure in figures],
        "p50": [figure.total_ms_p50 for figure in figures],
        "p95": [figure.total_ms_p95 for figure in figures],
    }


def _cost_lines(event: UsageEvent, offer: Offer | None) -> list[dict[str, object]]:
    """The lines of the charge at its price version, before rounding."""
    if offer is None or not event.charge_nano:
        return []
    used = Usage(
        prompt_tokens=event.prompt_tokens,
        cached_tokens=event.cached_tokens,
        completion_tokens=event.completion_tokens,
        reasoning_tokens=event.reasoning_tokens,
        rows=event.rows,
        images=event.images,
        hardware_ms=event.hardware_ms,
    )
    return [
        {
            "item": ITEMS[line.item],
            "quantity": quantity_text(line.item, line.quantity),
            "price": unit_price_text(line.unit_nano, line.per),
            "amount_nano": line.amount_scaled / PRICE_SCALE,
        }
        for line in charge_lines(price_of(offer).in_class(event.price_class), used)
    ]
