"""What is ordered twice under one key, at once or again, moves money once."""

from collections.abc import Callable
from functools import partial

from marketplace.billing.models import Account, Payment, Refund, StaffTransfer
from marketplace.billing.payments.books.transfers import owed_nano
from marketplace.billing.payments.refunds import refund_request
from marketplace.billing.payments.staff import grant_order, write_off_order
from marketplace.billing.proof.ledger import ledger_proof
from tests.integration.marketplace.billing.payments.stripe_events import (
    deliver,
    dispute,
    event,
    paid,
)
from tests.integration.marketplace.ledger import USD
from tests.integration.marketplace.locks import meanwhile
from tests.integration.marketplace.shop import Shop

KEY = "ticket-7"


def test_a_grant_that_comes_twice_at_once_is_given_once(committed_shop: Shop) -> None:
    shop = committed_shop
    give: Callable[[], StaffTransfer] = partial(
        grant_order,
        organisation=shop.organisation,
        amount_nano=USD,
        reason="an outage",
        ordered_by=shop.owner,
        idem_key=KEY,
    )
    # The account that both lock first.
    with meanwhile(give, locked=Account.objects.filter(kind="grants")) as later:
        first = give()
    assert later == [first]
    assert shop.customer_account.posted_nano == 11 * USD
    assert ledger_proof().gaps == ()


def test_a_part_of_a_debt_is_written_off_once(committed_shop: Shop) -> None:
    shop = committed_shop
    payment = paid(shop.organisation)
    deliver(event("charge.dispute.created", dispute(payment, 4_000)))
    write_off: Callable[[], StaffTransfer] = partial(
        write_off_order,
        organisation=shop.organisation,
        amount_nano=2 * USD,
        reason="goodwill",
        ordered_by=shop.owner,
        idem_key=KEY,
    )
    with meanwhile(write_off, locked=Account.objects.filter(kind="cash")) as later:
        first = write_off()
    assert later == [first] == [write_off()]
    assert owed_nano(shop.organisation) == 3 * USD
    assert ledger_proof().gaps == ()


def test_a_part_of_a_payment_is_refunded_once(committed_shop: Shop) -> None:
    payment = paid(committed_shop.organisation)
    refund: Callable[[], Refund] = partial(
        refund_request,
        payment=payment,
        amount_cents=1_000,
        reason="asked for it",
        requested_by=committed_shop.owner,
        idem_key=KEY,
    )
    with meanwhile(refund, locked=Payment.objects.filter(pk=payment.pk)) as later:
        first = refund()
    assert later == [first]
    assert Refund.objects.get() == first
