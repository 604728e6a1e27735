"""Processes that send, and the log that they keep."""

import os
import signal
import subprocess
import sys
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from marketplace.webhooks import delivering, sending, tasks
from marketplace.webhooks.delivering import deliver, deliveries_claim
from marketplace.webhooks.models import Delivery, DeliveryState, Outcome
from marketplace.webhooks.services import delivery_resend
from tests.databases import as_services, named
from tests.integration.marketplace.shop import Shop
from tests.integration.marketplace.webhooks.deliveries import made_due, sent
from tests.integration.marketplace.webhooks.receiver import Receiver
from tests.patience import PATIENCE_S


def test_a_process_that_is_killed_amid_it_is_replaced_and_the_id_stays(
    committed_shop: Shop, receiver: Receiver
) -> None:
    receiver.hangs = True
    delivery = sent(committed_shop, receiver.url)
    killed_while(receiver)
    receiver.hangs = False
    assert deliver() == 0, "it may still be under way"
    made_due()
    assert deliver() == 1
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == (DeliveryState.DELIVERED, 2)
    assert receiver.ids == ["evt_1", "evt_1"]


def killed_while(receiver: Receiver) -> None:
    """Have a process deliver, and kill it while the receiver thinks."""
    url = as_services(named(os.environ["DATABASE_URL"], connection.settings_dict["NAME"]))
    code = (
        "import django; django.setup(); from marketplace.webhooks.tasks import deliver; deliver()"
    )
    env = {**os.environ, "DATABASE_URL": url, "WAYPOST_WEBHOOK_NETWORKS": "127.0.0.1/32"}
    with subprocess.Popen([sys.executable, "-c", code], env=env) as process:
        assert receiver.came.wait(PATIENCE_S)
        process.kill()
    assert process.returncode == -signal.SIGKILL


def test_a_sender_that_was_taken_for_dead_records_nothing(shop: Shop, receiver: Receiver) -> None:
    delivery = sent(shop, receiver.url)
    (slow,) = deliveries_claim(timezone.now(), 1, {})
    made_due()
    deliver()
    result = sending.Result(Outcome.STATUS, timezone.now(), 1, 500)
    delivering.attempt_record(slow, result)
    delivery.refresh_from_db()
    assert delivery.state == DeliveryState.DELIVERED
    assert delivery.log.count() == 1


def test_what_is_under_way_is_not_claimed_twice(shop: Shop) -> None:
    sent(shop, "https://hooks.example/x")
    assert len(deliveries_claim(timezone.now(), 1, {})) == 1
    assert deliveries_claim(timezone.now(), 1, {}) == []
    assert deliveries_claim(timezone.now() + delivering.LEASE, 0, {}) == []


def test_the_log_of_a_delivery_is_bounded(
    shop: Shop, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "ATTEMPTS_KEPT", 3)
    delivery = sent(shop, receiver.url)
    for _ in range(5):
        delivery_resend(delivery=delivery)
        deliver()
    assert delivery.log.count() == 3
    assert len(receiver.heard) == 5


def test_old_deliveries_are_forgotten_once_they_are_over(shop: Shop, receiver: Receiver) -> None:
    heard = sent(shop, receiver.url, "evt_1")
    deliver()
    sent(shop, receiver.url, "evt_2")
    assert tasks.forget() == 0
    old = timezone.now() - tasks.KEPT_FOR - timedelta(seconds=1)
    Delivery.objects.update(created_at=old)
    assert tasks.forget() == 1
    assert not Delivery.objects.filter(pk=heard.pk).exists()
    assert Delivery.objects.get().event_id == "evt_2"
