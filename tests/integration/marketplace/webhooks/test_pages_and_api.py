"""The log and the secrets, on their pages and over the management API."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from marketplace.accounts.models import Membership, Role, Scope, User
from marketplace.accounts.services import api_key_create
from marketplace.webhooks.delivering import deliver
from marketplace.webhooks.models import Delivery, DeliveryState, WebhookSecret
from marketplace.webhooks.services import secrets_signing, webhook_send
from tests.integration.marketplace.shop import Shop, signed_in
from tests.integration.marketplace.webhooks.receiver import Receiver

pytestmark = pytest.mark.usefixtures("kept_shop")


@pytest.fixture
def member(shop: Shop) -> Client:
    return signed_in(shop.owner)


@pytest.fixture
def by_key(shop: Shop) -> Client:
    _, key = api_key_create(organisation=shop.organisation, name="ops", scopes=[Scope.MANAGEMENT])
    return Client(headers={"Authorization": f"Bearer {key}"})


@pytest.fixture
def delivery(shop: Shop, receiver: Receiver) -> Delivery:
    """One that the receiver refused once, with markup in what it answered."""
    receiver.status, receiver.answer = 500, b"<script>alert(1)</script>"
    made = webhook_send(
        organisation_id=shop.organisation.pk,
        url=receiver.url,
        event_type="prediction.completed",
        payload={"output": "<b>olá</b>"},
        event_id="evt_1",
    )
    deliver()
    made.refresh_from_db()
    return made


def viewer_of(shop: Shop) -> Client:
    user = User.objects.create_user("viewer@example.com")
    Membership.objects.create(organisation=shop.organisation, user=user, role=Role.VIEWER)
    return signed_in(user)


# --- pages ----------------------------------------------------------------------------------------


def test_a_secret_is_shown_once_and_signs(shop: Shop, member: Client) -> None:
    assert b"Create a secret" in member.get("/webhooks").content
    assert member.post("/webhooks/secret", {"overlap_hours": "0"}).status_code == 302
    (secret,) = secrets_signing(shop.organisation.pk, timezone.now())
    first, second = member.get("/webhooks"), member.get("/webhooks")
    assert secret in first.content.decode()
    assert first.headers["Cache-Control"] == "no-store"
    assert secret not in second.content.decode()
    assert WebhookSecret.objects.get().masked in second.content.decode()


def test_a_rotation_says_until_when_the_old_secret_signs(member: Client) -> None:
    member.post("/webhooks/secret", {"overlap_hours": "0"})
    member.post("/webhooks/secret", {"overlap_hours": "24"})
    page = member.get("/webhooks").content.decode()
    assert page.count("also signs until") == 1
    WebhookSecret.objects.exclude(expires_at=None).update(expires_at=timezone.now())
    assert "also signs until" not in member.get("/webhooks").content.decode()


def test_an_overlap_that_is_no_choice_is_refused(member: Client) -> None:
    assert member.post("/webhooks/secret", {"overlap_hours": "5"}).status_code == 422
    assert not WebhookSecret.objects.exists()


def test_the_log_says_what_became_of_an_event(member: Client, delivery: Delivery) -> None:
    page = member.get("/webhooks").content.decode()
    assert "prediction.completed" in page
    assert "HTTP 500" in page
    assert "again at" in page
    assert "prediction.completed" in member.get("/webhooks?state=waiting").content.decode()
    assert "No deliveries found" in member.get("/webhooks?state=failed").content.decode()
    assert "prediction.completed" in member.get("/webhooks?state=nonsense").content.decode()


def test_a_delivery_shows_request_and_answer_as_text(member: Client, delivery: Delivery) -> None:
    page = member.get(f"/webhooks/{delivery.pk}").content.decode()
    assert "webhook-id: evt_1" in page
    assert "&lt;b&gt;olá&lt;/b&gt;" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert(1)" not in page


def test_the_button_sends_again(member: Client, delivery: Delivery, receiver: Receiver) -> None:
    receiver.status = 200
    assert member.post(f"/webhooks/{delivery.pk}/resend").status_code == 302
    deliver()
    assert receiver.ids == ["evt_1", "evt_1"]
    assert "Delivered" in member.get(f"/webhooks/{delivery.pk}").content.decode()


def test_what_is_not_kept_is_not_sent_again(member: Client, delivery: Delivery) -> None:
    Delivery.objects.update(body="", state=DeliveryState.FAILED, due_at=None)
    answer = member.post(f"/webhooks/{delivery.pk}/resend")
    assert answer.status_code == 422
    assert b"not kept" in answer.content


def test_a_long_body_is_cut(member: Client, delivery: Delivery) -> None:
    Delivery.objects.update(body='"' + "x" * 5_000 + '"')
    page = member.get(f"/webhooks/{delivery.pk}").content.decode()
    assert "the management API has all of it" in page
    assert "x" * 5_000 not in page


def test_a_viewer_looks_and_changes_nothing(shop: Shop, delivery: Delivery) -> None:
    viewer = viewer_of(shop)
    page = viewer.get(f"/webhooks/{delivery.pk}").content.decode()
    assert "Send again" not in page
    assert "Create a secret" not in viewer.get("/webhooks").content.decode()
    assert viewer.post(f"/webhooks/{delivery.pk}/resend").status_code == 403
    assert viewer.post("/webhooks/secret", {"overlap_hours": "0"}).status_code == 403
    answer = viewer.post(f"/api/v1/webhook-deliveries/{delivery.pk}/resend")
    assert answer.status_code == 403


# --- the management API ---------------------------------------------------------------------------


def test_the_api_lists_and_tells_one_delivery(by_key: Client, delivery: Delivery) -> None:
    (listed,) = by_key.get("/api/v1/webhook-deliveries?state=waiting").json()["results"]
    assert (listed["id"], listed["attempts"]) == (delivery.pk, 1)
    assert "body" not in listed
    assert by_key.get("/api/v1/webhook-deliveries?event_id=other").json()["results"] == []
    whole = by_key.get(f"/api/v1/webhook-deliveries/{delivery.pk}").json()
    assert whole["body"] == '{"output":"<b>ol\\u00e1</b>"}'
    (attempt,) = whole["log"]
    assert (attempt["outcome"], attempt["status"]) == ("status", 500)


def test_the_api_sends_again(by_key: Client, delivery: Delivery, receiver: Receiver) -> None:
    answer = by_key.post(f"/api/v1/webhook-deliveries/{delivery.pk}/resend")
    assert (answer.status_code, answer.json()["state"]) == (202, "waiting")
    deliver()
    assert receiver.ids == ["evt_1", "evt_1"]


def test_the_api_rotates_and_tells_the_secret_once(shop: Shop, by_key: Client) -> None:
    asked = {"organisation": "acme", "overlap_hours": 1}
    made = [
        by_key.post("/api/v1/webhook-secrets", asked, content_type="application/json")
        for _ in range(2)
    ]
    assert [row.status_code for row in made] == [201, 201]
    assert made[0].headers["Cache-Control"] == "no-store"
    signing = secrets_signing(shop.organisation.pk, timezone.now())
    assert signing == (made[1].json()["secret"], made[0].json()["secret"])
    listed = by_key.get("/api/v1/webhook-secrets").json()["results"]
    assert [row["expires_at"] is None for row in listed] == [True, False]
    assert not {"secret", "sealed"} & listed[0].keys()
    assert (
        WebhookSecret.objects.exclude(expires_at__gt=timezone.now() + timedelta(hours=1)).count()
        == 2
    )


@pytest.mark.parametrize("hours", [-1, 721, "x"])
def test_an_overlap_beyond_its_bounds_is_a_problem(by_key: Client, hours: object) -> None:
    asked = {"organisation": "acme", "overlap_hours": hours}
    answer = by_key.post("/api/v1/webhook-secrets", asked, content_type="application/json")
    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
