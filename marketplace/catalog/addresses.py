"""Applies the router's rule of which addresses may be called to the marketplace's own requests.

A name is resolved once, its addresses are checked against ``ROUTER_UPSTREAM_NETWORKS``, and the
connection goes to the checked address. A name that resolves differently a moment later (DNS
rebinding) changes nothing.
"""

import asyncio
import socket
import threading
from concurrent.futures import Future
from typing import Any
from urllib.parse import urlsplit

import httpx
from django.conf import settings

from router.domain.addresses import AddressPolicy, host_and_port

RESOLVE_TIMEOUT_S = 5.0
DEFAULT_PORTS = {"http": 80, "https": 443, "grpc": 8001}
GRPC_BOUNDS = (("grpc.max_receive_message_length", 4 * 1024 * 1024),)
"""For Triton's client, which takes answers of gigabytes otherwise."""


class AddressRefused(ValueError):
    """The host is unknown, or its address is one that this installation does not call."""


class HostUnknown(AddressRefused):
    """No address is known for the name, now."""


def address_policy() -> AddressPolicy:
    """The rule of this installation's settings."""
    return AddressPolicy(settings.ROUTER_UPSTREAM_NETWORKS)


def host_of(url: str) -> tuple[str, int]:
    """Host and port of an endpoint's base URL. Raises :class:`AddressRefused` if it is no URL."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        # It reads names more strictly: one that begins with "xn--" must stand for letters.
        httpx.URL(url).host  # noqa: B018
    except (ValueError, httpx.InvalidURL) as error:
        raise AddressRefused(f"{url!r} is no URL: {error}") from error
    if not host or parts.username or parts.password:
        raise AddressRefused(f"{url!r} must look like http://host:port, without a user")
    return host, port or DEFAULT_PORTS.get(parts.scheme, 80)


async def address_of(url: str, policy: AddressPolicy) -> str:
    """An allowed address of an endpoint. Raises :class:`AddressRefused`."""
    host, port = host_of(url)
    return await resolve(host, port, policy)


async def grpc_target(url: str, policy: AddressPolicy) -> str:
    """An allowed address with its port, as gRPC takes it. Raises :class:`AddressRefused`."""
    host, port = host_of(url)
    return host_and_port(await resolve(host, port, policy), port)


async def resolve(host: str, port: int, policy: AddressPolicy) -> str:
    """The first allowed address of a name. Raises :class:`AddressRefused`."""
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT_S):
            found = await asyncio.wrap_future(_look_up(host, port))
    except (OSError, UnicodeError, TimeoutError) as error:
        raise HostUnknown(f"the name {host!r} is not known") from error
    return _first_allowed(host, found, policy)


def resolve_now(host: str, port: int, policy: AddressPolicy) -> str:
    """The same as :func:`resolve`. Blocks while the name resolves."""
    try:
        found = _look_up(host, port).result(RESOLVE_TIMEOUT_S)
    except (OSError, UnicodeError, TimeoutError) as error:
        raise HostUnknown(f"the name {host!r} is not known") from error
    return _first_allowed(host, found, policy)


def _look_up(host: str, port: int) -> Future[list[Any]]:
    """What ``getaddrinfo`` answers, from a thread of its own.

    Who waits gives up in time, and the thread waits on for as long as the name's server is silent.
    A loop or a pool has few threads, and waits for them as it ends: such names would keep all
    others from being looked up.
    """
    answer: Future[list[Any]] = Future()

    def look_up() -> None:
        try:
            answer.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:  # noqa: BLE001 # passed to who waits
            answer.set_exception(error)

    answer.set_running_or_notify_cancel()
    threading.Thread(target=look_up, name="look-up", daemon=True).start()
    return answer


def _first_allowed(host: str, found: list[Any], policy: AddressPolicy) -> str:
    for resolved in found:
        if policy.allows(address := str(resolved[4][0])):
            return address
    raise AddressRefused(f"{host!r} is an internal address, which this installation does not call")


def address_error(url: str) -> str:
    """Why an endpoint may not be called now; "" if it may. Blocks while the name resolves."""
    try:
        resolve_now(*host_of(url), address_policy())
    except AddressRefused as error:
        return str(error)
    return ""


class PinnedTransport(httpx.AsyncBaseTransport):
    """Connects to the checked address; host name and certificate stay those of the URL.

    ``plain`` is the rule for URLs of ``http``, if they have one of their own.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        inner: httpx.AsyncBaseTransport | None = None,
        *,
        plain: AddressPolicy | None = None,
    ) -> None:
        self._policies = {"https": policy, "http": plain or policy}
        self._inner = inner or httpx.AsyncHTTPTransport(trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        port = request.url.port or DEFAULT_PORTS[request.url.scheme]
        try:
            address = await resolve(host, port, self._policies[request.url.scheme])
        except AddressRefused as error:
            raise httpx.ConnectError(str(error), request=request) from error
        # The Host header keeps the name: it is set when the request is built.
        request.url = request.url.copy_with(host=address)
        request.extensions = {**request.extensions, "sni_hostname": host}
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()
