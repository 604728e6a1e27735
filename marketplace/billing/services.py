"""The verbs of money. Each is one call of a ledger function in one transaction."""

import uuid

from django.db import connection, transaction

from marketplace.accounts.models import Organisation
from marketplace.billing.models import (
    OVERDRAFT_KINDS,
    SYSTEM_KINDS,
    Account,
    AccountKind,
    ReconciliationReport,
    Transfer,
    TransferKind,
)
from marketplace.billing.selectors import ledger_proof
from marketplace.catalog.models import Provider


def system_accounts_open() -> None:
    """Make sure that the platform's own accounts exist. Safe to repeat."""
    for kind in SYSTEM_KINDS:
        Account.objects.get_or_create(kind=kind, defaults={"overdraft": kind in OVERDRAFT_KINDS})


def customer_account_open(*, organisation: Organisation) -> Account:
    """The organisation's prepaid account, empty when new. Safe to repeat."""
    account, _ = Account.objects.get_or_create(
        organisation=organisation, defaults={"kind": AccountKind.CUSTOMER}
    )
    return account


def provider_account_open(*, provider: Provider) -> Account:
    """The account that a provider earns into. Safe to repeat."""
    account, _ = Account.objects.get_or_create(
        provider=provider, defaults={"kind": AccountKind.PROVIDER}
    )
    return account


def credit_grant(*, organisation: Organisation, amount_nano: int, idem_key: str = "") -> Transfer:
    """Give credit that nobody paid for. The same ``idem_key`` grants once."""
    return _post(
        debit=Account.objects.get(kind=AccountKind.GRANTS),
        credit=customer_account_open(organisation=organisation),
        amount_nano=amount_nano,
        idem_key=idem_key or f"grant:{uuid.uuid4()}",
        kind=TransferKind.GRANT,
    )


def credit_topup(*, organisation: Organisation, amount_nano: int, payment_id: str) -> Transfer:
    """Book a received payment. The same ``payment_id`` is booked once."""
    return _post(
        debit=Account.objects.get(kind=AccountKind.CASH),
        credit=customer_account_open(organisation=organisation),
        amount_nano=amount_nano,
        idem_key=f"topup:{payment_id}",
        kind=TransferKind.TOPUP,
    )


def transfer_reverse(*, transfer: Transfer) -> Transfer:
    """Move a transfer's money back, once. Refused when the receiver has spent it."""
    return _post(
        debit=transfer.credit,
        credit=transfer.debit,
        amount_nano=transfer.amount_nano,
        idem_key=f"reversal:{transfer.pk}",
        kind=TransferKind.REVERSAL,
    )


@transaction.atomic
def ledger_reconcile() -> ReconciliationReport:
    """Prove the books and keep the outcome."""
    proof = ledger_proof()
    return ReconciliationReport.objects.create(
        transfers=proof.transfers, accounts=proof.accounts, gaps=list(proof.gaps)
    )


@transaction.atomic
def _post(
    *, debit: Account, credit: Account, amount_nano: int, idem_key: str, kind: TransferKind
) -> Transfer:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT billing_transfer_post(%s, %s, %s, %s, %s)",
            [debit.pk, credit.pk, amount_nano, idem_key, str(kind)],
        )
        row = cursor.fetchone()
    assert row is not None  # noqa: S101 - a scalar function always gives a row
    return Transfer.objects.get(pk=row[0])
