"""Services that move money. Each calls one ledger function in one transaction."""

import uuid

from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.utils.translation import gettext as _

from marketplace.accounts.models import Organisation, User
from marketplace.billing.models import (
    OVERDRAFT_KINDS,
    SYSTEM_KINDS,
    Account,
    AccountKind,
    Payout,
    ReconciliationReport,
    StaffTransfer,
    SystemOrder,
    Transfer,
    TransferKind,
)
from marketplace.billing.proof.ledger import ledger_proof
from marketplace.catalog.models import Provider
from marketplace.catalog.prices import usd_exact

ORDERED_KINDS = (
    TransferKind.GRANT,
    TransferKind.PAYOUT,
    TransferKind.WRITE_OFF,
    TransferKind.REVERSAL,
)
"""Kinds of transfers whose cause is an order with a name."""


def system_accounts_open() -> None:
    """Open the platform's own accounts. Safe to repeat."""
    for kind in SYSTEM_KINDS:
        Account.objects.get_or_create(kind=kind, defaults={"overdraft": kind in OVERDRAFT_KINDS})


def customer_account_open(*, organisation: Organisation) -> Account:
    """Open the organisation's prepaid account, empty. Safe to repeat."""
    account, _ = Account.objects.get_or_create(
        organisation=organisation, defaults={"kind": AccountKind.CUSTOMER}
    )
    return account


def provider_account_open(*, provider: Provider) -> Account:
    """Open a provider's account for earnings. Safe to repeat."""
    account, _ = Account.objects.get_or_create(
        provider=provider, defaults={"kind": AccountKind.PROVIDER}
    )
    return account


@transaction.atomic
def credit_grant(
    *, organisation: Organisation, amount_nano: int, rule: str, reason: str, idem_key: str = ""
) -> Transfer:
    """Grant credit by a rule of the platform, named like ``system: benchmarks``.

    The same ``idem_key`` grants once. For a person's order use ``grant_order``.
    """
    transfer = credit_post(organisation=organisation, amount_nano=amount_nano, idem_key=idem_key)
    SystemOrder.objects.get_or_create(transfer=transfer, defaults={"rule": rule, "reason": reason})
    return transfer


def account_lock(*, account: Account) -> None:
    """Lock the account: writers of its transfers wait until this transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_account_lock(%s)", [account.pk])


def credit_post(*, organisation: Organisation, amount_nano: int, idem_key: str = "") -> Transfer:
    """Post the transfer of a grant. The caller writes its cause in the same transaction."""
    return transfer_post(
        debit=Account.objects.get(kind=AccountKind.GRANTS),
        credit=customer_account_open(organisation=organisation),
        amount_nano=amount_nano,
        idem_key=idem_key or f"grant:{uuid.uuid4()}",
        kind=TransferKind.GRANT,
    )


@transaction.atomic
def transfer_reverse(*, transfer: Transfer, reason: str, ordered_by: User) -> Transfer:
    """Move a transfer's money back, once. ``IntegrityError`` if the receiver has spent it."""
    reversal = transfer_post(
        debit=transfer.credit,
        credit=transfer.debit,
        amount_nano=transfer.amount_nano,
        idem_key=f"reversal:{transfer.pk}",
        kind=TransferKind.REVERSAL,
    )
    transfer_explain(transfer=reversal, reason=reason, ordered_by=ordered_by)
    return reversal


def transfer_explain(*, transfer: Transfer, reason: str, ordered_by: User) -> StaffTransfer:
    """Record a person and a reason as the cause of a transfer; the first record stays.

    ``ValidationError`` if the cause is not an order: for a charge, or money from outside.
    """
    if transfer.kind not in ORDERED_KINDS:
        raise ValidationError(f"A transfer of the kind {transfer.kind} has no order.")
    parties = (transfer.credit, transfer.debit)
    owners = (owner for party in parties for owner in (party.organisation, party.debtor))
    organisation = next((owner for owner in owners if owner is not None), None)
    order, _ = StaffTransfer.objects.get_or_create(
        transfer=transfer,
        defaults={"organisation": organisation, "reason": reason, "ordered_by": ordered_by},
    )
    return order


@transaction.atomic
def payout_record(
    *, provider: Provider, amount_nano: int, reference: str, ordered_by: User
) -> Payout:
    """Record money sent to a provider. The same ``reference`` is booked once.

    Raises ``ValidationError`` for more than the provider's unpaid earnings, and for a reference of
    another payout.
    """
    if amount_nano <= 0 or not reference.strip():
        raise ValidationError("A payout needs a positive amount and a reference.")
    account = provider_account_open(provider=provider)
    idem_key = f"payout:{reference.strip()}"
    seen = Transfer.objects.filter(idem_key=idem_key).first()
    if seen and (seen.debit_id, seen.amount_nano) != (account.pk, amount_nano):
        raise ValidationError(f"The reference {reference} was used for another payout.")
    try:
        transfer = transfer_post(
            debit=account,
            credit=Account.objects.get(kind=AccountKind.PAYOUTS),
            amount_nano=amount_nano,
            idem_key=idem_key,
            kind=TransferKind.PAYOUT,
        )
    except IntegrityError as error:
        account.refresh_from_db()
        raise ValidationError(
            _("%(provider)s has %(most)s to be paid out, not %(amount)s.")
            % {
                "provider": provider,
                "most": usd_exact(account.available_nano),
                "amount": usd_exact(amount_nano),
            }
        ) from error
    transfer_explain(transfer=transfer, reason=f"Payout {reference}", ordered_by=ordered_by)
    return Payout.objects.get(pk=transfer.pk)


@transaction.atomic
def ledger_reconcile(*, whole: bool = False) -> ReconciliationReport:
    """Prove the books, from the last seal or from the beginning, and store a report."""
    proof = ledger_proof(recent_only=not whole)
    return ReconciliationReport.objects.create(
        whole=whole, transfers=proof.transfers, accounts=proof.accounts, gaps=list(proof.gaps)
    )


@transaction.atomic
def transfer_post(
    *, debit: Account, credit: Account, amount_nano: int, idem_key: str, kind: TransferKind
) -> Transfer:
    """Post one transfer; the same ``idem_key`` with the same values moves money once."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT billing_transfer_post(%s, %s, %s, %s, %s)",
            [debit.pk, credit.pk, amount_nano, idem_key, str(kind)],
        )
        row = cursor.fetchone()
    assert row is not None  # noqa: S101 - a scalar function always gives a row
    return Transfer.objects.get(pk=row[0])
