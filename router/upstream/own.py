"""Organisations' own endpoints: called with a key, which is opened here and nowhere else."""

from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from router.contracts.sealing import Unreadable, Vault
from router.domain.catalog import Endpoint, Worker
from router.domain.request import InferenceRequest
from router.ports.upstream import Answer, StreamPart, UpstreamFailed, UpstreamRefused
from router.upstream.anthropic_http import VERSION
from router.upstream.http import HTTPClient, raise_for_status

KEYS_MAX = 10_000
OWN_LOOKUPS_MAX = 4
"""How many names of endpoints are looked up at once: the rest of the router's threads for that are
left to the market's workers, whatever a customer's name servers do."""

MODELS = "/v1/models"
UNAUTHORIZED, BROKEN = 401, 500
HIDDEN = "•••"


class Speaks(Protocol):
    """How an endpoint is called, as in :class:`router.ports.upstream.Upstream`."""

    async def answer(self, request: InferenceRequest, endpoint: Endpoint) -> Answer:
        """Call it and return its whole answer."""
        ...

    def stream(
        self, request: InferenceRequest, endpoint: Endpoint
    ) -> AsyncGenerator[StreamPart, None]:
        """Call it and yield its answer as it comes."""
        ...


class EndpointKeys:
    """Opens sealed keys, and keeps them in memory for the next call."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._opened: dict[str, str] = {}

    def of(self, worker: Worker) -> str:
        """The key of an endpoint, "" for none. Raises ``UpstreamFailed`` if it cannot be read."""
        sealed = worker.sealed_key
        key = self._opened.get(sealed, "")
        if sealed and not key:
            try:
                key = self._vault.open(sealed)
            except Unreadable as error:
                raise UpstreamFailed("key_unreadable") from error
            if len(self._opened) >= KEYS_MAX:
                self._opened.clear()
            self._opened[sealed] = key
        return key

    def bearer(self, worker: Worker) -> bytes:
        """The header that OpenAI's servers read. Raises ``UpstreamFailed``."""
        key = self.of(worker)
        return b"Authorization: Bearer %b\r\n" % key.encode() if key else b""

    def anthropic(self, worker: Worker) -> bytes:
        """The headers that Anthropic's servers read. Raises ``UpstreamFailed``."""
        key = self.of(worker)
        return VERSION + (b"x-api-key: %b\r\n" % key.encode() if key else b"")


class OwnUpstream:
    """See :class:`router.ports.upstream.Upstream`.

    ``inner`` speaks to the endpoint by ``client``, with the header ``key_line``.
    """

    def __init__(
        self,
        inner: Speaks,
        client: HTTPClient,
        keys: EndpointKeys,
        key_line: Callable[[Worker], bytes],
    ) -> None:
        self._inner = inner
        self._client = client
        self._keys = keys
        self._key_line = key_line

    async def answer(self, request: InferenceRequest, endpoint: Endpoint) -> Answer:
        """Call the endpoint; what it refuses does not tell its key."""
        try:
            return await self._inner.answer(request, endpoint)
        except UpstreamRefused as refused:
            raise self._hidden(refused, endpoint.worker) from None

    async def stream(
        self, request: InferenceRequest, endpoint: Endpoint
    ) -> AsyncGenerator[StreamPart, None]:
        """Call the endpoint; what it refuses does not tell its key."""
        parts = self._inner.stream(request, endpoint)
        try:
            async for part in parts:
                yield part
        except UpstreamRefused as refused:
            raise self._hidden(refused, endpoint.worker) from None
        finally:
            await parts.aclose()

    async def probe(self, endpoint: Endpoint) -> None:
        """Ask for its models, as a call would cost its organisation money.

        It need not have such a list, nor show it by this key.
        """
        url, key_line = endpoint.worker.url + MODELS, self._key_line(endpoint.worker)
        connection = await self._client.get(url, key_line)
        try:
            if connection.status == UNAUTHORIZED or connection.status >= BROKEN:
                await raise_for_status(connection)
        finally:
            self._client.release(connection)

    def _hidden(self, refused: UpstreamRefused, worker: Worker) -> UpstreamRefused:
        """The refusal without the key, should the endpoint repeat it."""
        key = self._keys.of(worker)
        if not key or key not in f"{refused.message} {refused.code} {refused.param}":
            return refused
        return UpstreamRefused(refused.status, refused.message.replace(key, HIDDEN))
