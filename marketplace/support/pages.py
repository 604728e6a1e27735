"""The support view: find a customer and read their data. Nobody acts as the customer."""

from uuid import UUID

from django.db.models import Model
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_http_methods, require_safe

from marketplace.accounts.access import staff_required
from marketplace.accounts.models import Organisation, User
from marketplace.billing.credit.forms import CreditGrantForm
from marketplace.catalog.models import Deployment
from marketplace.catalog.verdicts import TERMS
from marketplace.support import selectors
from marketplace.support.forms import LimitsForm, OrderForm, PayoutForm
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
    return organisation_page(request, get_object_or_404(Organisation, slug=slug), CreditGrantForm())


def organisation_page(
    request: HttpRequest,
    row: Organisation,
    form: CreditGrantForm,
    *,
    limits_form: LimitsForm | None = None,
    sent_to: Model | None = None,
    sent: Form | None = None,
    status: int = 200,
) -> HttpResponse:
    """The page, and a record of the look at it; a form that was refused is shown as sent.

    ``sent_to`` is the payment, provider or organisation that ``sent`` was about.
    """
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
        "order_form": OrderForm(auto_id=False),
        "payout_form": PayoutForm(),
        "sent_to": sent_to,
        "sent": sent,
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
    ordered = places(event.candidates)
    engines = stacks([place.candidate for place in ordered])
    sent = tries(event.attempts)
    hedged_ms = hedge_of(sent, event.worker_id, event.queue_ms)
    context = {
        "event": event,
        "tries": sent,
        "waited_ms": event.queue_ms - hedged_ms,
        "hedged_ms": hedged_ms,
        "owner": owner,
        "deployment": deployment.first(),
        "places": ordered,
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
