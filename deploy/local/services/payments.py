"""Test payments: the stand-in for Stripe that the tests use, beside a stack on one machine.

It is part of the tests and of what they install. Where either is missing, or the person has keys of
Stripe's own, it is left out.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from deploy.local.processes.health import answers_http
from deploy.local.processes.ports import HOST, free_ports
from deploy.local.services.supervisor import Service

STAND_IN = "tests.stripe_server"


@dataclass(frozen=True, slots=True)
class StandIn:
    """The services, and what the others need to know of them; nothing where they are off."""

    services: tuple[Service, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def stand_in(home: Path, web_url: str, python: Callable[..., tuple[str, ...]]) -> StandIn:
    """Lay out the stand-in on a free port, with a secret of this start for its events.

    What it knows is kept in ``home``, as the database refers to it.
    """
    if os.environ.get("WAYPOST_TEST_PAYMENTS", "1") == "0" or os.environ.get("STRIPE_SECRET_KEY"):
        return StandIn()
    if not (find_spec("localstripe") and find_spec("tests") and find_spec(STAND_IN)):
        return StandIn()
    (port,) = free_ports(1)
    url = f"http://{HOST}:{port}"
    events = f"{web_url}/webhooks/stripe"
    words = ("--port", str(port), "--deliver-to", events, "--keep", str(home / "stripe.pickle"))
    service = Service(
        "stripe-stand-in",
        python("-m", STAND_IN, *words),
        ready=answers_http(port, "/js.stripe.com/v3/"),
        address=url,
        essential=False,
    )
    environment = {
        "STRIPE_SECRET_KEY": "sk_test_waypost",
        "STRIPE_WEBHOOK_SECRET": f"whsec_{secrets.token_urlsafe(24)}",
        "STRIPE_API_URL": url,
    }
    return StandIn((service,), environment)
