from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.marketplace.webhooks.receiver import Receiver, receiving


@pytest.fixture(autouse=True)
def loopback(settings: Any) -> None:
    settings.WAYPOST_WEBHOOK_NETWORKS = ["127.0.0.1/32"]
    settings.BROKER_URL = ""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one
