"""A call that is settled."""

from __future__ import annotations

import time

from marketplace.catalog.models import Offer
from tests.integration.marketplace.ledger import record, settle
from tests.integration.marketplace.shop import Shop


def settled_call(shop: Shop, **values: object) -> str:
    offer = Offer.objects.get(deployment=shop.deployment)
    made = record(
        account_id=shop.customer_account.pk,
        organisation_id=shop.organisation.pk,
        provider_account_id=shop.provider_account.pk,
        price_id=offer.pk,
        prompt_tokens=1_000,
        charge_nano=20_000,
        worker_id="fast-0",
        pool="fast",
        **{
            "ttft_ms": 10.0,
            "total_ms": 30.0,
            "created_at_ms": int(time.time() * 1000),
            "deployment_id": shop.deployment.pk,
            **values,
        },
    )
    settle(made)
    return made.request_id
