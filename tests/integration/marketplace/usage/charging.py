"""Calls that are charged, and the time they lie in."""

from datetime import UTC, datetime, timedelta
from typing import Any

from marketplace.usage.windows import Window, window_of
from tests.integration.marketplace.ledger import record
from tests.integration.marketplace.shop import Shop

DAY_MS = 24 * 3600 * 1000
MODELS = ("a/one", "b/two")
OUTCOMES = ("completed", "client_gone", "worker_failed")


def millis(text: str) -> int:
    return int(datetime.fromisoformat(f"{text}+00:00").timestamp() * 1000)


def charged(shop: Shop, **values: Any) -> Any:
    made = {
        "account_id": shop.customer_account.pk,
        "organisation_id": shop.organisation.pk,
        "provider_account_id": shop.provider_account.pk,
        "charge_nano": 1_000,
        **values,
    }
    return record(**made)


def whole(organisation_id: int) -> Window:
    now = datetime.now(UTC)
    query = {"range": "custom", "from": str((now - timedelta(days=900)).date()), "to": "2100-01-01"}
    return window_of({**query, "to": str(now.date())}, now)
