"""Staff orders: grants and write-offs, recorded with person and reason."""

import uuid

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from marketplace.accounts.models import Organisation, User
from marketplace.billing.models import Transfer
from marketplace.billing.payments.books.transfers import debt_write_off, owed_nano
from marketplace.billing.payments.models import StaffTransfer
from marketplace.billing.services import credit_post
from router.domain.money import NANO_PER_USD

GRANT_NANO_MAX = 10_000_000 * NANO_PER_USD
"""The most that one order gives: a typing error must not overflow the ledger's integers."""
KEY_USED = gettext_lazy("This key was already used for another order.")


@transaction.atomic
def grant_order(
    *,
    organisation: Organisation,
    amount_nano: int,
    reason: str,
    ordered_by: User,
    idem_key: str = "",
) -> StaffTransfer:
    """Grant free credit up to ``GRANT_NANO_MAX``. The same ``idem_key`` grants once.

    Raises ``ValidationError``, also for an ``idem_key`` that another grant has used.
    """
    if not 0 < amount_nano <= GRANT_NANO_MAX:
        raise ValidationError(_("An amount is above zero and at most 10,000,000 US dollars."))
    key = f"grant:{idem_key or uuid.uuid4()}"
    if (ordered := _ordered(key, organisation, amount_nano)) is not None:
        return ordered
    transfer = credit_post(organisation=organisation, amount_nano=amount_nano, idem_key=key)
    return _note(transfer, organisation, reason, ordered_by)


@transaction.atomic
def write_off_order(
    *,
    organisation: Organisation,
    amount_nano: int,
    reason: str,
    ordered_by: User,
    idem_key: str = "",
) -> StaffTransfer:
    """Write off a debt or a part of it; calls are served again when none is left.

    The same ``idem_key`` writes off once. Raises ``ValidationError``, as `grant_order` does.
    """
    key = f"write_off:{idem_key or uuid.uuid4()}"
    if (ordered := _ordered(key, organisation, amount_nano)) is not None:
        return ordered
    debt_amount_check(organisation, amount_nano)
    transfer = debt_write_off(organisation=organisation, amount_nano=amount_nano, idem_key=key)
    return _note(transfer, organisation, reason, ordered_by)


def debt_amount_check(organisation: Organisation, amount_nano: int) -> None:
    """ValidationError if an organisation owes less."""
    if amount_nano > owed_nano(organisation):
        raise ValidationError(_("The organisation owes less than this."))


def _ordered(key: str, organisation: Organisation, amount_nano: int) -> StaffTransfer | None:
    """The earlier order of this key. ``ValidationError`` if that was for something else."""
    ordered = StaffTransfer.objects.filter(transfer__idem_key=key).first()
    if ordered is None:
        return None
    if (ordered.organisation, ordered.transfer.amount_nano) != (organisation, amount_nano):
        raise ValidationError(KEY_USED)
    return ordered


def _note(
    transfer: Transfer, organisation: Organisation, reason: str, ordered_by: User
) -> StaffTransfer:
    # A transfer with its order already is one of the same key, which was under way meanwhile.
    order, _created = StaffTransfer.objects.get_or_create(
        transfer=transfer,
        defaults={"organisation": organisation, "reason": reason, "ordered_by": ordered_by},
    )
    return order
