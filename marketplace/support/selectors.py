"""Finds a customer by what they can tell, and reads their data. No prompt is kept anywhere."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from marketplace.accounts.models import ApiKey, Membership, Organisation, User
from marketplace.audit.selectors import entries_of
from marketplace.billing.budgets.selectors import BudgetState, budget_states
from marketplace.billing.credit.models import CreditRequest, CreditRequestState
from marketplace.billing.invoices.models import Statement
from marketplace.billing.models import Account, Lease, LeaseState
from marketplace.billing.payments.books.money import usd_of_cents
from marketplace.billing.payments.books.transfers import owed_nano
from marketplace.billing.payments.models import Payment
from marketplace.billing.payments.refunds import refundable_cents
from marketplace.catalog.models import Provider
from marketplace.support.models import Look
from marketplace.usage.models import UsageEvent
from marketplace.usage.partitions import id_floor
from router.domain.keys import KEY_PREFIX, digest_key

FOUND_MAX = 20
ROWS_MAX, CALLS_MAX = 50, 20
QUERY_CHARACTERS = 200
CHARACTERS_MIN = 2
"""Shorter text matches too much."""

ERRORS_WITHIN = timedelta(days=7)
FINE = ("completed", "client_gone")


@dataclass(frozen=True, slots=True)
class Hit:
    """A search result. ``detail`` holds no secret, so it may be shown and stored."""

    kind: str
    text: str
    detail: str
    organisation: str = ""
    request_id: UUID | None = None
    user_id: int | None = None

    @property
    def label(self) -> str:
        """The kind, in words."""
        return str(KINDS[self.kind])


KINDS = {
    "organisation": _("Organisation"),
    "person": _("Person"),
    "key": _("Key"),
    "call": _("Call"),
    "payment": _("Payment"),
    "invoice": _("Invoice"),
}


def search(text: str) -> list[Hit]:
    """Organisations, people, keys, calls and invoices that match the text.

    A pasted key is looked up by its digest and not stored; its last four characters match too.
    """
    text = text.strip()[:QUERY_CHARACTERS]
    if text.startswith(f"{KEY_PREFIX}_") and "…" not in text:
        digest = digest_key(text, settings.WAYPOST_KEY_PEPPER)
        return _keys(Q(digest=digest))
    if len(text) < CHARACTERS_MIN:
        return []
    if (request_id := _uuid(text)) is not None:
        return [*_calls(request_id), *_payments(request_id)]
    return [
        *_organisations(text),
        *_people(text),
        *_keys(Q(masked__endswith=text[-4:]) if len(text) >= 4 else Q(pk__in=())),
        *_invoices(text),
    ][:FOUND_MAX]


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _organisations(text: str) -> list[Hit]:
    rows = Organisation.objects.filter(Q(slug__icontains=text) | Q(name__icontains=text))
    return [Hit("organisation", row.name, row.slug, row.slug) for row in rows[:FOUND_MAX]]


def _people(text: str) -> list[Hit]:
    rows = User.objects.filter(Q(email__icontains=text) | Q(full_name__icontains=text))
    rows = rows.order_by("email")[:FOUND_MAX]
    return [Hit("person", row.get_full_name(), row.email, user_id=row.pk) for row in rows]


def _keys(which: Q) -> list[Hit]:
    rows = ApiKey.objects.filter(which).select_related("organisation")[:FOUND_MAX]
    return [Hit("key", row.name, row.masked, row.organisation.slug) for row in rows]


def _calls(request_id: UUID) -> list[Hit]:
    row = UsageEvent.objects.filter(pk=request_id).only("model", "organisation_id").first()
    if row is None:
        return []
    slug = Organisation.objects.filter(pk=row.organisation_id).values_list("slug", flat=True)
    return [Hit("call", row.model, str(request_id), slug.first() or "", request_id)]


def _payments(payment_id: UUID) -> list[Hit]:
    rows = Payment.objects.filter(pk=payment_id).select_related("organisation")
    return [Hit("payment", str(row.pk), row.state, row.organisation.slug) for row in rows]


def _invoices(text: str) -> list[Hit]:
    rows = Statement.objects.filter(number__iexact=text, account__organisation__isnull=False)
    return [
        Hit("invoice", number, holder, slug)
        for number, holder, slug in rows.values_list(
            "number", "holder", "account__organisation__slug"
        )[:FOUND_MAX]
    ]


@dataclass(frozen=True, slots=True)
class PaymentRow:
    """A payment, and how many dollars of it can still be refunded."""

    payment: Payment
    refundable: Decimal


@dataclass(frozen=True, slots=True)
class Customer:
    """An organisation's data, newest first, at most ``ROWS_MAX`` of each kind."""

    organisation: Organisation
    account: Account | None
    leased_nano: int
    credit_request: CreditRequest | None
    members: list[Membership]
    keys: list[ApiKey]
    budgets: list[BudgetState]
    calls: list[UsageEvent]
    failed: list[UsageEvent]
    owed_nano: int
    providers: list[Provider]
    payments: list[PaymentRow]
    invoices: list[Statement]
    audit: list[dict[str, Any]]
    looks: list[Look]


def customer(organisation: Organisation) -> Customer:
    """Read an organisation's data, in a fixed number of queries."""
    account = Account.objects.filter(organisation=organisation).first()
    calls = UsageEvent.objects.filter(organisation_id=organisation.pk).order_by("-request_id")
    lately = calls.filter(request_id__gte=id_floor(timezone.now() - ERRORS_WITHIN))
    leases = Lease.objects.filter(account=account, state=LeaseState.OPEN)
    return Customer(
        organisation=organisation,
        account=account,
        leased_nano=sum(a - s for a, s in leases.values_list("amount_nano", "spent_nano")),
        credit_request=organisation.credit_requests.filter(state=CreditRequestState.OPEN)
        .select_related("requested_by")
        .first(),
        members=list(
            organisation.memberships.select_related("user").order_by("created_at")[:ROWS_MAX]
        ),
        keys=list(organisation.api_keys.select_related("created_by")[:ROWS_MAX]),
        budgets=budget_states(organisation.budgets.select_related("user", "key")[:ROWS_MAX]),
        calls=list(calls[:CALLS_MAX]),
        failed=list(lately.exclude(outcome__in=FINE)[:CALLS_MAX]),
        owed_nano=owed_nano(organisation),
        providers=list(
            organisation.providers.filter(billing_account__isnull=False).select_related(
                "billing_account"
            )[:ROWS_MAX]
        ),
        payments=[
            PaymentRow(payment, usd_of_cents(refundable_cents(payment)))
            for payment in organisation.payments.prefetch_related("refunds")[:ROWS_MAX]
        ],
        invoices=list(
            Statement.objects.filter(account=account).order_by("-issued_at")[:ROWS_MAX]
            if account
            else []
        ),
        audit=audit_of(organisation),
        looks=list(Look.objects.filter(organisation=organisation.slug)[:ROWS_MAX]),
    )


def audit_of(organisation: Organisation) -> list[dict[str, Any]]:
    """The organisation's latest audit entries."""
    entries = entries_of(Organisation.objects.filter(pk=organisation.pk))
    return [
        {
            "at": entry.timestamp,
            "who": entry.actor_name or "–",
            "what": entry.get_action_display(),
            "of": f"{entry.content_type.name}: {entry.object_repr}",
            "fields": ", ".join(field for field, _before, _after in entry.lines),
        }
        for entry in entries[:ROWS_MAX]
    ]


@dataclass(frozen=True, slots=True)
class Person:
    user: User
    memberships: list[Membership]


def person(user: User) -> Person:
    """A person's memberships. Two queries."""
    rows = user.memberships.select_related("organisation").order_by("organisation__slug")
    return Person(user, list(rows[:ROWS_MAX]))
