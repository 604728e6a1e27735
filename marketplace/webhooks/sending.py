"""One attempt over HTTP: signed, to an address that was checked, and bounded in time and bytes."""

import asyncio
import ssl
import time
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx
from standardwebhooks import Webhook

from marketplace.catalog.addresses import AddressRefused, HostUnknown, PinnedTransport
from marketplace.webhooks.addresses import policies
from marketplace.webhooks.models import Outcome
from marketplace.webhooks.schedule import outcome_of

TIMEOUT_S = 15.0
"""Of an attempt, from resolving the name to the end of what is read of the answer."""
RESPONSE_BYTES_MAX = 2048
"""What is read and kept of an answer."""
ERROR_MAX = 300
USER_AGENT = "Waypost-Webhooks/1"


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent. ``secrets`` sign it, the newest first."""

    delivery_id: int
    organisation_id: int
    attempt: int
    url: str
    event_id: str
    body: str
    secrets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """What happened to an attempt. ``status`` is 0 where there was no answer."""

    outcome: Outcome
    started_at: datetime
    duration_ms: int
    status: int = 0
    error: str = ""
    response: str = ""


def headers_shown(event_id: str) -> dict[str, str]:
    """The headers that are the same in every attempt."""
    return {
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        "webhook-id": event_id,
    }


def headers_of(message: Message, at: datetime) -> dict[str, str]:
    """The headers of Standard Webhooks for an attempt at this time (UTC)."""
    signed = (
        Webhook(secret).sign(message.event_id, at, message.body) for secret in message.secrets
    )
    return {
        **headers_shown(message.event_id),
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signed),
    }


def client_open() -> httpx.AsyncClient:
    """Connects as the settings allow. No connection is kept, as another name may have the same
    address, and no cookie, as another organisation may have the same host.
    """
    once = httpx.Limits(max_keepalive_connections=0)
    mounts = {
        f"{scheme}://": PinnedTransport(
            policy, httpx.AsyncHTTPTransport(verify=_trusted(), trust_env=False, limits=once)
        )
        for scheme, policy in policies().items()
    }
    return httpx.AsyncClient(
        mounts=mounts,
        trust_env=False,
        follow_redirects=False,
        timeout=TIMEOUT_S,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
    )


@cache
def _trusted() -> ssl.SSLContext:
    """The public authorities; reading them takes longer than an attempt."""
    return httpx.create_ssl_context(trust_env=False)


async def attempt_make(
    client: httpx.AsyncClient, message: Message, at: datetime, timeout_s: float = TIMEOUT_S
) -> Result:
    """Send it once; never raises for what the other side does."""
    began_s = time.monotonic()
    outcome, status, error, response = await _exchange(client, message, at, timeout_s)
    took_ms = round((time.monotonic() - began_s) * 1_000)
    return Result(outcome, at, took_ms, status, error[:ERROR_MAX], response)


async def _exchange(
    client: httpx.AsyncClient, message: Message, at: datetime, timeout_s: float
) -> tuple[Outcome, int, str, str]:
    try:
        async with (
            asyncio.timeout(timeout_s),
            client.stream(
                "POST", message.url, content=message.body, headers=headers_of(message, at)
            ) as answer,
        ):
            begun = await _beginning(answer)
            return outcome_of(answer.status_code), answer.status_code, "", begun
    except (TimeoutError, httpx.TimeoutException):
        return Outcome.TIMEOUT, 0, f"no answer within {timeout_s:g} s", ""
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as failed:
        cause = failed.__cause__
        refused = isinstance(cause, AddressRefused) and not isinstance(cause, HostUnknown)
        outcome = Outcome.ADDRESS if refused else Outcome.UNREACHABLE
        return outcome, 0, str(failed) or type(failed).__name__, ""


async def _beginning(answer: httpx.Response) -> str:
    """The first bytes of an answer as text that the database keeps."""
    read = bytearray()
    async for piece in answer.aiter_raw():
        read += piece[: RESPONSE_BYTES_MAX - len(read)]
        if len(read) >= RESPONSE_BYTES_MAX:
            break
    return read.decode(errors="replace").replace("\0", "\ufffd")
