"""Books payments in the ledger: no edits, no balance below zero, and debts on record.

Every function locks the organisation's accounts first, in the ledger's order (by id), so the
available amount cannot change before it moves.
"""

import uuid
from dataclasses import dataclass

from django.db import connection, transaction
from django.db.models import F, Q, QuerySet

from marketplace.accounts.models import Organisation
from marketplace.billing.models import Account, AccountKind, Transfer, TransferKind
from marketplace.billing.payments.models import Dispute, Payment, PaymentTransfer, Refund
from marketplace.billing.services import customer_account_open, transfer_post

OUT_KINDS = {Refund: TransferKind.REFUND, Dispute: TransferKind.DISPUTE}
BACK_KINDS = {Refund: TransferKind.REFUND_RETURN, Dispute: TransferKind.DISPUTE_RETURN}


@dataclass(frozen=True, slots=True)
class Accounts:
    """An organisation's two accounts and the platform's cash, locked."""

    customer: Account
    receivable: Account
    cash: Account


def receivable_account_open(*, organisation: Organisation) -> Account:
    """Open the account of an organisation's debt. Safe to repeat."""
    account, _ = Account.objects.get_or_create(
        debtor=organisation, defaults={"kind": AccountKind.RECEIVABLE, "overdraft": True}
    )
    return account


@transaction.atomic
def topup_book(*, payment: Payment) -> Transfer:
    """Book a received payment, once for its Stripe id; it pays debts first."""
    accounts = _lock(payment.organisation)
    transfer = transfer_post(
        debit=accounts.cash,
        credit=accounts.customer,
        amount_nano=payment.amount_nano,
        idem_key=f"topup:{payment.intent_id}",
        kind=TransferKind.TOPUP,
    )
    PaymentTransfer.objects.get_or_create(transfer=transfer, payment=payment)
    debt_collect(organisation=payment.organisation)
    return transfer


@transaction.atomic
def taking_book(*, taking: Refund | Dispute) -> None:
    """Book a refund or dispute: money out, or back in after it was out.

    Safe to repeat: each direction is posted at most once for a Stripe id.
    """
    organisation = taking.payment.organisation
    accounts = _lock(organisation)
    is_out, was_out = taking.is_out, taking.links.exists()
    out_kind, back_kind = OUT_KINDS[type(taking)], BACK_KINDS[type(taking)]
    if is_out and not was_out:
        paid = min(taking.amount_nano, max(accounts.customer.available_nano, 0))
        key = f"{out_kind}:{taking.stripe_id}"
        _post_taking(taking, accounts.customer, accounts.cash, paid, key, out_kind)
        owed = taking.amount_nano - paid
        _post_taking(taking, accounts.receivable, accounts.cash, owed, f"{key}:owed", out_kind)
    elif was_out and not is_out:
        key = f"{back_kind}:{taking.stripe_id}"
        amount_nano = taking.amount_nano
        _post_taking(taking, accounts.cash, accounts.customer, amount_nano, key, back_kind)
        debt_collect(organisation=organisation)


@transaction.atomic
def debt_collect(*, organisation: Organisation) -> Transfer | None:
    """Pay the debt from the account's available credit, as far as it goes."""
    accounts = _lock(organisation)
    amount_nano = min(-accounts.receivable.posted_nano, accounts.customer.available_nano)
    if amount_nano <= 0:
        return None
    return transfer_post(
        debit=accounts.customer,
        credit=accounts.receivable,
        amount_nano=amount_nano,
        idem_key=f"debt_payment:{uuid.uuid4()}",
        kind=TransferKind.DEBT_PAYMENT,
    )


@transaction.atomic
def debt_write_off(*, organisation: Organisation, amount_nano: int, idem_key: str) -> Transfer:
    """Write off a part of an organisation's debt, at the platform's expense. More is refused."""
    accounts = _lock(organisation)
    return transfer_post(
        debit=Account.objects.get(kind=AccountKind.EXPENSE),
        credit=accounts.receivable,
        amount_nano=amount_nano,
        idem_key=idem_key,
        kind=TransferKind.WRITE_OFF,
    )


def owed_nano(organisation: Organisation) -> int:
    """What an organisation owes, zero or more."""
    account = Account.objects.filter(debtor=organisation).first()
    return -account.posted_nano if account else 0


def debtors_with_credit() -> QuerySet[Organisation]:
    """Organisations with a debt and available credit, which routers have given back."""
    return Organisation.objects.filter(
        debt_account__posted_nano__lt=0,
        billing_account__posted_nano__gt=F("billing_account__held_nano"),
    )


def _lock(organisation: Organisation) -> Accounts:
    customer_account_open(organisation=organisation)
    receivable_account_open(organisation=organisation)
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_accounts_lock(%s)", [organisation.pk])
    ours = Q(organisation=organisation) | Q(debtor=organisation) | Q(kind=AccountKind.CASH)
    rows = {AccountKind(account.kind): account for account in Account.objects.filter(ours)}
    return Accounts(
        customer=rows[AccountKind.CUSTOMER],
        receivable=rows[AccountKind.RECEIVABLE],
        cash=rows[AccountKind.CASH],
    )


def _post_taking(
    taking: Refund | Dispute,
    debit: Account,
    credit: Account,
    amount_nano: int,
    idem_key: str,
    kind: TransferKind,
) -> None:
    if amount_nano == 0:
        return
    transfer = transfer_post(
        debit=debit, credit=credit, amount_nano=amount_nano, idem_key=idem_key, kind=kind
    )
    PaymentTransfer.objects.get_or_create(
        transfer=transfer,
        payment=taking.payment,
        refund=taking if isinstance(taking, Refund) else None,
        dispute=taking if isinstance(taking, Dispute) else None,
    )
