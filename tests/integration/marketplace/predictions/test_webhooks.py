"""What a webhook is told of a prediction."""

import json
from typing import Any

import pytest

from marketplace.predictions import services
from marketplace.webhooks.models import Delivery
from tests.integration.marketplace.predictions.asking import Api, run_one
from tests.integration.marketplace.predictions.routers import SENTENCE, FakeRouter


def test_a_webhook_is_told_what_its_filter_names(api: Api, router: FakeRouter) -> None:
    url = "https://hooks.example.com/waypost"
    quiet = api.ask(webhook=url)
    assert quiet.status_code == 201, quiet.content
    every = ["start", "output", "logs", "completed"]
    loud = api.ask(webhook=url, webhook_events_filter=every)
    silent = api.ask()
    for _ in range(3):
        run_one()
    received: dict[str, list[tuple[str, Any]]] = {}
    for delivery in Delivery.objects.order_by("pk"):
        event = json.loads(delivery.body)
        assert event["type"] == delivery.event_type
        received.setdefault(event["data"]["id"], []).append((delivery.event_type, event["data"]))
    assert [kind for kind, _ in received[quiet.json()["id"]]] == [
        "prediction.start",
        "prediction.completed",
    ]
    assert {kind for kind, _ in received[loud.json()["id"]]} == {
        f"prediction.{item}" for item in every
    }
    last = received[loud.json()["id"]][-1][1]
    assert (last["status"], last["output"]["choices"][0]["message"]["content"]) == (
        "succeeded",
        SENTENCE,
    )
    assert last["completed_at"]
    assert silent.json()["id"] not in received


def test_a_webhook_gets_no_data_that_is_too_large(
    api: Api, router: FakeRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "WEBHOOK_BYTES_MAX", 10)
    api.ask(webhook="https://hooks.example.com/waypost")
    run_one()
    last = json.loads(Delivery.objects.order_by("pk").last().body)  # type: ignore[union-attr]
    assert (last["type"], last["data"]["output"]) == ("prediction.completed", None)
