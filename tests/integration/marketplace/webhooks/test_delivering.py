"""Deliveries to a real receiver, whatever it does."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone
from standardwebhooks import Webhook

from marketplace.accounts.services import organisation_create
from marketplace.webhooks import delivering, sending, services
from marketplace.webhooks.delivering import deliver, deliveries_claim
from marketplace.webhooks.models import Delivery, DeliveryState, DisabledEndpoint, Outcome
from marketplace.webhooks.schedule import DELAYS
from marketplace.webhooks.services import delivery_resend, webhook_send
from tests.integration.marketplace.shop import Shop
from tests.integration.marketplace.webhooks.deliveries import (
    PAYLOAD,
    is_signed_by,
    made_due,
    secret_of,
    sent,
)
from tests.integration.marketplace.webhooks.receiver import Receiver, receiving


def test_an_event_is_heard_once_and_proves_itself(shop: Shop, receiver: Receiver) -> None:
    secret = secret_of(shop.organisation)
    delivery = sent(shop, receiver.url)
    assert deliver() == 1
    assert deliver() == 0
    (heard,) = receiver.heard
    assert Webhook(secret).verify(heard.body, heard.headers) == PAYLOAD
    assert (heard.path, heard.headers["webhook-id"]) == ("/hook", "evt_1")
    assert heard.headers["content-type"] == "application/json"
    delivery.refresh_from_db()
    assert (delivery.state, delivery.error) == (DeliveryState.DELIVERED, "")
    attempt = delivery.log.get()
    assert (attempt.outcome, attempt.status, attempt.response) == (Outcome.HEARD, 200, "{}")


def test_an_event_that_is_sent_twice_is_told_once(shop: Shop, receiver: Receiver) -> None:
    assert sent(shop, receiver.url) == sent(shop, receiver.url)
    deliver()
    assert sent(shop, receiver.url).state == DeliveryState.DELIVERED
    assert deliver() == 0
    assert receiver.ids == ["evt_1"]


def test_a_transaction_that_is_rolled_back_sends_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    reports: list[str] = []
    monkeypatch.setattr(services, "task_send", lambda name, **_: reports.append(name))
    with django_capture_on_commit_callbacks(execute=True):
        sent(shop, "https://hooks.example/x")
        assert reports == []
    assert reports == ["webhooks.deliver"]


@pytest.mark.parametrize("event_id", ["", "a b", "a\nb", "é", "x" * 121])
def test_an_id_that_no_header_carries_is_the_callers_mistake(shop: Shop, event_id: str) -> None:
    with pytest.raises(ValueError, match="id must match"):
        sent(shop, "https://hooks.example/x", event_id)


def test_a_failure_is_tried_again_by_the_table_and_then_given_up(
    shop: Shop, receiver: Receiver
) -> None:
    receiver.status = 503
    delivery = sent(shop, receiver.url)
    for delay in DELAYS:
        before = timezone.now()
        assert deliver() == 1
        delivery.refresh_from_db()
        assert delivery.state == DeliveryState.WAITING
        assert delivery.due_at is not None
        assert before + delay <= delivery.due_at <= timezone.now() + delay
        made_due()
    deliver()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.error) == (DeliveryState.FAILED, "HTTP 503")
    assert delivery.due_at is None
    made_due()
    assert deliver() == 0
    assert receiver.ids == ["evt_1"] * (len(DELAYS) + 1)


def test_what_failed_is_heard_once_the_receiver_is_well(shop: Shop, receiver: Receiver) -> None:
    secret, receiver.status = secret_of(shop.organisation), 500
    delivery = sent(shop, receiver.url)
    deliver()
    assert deliver() == 0, "it is not due yet"
    receiver.status = 204
    made_due()
    deliver()
    delivery.refresh_from_db()
    assert delivery.state == DeliveryState.DELIVERED
    assert is_signed_by(secret, receiver)
    assert receiver.ids == ["evt_1", "evt_1"]


def test_a_redirect_is_a_failure_and_is_not_followed(shop: Shop, receiver: Receiver) -> None:
    with receiving() as elsewhere:
        receiver.status, receiver.headers = 307, {"location": elsewhere.url}
        delivery = sent(shop, receiver.url)
        deliver()
        assert elsewhere.heard == []
    delivery.refresh_from_db()
    assert delivery.state == DeliveryState.WAITING
    assert delivery.log.get().outcome == Outcome.REDIRECT


def test_gone_disables_the_endpoint_of_that_organisation(shop: Shop, receiver: Receiver) -> None:
    receiver.status = 410
    first, waiting = sent(shop, receiver.url, "evt_1"), sent(shop, receiver.url, "evt_2")
    Delivery.objects.filter(pk=waiting.pk).update(due_at=timezone.now() + timedelta(hours=1))
    deliver()
    later = sent(shop, receiver.url, "evt_3")
    other = organisation_create(name="Other", slug="other", owner=shop.owner)
    elsewhere = webhook_send(
        organisation_id=other.pk, url=receiver.url, event_type="x", payload={}, event_id="evt_4"
    )
    for delivery in (first, waiting, later):
        delivery.refresh_from_db()
        assert (delivery.state, delivery.due_at) == (DeliveryState.DISABLED, None)
    assert elsewhere.state == DeliveryState.WAITING
    assert receiver.ids == ["evt_1"]


def test_a_resend_that_is_heard_enables_the_endpoint_again(shop: Shop, receiver: Receiver) -> None:
    receiver.status = 410
    delivery = sent(shop, receiver.url)
    deliver()
    receiver.status = 200
    delivery_resend(delivery=delivery)
    deliver()
    delivery.refresh_from_db()
    assert delivery.state == DeliveryState.DELIVERED
    assert not DisabledEndpoint.objects.exists()
    assert sent(shop, receiver.url, "evt_2").state == DeliveryState.WAITING
    assert receiver.ids == ["evt_1", "evt_1"]


def test_an_endpoint_that_hangs_is_given_up_and_keeps_nobody_waiting(
    shop: Shop, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "attempt_make", hastily(0.2))
    other = organisation_create(name="Other", slug="other", owner=shop.owner)
    with receiving() as hanging:
        hanging.hangs = True
        stuck = [sent(shop, hanging.url, f"evt_{n}") for n in range(6)]
        webhook_send(
            organisation_id=other.pk, url=receiver.url, event_type="x", payload={}, event_id="evt_x"
        )
        claimed = deliveries_claim(timezone.now(), 32, {})
        assert [item.organisation_id for item in claimed].count(other.pk) == 1
        assert len(claimed) == 1 + delivering.OF_AN_ORGANISATION
        made_due()
        assert deliver() == 7
    assert receiver.ids == ["evt_x"]
    for delivery in stuck:
        assert delivery.log.get().outcome == Outcome.TIMEOUT
        delivery.refresh_from_db()
        assert (delivery.state, delivery.error) == (DeliveryState.WAITING, "no answer within 0.2 s")


def hastily(timeout_s: float) -> Any:
    async def make(*args: Any) -> Any:
        return await sending.attempt_make(*args, timeout_s=timeout_s)

    return make


def test_of_an_endless_answer_the_beginning_is_read(shop: Shop, receiver: Receiver) -> None:
    receiver.answer = b"\0\xff" + b"x" * 10_000_000
    delivery = sent(shop, receiver.url)
    deliver()
    kept = delivery.log.get().response
    assert kept.startswith("\ufffd\ufffdxx")
    assert len(kept) == sending.RESPONSE_BYTES_MAX


def test_nobody_there_is_said(shop: Shop) -> None:
    delivery = sent(shop, "http://127.0.0.1:9/x")
    deliver()
    attempt = delivery.log.get()
    assert (attempt.outcome, attempt.status) == (Outcome.UNREACHABLE, 0)
    assert attempt.error


def test_what_is_too_large_or_too_much_is_in_the_log_and_not_sent(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = sent(shop, "https://hooks.example/x", "evt_1", blob="x" * services.BODY_BYTES_MAX)
    assert (large.state, large.body) == (DeliveryState.FAILED, "")
    assert "at most 1048576" in large.error
    with pytest.raises(ValidationError, match="not kept"):
        delivery_resend(delivery=large)
    monkeypatch.setattr(services, "WAITING_MAX", 1)
    assert sent(shop, "https://hooks.example/x", "evt_2").state == DeliveryState.WAITING
    beyond = sent(shop, "https://hooks.example/x", "evt_3")
    assert (beyond.state, beyond.due_at) == (DeliveryState.FAILED, None)


def test_a_body_is_json_however_odd_its_text(shop: Shop) -> None:
    odd = {"a": "\0\ud800", "b": timezone.now(), "c": [1, None]}
    assert json.loads(sent(shop, "https://hooks.example/x", "evt_1", **odd).body)["a"] == "\0\ud800"
