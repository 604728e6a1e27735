"""Deliveries to a real receiver, whatever it does, and whatever happens to the sender."""

import json
import os
import signal
import socket
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.utils import timezone
from standardwebhooks import Webhook, WebhookVerificationError

from marketplace.accounts.models import Organisation
from marketplace.accounts.services import organisation_create
from marketplace.webhooks import delivering, sending, services, tasks
from marketplace.webhooks.delivering import deliver, deliveries_claim
from marketplace.webhooks.models import (
    Delivery,
    DeliveryState,
    DisabledEndpoint,
    Outcome,
    WebhookSecret,
)
from marketplace.webhooks.schedule import DELAYS
from marketplace.webhooks.services import (
    delivery_resend,
    secret_rotate,
    webhook_send,
    webhook_url_checked,
)
from tests.databases import as_services, named
from tests.integration.marketplace.shop import Shop
from tests.integration.marketplace.webhooks.receiver import Receiver, receiving
from tests.patience import PATIENCE_S

PAYLOAD = {"id": "p1", "output": "Olá, \0 and 😀"}


def sent(shop: Shop, url: str, event_id: str = "evt_1", **payload: Any) -> Delivery:
    return webhook_send(
        organisation_id=shop.organisation.pk,
        url=url,
        event_type="prediction.completed",
        payload=payload or PAYLOAD,
        event_id=event_id,
    )


def made_due() -> None:
    """As if the delays, and the leases of processes that died, were over."""
    Delivery.objects.filter(state=DeliveryState.WAITING).update(due_at=timezone.now())


def secret_of(organisation: Organisation, overlap: timedelta = timedelta()) -> str:
    return secret_rotate(organisation=organisation, overlap=overlap)[1]


def is_signed_by(secret: str, receiver: Receiver) -> bool:
    heard = receiver.heard[-1]
    try:
        Webhook(secret).verify(heard.body, heard.headers)
    except WebhookVerificationError:
        return False
    return True


# --- what is heard --------------------------------------------------------------------------------


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


# --- rotation -------------------------------------------------------------------------------------


def test_during_a_rotation_both_secrets_sign(shop: Shop, receiver: Receiver) -> None:
    old = secret_of(shop.organisation)
    new = secret_of(shop.organisation, timedelta(hours=1))
    sent(shop, receiver.url, "evt_1")
    deliver()
    assert is_signed_by(old, receiver)
    assert is_signed_by(new, receiver)
    WebhookSecret.objects.exclude(expires_at=None).update(expires_at=timezone.now())
    sent(shop, receiver.url, "evt_2")
    deliver()
    assert not is_signed_by(old, receiver)
    assert is_signed_by(new, receiver)


def test_a_second_rotation_ends_the_first_overlap(shop: Shop, receiver: Receiver) -> None:
    first, second, third = (secret_of(shop.organisation, timedelta(hours=1)) for _ in range(3))
    sent(shop, receiver.url)
    deliver()
    signing = [is_signed_by(secret, receiver) for secret in (first, second, third)]
    assert signing == [False, True, True]


def test_a_rotation_without_overlap_ends_the_old_one_at_once(
    shop: Shop, receiver: Receiver
) -> None:
    old, new = secret_of(shop.organisation), secret_of(shop.organisation)
    sent(shop, receiver.url)
    deliver()
    assert [is_signed_by(secret, receiver) for secret in (old, new)] == [False, True]


@pytest.mark.parametrize("overlap", [timedelta(seconds=-1), timedelta(days=30, seconds=1)])
def test_an_overlap_has_bounds(shop: Shop, overlap: timedelta) -> None:
    with pytest.raises(ValidationError, match="0 to 720"):
        secret_of(shop.organisation, overlap)


def test_a_secret_is_not_in_the_database(shop: Shop) -> None:
    secret = secret_of(shop.organisation)
    row = WebhookSecret.objects.get()
    assert secret.removeprefix("whsec_") not in row.sealed
    assert row.masked == f"whsec_…{secret.rstrip('=')[-4:]}"


def test_without_a_readable_secret_a_new_one_signs(
    shop: Shop, receiver: Receiver, settings: Any
) -> None:
    secret_of(shop.organisation)
    settings.WAYPOST_SECRETS_KEYS = [b"another"]
    sent(shop, receiver.url)
    deliver()
    secret = services.secrets_signing(shop.organisation.pk, timezone.now())
    assert is_signed_by(secret[0], receiver)
    assert WebhookSecret.objects.count() == 1


# --- what goes wrong ------------------------------------------------------------------------------


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
    with pytest.raises(ValidationError, match="too large"):
        delivery_resend(delivery=large)
    monkeypatch.setattr(services, "WAITING_MAX", 1)
    assert sent(shop, "https://hooks.example/x", "evt_2").state == DeliveryState.WAITING
    beyond = sent(shop, "https://hooks.example/x", "evt_3")
    assert (beyond.state, beyond.due_at) == (DeliveryState.FAILED, None)


# --- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ftp://hooks.example/x", "must begin with https"),
        ("https://", "must look like"),
        ("https://user:pass@hooks.example/x", "without a user"),
        ("https://hooks.example/ x", "without spaces"),
        ("https://hooks.example/" + "x" * 1_000, "at most 1000"),
        ("https://hooks.exämple/", "ASCII"),
        ("https://10.0.0.1/x", "internal address"),
        ("https://169.254.169.254/latest", "internal address"),
        ("https://[::1]/x", "internal address"),
        ("https://[::ffff:10.0.0.1]/x", "internal address"),
        ("https://127.0.0.2/x", "internal address"),
        ("http://8.8.8.8/x", "over https://"),
    ],
)
def test_a_url_that_may_never_be_called_is_refused(url: str, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        webhook_url_checked(url)


@pytest.mark.parametrize("url", ["https://8.8.8.8/x", "http://127.0.0.1:9/x"])
def test_a_url_that_may_be_called_stays_as_it_is(url: str) -> None:
    assert webhook_url_checked(url) == url


def test_without_networks_plain_http_is_refused(settings: Any) -> None:
    settings.WAYPOST_WEBHOOK_NETWORKS = []
    for url in ("http://127.0.0.1:9/x", "https://127.0.0.1:9/x"):
        with pytest.raises(ValidationError):
            webhook_url_checked(url)


def test_an_inside_address_is_not_connected_to(shop: Shop, settings: Any) -> None:
    with receiving() as inside:
        delivery = sent(shop, inside.url)
        settings.WAYPOST_WEBHOOK_NETWORKS = []
        deliver()
        assert inside.heard == []
    assert delivery.log.get().outcome == Outcome.ADDRESS


def test_a_name_that_is_rebound_leads_to_the_address_that_was_judged(
    shop: Shop, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second answer to the same question would lead to 127.0.0.2, which is inside."""
    answers = ["127.0.0.1"]
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host == "rebind.example":
            host = answers.pop() if answers else "127.0.0.2"
        return real(host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    port = receiver.url.rpartition(":")[2].partition("/")[0]
    with socket.create_server(("127.0.0.2", int(port))) as inside:
        inside.setblocking(False)
        sent(shop, f"http://rebind.example:{port}/hook", "evt_1")
        deliver()
        assert receiver.heard[0].headers["host"] == f"rebind.example:{port}"
        again = sent(shop, f"http://rebind.example:{port}/hook", "evt_2")
        deliver()
        assert again.log.get().outcome == Outcome.ADDRESS
        with pytest.raises(BlockingIOError):
            inside.accept()
    assert receiver.ids == ["evt_1"]


# --- processes ------------------------------------------------------------------------------------


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


# --- the log --------------------------------------------------------------------------------------


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


def test_a_body_is_json_however_odd_its_text(shop: Shop) -> None:
    odd = {"a": "\0\ud800", "b": timezone.now(), "c": [1, None]}
    assert json.loads(sent(shop, "https://hooks.example/x", "evt_1", **odd).body)["a"] == "\0\ud800"
