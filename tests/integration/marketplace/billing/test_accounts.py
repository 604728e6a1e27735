"""Transfers, and the accounts that they name."""

import pytest
from django.db import DatabaseError, connection, transaction

from tests.integration.marketplace.ledger import as_owner, settle
from tests.integration.marketplace.shop import Shop
from tests.integration.marketplace.usage.charging import charged

pytestmark = pytest.mark.django_db


def test_a_transfer_names_accounts_that_exist(shop: Shop) -> None:
    with pytest.raises(DatabaseError, match="account 987654321, which does not exist"):
        as_owner(
            "INSERT INTO billing_transfer (debit_id, credit_id, amount_nano, idem_key, kind) "
            "VALUES (%s, 987654321, 1, 'x', 'grant')",
            shop.customer_account.pk,
        )


def test_an_account_with_transfers_stays(shop: Shop) -> None:
    for account in (shop.customer_account, shop.provider_account):
        settle(charged(shop))
        with pytest.raises(DatabaseError, match="has transfers and stays"), transaction.atomic():
            as_owner("DELETE FROM billing_account WHERE id = %s", account.pk)
    assert connection.needs_rollback is False
