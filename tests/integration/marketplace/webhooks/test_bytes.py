"""How many bytes of contents an organisation keeps."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError

from marketplace.accounts.services import organisation_create
from marketplace.webhooks import tasks
from marketplace.webhooks.models import Delivery, DeliveryState
from marketplace.webhooks.services import delivery_resend
from tests.integration.marketplace.shop import Shop
from tests.integration.marketplace.webhooks.deliveries import sent

URL = "https://hooks.example/x"
BODY = len('{"blob":""}')
HUNDRED = "x" * (100 - BODY)


def ended(delivery: Delivery) -> Delivery:
    delivery.state, delivery.due_at = DeliveryState.DELIVERED, None
    delivery.save()
    return delivery


def kept() -> list[str]:
    """The events that have their content, the oldest first."""
    rows = Delivery.objects.exclude(body="").order_by("pk")
    return list(rows.values_list("event_id", flat=True))


def test_the_oldest_contents_of_the_log_are_forgotten_first(shop: Shop, settings: Any) -> None:
    rows = [ended(sent(shop, URL, f"evt_{n}", blob=HUNDRED)) for n in range(4)]
    waiting = sent(shop, URL, "evt_waits", blob=HUNDRED)
    settings.WAYPOST_WEBHOOK_BYTES_MAX = 500
    assert tasks.forget_contents() == 0
    settings.WAYPOST_WEBHOOK_BYTES_MAX = 399
    assert tasks.forget_contents() == 2
    assert kept() == ["evt_2", "evt_3", "evt_waits"]
    assert Delivery.objects.count() == 5
    with pytest.raises(ValidationError, match="not kept"):
        delivery_resend(delivery=rows[0])
    settings.WAYPOST_WEBHOOK_BYTES_MAX = 1
    assert tasks.forget_contents() == 2
    waiting.refresh_from_db()
    assert (waiting.state, len(waiting.body)) == (DeliveryState.WAITING, 100)


def test_what_waits_is_bounded_too(shop: Shop, settings: Any) -> None:
    settings.WAYPOST_WEBHOOK_BYTES_MAX = 250
    for n in range(2):
        assert sent(shop, URL, f"evt_{n}", blob=HUNDRED).state == DeliveryState.WAITING
    beyond = sent(shop, URL, "evt_2", blob=HUNDRED)
    assert (beyond.state, beyond.body, beyond.due_at) == (DeliveryState.FAILED, "", None)
    assert "200 bytes" in beyond.error
    ended(Delivery.objects.get(event_id="evt_0"))
    assert sent(shop, URL, "evt_3", blob=HUNDRED).state == DeliveryState.WAITING


def test_each_organisation_has_its_own(shop: Shop, settings: Any) -> None:
    other = organisation_create(name="Other", slug="other", owner=shop.owner)
    ended(sent(shop, URL, "evt_0", blob=HUNDRED))
    theirs = ended(sent(shop, URL, "evt_1", blob=HUNDRED))
    Delivery.objects.filter(pk=theirs.pk).update(organisation=other)
    settings.WAYPOST_WEBHOOK_BYTES_MAX = 100
    assert tasks.forget_contents() == 0
    assert kept() == ["evt_0", "evt_1"]
