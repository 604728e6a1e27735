"""What an organisation's endpoint does is its own: nobody else hears of it or waits for it."""

import socket
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from marketplace.accounts.models import Organisation
from marketplace.accounts.services import organisation_create
from marketplace.webhooks import delivering, sending, tasks
from marketplace.webhooks.delivering import attempt_record, deliver, deliveries_claim
from marketplace.webhooks.models import Delivery, DeliveryState, Outcome
from marketplace.webhooks.services import delivery_resend, webhook_send
from tests.integration.marketplace.shop import Shop
from tests.integration.marketplace.webhooks.receiver import Receiver

SLOW_S = 20.0
"""As long as a resolver waits for name servers that say nothing."""


def sent(organisation: Organisation, url: str, event_id: str) -> Delivery:
    return webhook_send(
        organisation_id=organisation.pk, url=url, event_type="x", payload={}, event_id=event_id
    )


def another(shop: Shop, name: str) -> Organisation:
    return organisation_create(name=name, slug=name.lower(), owner=shop.owner)


def test_a_cookie_of_a_shared_host_is_of_nobody(
    shop: Shop, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "AT_ONCE", 1)
    receiver.headers = {"set-cookie": "session=theirs"}
    sent(shop.organisation, receiver.url, "evt_1")
    sent(another(shop, "Other"), receiver.url, "evt_2")
    assert deliver() == 2
    assert [heard.headers.get("cookie") for heard in receiver.heard] == [None, None]


def test_names_that_nobody_answers_for_keep_nobody_waiting(
    shop: Shop, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host == "slow.example":
            receiver.came.wait(SLOW_S)
            raise socket.gaierror
        return real("127.0.0.1" if host == "quick.example" else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    for number in range(8):
        organisation = another(shop, f"Slow{number}")
        for event in range(delivering.OF_AN_ORGANISATION):
            sent(organisation, "https://slow.example/x", f"evt_{event}")
    monkeypatch.setattr(delivering, "AT_ONCE", 64)
    heard = sent(shop.organisation, receiver.url.replace("127.0.0.1", "quick.example"), "evt_x")
    assert deliver() == 8 * delivering.OF_AN_ORGANISATION + 1
    heard.refresh_from_db()
    assert heard.state == DeliveryState.DELIVERED


def test_what_is_sent_again_while_it_is_under_way_is_due_at_once(
    shop: Shop, receiver: Receiver
) -> None:
    delivery = sent(shop.organisation, receiver.url, "evt_1")
    (under_way,) = deliveries_claim(timezone.now(), 1, {})
    delivery_resend(delivery=delivery)
    attempt_record(under_way, sending.Result(Outcome.TIMEOUT, timezone.now(), 15_000))
    delivery.refresh_from_db()
    assert delivery.due_at is not None
    assert delivery.due_at <= timezone.now()
    assert deliver() == 1
    delivery.refresh_from_db()
    assert (delivery.state, delivery.log.count()) == (DeliveryState.DELIVERED, 2)


def test_all_that_is_old_is_forgotten_and_no_body_is_read_for_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "FORGOTTEN_AT_ONCE", 2)
    for number in range(5):
        sent(shop.organisation, "https://hooks.example/x", f"evt_{number}")
    old = timezone.now() - tasks.KEPT_FOR - timedelta(seconds=1)
    Delivery.objects.update(created_at=old, state=DeliveryState.FAILED)
    with CaptureQueriesContext(connection) as queries:
        assert tasks.forget() == 5
    assert not Delivery.objects.exists()
    assert not [query for query in queries if '"body"' in query["sql"]]
