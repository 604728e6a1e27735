"""Services that give trial credit, and make and answer requests for credit."""

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace.accounts.models import Organisation, User
from marketplace.billing.credit.mail import staff_tell
from marketplace.billing.credit.models import CreditRequest, CreditRequestState, TrialGrant
from marketplace.billing.payments.books.money import nano_of_cents, usd_of_cents
from marketplace.billing.payments.staff import grant_order
from marketplace.billing.services import credit_post
from marketplace.catalog.prices import number_text


@transaction.atomic
def trial_grant(*, organisation: Organisation, founder: User) -> TrialGrant | None:
    """Give a new organisation the trial credit, once for each founder; else None."""
    if not settings.WAYPOST_TRIAL_CREDIT_CENTS:
        return None
    # Locked, as a founder may create two organisations at once.
    User.objects.select_for_update().get(pk=founder.pk)
    if TrialGrant.objects.filter(founder=founder).exists():
        return None
    transfer = credit_post(
        organisation=organisation,
        amount_nano=nano_of_cents(settings.WAYPOST_TRIAL_CREDIT_CENTS),
        idem_key=f"grant:trial:{founder.pk}",
    )
    return TrialGrant.objects.create(transfer=transfer, organisation=organisation, founder=founder)


@transaction.atomic
def credit_request(
    *, organisation: Organisation, amount_cents: int, reason: str, requested_by: User
) -> CreditRequest:
    """Request credit from staff, who get a mail if ``WAYPOST_STAFF_MAIL`` is set.

    ``ValidationError`` for an invalid amount, or while an earlier request waits.
    """
    amount_check(amount_cents)
    Organisation.objects.select_for_update().get(pk=organisation.pk)
    if organisation.credit_requests.filter(state=CreditRequestState.OPEN).exists():
        raise ValidationError(_("Your organisation already has a pending request."))
    made = CreditRequest(
        organisation=organisation,
        amount_cents=amount_cents,
        reason=reason,
        requested_by=requested_by,
    )
    made.full_clean(exclude=["created_at"])
    made.save()
    # Robust: a failed mail is logged, and the request stays.
    transaction.on_commit(lambda: staff_tell(made), robust=True)
    return made


def amount_check(amount_cents: int) -> None:
    """Raises ``ValidationError`` for an amount that may not be requested."""
    most = settings.WAYPOST_TOPUP_CENTS_MAX
    if not 0 < amount_cents <= most:
        raise ValidationError(
            _("An amount is above zero and at most %(most)s US dollars.")
            % {"most": number_text(usd_of_cents(most), 2)}
        )


@transaction.atomic
def credit_request_grant(*, request_id: int, answered_by: User) -> CreditRequest:
    """Grant the requested amount, with the request's reason. Repeating it moves no more money.

    Raises ``CreditRequest.DoesNotExist``, and ``ValidationError`` for a declined request.
    """
    row = _locked(request_id)
    if row.state == CreditRequestState.GRANTED:
        return row
    _still_open(row)
    row.order = grant_order(
        organisation=row.organisation,
        amount_nano=row.amount_nano,
        reason=row.reason,
        ordered_by=answered_by,
        idem_key=f"credit-request:{row.pk}",
    )
    return _answered(row, CreditRequestState.GRANTED, answered_by)


@transaction.atomic
def credit_request_decline(*, request_id: int, answered_by: User) -> CreditRequest:
    """Decline a request. Raises as `credit_request_grant`, but for a granted one."""
    row = _locked(request_id)
    if row.state == CreditRequestState.DECLINED:
        return row
    _still_open(row)
    return _answered(row, CreditRequestState.DECLINED, answered_by)


def _locked(request_id: int) -> CreditRequest:
    return (
        CreditRequest.objects.select_for_update(of=("self",))
        .select_related("organisation")
        .get(pk=request_id)
    )


def _still_open(row: CreditRequest) -> None:
    if row.state != CreditRequestState.OPEN:
        raise ValidationError(
            _("This request was already answered: %(state)s.") % {"state": row.get_state_display()}
        )


def _answered(row: CreditRequest, state: CreditRequestState, by: User) -> CreditRequest:
    row.state, row.answered_by, row.answered_at = state, by, timezone.now()
    row.save(update_fields=["state", "answered_by", "answered_at", "order"])
    return row
