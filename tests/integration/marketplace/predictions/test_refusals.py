"""Predictions that are refused as they are asked for."""

from typing import Any

import pytest

from marketplace.predictions import services
from marketplace.predictions.models import Prediction
from tests.integration.marketplace.predictions.asking import CHAT, Api, error_of


@pytest.mark.parametrize(
    ("body", "headers", "status", "param"),
    [
        ("{", {}, 422, None),
        ("[]", {}, 422, None),
        ({"input": CHAT}, {}, 422, "model"),
        ({"model": "no/such", "input": CHAT}, {}, 404, "model"),
        ({"version": "author/slug:2", "input": CHAT}, {}, 404, "version"),
        ({"version": "1", "input": CHAT}, {}, 422, "version"),
        ({"model": "author/slug", "version": "other/slug:1", "input": CHAT}, {}, 422, "version"),
        ({"model": "author/slug"}, {}, 422, "input"),
        ({"model": "author/slug", "input": "Hi"}, {}, 422, "input"),
        ({"model": "author/slug", "input": {}}, {}, 422, "input.messages"),
        ({"model": "author/slug", "input": CHAT, "priority": "now"}, {}, 422, "priority"),
        (
            {"model": "author/slug", "input": CHAT, "webhook_events_filter": ["end"]},
            {},
            422,
            "webhook_events_filter",
        ),
        (
            {"model": "author/slug", "input": CHAT, "webhook": "http://a.example"},
            {},
            422,
            "webhook",
        ),
        (
            {"model": "author/slug", "input": CHAT, "webhook": "https://127.0.0.1/"},
            {},
            422,
            "webhook",
        ),
        ({"model": "author/slug", "input": CHAT}, {"prefer": "wait=99"}, 422, "Prefer"),
        ({"model": "author/slug", "input": CHAT}, {"cancel_after": "1s"}, 422, "Cancel-After"),
        (
            {"model": "author/slug", "input": CHAT},
            {"idempotency_key": "k" * 256},
            422,
            "Idempotency-Key",
        ),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_kept(
    api: Api, body: Any, headers: dict[str, str], status: int, param: str | None
) -> None:
    assert error_of(api("POST", body=body, **headers), status)["param"] == param
    assert not Prediction.objects.exists()


def test_no_more_than_so_many_wait(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "WAITING_MAX", 2)
    api.ask()
    api.ask()
    refused = api.ask()
    assert error_of(refused, 429)["code"] == "queue_full"
    assert int(refused.headers["Retry-After"]) >= 1
