"""What every HTTP worker has in common: the session, time limits and what a bad answer means."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
import msgspec

from router.ports import UpstreamFailed, UpstreamRefused
from router.settings import Limits

REFUSALS = frozenset({400, 413, 422})
"""Statuses by which a worker says that the request itself is wrong."""

NO_FAULT = frozenset({404, 405, 429})
"""Statuses of a sound worker that cannot serve this call: another one may."""

DETAIL_BYTES_MAX = 2_000


class _ErrorBody(msgspec.Struct):
    error: msgspec.Raw = msgspec.Raw(b"null")


class _ErrorObject(msgspec.Struct):
    message: str = ""


def open_session(limits: Limits) -> aiohttp.ClientSession:
    """A session without a connection limit: the scheduler's slots are the limit.

    Nothing of the client's request reaches a worker but what an upstream puts there: no cookies,
    no credentials, no redirects into other hosts.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30, ttl_dns_cache=30),
        timeout=aiohttp.ClientTimeout(
            total=None,
            sock_connect=limits.connect_timeout_s,
            sock_read=limits.silence_timeout_s,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept-Encoding"),
    )


@asynccontextmanager
async def posted(
    session: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, str]
) -> AsyncGenerator[aiohttp.ClientResponse]:
    """POST and yield a 200 response; every other ending is one of the two upstream errors.

    Errors while the caller reads inside the block are translated too. Leaving the block early
    closes the connection, which tells the worker to stop.
    """
    try:
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            if response.status != 200:
                await _raise_for_status(response)
            yield response
    except aiohttp.ClientConnectorError as error:
        raise UpstreamFailed("connect") from error
    except TimeoutError as error:
        raise UpstreamFailed("timeout") from error
    except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, OSError) as error:
        raise UpstreamFailed("reset") from error
    except (aiohttp.ClientError, ValueError) as error:
        raise UpstreamFailed("protocol", type(error).__name__) from error


async def read_answer(response: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    """The whole body. Raises ``UpstreamFailed`` when it is larger than the bound."""
    length = response.content_length
    if length is not None and length <= bytes_max:
        return await response.read()
    parts: list[bytes] = []
    total = 0
    async for chunk in response.content.iter_any():
        total += len(chunk)
        if total > bytes_max:
            raise UpstreamFailed("answer_too_large", f"over {bytes_max} bytes")
        parts.append(chunk)
    return b"".join(parts)


async def _raise_for_status(response: aiohttp.ClientResponse) -> None:
    detail = await response.content.read(DETAIL_BYTES_MAX)
    if response.status in REFUSALS:
        raise UpstreamRefused(response.status, _message(detail) or "the model refused the request")
    raise UpstreamFailed(f"http_{response.status}", is_fault=response.status not in NO_FAULT)


def _message(body: bytes) -> str:
    """The text of ``{"error": {"message": …}}`` (OpenAI) or ``{"error": "…"}`` (OIP)."""
    try:
        error = msgspec.json.decode(body, type=_ErrorBody).error
        text = msgspec.json.decode(error)
        if isinstance(text, str):
            return text
        return msgspec.json.decode(error, type=_ErrorObject).message
    except msgspec.MsgspecError:
        return ""
