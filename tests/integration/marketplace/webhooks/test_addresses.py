"""Which addresses a webhook may have, and which are called."""

import socket
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from marketplace.webhooks.delivering import deliver
from marketplace.webhooks.models import Outcome
from marketplace.webhooks.services import webhook_url_checked
from tests.integration.marketplace.shop import Shop
from tests.integration.marketplace.webhooks.deliveries import sent
from tests.integration.marketplace.webhooks.receiver import Receiver, receiving


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
