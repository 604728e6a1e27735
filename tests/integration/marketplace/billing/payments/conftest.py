"""Payments switched on, towards nobody unless a test says where Stripe is.

Imports of the marketplace stay inside: this file may be read before Django is set up.
"""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.backend import get
from tests.embedded import wait_until
from tests.patience import PATIENCE_S
from tests.ports import free_ports


@pytest.fixture(autouse=True)
def _payments_on(settings: Any) -> None:
    from tests.integration.marketplace.billing.payments.stripe_events import SECRET

    settings.PAYMENTS_ON = True
    settings.STRIPE_SECRET_KEY = "sk_test_waypost"
    settings.STRIPE_WEBHOOK_SECRET = SECRET
    # Port 9 (discard) refuses at once.
    settings.STRIPE_API_URL = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def stripe_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a running fake Stripe."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("stripe") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.stripe_server", "--port", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return get(f"{url}/js.stripe.com/v3/", trust_env=False).is_success
        except httpx.TransportError:
            return False

    try:
        wait_until(answers, PATIENCE_S, "the fake Stripe did not answer")
        yield url
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


@pytest.fixture
def stripe_url(stripe_server: str, settings: Any) -> str:
    """A fake Stripe that has forgotten earlier tests, and is the one that is called."""
    httpx.delete(f"{stripe_server}/_config/data", trust_env=False).raise_for_status()
    settings.STRIPE_API_URL = stripe_server
    return stripe_server
