"""What is ordered twice under one key, at once or again, moves money once."""

from collections.abc import Callable
from functools import partial

from marketplace.billing.models import Account, StaffTransfer
from marketplace.billing.payments.staff import grant_order
from marketplace.billing.proof.ledger import ledger_proof
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
