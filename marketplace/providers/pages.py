"""The provider's console: providers, listings from draft to live, and the review by staff."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from marketplace.accounts.access import is_staff, staff_required
from marketplace.accounts.models import Organisation, User
from marketplace.accounts.organisations.current import organisation_required
from marketplace.accounts.permissions import Permission, demand, may
from marketplace.catalog.models import Provider
from marketplace.providers.forms import (
    FIELD_NAMES,
    DraftForm,
    EndpointFormSet,
    PriceForm,
    ProviderForm,
    endpoints_of,
)
from marketplace.providers.listings.shown import listing_shown
from marketplace.providers.listings.states import (
    ListingAction,
    Who,
    actions_of,
)
from marketplace.providers.models import Listing
from marketplace.providers.selectors import (
    deployments_of,
    listings_of,
    listings_to_review,
    providers_of,
)
from marketplace.providers.services import (
    Actor,
    listing_act,
    listing_create,
    listing_update,
    provider_commission_set,
    provider_open,
    provider_update,
)
from marketplace.shared.confirming import confirmation, is_confirmed
from marketplace.shared.typed_numbers import TypedDecimalField
from marketplace.usage.selectors import calls_lately, calls_lately_text
from router.domain.pricing import PRICE_FIELDS

ROWS_PER_PAGE = 50
BASIS_POINTS_PER_PERCENT = 100
PERCENT = TypedDecimalField(min_value=0, max_value=100, decimal_places=2)
CONFIRMED_FIRST = frozenset({ListingAction.RETIRE, ListingAction.SUSPEND})
"""What takes away from customers what they use."""


@require_safe
@organisation_required
def provide(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """What an organisation offers, and its listings that are not live yet."""
    return _overview(request, organisation, ProviderForm())


@require_POST
@organisation_required
def provider_create(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Become a provider."""
    demand(request, organisation, Permission.OFFERINGS)
    form = ProviderForm(request.POST)
    if form.is_valid():
        try:
            provider_open(organisation=organisation, **form.cleaned_data)
        except ValidationError as error:
            form.add_error(None, error)
        else:
            return redirect("provide")
    return _overview(request, organisation, form, status=422)


@require_http_methods(["GET", "HEAD", "POST"])
@organisation_required
def provider(request: HttpRequest, organisation: Organisation, slug: str) -> HttpResponse:
    """A provider's description of itself."""
    row = get_object_or_404(providers_of(organisation), slug=slug)
    form = ProviderForm(request.POST or None, instance=row)
    if request.method == "POST":
        demand(request, organisation, Permission.OFFERINGS)
        if form.is_valid():
            provider_update(provider=row, **form.cleaned_data)
            messages.success(request, _("Saved."))
            return redirect("provide")
    context = {
        "provider": row,
        "form": form,
        "commission_percent": row.commission_bps / BASIS_POINTS_PER_PERCENT,
        "may_change": may(request.user, organisation, Permission.OFFERINGS),
    }
    status = 422 if form.is_bound else 200
    return render(request, "providers/provider.html", context, status=status)


@require_POST
@staff_required
def provider_commission(request: HttpRequest, slug: str) -> HttpResponse:
    """What the platform keeps of a provider's charges."""
    row = get_object_or_404(Provider, slug=slug)
    try:
        percent = PERCENT.clean(request.POST.get("percent", ""))
        provider_commission_set(
            provider=row, commission_bps=int(percent * BASIS_POINTS_PER_PERCENT)
        )
    except ValidationError as error:
        return _reviews(request, row, error.messages)
    return redirect("reviews")


@require_POST
@organisation_required
def listing_new(request: HttpRequest, organisation: Organisation) -> HttpResponse:
    """Begin a draft."""
    demand(request, organisation, Permission.OFFERINGS)
    row = get_object_or_404(providers_of(organisation), slug=request.POST.get("provider", ""))
    try:
        listing = listing_create(provider=row, created_by=_user(request))
    except ValidationError as error:
        messages.error(request, "; ".join(error.messages))
        return redirect("provide")
    return redirect("listing-edit", listing.pk)


@require_safe
@organisation_required
def listing(request: HttpRequest, organisation: Organisation, listing_id: int) -> HttpResponse:
    """A listing's progress, the findings of its check, its measurements and its history."""
    row = _find(organisation, listing_id)
    who = Who.PROVIDER if may(request.user, organisation, Permission.OFFERINGS) else None
    return render(request, "providers/listing.html", listing_shown(row, who, "listing-act"))


@require_http_methods(["GET", "HEAD", "POST"])
@organisation_required
def listing_edit(request: HttpRequest, organisation: Organisation, listing_id: int) -> HttpResponse:
    """The draft's form. It can be saved at any time, and submitted when it is complete."""
    row = _find(organisation, listing_id)
    demand(request, organisation, Permission.OFFERINGS)
    if not row.is_draft:
        return redirect("listing", row.pk)
    posted = request.POST if request.method == "POST" else None
    form = DraftForm(posted, instance=row)
    endpoints = EndpointFormSet(posted, initial=row.endpoints, prefix="endpoints")
    prices = PriceForm(posted, initial=PriceForm.initial_of(row))
    wrong: dict[str, list[str]] = {}
    if posted and form.is_valid() and endpoints.is_valid() and prices.is_valid():
        try:
            row = listing_update(
                listing=row,
                **form.values(),
                endpoints=endpoints_of(endpoints),
                **{name: prices.cleaned_data[name] for name in PRICE_FIELDS},
            )
            if "submit" in posted:
                listing_act(
                    listing=row, action=ListingAction.SUBMIT, actor=_actor(request, Who.PROVIDER)
                )
                return redirect("listing", row.pk)
            messages.success(request, _("Saved. It is checked when you submit it."))
            return redirect("listing-edit", row.pk)
        except ValidationError as error:
            wrong = _put_errors(form, error)
    context = {
        "listing": row,
        "form": form,
        "endpoints": endpoints,
        "prices": prices,
        "wrong": wrong,
        "refused": bool(posted),
    }
    status = 422 if posted else 200
    return render(request, "providers/draft.html", context, status=status)


@require_POST
@organisation_required
def listing_do(request: HttpRequest, organisation: Organisation, listing_id: int) -> HttpResponse:
    """Take one of a provider's steps."""
    row = _find(organisation, listing_id)
    demand(request, organisation, Permission.OFFERINGS)
    return _act(request, row, Who.PROVIDER, "listing")


@require_safe
@staff_required
def reviews(request: HttpRequest) -> HttpResponse:
    """What waits for staff, and every provider's commission."""
    return _reviews(request)


def _reviews(
    request: HttpRequest, of: Provider | None = None, problems: Sequence[str] = ()
) -> HttpResponse:
    """The page; of a provider whose commission was refused, as it was typed."""
    providers = Provider.objects.select_related("organisation").order_by("name")
    page = Paginator(providers, ROWS_PER_PAGE).get_page(request.GET.get("page"))
    context = {
        "waiting": listings_to_review()[:ROWS_PER_PAGE],
        "page": page,
        "here": reverse("reviews"),
        "providers": [
            (row, Decimal(row.commission_bps) / BASIS_POINTS_PER_PERCENT)
            for row in page.object_list
        ],
        "refused": of,
        "problems": problems,
        "typed": request.POST.get("percent", ""),
    }
    return render(request, "providers/reviews.html", context, status=422 if of else 200)


@require_safe
@staff_required
def review(request: HttpRequest, listing_id: int) -> HttpResponse:
    """A listing as staff see it: everything that is sold, and the evidence."""
    row = get_object_or_404(_any_listing(), pk=listing_id)
    return render(request, "providers/listing.html", listing_shown(row, Who.STAFF, "review-act"))


@require_POST
@staff_required
def review_do(request: HttpRequest, listing_id: int) -> HttpResponse:
    """Approve, send back, suspend, reinstate or retire."""
    return _act(request, get_object_or_404(_any_listing(), pk=listing_id), Who.STAFF, "review")


def _any_listing() -> Any:
    return listings_of(Organisation.objects.all())


def _find(organisation: Organisation, listing_id: int) -> Listing:
    mine = Organisation.objects.filter(pk=organisation.pk)
    return get_object_or_404(listings_of(mine), pk=listing_id)


def _act(request: HttpRequest, row: Listing, who: Who, page: str) -> HttpResponse:
    asked = request.POST.get("action", "")
    if asked not in actions_of(row.state, who):
        return _act_refused(
            request, row, who, [_("That is no longer possible: this is the current state.")]
        )
    if asked in CONFIRMED_FIRST and not is_confirmed(request):
        return _ask_again(request, row, ListingAction(asked), page)
    try:
        listing_act(
            listing=row,
            action=asked,
            actor=_actor(request, who),
            why=request.POST.get("why", ""),
        )
    except ValidationError as error:
        if asked == ListingAction.SUBMIT and hasattr(error, "error_dict"):
            messages.error(
                request, _("Something is missing: complete the form and submit it there.")
            )
            return redirect("listing-edit", row.pk)
        row.refresh_from_db()
        return _act_refused(request, row, who, error.messages)
    return redirect(page, row.pk)


def _act_refused(
    request: HttpRequest, row: Listing, who: Who, problems: Sequence[str]
) -> HttpResponse:
    """The listing's page with the reason that was typed: in its form, or as text without one."""
    asked, why = request.POST.get("action", ""), request.POST.get("why", "")
    shown = listing_shown(row, who, "review-act" if who is Who.STAFF else "listing-act")
    if why and asked not in actions_of(row.state, who):
        problems = [*problems, _("You wrote: %(why)s") % {"why": why}]
    context = shown | {"refused": problems, "asked": asked, "why": why}
    return render(request, "providers/listing.html", context, status=422)


def _ask_again(
    request: HttpRequest, row: Listing, action: ListingAction, page: str
) -> HttpResponse:
    effects: list[str] = []
    if row.deployment_id is not None:
        calls = calls_lately(deployment_id=row.deployment_id)
        effects += [
            _("It gets no new calls. Running calls finish."),
            _("It served:") + " " + calls_lately_text(calls),
        ]
    if action is ListingAction.RETIRE:
        effects.append(_("This cannot be undone; to stop for a while, pause it."))
    else:
        effects.append(_("The provider sees the reason. Only staff can reinstate it."))
    return confirmation(
        request,
        question=f"{action.label}: {row.name}?",
        effects=effects,
        verb=str(action.label),
        back=reverse(page, args=[row.pk]),
    )


def _overview(
    request: HttpRequest, organisation: Organisation, form: ProviderForm, status: int = 200
) -> HttpResponse:
    mine = Organisation.objects.filter(pk=organisation.pk)
    listings = Paginator(listings_of(mine), ROWS_PER_PAGE).get_page(request.GET.get("page"))
    sold = deployments_of(organisation)
    context = {
        "providers": list(providers_of(organisation)),
        "page": listings,
        "here": reverse("provide"),
        "deployments": Paginator(sold, ROWS_PER_PAGE).get_page(request.GET.get("sold")),
        "form": form,
        "may_change": may(request.user, organisation, Permission.OFFERINGS),
        "is_staff": is_staff(request),
    }
    return render(request, "providers/provide.html", context, status=status)


def _put_errors(form: DraftForm, error: ValidationError) -> dict[str, list[str]]:
    """Put errors next to their fields; return those of sections that are not a field."""
    wrong: dict[str, list[str]] = {}
    by_field = error.message_dict if hasattr(error, "error_dict") else {"": error.messages}
    for name, texts in by_field.items():
        known = FIELD_NAMES.get(name, name)
        if known in form.fields:
            form.add_error(known, texts)
        else:
            wrong[name or "all"] = texts
    return wrong


def _user(request: HttpRequest) -> User | None:
    return request.user if isinstance(request.user, User) else None


def _actor(request: HttpRequest, who: Who) -> Actor:
    user = _user(request)
    return Actor(who, user.email if user else "", user)
