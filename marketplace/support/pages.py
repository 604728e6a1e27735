"""The support view: find a customer, read their data, grant credit and set limits.

Nobody acts as the customer.
"""

from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from marketplace.accounts.access import staff_required
from marketplace.accounts.models import Organisation, User
from marketplace.billing.credit.forms import CreditGrantForm
from marketplace.billing.payments.books.money import nano_of_cents
from marketplace.billing.payments.staff import grant_order
from marketplace.catalog.models import Deployment
from marketplace.catalog.templatetags.units import usd
from marketplace.catalog.verdicts import TERMS
from marketplace.shared.signals import catalog_changed
from marketplace.support import selectors
from marketplace.support.forms import LimitsForm
from marketplace.support.models import Look, LookKind
from marketplace.support.services import look_record
from marketplace.usage.decisions.terms import stacks, widest_ms
from marketplace.usage.decisions.tries import hedge_of, places, tries
from marketplace.usage.models import UsageEvent

LOOKS_SHOWN = 20


@require_http_methods(["GET", "HEAD", "POST"])
@staff_required
def support(request: HttpRequest) -> HttpResponse:
    """Search by POST, so that a pasted key is in no URL, history or log."""
    text = request.POST.get("q", "")
    hits = selectors.search(text) if request.method == "POST" else None
    if hits:
        subject = ", ".join(f"{hit.kind} {hit.detail}" for hit in hits)
        look_record(staff=_user(request), kind=LookKind.SEARCH, subject=subject)
    context = {"hits": hits, "looks": Look.objects.all()[:LOOKS_SHOWN]}
    return _private(render(request, "support/search.html", context))


@require_safe
@staff_required
def organisation(request: HttpRequest, slug: str) -> HttpResponse:
    """The page of one organisation."""
    return _organisation(request, get_object_or_404(Organisation, slug=slug), CreditGrantForm())


@require_POST
@staff_required
def credit(request: HttpRequest, slug: str) -> HttpResponse:
    """Grant credit in one's own name; a form that is sent twice grants once."""
    row = get_object_or_404(Organisation, slug=slug)
    form = CreditGrantForm(request.POST)
    if not form.is_valid():
        return _organisation(request, row, form, status=422)
    try:
        order = grant_order(
            organisation=row,
            amount_nano=nano_of_cents(form.cleaned_data["amount"]),
            reason=form.cleaned_data["reason"],
            ordered_by=_user(request),
            idem_key=f"support:{form.cleaned_data['once']}",
        )
    except ValidationError as refused:
        form.add_error(None, refused)
        return _organisation(request, row, form, status=422)
    messages.success(
        request, _("%(amount)s granted.") % {"amount": usd(order.transfer.amount_nano)}
    )
    return redirect("support-organisation", slug)


@require_POST
@staff_required
def limits(request: HttpRequest, slug: str) -> HttpResponse:
    """Set the organisation's limits; routers have them within seconds."""
    row = get_object_or_404(Organisation, slug=slug)
    form = LimitsForm(request.POST, instance=row)
    if not form.is_valid():
        row.refresh_from_db()
        return _organisation(request, row, CreditGrantForm(), limits_form=form, status=422)
    with transaction.atomic():
        form.save()
        catalog_changed.send(None)
    messages.success(request, _("The limits are saved."))
    return redirect("support-organisation", slug)


def _organisation(
    request: HttpRequest,
    row: Organisation,
    form: CreditGrantForm,
    *,
    limits_form: LimitsForm | None = None,
    status: int = 200,
) -> HttpResponse:
    look_record(
        staff=_user(request),
        kind=LookKind.ORGANISATION,
        subject=row.slug,
        organisation=row.slug,
    )
    context = {
        "customer": selectors.customer(row),
        "errors_within": selectors.ERRORS_WITHIN,
        "form": form,
        "limits_form": limits_form or LimitsForm(instance=row),
    }
    return _private(render(request, "support/organisation.html", context, status=status))


@require_safe
@staff_required
def person(request: HttpRequest, user_id: int) -> HttpResponse:
    """The organisations that a person belongs to."""
    user = get_object_or_404(User, pk=user_id)
    look_record(staff=_user(request), kind=LookKind.PERSON, subject=user.email)
    return _private(render(request, "support/person.html", {"person": selectors.person(user)}))


@require_safe
@staff_required
def call(request: HttpRequest, request_id: UUID) -> HttpResponse:
    """Any customer's call: times, attempts and the decision. No prompt is kept."""
    event = get_object_or_404(UsageEvent, pk=request_id)
    owner = Organisation.objects.filter(pk=event.organisation_id).first()
    slug = owner.slug if owner else ""
    look_record(
        staff=_user(request), kind=LookKind.CALL, subject=str(request_id), organisation=slug
    )
    deployment = Deployment.objects.filter(pk=event.deployment_id).select_related(
        "pool", "provider"
    )
    ordered = [place.candidate for place in places(event.candidates)]
    engines = stacks(ordered)
    hedged_ms = hedge_of(tries(event.attempts), event.worker_id, event.queue_ms)
    context = {
        "event": event,
        "waited_ms": event.queue_ms - hedged_ms,
        "hedged_ms": hedged_ms,
        "owner": owner,
        "deployment": deployment.first(),
        "candidates": ordered,
        "engines": engines,
        "widest_ms": widest_ms(engines),
        "terms": TERMS,
    }
    return _private(render(request, "support/call.html", context))


def _private(response: HttpResponse) -> HttpResponse:
    response.headers["Cache-Control"] = "no-store"
    return response


def _user(request: HttpRequest) -> User:
    return request.user  # type: ignore[return-value]  # `staff_required` has seen to it
