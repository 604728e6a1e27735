"""What is on sale: its health and traffic, why it lost calls, and its price."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from marketplace.accounts.models import Organisation
from marketplace.accounts.organisations.current import organisation_required
from marketplace.accounts.permissions import Permission, demand, may
from marketplace.agents.access import pools_run_by
from marketplace.catalog.models import Deployment
from marketplace.catalog.prices import ITEMS, price_of, quantity_text
from marketplace.catalog.selectors import offer_in_force
from marketplace.providers.forms import PriceForm
from marketplace.providers.on_sale.lost_calls import CALLS_MAX, Lost, Reason, lost_of
from marketplace.providers.on_sale.prices import (
    Typical,
    meaning_of,
    price_set,
    price_versions,
    price_withdraw,
)
from marketplace.providers.on_sale.token_counts import counted_of
from marketplace.providers.on_sale.traffic import traffic_of
from marketplace.providers.selectors import deployments_of
from marketplace.routing.topology import polling
from marketplace.shared.numbers import whole
from marketplace.usage.windows import RANGES, window_of

REASONS_DRAWN = 3


@require_safe
@organisation_required
def deployment(
    request: HttpRequest, organisation: Organisation, deployment_id: int
) -> HttpResponse:
    """Health, calls, share of the model's traffic, and why the rest went elsewhere."""
    row = _find(organisation, deployment_id)
    window = window_of(request.GET, timezone.now())
    traffic, lost = traffic_of(row, window), lost_of(row, window)
    drawn = [reason for reason, *_rest in lost.rows[:REASONS_DRAWN]]
    context = {
        "deployment": row,
        "workers": list(row.pool.workers.all()),
        "runs_pool": pools_run_by(Organisation.objects.filter(pk=organisation.pk))
        .filter(pk=row.pool_id)
        .exists(),
        "offer": offer_in_force(row),
        "traffic": traffic,
        "counted": counted_of(row, polling.WATCH.read()),
        "lost": lost,
        "drawn": " ".join(drawn),
        "drawn_labels": "|".join(str(reason.label).partition(":")[0] for reason in drawn),
        "chart": {**traffic.columns(), **_lost_columns(lost, drawn)},
        "window": window,
        "ranges": {name: label for name, (label, _span) in RANGES.items()},
        "calls_max": CALLS_MAX,
        "is_cut": lost.calls >= CALLS_MAX,
    }
    return render(request, "providers/deployment.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@organisation_required
def price(request: HttpRequest, organisation: Organisation, deployment_id: int) -> HttpResponse:
    """A new price: what it means, from when; and every price before it."""
    row = _find(organisation, deployment_id)
    offer = offer_in_force(row)
    form = PriceForm(
        request.POST if request.method == "POST" else None, initial=PriceForm.initial_of(offer)
    )
    wrong: list[str] = []
    if request.method == "POST":
        demand(request, organisation, Permission.OFFERINGS)
        if form.is_valid() and "preview" not in request.POST:
            try:
                price_set(
                    deployment=row,
                    price=form.price,
                    effective_at=form.cleaned_data["effective_at"],
                    batch_discount_bps=form.cleaned_data["batch_discount_bps"],
                )
            except ValidationError as error:
                wrong = _put_errors(form, error)
            else:
                messages.success(request, _("Published."))
                return redirect("deployment-price", row.pk)
    meaning = _meaning(row, form, offer)
    context = {
        "deployment": row,
        "form": form,
        "wrong": wrong,
        "meaning": meaning,
        "typical": _words(meaning.typical) if meaning else [],
        "commission_percent": row.provider.commission_bps / 100,
        "versions": price_versions(row),
        "now": timezone.now(),
        "may_change": may(request.user, organisation, Permission.OFFERINGS),
    }
    is_refused = request.method == "POST" and "preview" not in request.POST
    return render(request, "providers/price.html", context, status=422 if is_refused else 200)


@require_POST
@organisation_required
def price_take_back(
    request: HttpRequest, organisation: Organisation, deployment_id: int
) -> HttpResponse:
    """Withdraw an upcoming price."""
    row = _find(organisation, deployment_id)
    demand(request, organisation, Permission.OFFERINGS)
    offer = get_object_or_404(row.offers, pk=whole(request.POST.get("offer", "")) or 0)
    try:
        price_withdraw(offer=offer)
    except ValidationError as error:
        messages.error(request, "; ".join(error.messages))
    return redirect("deployment-price", row.pk)


def _find(organisation: Organisation, deployment_id: int) -> Deployment:
    return get_object_or_404(deployments_of(organisation), pk=deployment_id)


def _meaning(row: Deployment, form: PriceForm, offer: Any) -> Any:
    """Of what is in the form; of the price in force before anything is typed."""
    if form.is_bound:
        if not form.is_valid():
            return None
        return meaning_of(row, form.price, form.cleaned_data["batch_discount_bps"])
    return meaning_of(row, price_of(offer)) if offer else None


def _words(typical: Typical) -> list[str]:
    """What a typical call consumes: quantities with their names."""
    usage = typical.usage
    return [
        f"{label}: {quantity_text(item, getattr(usage, item))}"
        for item, label in ITEMS.items()
        if getattr(usage, item, 0)
    ]


def _put_errors(form: PriceForm, error: ValidationError) -> list[str]:
    rest: list[str] = []
    by_field = error.message_dict if hasattr(error, "error_dict") else {"": error.messages}
    for name, texts in by_field.items():
        if name in form.fields:
            form.add_error(name, texts)
        else:
            rest += texts
    return rest


def _lost_columns(lost: Lost, drawn: list[Reason]) -> dict[str, list[int]]:
    return {reason.value: [counts[reason] for _at, counts in lost.steps] for reason in drawn}
